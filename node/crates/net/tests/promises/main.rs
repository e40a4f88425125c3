//! What the crate promises from outside, over real sockets on loopback.

mod closing;
mod framing;
mod http;
mod peer_reload;
mod peers;
mod proxied;
mod reload;
mod server;
mod tls;
mod transports;
mod websocket;
