//! A persistent MQTT 5 client that lives through the deaths of its node, one frame at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use weir_model::Qos;
use weir_testkit::RawMqtt;
use weir_wire::mqtt::{
    Connect, List, Packet, ReasonCode, Subscribe, SubscribeOptions, UserProperties, Version, decode, encode,
};

/// Sessions outlive every test.
const EXPIRY_SECONDS: u32 = 3600;

/// One connection of a persistent session.
pub struct Client {
    raw: RawMqtt,
    /// Deliveries of a resumed session that came before an answer that was waited for.
    early: VecDeque<Vec<u8>>,
    pub session_present: bool,
}

/// The connection ended: the node died, or closed it.
#[derive(Debug)]
pub struct Gone;

impl Client {
    /// Resumes the session of this id; `None` when nobody answers.
    pub fn connect(address: SocketAddr, client_id: &str) -> Option<Client> {
        let connect = Connect {
            clean_start: false,
            session_expiry_seconds: Some(EXPIRY_SECONDS),
            ..Connect::new(Version::V5, client_id)
        };
        let raw = RawMqtt::try_connect(address).ok()?;
        let mut client = Client { raw, early: VecDeque::new(), session_present: false };
        client.send(&Packet::Connect(Box::new(connect))).ok()?;
        let frame = client.receive().ok()?;
        match parse(&frame) {
            Packet::Connack(connack) if connack.code == ReasonCode::Success => {
                client.session_present = connack.session_present;
                Some(client)
            }
            // A node that is on its way up or down may say no.
            Packet::Connack(_) => None,
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Subscribes at QoS 2 and waits for the answer.
    pub fn subscribe(&mut self, filter: &str) -> Result<(), Gone> {
        let options = SubscribeOptions { qos: Qos::ExactlyOnce, ..Default::default() };
        let filters = [(filter, options)];
        let subscribe = Subscribe {
            packet_id: std::num::NonZeroU16::MIN,
            filters: List::of(&filters),
            subscription_id: None,
            user: UserProperties::default(),
        };
        self.send(&Packet::Subscribe(subscribe))?;
        loop {
            let frame = self.next()?;
            match parse(&frame) {
                Packet::Suback(_) => return Ok(()),
                Packet::Publish(_) | Packet::Pubrel(_) => self.early.push_back(frame),
                other => panic!("{other:?} instead of SUBACK"),
            }
        }
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, packet, Version::V5);
        self.send_bytes(&bytes)
    }

    /// Frames encoded by the caller, in one write.
    pub fn send_bytes(&mut self, frames: &[u8]) -> Result<(), Gone> {
        self.raw.try_send(frames).map_err(|_| Gone)
    }

    /// The next frame, for [`parse`].
    pub fn receive(&mut self) -> Result<Vec<u8>, Gone> {
        self.early.pop_front().map_or_else(|| self.next(), Ok)
    }

    fn next(&mut self) -> Result<Vec<u8>, Gone> {
        self.raw.frame_or_end().map_err(|_| Gone)
    }
}

/// A frame from the node, which sends what the standard allows.
pub fn parse(frame: &[u8]) -> Packet<'_> {
    decode(frame, Version::V5).unwrap_or_else(|error| panic!("the node sent {frame:02x?}: {error}"))
}
