//! A client that publishes with conditions and sees every answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use weir_model::Qos;
use weir_testkit::RawMqtt;
use weir_wire::mqtt::{
    self, Connect, Disconnect, List, MessageProperties, Packet, Publish, ReasonCode, Subscribe,
    SubscribeOptions, Version, encode,
};

/// What a mutex is taken with.
pub const LOCK: &[(&str, &str)] = &[("weir-when", "null"), ("weir-watch", "true"), ("weir-will", "null")];

pub struct Client {
    link: RawMqtt,
    packet_id: u16,
    /// Came while something else was waited for.
    events: VecDeque<Event>,
    answers: VecDeque<Answer>,
    pub session_present: bool,
}

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
}

/// A PUBACK or PUBREC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub packet_id: u16,
    pub code: ReasonCode,
    pub reason: Option<String>,
    pub position: Option<String>,
}

impl Answer {
    pub fn is_accepted(&self) -> bool {
        !self.code.is_error()
    }

    /// The fencing token, so that text order is its order.
    pub fn token(&self) -> &str {
        self.position.as_deref().expect("a position")
    }
}

impl Client {
    /// A session that ends with its connection.
    pub fn clean(address: SocketAddr, client_id: &str) -> Client {
        Client::connect(address, client_id, false).expect("a connection")
    }

    /// A session that is kept.
    pub fn kept(address: SocketAddr, client_id: &str) -> Client {
        Client::connect(address, client_id, true).expect("a connection")
    }

