//! The four bytes each side sends first.

use crate::wamp::Format;

/// Length of a request and of a reply in bytes.
pub const HANDSHAKE_BYTES: usize = 4;

const MAGIC: u8 = 0x7f;

/// What a side says of itself: a client asks with it, a router answers with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The longest message that this side takes.
    pub length: LengthClass,
    pub format: Format,
}

/// A power of two from 2^9 to 2^24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LengthClass(u8);

/// Why a router does not go on with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("serializer is not supported")]
    Serializer,
    #[error("maximum message length is not acceptable")]
    Length,
    #[error("reserved bits are used")]
    ReservedBits,
    #[error("too many connections")]
    TooManyConnections,
}

/// Why four bytes are no handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// To be closed without an answer.
    #[error("first byte is 0x{first:02x} and not 0x{MAGIC:02x}: not rawsocket")]
    NotRawSocket { first: u8 },
    /// A router tells the client by [`Refusal::reply`]; a client was told so.
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("refused for the unknown reason {code}")]
    RefusedUnknown { code: u8 },
}

impl LengthClass {
    /// The largest class whose messages are not longer than `bytes_max`; the smallest if none is.
    pub fn within(bytes_max: usize) -> LengthClass {
        let class = bytes_max.max(1).ilog2().clamp(9, 24) - 9;
        LengthClass(class as u8)
    }

    /// The longest message in bytes. A frame cannot say more than 2^24 - 1.
    pub fn bytes_max(self) -> usize {
        (1 << (9 + self.0)).min((1 << 24) - 1)
    }
}

impl Handshake {
    /// The bytes, for a request and for a reply.
    pub fn bytes(self) -> [u8; HANDSHAKE_BYTES] {
        let serializer = match self.format {
            Format::Json => 1,
            Format::MsgPack => 2,
            Format::Cbor => 3,
        };
        [MAGIC, self.length.0 << 4 | serializer, 0, 0]
    }
}

impl Refusal {
    /// The reply that says so.
    pub fn reply(self) -> [u8; HANDSHAKE_BYTES] {
        let code = match self {
            Refusal::Serializer => 1,
            Refusal::Length => 2,
            Refusal::ReservedBits => 3,
            Refusal::TooManyConnections => 4,
        };
        [MAGIC, code << 4, 0, 0]
    }

    fn of_code(code: u8) -> Result<Refusal, HandshakeError> {
        match code {
            1 => Ok(Refusal::Serializer),
            2 => Ok(Refusal::Length),
            3 => Ok(Refusal::ReservedBits),
            4 => Ok(Refusal::TooManyConnections),
            _ => Err(HandshakeError::RefusedUnknown { code }),
        }
    }
}

/// Reads what a client asks for; `None` while it is not whole.
///
/// # Errors
///
/// Not RawSocket, from the first byte on; a serializer other than JSON, MessagePack and CBOR; reserved bits.
pub fn read_request(bytes: &[u8]) -> Result<Option<Handshake>, HandshakeError> {
    let Some([second, reserved @ ..]) = behind_magic(bytes)? else { return Ok(None) };
    if reserved != [0, 0] {
        return Err(HandshakeError::Refused(Refusal::ReservedBits));
    }
    let format = format(second).ok_or(HandshakeError::Refused(Refusal::Serializer))?;
    Ok(Some(Handshake { length: LengthClass(second >> 4), format }))
}

/// Reads what a router answered; `None` while it is not whole.
///
/// # Errors
///
/// Not RawSocket, the router's refusal, and a serializer or reserved bits that nobody knows.
pub fn read_reply(bytes: &[u8]) -> Result<Option<Handshake>, HandshakeError> {
    let Some([second, reserved @ ..]) = behind_magic(bytes)? else { return Ok(None) };
    if second & 0x0f == 0 {
        return Err(HandshakeError::Refused(Refusal::of_code(second >> 4)?));
    }
    if reserved != [0, 0] {
        return Err(HandshakeError::Refused(Refusal::ReservedBits));
    }
    let format = format(second).ok_or(HandshakeError::Refused(Refusal::Serializer))?;
    Ok(Some(Handshake { length: LengthClass(second >> 4), format }))
}

fn behind_magic(bytes: &[u8]) -> Result<Option<[u8; 3]>, HandshakeError> {
    match *bytes {
        [first, ..] if first != MAGIC => Err(HandshakeError::NotRawSocket { first }),
        [_, second, third, fourth, ..] => Ok(Some([second, third, fourth])),
        _ => Ok(None),
    }
}

fn format(second: u8) -> Option<Format> {
    match second & 0x0f {
        1 => Some(Format::Json),
        2 => Some(Format::MsgPack),
        3 => Some(Format::Cbor),
        _ => None,
    }
}
