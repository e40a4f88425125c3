//! What only the Redis store promises, against real redis-servers: alone, with Sentinels, and as a cluster.

mod connect;
mod copy;
mod effects;
mod faults;
mod flow;
mod levels;
mod migration;
mod mirror;
mod rollback;
mod speed;
mod streams;
mod suite;
mod tls;
mod topology;
mod valkey;
