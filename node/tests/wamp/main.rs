//! WAMP against the real binary: clients nobody here wrote, and bytes that no client sends.

mod bad_input;
mod pubsub;
mod rpc;
mod script;
