//! What a server says of itself in its CONNACK.

use std::num::NonZeroU16;

use url::Url;
use weir_model::Qos;
use weir_wire::mqtt::{Connack, Packet, ReasonCode, Version, decode};

use super::Error;

/// The server's side of the agreement. An MQTT 3 server says `session_present` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub session_present: bool,
    /// The client id the server chose for a client without one.
    pub assigned_client_id: Option<String>,
    /// Overrides the client's, in seconds.
    pub keep_alive_seconds: Option<u16>,
    pub session_expiry_seconds: Option<u32>,
    /// QoS 1 and 2 messages it takes at once; `None` is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    pub packet_bytes_max: usize,
    pub maximum_qos: Qos,
    pub retain_available: bool,
    pub topic_alias_maximum: u16,
    pub wildcard_subscription_available: bool,
    pub subscription_ids_available: bool,
    pub shared_subscription_available: bool,
    pub reason: Option<String>,
}

impl Server {
    /// Reads the first frame from the server at `url`.
    pub(super) fn of_connack(frame: &[u8], url: &Url, version: Version) -> Result<Server, Error> {
        match decode(frame, version).map_err(|source| Error::Malformed { source })? {
            Packet::Connack(connack) if connack.code == ReasonCode::Success => Ok(Server::of(&connack)),
            Packet::Connack(connack) => Err(Error::Refused {
                url: url.to_string(),
                code: connack.code,
                reason: connack.reason.map(str::to_owned),
                server_reference: connack.server_reference.map(str::to_owned),
            }),
            _ => Err(Error::Unexpected { packet: "packet", doing: "waiting for CONNACK" }),
        }
    }

    fn of(connack: &Connack<'_>) -> Server {
        Server {
            session_present: connack.session_present,
            assigned_client_id: connack.assigned_client_id.map(str::to_owned),
            keep_alive_seconds: connack.server_keep_alive,
            session_expiry_seconds: connack.session_expiry_seconds,
            receive_maximum: connack.receive_maximum,
            packet_bytes_max: connack.packet_bytes_max.map_or(usize::MAX, |max| max.get() as usize),
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
            topic_alias_maximum: connack.topic_alias_maximum,
            wildcard_subscription_available: connack.wildcard_subscription_available,
            subscription_ids_available: connack.subscription_ids_available,
            shared_subscription_available: connack.shared_subscription_available,
            reason: connack.reason.map(str::to_owned),
        }
    }
}
