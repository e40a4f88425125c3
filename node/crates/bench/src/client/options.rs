//! What a client says of itself when it connects.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use weir_model::Qos;
use weir_net::client::ClientOptions;
use weir_wire::mqtt::Version;

use super::message::Properties;

/// How a [`Client`](super::Client) introduces itself. `Options::default()` is MQTT 5, a clean start and an id
/// chosen by the server.
#[derive(Debug, Clone)]
pub struct Options {
    pub version: Version,
    /// Empty: the server chooses one (MQTT-3.1.3-6).
    pub client_id: String,
    pub clean_start: bool,
    /// MQTT 5 only; `None` sends none, which is zero.
    pub session_expiry_seconds: Option<u32>,
    /// Zero turns keep alive off. Otherwise [`Client::next`](super::Client::next) pings by itself.
    pub keep_alive_seconds: u16,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Will>,
    /// Most QoS 1/2 messages the server may send unacknowledged. MQTT 5 only.
    pub receive_maximum: Option<NonZeroU16>,
    /// Longest packet this client takes. MQTT 5 only in CONNECT, but always enforced.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// Topic aliases the server may use. MQTT 5 only.
    pub topic_alias_maximum: u16,
    /// User properties of CONNECT. MQTT 5 only.
    pub user: Vec<(String, String)>,
    /// When set, [`Client::next`](super::Client::next) acknowledges nothing by itself.
    pub manual_acks: bool,
    /// Longest wait for any one answer: the connection, CONNACK, SUBACK, a PUBACK.
    pub timeout: Duration,
    /// Certificates and the like, for the transports that have them.
    pub transport: ClientOptions,
}

/// What the server publishes when this client is gone without a DISCONNECT.
#[derive(Debug, Clone, Default)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
    /// MQTT 5 only.
    pub delay_seconds: u32,
    /// MQTT 5 only.
    pub properties: Properties,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: Version::V5,
            client_id: String::new(),
            clean_start: true,
            session_expiry_seconds: None,
            keep_alive_seconds: 60,
            username: None,
            password: None,
            will: None,
            receive_maximum: None,
            packet_bytes_max: None,
            topic_alias_maximum: 0,
            user: Vec::new(),
            manual_acks: false,
            timeout: Duration::from_secs(10),
            transport: ClientOptions::default(),
        }
    }
}
