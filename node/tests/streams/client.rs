//! A client that sees every packet, and answers only when it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use weir_model::Qos;
use weir_testkit::RawMqtt;
use weir_wire::mqtt::{
    self, Ack, Connect, Disconnect, List, Packet, ReasonCode, Subscribe, SubscribeOptions, Unsubscribe,
    UserProperties, Version, encode,
};

pub struct Client {
    link: RawMqtt,
    version: Version,
    pub session_present: bool,
    /// Came while something else was waited for.
    waiting: VecDeque<Record>,
    packet_id: u16,
}

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub payload: String,
    pub qos: Qos,
    pub retain: bool,
    pub packet_id: Option<NonZeroU16>,
    pub subscription_ids: Vec<u32>,
    pub user: Vec<(String, String)>,
}

impl Record {
    /// The value of a user property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub fn position(&self) -> String {
        self.property("weir-position").expect("a position").to_owned()
    }
}

/// What a PUBACK says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: ReasonCode,
    pub reason: Option<String>,
    user: Vec<(String, String)>,
}

impl Answer {
    /// The value of a user property.
    pub fn property(&self, name: &str) -> Option<String> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub version: Version,
    /// Its session outlives it.
    pub is_kept: bool,
    pub receive_maximum: Option<u16>,
}

pub const CLEAN: How = How { version: Version::V5, is_kept: false, receive_maximum: None };
pub const KEPT: How = How { is_kept: true, ..CLEAN };

