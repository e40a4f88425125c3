//! WAMP against the real binary: clients nobody here wrote, and bytes that no client sends.

mod auth;
mod bad_input;
mod bench;
mod cluster;
mod meta;
mod pubsub;
mod python;
mod raw;
mod reading;
mod rpc;
mod script;
mod transports;
