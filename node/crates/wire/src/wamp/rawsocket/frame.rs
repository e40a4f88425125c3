//! What follows the handshake: frames with a type and a length in front.

use crate::wamp::{Batching, Format, Message, Serialization, encode};

/// Length of a frame's header in bytes.
pub const FRAME_HEADER_BYTES: usize = 4;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    Message = 0,
    /// To be answered by a [`FrameType::Pong`] of the same payload.
    Ping = 1,
    Pong = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: FrameType,
    pub payload: &'a [u8],
}

/// Why a stream cannot go on: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame header 0x{first:02x} uses reserved bits")]
    ReservedBits { first: u8 },
    #[error("frame type {kind} is reserved")]
    ReservedType { kind: u8 },
    #[error("frame of {bytes} bytes is longer than the maximum of {max}")]
    TooLong { bytes: usize, max: usize },
}

/// The first frame of a stream and what is behind it; `None` while it is not whole.
///
/// # Errors
///
/// Told from as few bytes as possible: reserved bits and types, and a payload above `bytes_max` bytes.
pub fn read_frame(bytes: &[u8], bytes_max: usize) -> Result<Option<(Frame<'_>, &[u8])>, FrameError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let kind = frame_type(first)?;
    let Some((&[_, a, b, c], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    if len > bytes_max {
        return Err(FrameError::TooLong { bytes: len, max: bytes_max });
    }
    Ok(rest.split_at_checked(len).map(|(payload, rest)| (Frame { kind, payload }, rest)))
}

/// Appends a frame.
///
/// # Errors
///
/// A payload above `bytes_max` or 2^24 - 1 bytes; nothing is appended then.
pub fn append(
    out: &mut Vec<u8>,
    kind: FrameType,
    payload: &[u8],
    bytes_max: usize,
) -> Result<(), FrameError> {
    let header = header(kind, payload.len(), bytes_max)?;
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a frame with one message.
///
/// # Errors
///
/// A message above `bytes_max` or 2^24 - 1 bytes; nothing is appended then.
pub fn append_message(
    out: &mut Vec<u8>,
    message: &Message<'_>,
    format: Format,
    bytes_max: usize,
) -> Result<(), FrameError> {
    let from = out.len();
    let payload_at = from + FRAME_HEADER_BYTES;
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    encode(out, message, Serialization { format, batching: Batching::One });
    let header = header(FrameType::Message, out.len() - payload_at, bytes_max);
    match header {
        Ok(header) => out[from..payload_at].copy_from_slice(&header),
        Err(_) => out.truncate(from),
    }
    header.map(drop)
}

fn header(kind: FrameType, len: usize, bytes_max: usize) -> Result<[u8; 4], FrameError> {
    let max = bytes_max.min((1 << 24) - 1);
    if len > max {
        return Err(FrameError::TooLong { bytes: len, max });
    }
    let [_, a, b, c] = (len as u32).to_be_bytes();
    Ok([kind as u8, a, b, c])
}

fn frame_type(first: u8) -> Result<FrameType, FrameError> {
    match first {
        0 => Ok(FrameType::Message),
        1 => Ok(FrameType::Ping),
        2 => Ok(FrameType::Pong),
        kind @ 3..=7 => Err(FrameError::ReservedType { kind }),
        _ => Err(FrameError::ReservedBits { first }),
    }
}
