//! The nouns of Weir and their rules: no IO, no async, no clock.
//!
//! Everything here is plain data. A value that exists is valid: a [`Topic`] has been checked, a
//! [`Filter`] parses, a [`Position`] orders.

pub mod filter;
pub mod level;
pub mod message;
pub mod position;
pub mod principal;
pub mod reason;
pub mod time;
pub mod topic;

pub use filter::Filter;
pub use level::{Level, UnknownLevel};
pub use message::{Message, MessageId, Properties, Qos};
pub use position::Position;
pub use principal::{Grant, Principal};
pub use reason::Reason;
pub use time::UnixMillis;
pub use topic::Topic;

/// The realm of clients that name none. Clients of two realms never meet.
pub const DEFAULT_REALM: &str = "default";

/// Longest client id in bytes (MQTT-1.5.4: a UTF-8 string has at most 65,535 bytes).
pub const CLIENT_ID_BYTES_MAX: usize = 65_535;
