//! What a client sends and receives, owned.

use std::num::NonZeroU16;

use weir_model::Qos;
use weir_wire::mqtt::ReasonCode;

/// A message to publish.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
    /// Left out towards an MQTT 3 server.
    pub properties: Properties,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>, qos: Qos) -> Message {
        Message { topic: topic.into(), payload: payload.into(), qos, ..Message::default() }
    }
}

/// The MQTT 5 properties of a message (MQTT-3.3.2.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    pub payload_is_utf8: bool,
    pub expiry_seconds: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    pub user: Vec<(String, String)>,
}

/// A message received.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    /// Of QoS 1 and 2 only; what [`Client::acknowledge`](super::Client::acknowledge) names.
    pub packet_id: Option<NonZeroU16>,
    pub properties: Properties,
    /// Which of the client's subscriptions matched, as far as they had ids.
    pub subscription_ids: Vec<u32>,
}

/// The server's answer to one step of a QoS 1 or 2 publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    pub kind: AckKind,
    pub packet_id: NonZeroU16,
    /// `Success` from an MQTT 3 server, which cannot say more.
    pub code: ReasonCode,
    pub reason: Option<String>,
}

impl Acknowledgement {
    /// Whether the server said no (a reason code of 0x80 and above).
    pub fn is_refusal(&self) -> bool {
        self.code.as_u8() >= 0x80
    }

    /// Whether nothing more follows for this packet id.
    pub fn is_final(&self) -> bool {
        self.kind != AckKind::Pubrec || self.is_refusal()
    }
}

/// Which packet an [`Acknowledgement`] came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    Puback,
    Pubrec,
    Pubcomp,
}
