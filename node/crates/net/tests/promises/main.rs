//! What the crate promises from outside, over real sockets on loopback.

mod closing;
mod http;
mod server;
mod tls;
mod transports;
mod websocket;
