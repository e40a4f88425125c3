//! One MQTT 5 connection of a client that expects the worst of the node at the other end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_model::Qos;
use weir_wire::mqtt::{
    Connect, List, Packet, ReasonCode, Subscribe, SubscribeOptions, UserProperties, Version, decode, encode,
};

use crate::RawMqtt;

/// Sessions outlive every test.
const EXPIRY_SECONDS: u32 = 3600;

/// How long a node may say nothing, asked or not, before it is given up.
const SILENCE: Duration = Duration::from_secs(4);

/// How long nothing has to come before the node is asked whether it is there.
const IDLE: Duration = Duration::from_secs(1);

/// How often somebody who waits looks whether he still should.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Connection {
    raw: RawMqtt,
    /// The number of the node.
    pub node: usize,
    pub session_present: bool,
    heard: Instant,
    asked: bool,
}

/// The connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// Nobody listens, or it was cut.
    Closed,
    /// Nothing came for [`SILENCE`].
    Silent,
    /// The node did not want it, or no longer wants it.
    Told { code: ReasonCode, reference: Option<String> },
}

impl Connection {
    pub fn open(node: usize, address: SocketAddr, client_id: &str, kept: bool) -> Result<Connection, Gone> {
        let connect = Connect {
            clean_start: !kept,
            session_expiry_seconds: kept.then_some(EXPIRY_SECONDS),
            ..Connect::new(Version::V5, client_id)
        };
        let raw = RawMqtt::try_connect(address).map_err(|_| Gone::Closed)?;
        let now = Instant::now();
        let mut connection = Connection { raw, node, session_present: false, heard: now, asked: false };
        connection.send(&Packet::Connect(Box::new(connect)))?;
        let frame = connection.raw.frame_within(SILENCE).map_err(|_| Gone::Closed)?.ok_or(Gone::Silent)?;
        match parse(&frame) {
            Packet::Connack(connack) if connack.code == ReasonCode::Success => {
                connection.session_present = connack.session_present;
                Ok(connection)
            }
            Packet::Connack(connack) => {
                let reference = connack.server_reference.map(str::to_owned);
                Err(Gone::Told { code: connack.code, reference })
            }
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Asks for these topics at QoS 2; the answer comes among the frames.
    pub fn ask_for(&mut self, filter: &str) -> Result<(), Gone> {
        let options = SubscribeOptions { qos: Qos::ExactlyOnce, ..Default::default() };
        let filters = [(filter, options)];
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: std::num::NonZeroU16::MIN,
            filters: List::of(&filters),
            subscription_id: None,
            user: UserProperties::default(),
        }))
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, packet, Version::V5);
        self.send_bytes(&bytes)
    }

    /// Frames encoded by the caller, in one write.
    pub fn send_bytes(&mut self, frames: &[u8]) -> Result<(), Gone> {
        self.raw.try_send(frames).map_err(|_| Gone::Closed)
    }

    /// The next frame that means something, for [`parse`]; `None` when none came for a moment.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        let Some(frame) = self.raw.frame_within(TICK).map_err(|_| Gone::Closed)? else {
            return self.wait_on().map(|()| None);
        };
        (self.heard, self.asked) = (Instant::now(), false);
        match parse(&frame) {
            Packet::Pingresp => Ok(None),
            Packet::Disconnect(disconnect) => {
                let reference = disconnect.server_reference.map(str::to_owned);
                Err(Gone::Told { code: disconnect.code, reference })
            }
            _ => Ok(Some(frame)),
        }
    }

    /// Nothing came: is anybody there?
    fn wait_on(&mut self) -> Result<(), Gone> {
        let silence = self.heard.elapsed();
        if silence > SILENCE {
            return Err(Gone::Silent);
        }
        if silence > IDLE && !self.asked {
            self.asked = true;
            self.send(&Packet::Pingreq)?;
        }
        Ok(())
    }
}

/// A frame from a node, which sends what the standard allows.
pub fn parse(frame: &[u8]) -> Packet<'_> {
    decode(frame, Version::V5).unwrap_or_else(|error| panic!("the node sent {frame:02x?}: {error}"))
}
