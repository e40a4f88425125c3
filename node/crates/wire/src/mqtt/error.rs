//! Why a frame was refused, and what may be answered.

use super::{ReasonCode, Version};

/// A frame that broke the standard.
///
/// To MQTT 5 the code goes out in a DISCONNECT (or CONNACK); to 3.x the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} (reason code 0x{code:02x})", code = self.code.as_u8())]
pub struct DecodeError {
    /// The reason code the standard names for it (MQTT-4.13).
    pub code: ReasonCode,
    /// What was wrong, for the log and the reason string.
    pub what: &'static str,
}

impl DecodeError {
    pub(super) const fn new(code: ReasonCode, what: &'static str) -> DecodeError {
        DecodeError { code, what }
    }

    /// Bytes that cannot be parsed (MQTT 5, 1.2 "malformed packet").
    #[cold]
    pub(super) const fn malformed(what: &'static str) -> DecodeError {
        DecodeError::new(ReasonCode::MalformedPacket, what)
    }

    /// Parsed, but not allowed by the protocol (MQTT 5, 1.2 "protocol error").
    #[cold]
    pub(super) const fn protocol(what: &'static str) -> DecodeError {
        DecodeError::new(ReasonCode::ProtocolError, what)
    }
}

/// A CONNECT that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connect refused: {error}")]
pub struct ConnectError {
    /// [`ReasonCode::UnsupportedProtocolVersion`] when the level is not spoken here (MQTT-3.1.2-2).
    pub error: DecodeError,
    /// The version whose CONNACK tells the client; `None` means close without one (MQTT-3.1.4-1).
    pub answer: Option<Version>,
}
