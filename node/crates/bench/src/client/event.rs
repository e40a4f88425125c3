//! What a frame from the server means to a client.

use std::num::NonZeroU16;

use weir_wire::mqtt::{Ack, Packet, Publish, ReasonCode, Suback, Version, decode};

use super::Error;
use super::message::{AckKind, Acknowledgement, Incoming, Properties};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Message {
        message: Incoming,
        /// Set until the alias has been resolved.
        alias: Option<u16>,
    },
    Acknowledged(Acknowledgement),
    /// PUBREL: the message with this id will not come again.
    Released(NonZeroU16),
    /// SUBACK or UNSUBACK.
    Answered {
        packet_id: NonZeroU16,
        codes: Vec<ReasonCode>,
    },
    Pong,
}

impl Event {
    /// Reads one whole frame. A DISCONNECT is an error: nothing follows it.
    pub(super) fn of(frame: &[u8], version: Version, doing: &'static str) -> Result<Event, Error> {
        let packet = decode(frame, version).map_err(|source| Error::Malformed { source })?;
        Ok(match packet {
            Packet::Publish(publish) => Event::Message {
                alias: publish.topic_alias.map(NonZeroU16::get),
                message: Incoming::of(&publish),
            },
            Packet::Puback(ack) => acknowledged(AckKind::Puback, &ack),
            Packet::Pubrec(ack) => acknowledged(AckKind::Pubrec, &ack),
            Packet::Pubcomp(ack) => acknowledged(AckKind::Pubcomp, &ack),
            Packet::Pubrel(ack) => Event::Released(ack.packet_id),
            Packet::Suback(suback) | Packet::Unsuback(suback) => answered(&suback),
            Packet::Pingresp => Event::Pong,
            Packet::Disconnect(goodbye) => {
                return Err(Error::Disconnected {
                    doing,
                    code: goodbye.code,
                    reason: goodbye.reason.map(str::to_owned),
                    server_reference: goodbye.server_reference.map(str::to_owned),
                });
            }
            other => return Err(Error::Unexpected { packet: name(&other), doing }),
        })
    }
}

fn acknowledged(kind: AckKind, ack: &Ack<'_>) -> Event {
    Event::Acknowledged(Acknowledgement {
        kind,
        packet_id: ack.packet_id,
        code: ack.code,
        reason: ack.reason.map(str::to_owned),
    })
}

fn answered(suback: &Suback<'_>) -> Event {
    Event::Answered { packet_id: suback.packet_id, codes: suback.codes.iter().collect() }
}

impl Incoming {
    fn of(publish: &Publish<'_>) -> Incoming {
        Incoming {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            properties: Properties::of(&publish.properties),
            subscription_ids: publish.subscription_ids.iter().collect(),
        }
    }
}

/// What a server has no business to send after CONNACK.
fn name(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::Connack(_) => "CONNACK",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::Pingreq => "PINGREQ",
        Packet::Auth(_) => "AUTH",
        _ => "packet",
    }
}
