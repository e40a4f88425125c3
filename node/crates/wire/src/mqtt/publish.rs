//! PUBLISH (MQTT 5, 3.3): the packet that has to be fast.

use std::num::NonZeroU16;

use weir_model::Qos;

use super::frame::check_publish_flags;
use super::property::{Block, Property};
use super::reader::Reader;
use super::{DecodeError, MessageProperties, ReasonCode, SubscriptionIds, Version};

/// A message on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// Empty only in MQTT 5 and with a topic alias.
    pub topic: &'a str,
    /// `Some` exactly when decoded with QoS 1 or 2 (MQTT-2.2.1-2, MQTT-2.2.1-3).
    pub packet_id: Option<NonZeroU16>,
    pub topic_alias: Option<NonZeroU16>,
    pub properties: MessageProperties<'a>,
    /// Only a server may send them: the gateway refuses them from a client (MQTT-3.3.4-6).
    pub subscription_ids: SubscriptionIds<'a>,
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// A QoS 0 message with nothing said about it.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            topic_alias: None,
            properties: MessageProperties::default(),
            subscription_ids: SubscriptionIds::default(),
            payload,
        }
    }
}

/// Reads a PUBLISH from its first byte and its [`super::body`]. Allocates nothing.
///
/// # Errors
///
/// Malformed (0x81): QoS 3, DUP with QoS 0, a topic that is no UTF-8 or has U+0000, fields cut short.
/// Protocol error (0x82): packet id 0, no topic and no alias, a property twice, out of range or of
/// another packet. Topic alias invalid (0x94): alias 0 (MQTT-3.3.2-8).
#[inline]
pub fn decode_publish(first_byte: u8, body: &[u8], version: Version) -> Result<Publish<'_>, DecodeError> {
    check_publish_flags(first_byte & 0x0f)?;
    let mut reader = Reader::new(body);
    let topic = reader.text()?;
    let qos = match first_byte & 0x06 {
        0 => Qos::AtMostOnce,
        2 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    };
    let packet_id = match qos {
        Qos::AtMostOnce => None,
        _ => Some(packet_id(&mut reader)?),
    };
    let rest = reader.rest();
    let (has_properties, payload) = match (version, rest) {
        (Version::V5, [0, payload @ ..]) if !topic.is_empty() => (false, payload),
        (Version::V5, _) => (true, rest),
        _ => (false, rest),
    };
    let publish = Publish {
        dup: first_byte & 0x08 != 0,
        qos,
        retain: first_byte & 0x01 != 0,
        topic,
        packet_id,
        topic_alias: None,
        properties: MessageProperties::default(),
        subscription_ids: SubscriptionIds::default(),
        payload,
    };
    if has_properties { with_properties(publish) } else { Ok(publish) }
}

/// A packet identifier: not 0 (MQTT-2.2.1-3).
#[inline]
pub(super) fn packet_id(reader: &mut Reader<'_>) -> Result<NonZeroU16, DecodeError> {
    NonZeroU16::new(reader.u16()?).ok_or(DecodeError::protocol("packet identifier is 0"))
}

/// Takes the property block off the front of the payload.
fn with_properties(mut publish: Publish<'_>) -> Result<Publish<'_>, DecodeError> {
    let mut reader = Reader::new(publish.payload);
    let mut block = Block::open(&mut reader)?;
    while let Some(property) = block.next()? {
        match property {
            Property::TopicAlias => publish.topic_alias = Some(topic_alias(&mut block)?),
            Property::SubscriptionId => {
                if publish.subscription_ids.is_empty() {
                    publish.subscription_ids = SubscriptionIds::wire(block.tail());
                }
                block.subscription_id()?;
            }
            other => publish.properties.read(other, &mut block)?,
        }
    }
    if publish.topic.is_empty() && publish.topic_alias.is_none() {
        return Err(DecodeError::protocol("publish has neither topic nor alias"));
    }
    publish.payload = reader.rest();
    Ok(publish)
}

fn topic_alias(block: &mut Block<'_>) -> Result<NonZeroU16, DecodeError> {
    let invalid = DecodeError::new(ReasonCode::TopicAliasInvalid, "topic alias is 0");
    NonZeroU16::new(block.u16()?).ok_or(invalid)
}