    pub fn connect(address: SocketAddr, client_id: &str, is_kept: bool) -> Option<Client> {
        let mut link = RawMqtt::try_connect(address).ok()?;
        let connect = Connect {
            clean_start: !is_kept,
            session_expiry_seconds: is_kept.then_some(3600),
            ..Connect::new(Version::V5, client_id)
        };
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect);
        link.try_send(&bytes).ok()?;
        let frame = link.frame_or_end().ok()?;
        let Ok(Packet::Connack(connack)) = mqtt::decode(&frame, Version::V5) else { return None };
        if connack.code != ReasonCode::Success {
            return None;
        }
        let (events, answers) = (VecDeque::new(), VecDeque::new());
        Some(Client { link, packet_id: 0, events, answers, session_present: connack.session_present })
    }

    fn next_id(&mut self) -> NonZeroU16 {
        self.packet_id += 1;
        NonZeroU16::new(self.packet_id).expect("not so many packets")
    }

    pub fn subscribe(&mut self, filter: &str) {
        let packet_id = self.next_id();
        let filters = [(filter, SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() })];
        let subscribe = Subscribe {
            packet_id,
            subscription_id: None,
            user: List::default(),
            filters: List::of(&filters),
        };
        let mut bytes = Vec::new();
        encode::subscribe(&mut bytes, &subscribe, Version::V5);
        self.link.send(&bytes);
        loop {
            let frame = self.link.frame();
            match mqtt::decode(&frame, Version::V5) {
                Ok(Packet::Suback(_)) => return,
                _ => self.take(&frame),
            }
        }
    }

    /// Sends a retained publish of QoS 1; its packet id.
    pub fn send(&mut self, topic: &str, payload: &str, user: &[(&str, &str)]) -> u16 {
        let packet_id = self.next_id().get();
        self.send_as(packet_id, false, (topic, payload), user);
        packet_id
    }

    /// The same under this packet id.
    pub fn send_as(
        &mut self,
        packet_id: u16,
        dup: bool,
        (topic, payload): (&str, &str),
        user: &[(&str, &str)],
    ) {
        let properties = MessageProperties { user: List::of(user), ..MessageProperties::default() };
        let publish = Publish {
            dup,
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: NonZeroU16::new(packet_id),
            properties,
            ..Publish::new(topic, payload.as_bytes())
        };
        self.send_packet(&publish);
    }

    pub fn send_packet(&mut self, publish: &Publish<'_>) {
        self.try_send_packet(publish).expect("a connection");
    }

    /// `None` = the connection is gone.
    fn try_send_packet(&mut self, publish: &Publish<'_>) -> Option<()> {
        let mut bytes = Vec::new();
        encode::publish(&mut bytes, publish, Version::V5);
        self.link.try_send(&bytes).ok()
    }

    /// Asks for a lock; `None` = the connection is gone.
    pub fn try_ask_for(&mut self, topic: &str, payload: &str) -> Option<u16> {
        let packet_id = self.next_id();
        let properties = MessageProperties { user: List::of(LOCK), ..MessageProperties::default() };
        let publish = Publish {
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: Some(packet_id),
            properties,
            ..Publish::new(topic, payload.as_bytes())
        };
        self.try_send_packet(&publish)?;
        Some(packet_id.get())
    }

    /// Publishes and waits for the answer to it.
    pub fn publish(&mut self, topic: &str, payload: &str, user: &[(&str, &str)]) -> Answer {
        let packet_id = self.send(topic, payload, user);
        self.answer_to(packet_id)
    }

    /// The answer to a publish.
    pub fn answer_to(&mut self, packet_id: u16) -> Answer {
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer.packet_id == packet_id) {
                return self.answers.remove(at).expect("it is there");
            }
            let frame = self.link.frame();
            self.take(&frame);
        }
    }

    /// The answer, if it comes this soon; `Err` = the connection is gone, or was ended without an answer.
    pub fn try_answer_to(&mut self, packet_id: u16, wait: Duration) -> Result<Option<Answer>, ()> {
        if let Some(frame) = self.link.frame_within(wait).map_err(|_| ())? {
            if matches!(mqtt::decode(&frame, Version::V5), Ok(Packet::Disconnect(_))) {
                return Err(());
            }
            self.take(&frame);
        }
        let at = self.answers.iter().position(|answer| answer.packet_id == packet_id);
        Ok(at.and_then(|at| self.answers.remove(at)))
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let frame = self.link.frame();
            self.take(&frame);
        }
    }

    /// Nothing but what is here already came before a PINGRESP.
    pub fn has_no_answer(&mut self) -> bool {
        self.ping();
        self.answers.is_empty()
    }

    pub fn ping(&mut self) {
        let mut bytes = Vec::new();
        encode::pingreq(&mut bytes);
        self.link.send(&bytes);
        loop {
            let frame = self.link.frame();
            match mqtt::decode(&frame, Version::V5) {
                Ok(Packet::Pingresp) => return,
                _ => self.take(&frame),
            }
        }
    }

    pub fn disconnect(mut self) {
        let mut bytes = Vec::new();
        encode::disconnect(&mut bytes, &Disconnect::new(ReasonCode::Success), Version::V5);
        self.link.send(&bytes);
        self.link.end();
    }

    fn take(&mut self, frame: &[u8]) {
        match mqtt::decode(frame, Version::V5) {
            Ok(Packet::Publish(publish)) => {
                self.events.push_back(Event {
                    topic: publish.topic.to_owned(),
                    payload: String::from_utf8_lossy(publish.payload).into_owned(),
                    retain: publish.retain,
                });
                if let Some(packet_id) = publish.packet_id {
                    let mut bytes = Vec::new();
                    encode::puback(&mut bytes, &mqtt::Ack::new(packet_id, ReasonCode::Success), Version::V5);
                    self.link.send(&bytes);
                }
            }
            Ok(Packet::Puback(ack) | Packet::Pubrec(ack)) => {
                let property = |name: &str| {
                    ack.user.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
                };
                self.answers.push_back(Answer {
                    packet_id: ack.packet_id.get(),
                    code: ack.code,
                    reason: ack.reason.map(str::to_owned),
                    position: property("weir-position"),
                });
            }
            other => panic!("not expected: {other:?}"),
        }
    }
}
