//! Bytes to frames and back, one module per protocol: no sockets, no broker, no clock.

pub mod hyper;
pub mod mqtt;
pub mod wamp;
