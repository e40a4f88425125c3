//! Why bytes are no message, and where.

use super::{ID_MAX, Id, MessageType};

/// What was wrong with a message. `at` is the byte, counted from the message's first.
///
/// All but [`DecodeError::BadOption`] are breaches of the protocol: the session ends with ABORT
/// `wamp.error.protocol_violation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("message of {bytes} bytes is longer than the maximum of {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("lists and maps stand in each other deeper than {max} at byte {at}")]
    TooDeep { at: usize, max: usize },
    #[error("message has more than {max} values, at byte {at}")]
    TooManyItems { at: usize, max: usize },
    #[error("message ends in the middle of a value, at byte {at}")]
    EndsEarly { at: usize },
    #[error("{what} at byte {at}")]
    Syntax { at: usize, what: &'static str },
    #[error("text is not valid utf-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("message is not a list")]
    NotAnArray,
    #[error("message goes on behind its end, at byte {at}")]
    TrailingBytes { at: usize },
    #[error("message does not begin with its type, a whole number")]
    NoType,
    #[error("message type {code} is not known")]
    UnknownType { code: u64 },
    #[error("{message} has {items} items and not {min} to {max}")]
    Arity { message: MessageType, items: usize, min: usize, max: usize },
    /// `item` is the place in the message's list, its type being 0.
    #[error("{message}.{field} (item {item}) is not {wanted}")]
    WrongType { message: MessageType, item: usize, field: &'static str, wanted: &'static str },
    #[error("{message}.{field} (item {item}) is not between 1 and {ID_MAX}")]
    IdOutOfRange { message: MessageType, item: usize, field: &'static str },
    /// An entry of options or details with a value it cannot have. With a `request` that one can be refused
    /// by an ERROR `wamp.error.invalid_argument` and the session goes on.
    #[error("{message} option {option} is not {wanted}")]
    BadOption { message: MessageType, request: Option<Id>, option: &'static str, wanted: &'static str },
    /// A frame of several messages whose cuts make no sense.
    #[error("batch is broken at byte {at}: {what}")]
    BadBatch { at: usize, what: &'static str },
}