impl Client {
    pub fn connect(address: SocketAddr, client_id: &str, how: How) -> Client {
        let mut link = RawMqtt::connect(address);
        let connect = Connect {
            clean_start: !how.is_kept,
            session_expiry_seconds: how.is_kept.then_some(3600),
            receive_maximum: how.receive_maximum.and_then(NonZeroU16::new),
            ..Connect::new(how.version, client_id)
        };
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect);
        link.send(&bytes);
        let frame = link.frame();
        let Ok(Packet::Connack(connack)) = mqtt::decode(&frame, how.version) else {
            panic!("no CONNACK: {frame:02x?}")
        };
        assert_eq!(connack.code, ReasonCode::Success);
        let (version, session_present) = (how.version, connack.session_present);
        Client { link, version, session_present, waiting: VecDeque::new(), packet_id: 0 }
    }

    fn next_id(&mut self) -> NonZeroU16 {
        self.packet_id += 1;
        NonZeroU16::new(self.packet_id).expect("not so many packets")
    }

    /// Subscribes with this offset; returns the code and the reason string.
    pub fn subscribe(
        &mut self,
        filter: &str,
        qos: Qos,
        offset: Option<&str>,
    ) -> (ReasonCode, Option<String>) {
        let user: Vec<_> = offset.into_iter().map(|offset| ("weir-stream-offset", offset)).collect();
        self.subscribe_with(filter, qos, &user, None)
    }

    pub fn subscribe_with(
        &mut self,
        filter: &str,
        qos: Qos,
        user: &[(&str, &str)],
        subscription_id: Option<u32>,
    ) -> (ReasonCode, Option<String>) {
        let packet_id = self.next_id();
        let filters = [(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })];
        let user: UserProperties<'_> = List::of(user);
        let subscribe = Subscribe { packet_id, filters: List::of(&filters), subscription_id, user };
        let mut bytes = Vec::new();
        encode::subscribe(&mut bytes, &subscribe, self.version);
        self.link.send(&bytes);
        self.wait_for(|packet| match packet {
            Packet::Suback(suback) => {
                Some((suback.codes.iter().next().expect("a code"), suback.reason.map(str::to_owned)))
            }
            _ => None,
        })
    }

    pub fn unsubscribe(&mut self, filter: &str) -> ReasonCode {
        let packet_id = self.next_id();
        let filters = [filter];
        let unsubscribe =
            Unsubscribe { packet_id, filters: List::of(&filters), user: UserProperties::default() };
        let mut bytes = Vec::new();
        encode::unsubscribe(&mut bytes, &unsubscribe, self.version);
        self.link.send(&bytes);
        self.wait_for(|packet| match packet {
            Packet::Unsuback(unsuback) => Some(unsuback.codes.iter().next().unwrap_or(ReasonCode::Success)),
            _ => None,
        })
    }

    /// Publishes at QoS 1 and waits for the answer.
    pub fn publish(&mut self, topic: &str, payload: &str) -> ReasonCode {
        self.publish_with(topic, payload, &[])
    }

    pub fn publish_with(&mut self, topic: &str, payload: &str, user: &[(&str, &str)]) -> ReasonCode {
        self.publish_and_ask(topic, payload, user).0
    }

    /// The same; with the position that the acknowledgement tells.
    pub fn publish_and_ask(
        &mut self,
        topic: &str,
        payload: &str,
        user: &[(&str, &str)],
    ) -> (ReasonCode, Option<String>) {
        let answer = self.publish_and_hear(topic, payload, user);
        let position = answer.property("weir-position");
        (answer.code, position)
    }

    /// The same; with everything that the acknowledgement tells.
    pub fn publish_and_hear(&mut self, topic: &str, payload: &str, user: &[(&str, &str)]) -> Answer {
        let packet_id = self.send_publish(topic, payload, user);
        let (answered, answer) = self.next_puback();
        assert_eq!(answered, packet_id);
        answer
    }

    /// Publishes at QoS 1 and does not wait.
    pub fn send_publish(&mut self, topic: &str, payload: &str, user: &[(&str, &str)]) -> NonZeroU16 {
        let packet_id = self.next_id();
        let properties =
            mqtt::MessageProperties { user: List::of(user), ..mqtt::MessageProperties::default() };
        let publish = mqtt::Publish {
            qos: Qos::AtLeastOnce,
            packet_id: Some(packet_id),
            properties,
            ..mqtt::Publish::new(topic, payload.as_bytes())
        };
        let mut bytes = Vec::new();
        encode::publish(&mut bytes, &publish, self.version);
        self.link.send(&bytes);
        packet_id
    }

    /// Whether nothing has come yet.
    pub fn hears_nothing(&mut self) -> bool {
        self.link.frame_within(Duration::from_millis(1)).expect("the connection stands").is_none()
    }

    /// The next PUBACK.
    pub fn next_puback(&mut self) -> (NonZeroU16, Answer) {
        self.wait_for(|packet| match packet {
            Packet::Puback(ack) => {
                let user = ack.user.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                let reason = ack.reason.map(str::to_owned);
                Some((ack.packet_id, Answer { code: ack.code, reason, user }))
            }
            _ => None,
        })
    }

    fn wait_for<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        loop {
            let frame = self.link.frame();
            let packet = mqtt::decode(&frame, self.version).expect("a packet");
            if let Some(found) = wanted(&packet) {
                return found;
            }
            match packet {
                Packet::Publish(publish) => self.waiting.push_back(Record::of(&publish)),
                other => panic!("{other:?} was not asked for"),
            }
        }
    }

    /// The next PUBLISH, not answered.
    pub fn next(&mut self) -> Record {
        self.waiting.pop_front().unwrap_or_else(|| self.wait_for(Record::in_packet))
    }

    /// The next one if it comes this soon.
    pub fn next_within(&mut self, wait: Duration) -> Option<Record> {
        if let Some(record) = self.waiting.pop_front() {
            return Some(record);
        }
        let frame = self.link.frame_within(wait).expect("the connection stands")?;
        Record::in_packet(&mqtt::decode(&frame, self.version).expect("a packet"))
    }

    /// PUBACK.
    pub fn answer(&mut self, record: &Record) {
        let packet_id = record.packet_id.expect("it wants an answer");
        let mut bytes = Vec::new();
        encode::puback(&mut bytes, &Ack::new(packet_id, ReasonCode::Success), self.version);
        self.link.send(&bytes);
    }

    /// The next so many, answered.
    pub fn take(&mut self, count: usize) -> Vec<Record> {
        let one = |client: &mut Client| {
            let record = client.next();
            if record.packet_id.is_some() {
                client.answer(&record);
            }
            record
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// The payloads of the next so many, answered.
    pub fn payloads(&mut self, count: usize) -> Vec<String> {
        self.take(count).into_iter().map(|record| record.payload).collect()
    }

    /// A round trip: what was sent before has been taken.
    pub fn ping(&mut self) {
        let mut bytes = Vec::new();
        encode::pingreq(&mut bytes);
        self.link.send(&bytes);
        self.wait_for(|packet| matches!(packet, Packet::Pingresp).then_some(()));
    }

    /// DISCONNECT, and the end of the connection.
    pub fn leave(mut self) {
        let mut bytes = Vec::new();
        encode::disconnect(&mut bytes, &Disconnect::new(ReasonCode::Success), self.version);
        self.link.send(&bytes);
        self.link.finish();
        while self.link.frame_or_end().is_ok() {}
    }
}

impl Record {
    fn of(publish: &mqtt::Publish<'_>) -> Record {
        let user = publish.properties.user.iter();
        Record {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            subscription_ids: publish.subscription_ids.iter().collect(),
            user: user.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn in_packet(packet: &Packet<'_>) -> Option<Record> {
        match packet {
            Packet::Publish(publish) => Some(Record::of(publish)),
            _ => None,
        }
    }
}
