//! The store on Redis, shared by all nodes of a cluster.

mod account;
mod config;
mod copy;
mod decode;
mod due;
mod encode;
mod errors;
mod lane;
mod layout;
mod lease;
mod level;
mod library;
mod marks;
mod mirror;
mod open;
mod read;
mod refresh;
mod rollback;
mod runtime;
mod servers;
mod shard;
mod store;
mod submit;
mod text;
mod witness;

pub use config::{Password, RedisConfig};
pub use copy::{RedisSource, RedisTarget};
pub use layout::stream_key;
pub use lease::EnrolError;
pub use level::{Unconfirmed, Wait};
pub use open::RedisOpenError;
pub use servers::{Away, ConnectError, Connection, Servers};
pub use shard::Shard;
pub use store::RedisStore;
