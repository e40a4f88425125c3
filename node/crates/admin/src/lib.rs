//! gRPC administration: who may ask what, and the services that answer.
//!
//! Read a call top to bottom: [`server`] (a connection comes in, perhaps before there is a node) -> [`guard`] (who is it, may it, until when) ->
//! [`services`] (one file per service of proto/weir/admin/v1) -> the broker, or [`machine`] for what only the whole
//! node can do. [`client`] is the other end, for the `weir` command and tests.

mod audit;
mod caller;
mod certificate;
pub mod client;
pub mod config;
mod error;
mod guard;
pub mod machine;
pub mod metrics;
mod page;
#[allow(clippy::all, clippy::pedantic)]
pub mod proto;
pub mod scope;
pub mod server;
mod services;
mod standing;
pub mod tokens;

pub use caller::Caller;
pub use config::{Config, Security};
pub use error::Refused;
pub use machine::{Change, Machine, NodeView};
pub use scope::Scopes;
pub use server::{Server, StartError};
pub use tokens::{Token, Tokens};

/// Which fields of a request count.
pub use prost_types::FieldMask;
/// The tonic that the clients of [`proto`] speak.
pub use tonic;
