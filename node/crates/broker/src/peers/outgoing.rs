//! One message on its way to other nodes: gathers what each peer is owed, then sends it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use weir_cluster::record::{self, Numbered};
use weir_model::{Filter, Message, Position, Qos};
use weir_store::Delivery;

use super::{Peer, PeerSet};
use crate::broker::Broker;
use crate::clock;
use crate::form::Publish;
use crate::ledger::Loss;
use crate::session::Session;

/// The stream a topic takes on every link: one topic keeps its order, many share the streams.
pub fn stream_of(topic: &str) -> u64 {
    u64::from(crc32fast::hash(topic.as_bytes()))
}

/// What the peers are owed of one message.
#[derive(Default)]
pub struct Outgoing {
    /// Peers where everybody who wants it is to get it.
    fan_out: PeerSet,
    /// Copies for sessions, and for one clean member of a group (without a session).
    copies: SmallVec<[(u8, Copy); 1]>,
    position: Option<Position>,
}

/// A copy for a session whose connection a peer has, or for one of a group's members there.
struct Copy {
    client_id: Arc<str>,
    /// The session's; of a group's copy how often it was handed on.
    generation: u64,
    /// 0 = it lies in no queue.
    number: u64,
    qos: Qos,
    retain: bool,
    subscription_ids: SmallVec<[u32; 1]>,
    group: Option<Filter>,
}

impl Copy {
    fn encoded(&self) -> Numbered<'_> {
        Numbered {
            client_id: &self.client_id,
            generation: self.generation,
            number: self.number,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: &self.subscription_ids,
            group: self.group.as_ref().map(Filter::as_str),
        }
    }
}

impl Outgoing {
    /// A message that is retained at this position, if it is.
    pub fn of(position: Option<Position>) -> Outgoing {
        Outgoing { position, ..Outgoing::default() }
    }

    /// Everybody at that peer who wants the message is to get it.
    pub fn fan_out(&mut self, slot: u8) {
        self.fan_out.add(slot);
    }

    /// One session at that peer gets this copy; `number`: where it lies in the session's queue.
    pub fn copy(&mut self, slot: u8, session: &Session, delivery: &Delivery, number: Option<u64>) {
        let copy = Copy {
            client_id: session.client_id().clone(),
            generation: session.stored.unwrap_or(0),
            number: number.unwrap_or(0),
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.clone(),
            group: delivery.group.clone(),
        };
        self.copies.push((slot, copy));
    }

    /// One clean member of a share group at that peer gets it; where it lies in the group's queue, if it
    /// does, and how often it was handed on.
    pub fn share(
        &mut self,
        slot: u8,
        filter: &Filter,
        delivery: &Delivery,
        (number, handovers): (Option<u64>, u32),
    ) {
        let copy = Copy {
            client_id: Arc::from(""),
            generation: handovers.into(),
            number: number.unwrap_or(0),
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: SmallVec::new(),
            group: Some(filter.clone()),
        };
        self.copies.push((slot, copy));
    }

    /// Sends what was gathered; returns how many copies went that lie in no queue.
    pub fn send(self, broker: &Broker, realm: &Arc<str>, message: &Message) -> u64 {
        let mut peers = self.fan_out;
        self.copies.iter().for_each(|(slot, _)| peers.add(*slot));
        if peers.is_empty() {
            return 0;
        }
        let properties = message.properties.as_deref().and_then(record::encode_properties);
        let whole = record::Outgoing {
            realm,
            topic: &message.topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            expiry_ms_left: message.expires_at.map(|at| millis(at.since(clock::unix()))),
            properties: properties.as_deref(),
            position: self.position,
            numbered: &[],
            share: None,
            only_named: false,
        };
        let peers = peers.iter().filter_map(|slot| broker.peers().get(slot));
        peers.map(|peer| self.send_to(&peer, broker, message, whole)).sum()
    }

    fn send_to(&self, peer: &Peer, broker: &Broker, message: &Message, whole: record::Outgoing<'_>) -> u64 {
        let fan_out = self.fan_out.contains(peer.slot);
        let copies: SmallVec<[&Copy; 4]> =
            self.copies.iter().filter(|(slot, _)| *slot == peer.slot).map(|(_, copy)| copy).collect();
        let numbered: SmallVec<[Numbered<'_>; 4]> = copies.iter().map(|copy| copy.encoded()).collect();
        let (mut bytes, mut run) = (Vec::new(), record::Run::default());
        let owed = copies.iter().filter(|copy| copy.number == 0).count() as u64 + u64::from(fan_out);
        run.push(&mut bytes, &record::Outgoing { numbered: &numbered, only_named: !fan_out, ..whole });
        let stream = stream_of(&message.topic);
        let taken = match message.qos {
            Qos::AtMostOnce => {
                peer.link.push_frames(stream, &bytes, run.messages());
                true
            }
            _ => peer.link.push_sure(stream, &bytes, run.messages()).is_ok(),
        };
        match taken {
            true => broker.ledger().linked.add(owed),
            false => overrun(peer, broker, whole.realm, message, &copies, owed),
        }
        owed
    }
}

/// The link stays full: what lies in a queue is read there, clean sessions that miss it end.
fn overrun(peer: &Peer, broker: &Broker, realm: &str, message: &Message, copies: &[&Copy], owed: u64) {
    let realm: Arc<str> = realm.into();
    for copy in copies.iter().filter(|copy| copy.number > 0 && !copy.client_id.is_empty()) {
        peer.link.push_marker(&realm, &copy.client_id);
    }
    if owed > 0 {
        peer.link.end_clean(&realm, &Arc::from(message.topic.as_str()));
        let node = Arc::from(peer.link.node_id().as_str());
        broker.ledger().lost_by(&node, &message.topic, Loss::LinkOverrun, owed);
    }
}

/// A publish of QoS 0 as a record of a run; all of one run are to one topic.
pub fn encode(out: &mut Vec<u8>, run: &mut record::Run, realm: &str, publish: &Publish<'_>) {
    let properties = publish.properties.as_deref().and_then(record::encode_properties);
    let record = record::Outgoing {
        realm,
        topic: publish.topic,
        payload: publish.payload,
        qos: Qos::AtMostOnce,
        retain: publish.retain,
        expiry_ms_left: publish.expiry_seconds.map(|seconds| u64::from(seconds) * 1000),
        properties: properties.as_deref(),
        position: None,
        numbered: &[],
        share: None,
        only_named: false,
    };
    run.push_to_topic(out, &record);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
