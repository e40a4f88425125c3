//! A message: what travels.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Topic, UnixMillis};

/// Delivery promise of a message or subscription (MQTT-4.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    /// From the two bits of the wire; 3 is no QoS (MQTT-3.3.1-4).
    pub fn from_bits(bits: u8) -> Option<Qos> {
        match bits {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }
}

/// One published message, as it is kept, queued and delivered. Shared behind an `Arc`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub topic: Topic,
    pub payload: Bytes,
    /// As published; a delivery uses the lower of this and the subscription's.
    pub qos: Qos,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// When it must no longer be delivered (MQTT-3.3.2.3.3).
    pub expires_at: Option<UnixMillis>,
    /// `None` when it has none, which is the common case.
    pub properties: Option<Box<Properties>>,
}

impl Message {
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What one queued copy is accounted with against a queue's byte limit.
    pub fn size_bytes(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |p| p.size_bytes());
        self.topic.len() + self.payload.len() + properties
    }
}

/// What a publisher may say about a message beside its payload (MQTT-3.3.2.3). Handed on unaltered.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    pub payload_is_utf8: bool,
    pub content_type: Option<Box<str>>,
    pub response_topic: Option<Box<str>>,
    pub correlation_data: Option<Bytes>,
    /// In the order the publisher gave them (MQTT-3.3.2-18).
    pub user: Vec<(Box<str>, Box<str>)>,
}

/// Payloads and properties are in no log, whoever prints what.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("user", &self.user.len()).finish_non_exhaustive()
    }
}

/// What a user property takes beside its two texts: without it, a million empty ones would count as nothing.
const USER_PROPERTY_BYTES: usize = size_of::<(Box<str>, Box<str>)>();

impl Properties {
    fn size_bytes(&self) -> usize {
        let text = |t: &Option<Box<str>>| t.as_ref().map_or(0, |t| t.len());
        let user: usize = self.user.iter().map(|(k, v)| k.len() + v.len() + USER_PROPERTY_BYTES).sum();
        let correlation = self.correlation_data.as_ref().map_or(0, |c| c.len());
        text(&self.content_type) + text(&self.response_topic) + correlation + user
    }
}

/// Names one publish so that every try of it is recognised as the same.
///
/// For QoS 2 from a persistent session: the session's generation, the packet id and how often that
/// packet id had been used. For what the broker itself publishes from an outbox: see [`MessageId::outbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId {
    pub source: u64,
    pub slot: u32,
    pub count: u64,
}

impl MessageId {
    /// The `slot` of ids that stand for outbox entries; packet ids are 16 bits, so they never meet.
    const OUTBOX_SLOT: u32 = u32::MAX;

    /// The id of a QoS 2 publish.
    pub fn received(generation: u64, packet_id: u16, use_count: u64) -> MessageId {
        MessageId { source: generation, slot: u32::from(packet_id), count: use_count }
    }

    /// The `slot` of ids that stand for idempotency keys.
    const CLAIM_SLOT: u32 = u32::MAX - 1;

    /// The id that an idempotency key is given by whoever claims it first: the `count`-th of a source that is random.
    pub fn claimed(source: u64, count: u64) -> MessageId {
        MessageId { source, slot: MessageId::CLAIM_SLOT, count }
    }

    /// The id of the `entry`-th entry of an outbox (a will, a delayed publish).
    pub fn outbox(source: u64, entry: u64) -> MessageId {
        MessageId { source, slot: MessageId::OUTBOX_SLOT, count: entry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_properties_of_nothing_count_against_a_limit_of_bytes() {
        let user = vec![(Box::from(""), Box::from("")); 1000];
        let message = Message {
            topic: Topic::new("t").unwrap(),
            payload: Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: false,
            expires_at: None,
            properties: Some(Box::new(Properties { user, ..Properties::default() })),
        };
        assert!(message.size_bytes() >= 1000 * USER_PROPERTY_BYTES);
    }
}
