//! One packet to one frame, appended to a buffer.
//!
//! Nothing is checked that the types allow: what these functions are given is the broker's own. For
//! MQTT 3.x what that version cannot say is left out.
//!
//! # Panics
//!
//! A string or binary field above 65,535 bytes, and a body above 268,435,455, cannot be said in MQTT;
//! to ask for one is a bug of the caller.

mod ack;
mod auth;
mod connack;
mod connect;
mod publish;
mod sink;
mod suback;
mod subscribe;

pub use publish::publish;

use self::ack::AckFrame;
use self::sink::append;
use self::suback::SubackFrame;
use super::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Suback, Subscribe, Unsubscribe, Version,
};

/// Appends any packet, the counterpart of [`super::decode`].
///
/// A CONNECT goes by the version it names itself.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>, version: Version) {
    match packet {
        Packet::Connect(fields) => connect(out, fields),
        Packet::Connack(fields) => connack(out, fields, version),
        Packet::Publish(fields) => {
            publish(out, fields, version);
        }
        Packet::Puback(fields) => puback(out, fields, version),
        Packet::Pubrec(fields) => pubrec(out, fields, version),
        Packet::Pubrel(fields) => pubrel(out, fields, version),
        Packet::Pubcomp(fields) => pubcomp(out, fields, version),
        Packet::Subscribe(fields) => subscribe(out, fields, version),
        Packet::Suback(fields) => suback(out, fields, version),
        Packet::Unsubscribe(fields) => unsubscribe(out, fields, version),
        Packet::Unsuback(fields) => unsuback(out, fields, version),
        Packet::Pingreq => pingreq(out),
        Packet::Pingresp => pingresp(out),
        Packet::Disconnect(fields) => disconnect(out, fields, version),
        Packet::Auth(fields) => auth(out, fields),
    }
}

/// Appends a CONNECT of the version it names.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    append(out, PacketType::Connect, connect, connect.version);
}

/// Appends a CONNACK. For MQTT 3.x the code becomes the nearest of its six return codes.
pub fn connack(out: &mut Vec<u8>, connack: &Connack<'_>, version: Version) {
    append(out, PacketType::Connack, connack, version);
}

/// Appends a PUBACK.
#[inline]
pub fn puback(out: &mut Vec<u8>, ack: &Ack<'_>, version: Version) {
    append(out, PacketType::Puback, &AckFrame(ack), version);
}

/// Appends a PUBREC.
#[inline]
pub fn pubrec(out: &mut Vec<u8>, ack: &Ack<'_>, version: Version) {
    append(out, PacketType::Pubrec, &AckFrame(ack), version);
}

/// Appends a PUBREL.
#[inline]
pub fn pubrel(out: &mut Vec<u8>, ack: &Ack<'_>, version: Version) {
    append(out, PacketType::Pubrel, &AckFrame(ack), version);
}

/// Appends a PUBCOMP.
#[inline]
pub fn pubcomp(out: &mut Vec<u8>, ack: &Ack<'_>, version: Version) {
    append(out, PacketType::Pubcomp, &AckFrame(ack), version);
}

/// Appends a SUBSCRIBE. It needs at least one filter.
pub fn subscribe(out: &mut Vec<u8>, subscribe: &Subscribe<'_>, version: Version) {
    append(out, PacketType::Subscribe, subscribe, version);
}

/// Appends a SUBACK. For MQTT 3.x every refusal becomes 0x80.
pub fn suback(out: &mut Vec<u8>, suback: &Suback<'_>, version: Version) {
    append(out, PacketType::Suback, &SubackFrame::new(suback), version);
}

/// Appends an UNSUBSCRIBE. It needs at least one filter.
pub fn unsubscribe(out: &mut Vec<u8>, unsubscribe: &Unsubscribe<'_>, version: Version) {
    append(out, PacketType::Unsubscribe, unsubscribe, version);
}

/// Appends an UNSUBACK. For MQTT 3.x it has no codes.
pub fn unsuback(out: &mut Vec<u8>, unsuback: &Suback<'_>, version: Version) {
    append(out, PacketType::Unsuback, &SubackFrame::of_unsubscribe(unsuback), version);
}

/// Appends a PINGREQ, the same in every version.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends a PINGRESP, the same in every version.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// Appends a DISCONNECT. In MQTT 3.x only a client sends one, and it says nothing.
pub fn disconnect(out: &mut Vec<u8>, disconnect: &Disconnect<'_>, version: Version) {
    append(out, PacketType::Disconnect, disconnect, version);
}

/// Appends an AUTH, which is of MQTT 5 only.
pub fn auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    append(out, PacketType::Auth, auth, Version::V5);
}
