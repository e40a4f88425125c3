//! A client that says one packet at a time, and hears what it is answered and given.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use weir_model::Qos;
use weir_testkit::{Node, RawMqtt};
use weir_wire::mqtt::{
    self, Ack, Connect, Disconnect, List, Packet, ReasonCode, Subscribe, SubscribeOptions, UserProperties,
    Version, Will, encode,
};

/// A code, and the reason string beside it.
pub type Answer = (ReasonCode, Option<String>);

pub struct Client {
    link: RawMqtt,
    version: Version,
    packet_id: u16,
    /// Came while something else was waited for.
    waiting: VecDeque<Got>,
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub topic: String,
    pub payload: String,
    pub qos: Qos,
    pub retain: bool,
}

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    pub version: Version,
    /// Its session outlives it.
    pub is_kept: bool,
    /// Where its will goes.
    pub will: Option<&'a str>,
}

pub const CLEAN: How<'static> = How { version: Version::V5, is_kept: false, will: None };
pub const KEPT: How<'static> = How { is_kept: true, ..CLEAN };
pub const OLD: How<'static> = How { version: Version::V311, ..CLEAN };

impl Client {
    /// Its user name is its client id.
    pub fn try_connect(node: &Node, client_id: &str, how: How<'_>) -> Result<Client, Answer> {
        let mut link = RawMqtt::connect(node.address("mqtt"));
        let connect = Connect {
            clean_start: !how.is_kept,
            session_expiry_seconds: how.is_kept.then_some(3600),
            username: Some(client_id),
            will: how.will.map(|topic| Will { qos: Qos::AtLeastOnce, ..Will::new(topic, b"gone") }),
            ..Connect::new(how.version, client_id)
        };
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect);
        link.send(&bytes);
        let frame = link.frame();
        let Ok(Packet::Connack(connack)) = mqtt::decode(&frame, how.version) else {
            panic!("no CONNACK: {frame:02x?}")
        };
        match connack.code {
            ReasonCode::Success => {
                Ok(Client { link, version: how.version, packet_id: 0, waiting: VecDeque::new() })
            }
            code => Err((code, connack.reason.map(str::to_owned))),
        }
    }

    pub fn connect(node: &Node, client_id: &str, how: How<'_>) -> Client {
        Client::try_connect(node, client_id, how).unwrap_or_else(|refused| panic!("{client_id}: {refused:?}"))
    }

    /// With one subscription.
    pub fn subscribed(node: &Node, client_id: &str, how: How<'_>, filter: &str, qos: Qos) -> Client {
        let mut client = Client::connect(node, client_id, how);
        let (code, why) = client.subscribe(filter, qos);
        assert!(!code.is_error(), "{filter}: {code:?} {why:?}");
        client
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, packet, self.version);
        self.link.send(&bytes);
    }

    fn next_id(&mut self) -> NonZeroU16 {
        self.packet_id += 1;
        NonZeroU16::new(self.packet_id).expect("not so many packets")
    }

    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> Answer {
        let filters = [(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })];
        let subscribe = Subscribe {
            packet_id: self.next_id(),
            filters: List::of(&filters),
            subscription_id: None,
            user: UserProperties::default(),
        };
        self.say(&Packet::Subscribe(subscribe));
        self.wait_for(|packet| match packet {
            Packet::Suback(suback) => {
                Some((suback.codes.iter().next().expect("a code"), suback.reason.map(str::to_owned)))
            }
            _ => None,
        })
    }

    /// Publishes and waits for the answer; of QoS 0, until it was taken.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: Qos) -> Answer {
        self.publish_as(topic, payload, qos, false)
    }

    pub fn retain(&mut self, topic: &str, payload: &str) -> Answer {
        self.publish_as(topic, payload, Qos::AtLeastOnce, true)
    }

    fn publish_as(&mut self, topic: &str, payload: &str, qos: Qos, retain: bool) -> Answer {
        let packet_id = (qos > Qos::AtMostOnce).then(|| self.next_id());
        let publish =
            mqtt::Publish { qos, retain, packet_id, ..mqtt::Publish::new(topic, payload.as_bytes()) };
        self.say(&Packet::Publish(publish));
        let Some(packet_id) = packet_id else {
            self.ping();
            return (ReasonCode::Success, None);
        };
        let answer = self.wait_for(|packet| match packet {
            Packet::Puback(ack) | Packet::Pubrec(ack) => Some((ack.code, ack.reason.map(str::to_owned))),
            _ => None,
        });
        if qos == Qos::ExactlyOnce && !answer.0.is_error() {
            self.say(&Packet::Pubrel(Ack::new(packet_id, ReasonCode::Success)));
            self.wait_for(|packet| matches!(packet, Packet::Pubcomp(_)).then_some(()));
        }
        answer
    }

    /// A round trip: what was said before has been taken.
    pub fn ping(&mut self) {
        self.say(&Packet::Pingreq);
        self.wait_for(|packet| matches!(packet, Packet::Pingresp).then_some(()));
    }

    fn wait_for<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        loop {
            let frame = self.link.frame();
            let packet = mqtt::decode(&frame, self.version).expect("a packet");
            if let Some(found) = wanted(&packet) {
                return found;
            }
            self.keep(&frame);
        }
    }

    /// Acknowledges a message that came, for later.
    fn keep(&mut self, frame: &[u8]) {
        let packet = mqtt::decode(frame, self.version).expect("a packet");
        let Packet::Publish(publish) = packet else { panic!("{packet:?} was not asked for") };
        let packet_id = publish.packet_id;
        self.waiting.push_back(Got {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            retain: publish.retain,
        });
        if let Some(packet_id) = packet_id {
            self.say(&Packet::Puback(Ack::new(packet_id, ReasonCode::Success)));
        }
    }

    /// The next message, answered.
    pub fn next(&mut self) -> Got {
        while self.waiting.is_empty() {
            let frame = self.link.frame();
            self.keep(&frame);
        }
        self.waiting.pop_front().expect("it waits")
    }

    /// The payload of the next message.
    pub fn payload(&mut self) -> String {
        self.next().payload
    }

    /// Everything that has come until now.
    pub fn rest(&mut self) -> Vec<Got> {
        self.ping();
        self.waiting.drain(..).collect()
    }

    /// DISCONNECT, and the end of the connection.
    pub fn leave(mut self) {
        self.say(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        self.link.finish();
        while self.link.frame_or_end().is_ok() {}
    }
}
