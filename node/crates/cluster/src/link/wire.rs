//! How a link looks on its QUIC streams.
//!
//! The dialler opens one bidirectional control stream. Each side opens one stream of interest, four of
//! records, one of notices and one of calls; their first byte says which. Control and interest carry prost messages
//! behind their length (4 bytes, little-endian). Records, notices and calls come in frames:
//!
//! ```text
//! kind      1 byte, see [`Kind`]
//! length    4 bytes, little-endian, of what follows the header; at most [`FRAME_BYTES_MAX`]
//! messages  4 bytes, little-endian
//! number    8 bytes, little-endian; 0 for QoS 0 and parts
//! ```

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// Generated from proto/weir/peer/v1/peer.proto.
#[allow(missing_docs, clippy::all)]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/weir.peer.v1.rs"));
}

/// Versions of the link protocol spoken here, the lowest and the highest.
pub(crate) const PROTOCOL: (u32, u32) = (1, 2);

/// From this version on a node has a stream of calls.
pub(crate) const WITH_CALLS: u32 = 2;

/// Streams of records, chosen by the hash of the topic.
pub(crate) const RECORD_STREAMS: usize = 4;
/// The stream of notices: numbered as the streams of records are.
pub(crate) const NOTICES: usize = RECORD_STREAMS;
/// The stream of calls: numbered too, and its numbers have fields of their own.
pub(crate) const CALLS: usize = NOTICES + 1;
/// Streams whose numbers stand in lists.
pub(crate) const STREAMS_LISTED: usize = CALLS;
/// Streams with numbers.
pub(crate) const STREAMS: usize = RECORD_STREAMS + 2;
/// The first byte of the stream of interest; the others have their index.
pub(crate) const INTEREST: u8 = 16;

/// Largest frame on a stream of records, without its header.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 10;
/// Largest prost message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
pub(crate) const HEADER_BYTES: usize = 17;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Runs of QoS 0.
    Frames = 1,
    /// Runs that must arrive, numbered.
    Sure = 2,
    /// The next bytes of a large run.
    Part = 3,
    /// The last bytes of a large run of QoS 0.
    LargeFrames = 4,
    /// The last bytes of a large run that must arrive, numbered on its own.
    LargeSure = 5,
}

/// The peer does not follow the protocol: the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("frame of unknown kind {kind}")]
    Kind { kind: u8 },
    #[error("{bytes} bytes are more than {bytes_max}")]
    TooLong { bytes: u64, bytes_max: usize },
    #[error("number {number} where {expected} was expected")]
    Gap { number: u64, expected: u64 },
    #[error("not a message of this protocol: {what}")]
    Message { what: &'static str },
    #[error("a second stream {index}, or an unknown one")]
    Stream { index: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub len: u32,
    pub messages: u32,
    pub number: u64,
}

impl Header {
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1..5].copy_from_slice(&self.len.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.messages.to_le_bytes());
        bytes[9..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Result<Header, Violation> {
        let kind = match bytes.get_u8() {
            1 => Kind::Frames,
            2 => Kind::Sure,
            3 => Kind::Part,
            4 => Kind::LargeFrames,
            5 => Kind::LargeSure,
            kind => return Err(Violation::Kind { kind }),
        };
        let len = bytes.get_u32_le();
        if len as usize > FRAME_BYTES_MAX {
            return Err(Violation::TooLong { bytes: len.into(), bytes_max: FRAME_BYTES_MAX });
        }
        Ok(Header { kind, len, messages: bytes.get_u32_le(), number: bytes.get_u64_le() })
    }
}

/// Takes the first frame out of what was read, if it is whole.
pub(crate) fn take_frame(read: &mut BytesMut) -> Result<Option<(Header, Bytes)>, Violation> {
    if read.len() < HEADER_BYTES {
        return Ok(None);
    }
    let header = Header::decode(&read[..HEADER_BYTES])?;
    let len = header.len as usize;
    if read.len() < HEADER_BYTES + len {
        read.reserve(HEADER_BYTES + len - read.len());
        return Ok(None);
    }
    read.advance(HEADER_BYTES);
    Ok(Some((header, read.split_to(len).freeze())))
}

/// Appends a prost message behind its length.
pub(crate) fn put_message(out: &mut Vec<u8>, message: &impl Message) {
    out.extend_from_slice(&(message.encoded_len() as u32).to_le_bytes());
    message.encode_raw(out);
}

/// Takes the first prost message out of what was read, if it is whole.
pub(crate) fn take_message<M: Message + Default>(read: &mut BytesMut) -> Result<Option<M>, Violation> {
    let Some(len) = read.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) else { return Ok(None) };
    if len > MESSAGE_BYTES_MAX {
        return Err(Violation::TooLong { bytes: len as u64, bytes_max: MESSAGE_BYTES_MAX });
    }
    if read.len() < 4 + len {
        read.reserve(4 + len - read.len());
        return Ok(None);
    }
    read.advance(4);
    let message = M::decode(read.split_to(len));
    message.map(Some).map_err(|_| Violation::Message { what: "not in the protobuf schema" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut read = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take_frame(&mut read) {}
            let mut read = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take_message::<proto::ControlFrame>(&mut read) {}
        }
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let header = Header { kind: Kind::Sure, len: 3, messages: 2, number: 9 };
        let mut read = BytesMut::from(&header.encode()[..]);
        read.extend_from_slice(b"ab");
        assert_eq!(take_frame(&mut read), Ok(None));
        read.extend_from_slice(b"cd");
        assert_eq!(take_frame(&mut read), Ok(Some((header, Bytes::from_static(b"abc")))));
        assert_eq!(&read[..], b"d");
    }

    #[test]
    fn lengths_beyond_the_bound_are_refused_before_they_are_read() {
        let header = Header { kind: Kind::Part, len: FRAME_BYTES_MAX as u32 + 1, messages: 0, number: 0 };
        let mut read = BytesMut::from(&header.encode()[..]);
        assert!(matches!(take_frame(&mut read), Err(Violation::TooLong { .. })));
        let mut read = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(matches!(take_message::<proto::Notice>(&mut read), Err(Violation::TooLong { .. })));
    }
}
