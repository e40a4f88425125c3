//! One whole frame to one packet.

use super::{
    Ack, Auth, Connack, Connect, DecodeError, Disconnect, FRAME_BYTES_MAX, Packet, PacketType, Suback,
    Subscribe, Unsubscribe, Version, body, decode_connect, decode_publish, frame_len,
};

/// Reads exactly one whole frame of a connection that speaks `version`.
///
/// A CONNECT is read by the version it names itself.
///
/// # Errors
///
/// Every breach of framing and structure, with the reason code of the standard: malformed (0x81) for
/// what cannot be parsed, protocol error (0x82) for values and properties that are not allowed, topic
/// alias invalid (0x94) for alias 0, unsupported protocol version (0x84) of a CONNECT.
#[inline]
pub fn decode(frame: &[u8], version: Version) -> Result<Packet<'_>, DecodeError> {
    let (Some(&first_byte), Some(len)) = (frame.first(), frame_len(frame, FRAME_BYTES_MAX)?) else {
        return Err(DecodeError::malformed("frame has no whole fixed header"));
    };
    if len != frame.len() {
        return Err(DecodeError::malformed("bytes are not one whole frame"));
    }
    let Some(kind) = PacketType::of(first_byte) else {
        return Err(DecodeError::malformed("packet type 0 is reserved"));
    };
    let body = body(frame);
    check_dup(first_byte, kind, version)?;
    Ok(match kind {
        PacketType::Connect => Packet::Connect(Box::new(connect(frame)?)),
        PacketType::Connack => Packet::Connack(Connack::read(body, version)?),
        PacketType::Publish => Packet::Publish(decode_publish(first_byte, body, version)?),
        PacketType::Puback => Packet::Puback(Ack::read(body, kind, version)?),
        PacketType::Pubrec => Packet::Pubrec(Ack::read(body, kind, version)?),
        PacketType::Pubrel => Packet::Pubrel(Ack::read(body, kind, version)?),
        PacketType::Pubcomp => Packet::Pubcomp(Ack::read(body, kind, version)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::read(body, version)?),
        PacketType::Suback => Packet::Suback(Suback::read(body, kind, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(body, version)?),
        PacketType::Unsuback => Packet::Unsuback(Suback::read(body, kind, version)?),
        PacketType::Pingreq => empty(body, Packet::Pingreq)?,
        PacketType::Pingresp => empty(body, Packet::Pingresp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::read(body, version)?),
        PacketType::Auth => Packet::Auth(Auth::read(body, version)?),
    })
}

fn connect(frame: &[u8]) -> Result<Connect<'_>, DecodeError> {
    decode_connect(frame).map_err(|refused| refused.error)
}

/// The DUP bit outside of PUBLISH is of MQTT 3.1 only (MQTT-2.1.3-1).
fn check_dup(first_byte: u8, kind: PacketType, version: Version) -> Result<(), DecodeError> {
    if first_byte & 0x08 != 0 && kind != PacketType::Publish && version != Version::V31 {
        return Err(DecodeError::malformed("fixed header flags are not those of the packet type"));
    }
    Ok(())
}

fn empty<'a>(body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, DecodeError> {
    if body.is_empty() { Ok(packet) } else { Err(DecodeError::malformed("ping has a body")) }
}
