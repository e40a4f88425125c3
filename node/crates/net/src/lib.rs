//! Moves bytes: TCP, TLS, WebSocket and QUIC as one byte stream type, with listeners, HTTP, limits and a client.
//!
//! Nothing here knows a message protocol. A server binds a [`Listener`], takes each [`Incoming`] and
//! establishes it into a [`Stream`]; an HTTP listener hands its stream to [`http::serve`], which gives it
//! back as a WebSocket stream if the client asked for one. A client calls [`client::connect`].

mod close;
mod limited;
mod listener;
mod quic;
mod stream;

pub mod client;
pub mod config;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod peer;
pub mod proxy;
pub mod tls;
pub mod ws;

pub use close::{Linger, Lingered, close_gracefully};
pub use config::Config;
pub use listener::{AcceptError, BindError, EstablishError, Established, Incoming, Kind, Listener};
pub use quic::Quic;
pub use stream::{Stream, Transport};
