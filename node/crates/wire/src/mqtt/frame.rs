//! The fixed header: what kind of packet it is and how long (MQTT 5, 2.1).

use super::DecodeError;
use super::ReasonCode;
use super::reader::varint;

/// The longest frame MQTT can say, fixed header included, in bytes (MQTT 5, 1.5.5).
pub const FRAME_BYTES_MAX: usize = 268_435_455 + 5;

/// The kind of a control packet: the upper four bits of a frame's first byte (MQTT 5, 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The kind a first byte names; `None` for the reserved 0. Flags are not looked at.
    #[inline]
    pub fn of(first_byte: u8) -> Option<PacketType> {
        Some(match first_byte >> 4 {
            1 => PacketType::Connect,
            2 => PacketType::Connack,
            3 => PacketType::Publish,
            4 => PacketType::Puback,
            5 => PacketType::Pubrec,
            6 => PacketType::Pubrel,
            7 => PacketType::Pubcomp,
            8 => PacketType::Subscribe,
            9 => PacketType::Suback,
            10 => PacketType::Unsubscribe,
            11 => PacketType::Unsuback,
            12 => PacketType::Pingreq,
            13 => PacketType::Pingresp,
            14 => PacketType::Disconnect,
            15 => PacketType::Auth,
            _ => return None,
        })
    }
}

/// The length in bytes of the first frame in `bytes`, once its fixed header is whole.
///
/// `Ok(None)` asks for more bytes. The frame itself may not have arrived yet.
///
/// # Errors
///
/// Told from as few bytes as possible, so that nothing is buffered for a frame that is refused:
/// malformed (0x81) for a type, flags or length the standard does not know (MQTT-2.1.3-1), packet too
/// large (0x95) above `packet_bytes_max` bytes, fixed header included (MQTT-3.1.2-24).
#[inline]
pub fn frame_len(bytes: &[u8], packet_bytes_max: usize) -> Result<Option<usize>, DecodeError> {
    let Some((&first_byte, rest)) = bytes.split_first() else { return Ok(None) };
    check_first_byte(first_byte)?;
    let (body_len, varint_len) = match rest.first() {
        Some(&short) if short < 0x80 => (u32::from(short), 1),
        _ => match varint(rest)? {
            Some(header) => header,
            None => return Ok(None),
        },
    };
    let len = 1 + varint_len + body_len as usize;
    if len > packet_bytes_max {
        let what = "packet is larger than the maximum";
        return Err(DecodeError::new(ReasonCode::PacketTooLarge, what));
    }
    Ok(Some(len))
}

/// The bytes of a whole frame behind its fixed header.
///
/// `frame` must be exactly as long as [`frame_len`] said; the header's length follows from that.
#[inline]
pub fn body(frame: &[u8]) -> &[u8] {
    let header_len = match frame.len() {
        0..=129 => 2,
        130..=16_386 => 3,
        16_387..=2_097_155 => 4,
        _ => 5,
    };
    frame.get(header_len..).unwrap_or_default()
}

/// Refuses types and flags that no version knows (MQTT-2.1.3-1).
///
/// PUBREL, SUBSCRIBE and UNSUBSCRIBE may carry DUP here, because MQTT 3.1 allows it; [`super::decode`]
/// refuses it for the others.
#[inline]
fn check_first_byte(first_byte: u8) -> Result<(), DecodeError> {
    let flags = first_byte & 0x0f;
    match first_byte >> 4 {
        3 => check_publish_flags(flags),
        6 | 8 | 10 if flags & 0x07 == 0x02 => Ok(()),
        1 | 2 | 4 | 5 | 7 | 9 | 11..=15 if flags == 0 => Ok(()),
        0 => Err(DecodeError::malformed("packet type 0 is reserved")),
        _ => Err(DecodeError::malformed("fixed header flags are not those of the packet type")),
    }
}

/// QoS 3 (MQTT-3.3.1-4) and DUP with QoS 0 (MQTT-3.3.1-2).
#[inline]
pub(super) fn check_publish_flags(flags: u8) -> Result<(), DecodeError> {
    match flags & 0x0e {
        0x06 | 0x0e => Err(DecodeError::malformed("publish has qos 3")),
        0x08 => Err(DecodeError::malformed("publish has dup set with qos 0")),
        _ => Ok(()),
    }
}
