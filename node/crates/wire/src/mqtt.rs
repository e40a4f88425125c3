//! The MQTT codec: 3.1 (`MQIsdp`), 3.1.1 and 5, both directions, borrowing from the bytes it is given.
//!
//! [`frame_len`] finds a frame, [`decode`] (or [`decode_connect`], [`decode_publish`]) reads it, and
//! [`encode`] appends frames to a buffer. What the codec refuses it refuses with the reason code the
//! standard names. Rules of topics and filters, of state and of direction (a subscription identifier
//! from a client, a CONNACK to a server) are the caller's.

pub mod encode;

mod ack;
mod auth;
mod connack;
mod connect;
mod decode;
mod disconnect;
mod error;
mod frame;
mod list;
mod message;
mod property;
mod publish;
mod reader;
mod reason;
mod suback;
mod subscribe;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will, decode_connect};
pub use decode::decode;
pub use disconnect::Disconnect;
pub use error::{ConnectError, DecodeError};
pub use frame::{FRAME_BYTES_MAX, PacketType, body, frame_len};
pub use list::{Element, Items, List, ReasonCodes, SubscriptionIds, UserProperties};
pub use message::MessageProperties;
pub use publish::{Publish, decode_publish};
pub use reason::ReasonCode;
pub use suback::Suback;
pub use subscribe::{FilterNames, Filters, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};

/// The protocol version a connection speaks, fixed by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1, protocol name `MQTT`, level 4.
    V311,
    /// MQTT 5, protocol name `MQTT`, level 5.
    V5,
}

/// One MQTT control packet, of either direction, borrowing from its frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Suback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}
