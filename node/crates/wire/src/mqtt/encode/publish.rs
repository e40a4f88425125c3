//! PUBLISH to bytes, and the properties it shares with a will.

use super::sink::{Count, Properties, Sink, fixed_header, varint};
use crate::mqtt::property::Property;
use crate::mqtt::{MessageProperties, PacketType, Publish, Version};

/// Appends a PUBLISH and says where in the frame, counted from its first byte, the packet id stands.
///
/// `None` with QoS 0, which has no packet id. With QoS 1 or 2 and no packet id given, the two bytes
/// are 0 and wait to be patched, so that one frame can be shared by many receivers.
#[inline]
pub fn publish(out: &mut Vec<u8>, publish: &Publish<'_>, version: Version) -> Option<usize> {
    let properties_len = properties_len(publish, version);
    let id_len = if publish.qos as u8 > 0 { 2 } else { 0 };
    let body_len = 2 + publish.topic.len() + id_len + properties_len + publish.payload.len();
    let start = out.len();
    fixed_header(out, first_byte(publish), body_len);
    out.text(publish.topic);
    let id_at = out.len() - start;
    if id_len > 0 {
        out.u16(publish.packet_id.map_or(0, |id| id.get()));
    }
    match properties_len {
        0 => {}
        1 => out.push(0),
        _ => out.property_block(publish),
    }
    out.extend_from_slice(publish.payload);
    (id_len > 0).then_some(id_at)
}

#[inline]
fn first_byte(publish: &Publish<'_>) -> u8 {
    (PacketType::Publish as u8) << 4
        | u8::from(publish.dup) << 3
        | (publish.qos as u8) << 1
        | u8::from(publish.retain)
}

/// How many bytes the property block takes with its length; 1 is an empty one.
#[inline]
fn properties_len(publish: &Publish<'_>, version: Version) -> usize {
    if version != Version::V5 {
        return 0;
    }
    let says_nothing =
        publish.topic_alias.is_none() && publish.subscription_ids.is_empty() && publish.properties.is_empty();
    if says_nothing {
        return 1;
    }
    let len = Count::of_properties(publish);
    len + varint(len as u32).1
}

impl Properties for Publish<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        if let Some(alias) = self.topic_alias {
            sink.u16_property(Property::TopicAlias, alias.get());
        }
        for id in self.subscription_ids {
            sink.u8(Property::SubscriptionId as u8);
            sink.varint(id);
        }
        self.properties.write_properties(sink);
    }
}

impl Properties for MessageProperties<'_> {
    fn write_properties(&self, sink: &mut impl Sink) {
        if self.payload_is_utf8 {
            sink.flag_property(Property::PayloadFormat, true);
        }
        sink.u32_property(Property::MessageExpiry, self.expiry_seconds);
        sink.text_property(Property::ContentType, self.content_type);
        sink.text_property(Property::ResponseTopic, self.response_topic);
        sink.binary_property(Property::CorrelationData, self.correlation_data);
        sink.user_properties(self.user);
    }
}
