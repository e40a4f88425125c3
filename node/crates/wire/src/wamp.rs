//! The WAMP v2 codec: every message of the basic and advanced profile in JSON, MessagePack and CBOR.
//!
//! [`batch::messages`] cuts a transport frame into messages, [`decode`] reads one and [`encode`] appends
//! one. Messages borrow; the arguments of a payload stay the bytes they came as ([`Raw`]) and are converted
//! only when they are written in another format. [`rawsocket`] frames messages on a bare stream, [`uri`]
//! maps names to topics, [`value`] maps payloads to those of MQTT.
//!
//! What is strange on the wire:
//!
//! - **Invalid UTF-8**, and in JSON a surrogate that stands alone, is refused wherever it stands.
//! - **NaN and infinities** cannot be said in JSON: written there they become `null`; between MessagePack
//!   and CBOR they travel. A JSON number too large for a double becomes an infinity in these two.
//! - **Duplicate keys** in options: the last one counts. In payloads they travel as they came.
//! - **Keys that are no text** are let through in payloads of MessagePack and CBOR and become text in JSON
//!   (`1` -> `"1"`); a key that is a list or a map is refused.
//! - **Binary in JSON** is a string of U+0000 and base64, both ways; what follows a U+0000 but is no base64
//!   stays text.
//! - **CBOR tags** and **MessagePack extension types** travel within their format; converted, a tag is
//!   dropped and an extension is its bytes.
//! - **null** for args or kwargs is taken as absent; what is absent is left out, never written as null.
//!
//! Rules of state (a second HELLO, commands before WELCOME, who may send what) are the caller's.

pub mod batch;
pub mod message;
pub mod rawsocket;
pub mod uri;
pub mod value;

mod decode;
mod element;
mod encode;
mod error;
mod id;
mod payload;
mod raw;
mod serialization;
mod shared_event;
mod transcode;
mod walk;
mod writer;

pub use decode::decode;
pub use encode::{encode, encode_event};
pub use error::DecodeError;
pub use id::{ID_MAX, Id};
pub use message::{Message, MessageType};
pub use payload::{Args, Payload};
pub use raw::{Elements, Entries, Raw, Value};
pub use serialization::{Batching, Format, Serialization};
pub use shared_event::SharedEvent;

/// A text of a message: borrowed unless it had escapes.
pub type Text<'a> = std::borrow::Cow<'a, str>;

/// How large and how deep a message may be. Checked while it is read, before anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, without the framing of its transport.
    pub message_bytes_max: usize,
    /// How deep lists and maps may stand in each other, the message's own list included.
    pub depth_max: usize,
    /// How many values a message may have, keys and everything nested counted.
    pub items_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message_bytes_max: 1 << 20, depth_max: 64, items_max: 100_000 }
    }
}

impl Limits {
    /// For bytes that were checked before.
    pub(crate) const NONE: Limits =
        Limits { message_bytes_max: usize::MAX, depth_max: usize::MAX, items_max: usize::MAX };
}
