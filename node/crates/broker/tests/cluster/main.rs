//! What brokers promise that share a store and are linked, all in one process.

mod barriers;
mod bed;
mod calls;
mod client;
mod cuts;
mod interest;
mod live;
mod locks;
mod orphans;
mod queues;
mod records;
mod retained;
mod shared;
mod source;
mod takeover;
mod walk;
mod watched;
