//! The rules of RFC 6455 a peer can break, and the close code that tells it so.

use std::io;

/// Closed as agreed (RFC 6455 section 7.4.1).
pub const NORMAL: u16 = 1000;

/// How a peer broke the framing rules of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A text message; only binary ones carry bytes (MQTT-6.0.0-1).
    #[error("a text frame, only binary frames are taken")]
    Text,
    /// A binary message where only text ones are meant.
    #[error("a binary frame, only text frames are taken")]
    Binary,
    /// A frame longer than the configured limit.
    #[error("a frame of {bytes} bytes, at most {bytes_max} are taken")]
    TooLong { bytes: u64, bytes_max: u32 },
    /// A reserved bit without a negotiated extension (section 5.2).
    #[error("a reserved header bit is set")]
    ReservedBit,
    /// An opcode that means nothing, or a length that cannot be (section 5.2).
    #[error("a frame header that is not valid")]
    Header,
    /// A length in more bytes than it needs, or with its top bit set (section 5.2).
    #[error("a frame length that is not minimal or not a length")]
    Length,
    /// A client frame without a mask, or a server frame with one (section 5.1).
    #[error("the frame is masked: {masked}, it must be the opposite")]
    Mask { masked: bool },
    /// A control frame in fragments or over 125 bytes (section 5.5).
    #[error("a control frame that is fragmented or over 125 bytes")]
    Control,
    /// A continuation of nothing (section 5.4).
    #[error("a continuation frame without a message to continue")]
    Continuation,
    /// A new message inside a fragmented one (section 5.4).
    #[error("a new message inside a fragmented one")]
    Interleaved,
    /// A close frame of one byte or with a code that must not be sent (section 7.4).
    #[error("a close frame without a valid code")]
    Close,
    /// A close reason that is not UTF-8 (section 8.1).
    #[error("a close reason that is not utf-8")]
    CloseReason,
}

impl Violation {
    /// The close code to answer with (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Text | Self::Binary => 1003,
            Self::CloseReason => 1007,
            Self::TooLong { .. } => 1009,
            Self::ReservedBit
            | Self::Header
            | Self::Length
            | Self::Mask { .. }
            | Self::Control
            | Self::Continuation
            | Self::Interleaved
            | Self::Close => 1002,
        }
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

/// The code in the payload of a close frame; [`NORMAL`] where there is none.
pub(super) fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(NORMAL),
        [_] => return Err(Violation::Close),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Close);
    }
    std::str::from_utf8(reason).map_err(|_| Violation::CloseReason)?;
    Ok(code)
}
