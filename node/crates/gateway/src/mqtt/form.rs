//! The two wire forms of an MQTT PUBLISH at QoS 0, shared by all who take the same.

use weir_broker::addressed;
use weir_broker::form::{Form, Marks, Publish};
use weir_model::{Properties, Qos};
use weir_wire::mqtt::{self, List, MessageProperties, Version, encode};

use crate::wamp::properties::{OURS, PUBLICATION, TRACE};

/// What handlers are told that these clients speak.
pub const PROTOCOL: &str = "mqtt";

/// MQTT 3.1 and 3.1.1: no properties.
pub static MQTT_3: MqttForm = MqttForm(Version::V311);
/// MQTT 5.
pub static MQTT_5: MqttForm = MqttForm(Version::V5);

pub struct MqttForm(Version);

/// The place of a version's form in [`crate::FORMS`].
pub fn form_id(version: Version) -> weir_broker::form::FormId {
    match version {
        Version::V31 | Version::V311 => 0,
        Version::V5 => 1,
    }
}

impl Form for MqttForm {
    fn protocol(&self) -> &'static str {
        PROTOCOL
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, marks: Marks<'_>) {
        let packet = mqtt::Publish {
            retain: marks.retain,
            subscription_ids: List::of(marks.subscription_ids),
            ..mqtt::Publish::new(publish.topic, publish.payload)
        };
        encode_with(out, packet, publish.properties.as_deref(), publish.expiry_seconds, self.0);
    }

    #[inline]
    fn frame_len(&self, frames: &[u8]) -> usize {
        mqtt::frame_len(frames, mqtt::FRAME_BYTES_MAX).ok().flatten().unwrap_or(frames.len())
    }

    fn topic<'a>(&self, frame: &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
        match mqtt::decode(frame, self.0) {
            Ok(mqtt::Packet::Publish(publish)) => Some(publish.topic.into()),
            _ => None,
        }
    }

    fn hears_why(&self) -> bool {
        self.0 == Version::V5
    }
}

/// Encodes a PUBLISH with the properties of a message.
pub fn encode_with(
    out: &mut Vec<u8>,
    packet: mqtt::Publish<'_>,
    properties: Option<&Properties>,
    expiry_seconds: Option<u32>,
    version: Version,
) {
    let Some(properties) = properties.filter(|_| version == Version::V5) else {
        let properties = MessageProperties { expiry_seconds, ..MessageProperties::default() };
        encode::publish(out, &mqtt::Publish { properties, ..packet }, version);
        return;
    };
    // Filtered into a vector of a size that is known: there may be very many.
    let mut user: Vec<(&str, &str)> = Vec::with_capacity(properties.user.len());
    user.extend(properties.user.iter().map(|(k, v)| (&**k, &**v)).filter(|(k, v)| is_shown(k, v)));
    let properties = MessageProperties {
        payload_is_utf8: properties.payload_is_utf8,
        expiry_seconds,
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data: properties.correlation_data.as_deref(),
        user: List::of(&user),
    };
    encode::publish(out, &mqtt::Publish { properties, ..packet }, version);
}

/// Whether a user property goes to clients: not what only the broker is told, nor what is longer than MQTT can say.
pub fn is_shown(name: &str, text: &str) -> bool {
    ![addressed::PROPERTY, PUBLICATION, TRACE].contains(&name) && text.len() <= usize::from(u16::MAX)
}

/// What a client said about a message, made ours.
pub fn owned(properties: &MessageProperties<'_>) -> Option<Box<Properties>> {
    let only_expiry = MessageProperties { expiry_seconds: None, ..*properties };
    if only_expiry.is_empty() {
        return None;
    }
    // Without room to spare: a message may be nothing but user properties.
    let mut user = Vec::with_capacity(properties.user.iter().count());
    let said = properties.user.iter().filter(|(name, _)| !OURS.contains(name));
    user.extend(said.map(|(k, v)| (k.into(), v.into())));
    Some(Box::new(Properties {
        payload_is_utf8: properties.payload_is_utf8,
        content_type: properties.content_type.map(Box::from),
        response_topic: properties.response_topic.map(Box::from),
        correlation_data: properties.correlation_data.map(bytes::Bytes::copy_from_slice),
        user,
    }))
}

/// A copy with a packet id (QoS 1 and 2) or without.
pub fn encode_delivery(
    out: &mut Vec<u8>,
    delivery: &weir_broker::store::Delivery,
    packet_id: u16,
    dup: bool,
    version: Version,
) {
    let message = &delivery.message;
    let packet = mqtt::Publish {
        dup,
        qos: delivery.qos,
        retain: delivery.retain,
        packet_id: std::num::NonZeroU16::new(packet_id).filter(|_| delivery.qos > Qos::AtMostOnce),
        subscription_ids: List::of(&delivery.subscription_ids),
        ..mqtt::Publish::new(&message.topic, &message.payload)
    };
    let expiry = weir_broker::fanout::seconds_left(message);
    encode_with(out, packet, message.properties.as_deref(), expiry, version);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_tells_its_length_and_its_topic_in_both_forms() {
        for form in [&MQTT_3, &MQTT_5] {
            let payload = vec![0; 300];
            let publish = Publish {
                topic: "a/b",
                payload: &payload,
                is_json: false,
                qos: Qos::AtMostOnce,
                retain: false,
                expiry_seconds: Some(5),
                properties: None,
                conditions: None,
            };
            let mut frames = Vec::new();
            form.encode(
                &mut frames,
                &publish,
                Marks { retain: true, subscription_ids: &[7, 300], publication: 0 },
            );
            let length = frames.len();
            form.encode(
                &mut frames,
                &publish,
                Marks { retain: false, subscription_ids: &[], publication: 0 },
            );
            assert_eq!(form.frame_len(&frames), length);
            assert_eq!(form.topic(&frames[..length]).as_deref(), Some("a/b"));
            assert_eq!(form.topic(&[0xd0, 0]), None);
        }
    }

    #[test]
    fn what_only_the_broker_says_of_an_event_no_client_says() {
        let said = [("a", "b"), ("wamp-to", "{}"), ("wamp-publisher", "{}"), ("wamp-publication", "1")];
        let properties = MessageProperties { user: List::of(&said), ..MessageProperties::default() };
        let kept = owned(&properties).expect("one is left").user;
        assert_eq!(kept, [("a".into(), "b".into())]);
    }
}
