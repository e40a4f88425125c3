//! Fan-out: gives a message to everybody it matched, each wire form encoded once.
//!
//! [`Run`] gathers consecutive messages of one publisher to the same receivers and pushes them with
//! one lock per receiver; [`deliver`] gives one message. Receivers on other nodes get theirs by one copy
//! for each node; what came from another node stays on this one.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::{Message, Position, Qos};
use weir_store::Delivery;

use crate::addressed::Addressed;
use crate::broker::Broker;
use crate::form::{FormId, Marks, Publish, next_publication};
use crate::ledger::{Loss, Tally};
use crate::outbox::{self, Live, RunFrames};
use crate::peers::{LINK, Outgoing, PeerSet, encode, stream_of};
use crate::publication::{self, Numbers};
use crate::realm::Realm;
use crate::routes::{Matched, Target};
use crate::session::Session;

/// A run is pushed when it has grown to this many bytes in one form.
const RUN_BYTES: usize = 32 << 10;

/// Runs of at least this many bytes are shared by their receivers instead of copied to each.
const SHARED_BYTES: usize = 4 << 10;

/// A run for this many receivers is shared from 1 KiB on.
const MANY_TARGETS: usize = 8;

/// What makes two receivers take the same bytes.
#[derive(PartialEq)]
struct Key {
    form: FormId,
    retain: bool,
    subscription_ids: SmallVec<[u32; 1]>,
}

/// Frames of one form.
struct Encoded {
    key: Key,
    frames: Vec<u8>,
    /// The frames once they are shared.
    shared: Option<Bytes>,
    /// How many of them a message is.
    copies: u64,
}

impl Encoded {
    /// Makes the frames shared if they are large, or many take them.
    fn share(&mut self, targets: usize) {
        let from = if targets >= MANY_TARGETS { 1024 } else { SHARED_BYTES };
        self.shared = match self.frames.len() {
            len if len < from => None,
            len if len < self.frames.capacity() / 2 => Some(Bytes::copy_from_slice(&self.frames)),
            _ => {
                let fresh = Vec::with_capacity(self.frames.capacity().min(2 * RUN_BYTES));
                Some(std::mem::replace(&mut self.frames, fresh).into())
            }
        };
    }

    fn as_run(&self) -> RunFrames<'_> {
        match &self.shared {
            Some(frames) => RunFrames::Share(frames),
            None => RunFrames::Copy(&self.frames),
        }
    }
}

/// Consecutive messages for the same receivers.
#[derive(Default)]
pub struct Run {
    matched: Option<Arc<Matched>>,
    publisher: Option<Arc<Session>>,
    realm: Option<Arc<Realm>>,
    /// Other nodes that have receivers, and the records for them.
    peers: PeerSet,
    records: weir_cluster::record::Run,
    /// The topic of all its messages.
    topic: String,
    /// One per form in use; the vectors are kept from run to run.
    encoded: Vec<Encoded>,
    in_use: usize,
    /// For each target its place in `encoded`.
    places: Vec<u32>,
    messages: u64,
    /// The numbers of its publications.
    numbers: Numbers,
    /// Its messages, when they are of QoS 1 and 2: a run has either those or QoS 0.
    copies: Vec<Arc<Message>>,
}

impl Run {
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether a message of this QoS for `matched` may join what is gathered.
    pub fn takes(&self, matched: &Arc<Matched>, qos: Qos) -> bool {
        let same_lane = self.copies.is_empty() == (qos == Qos::AtMostOnce);
        let same = |mine: &Arc<Matched>| Arc::ptr_eq(mine, matched) && same_lane;
        self.messages == 0 || self.matched.as_ref().is_some_and(same)
    }

    /// Whether it should be pushed before more is added.
    pub fn is_full(&self) -> bool {
        self.encoded[..self.in_use].iter().any(|e| e.frames.len() >= RUN_BYTES) || self.copies.len() >= 256
    }

    /// Adds a message; `message` when it is QoS 1 or 2.
    /// `publisher`: `None` when it came from another node, and then only receivers here get it.
    pub fn add(
        &mut self,
        broker: &Broker,
        realm: &Arc<Realm>,
        matched: &Arc<Matched>,
        publisher: Option<&Arc<Session>>,
        publish: &Publish<'_>,
        message: Option<Arc<Message>>,
    ) {
        if self.messages == 0 {
            self.realm = Some(realm.clone());
            self.start(broker, matched, publisher, publish.topic);
        }
        let mut publication = 0;
        for encoded in &mut self.encoded[..self.in_use] {
            if encoded.key.form == LINK {
                encode(&mut encoded.frames, &mut self.records, &realm.name, publish);
                continue;
            }
            let form = broker.form(encoded.key.form);
            if form.tells_publication() && publication == 0 {
                publication = self.numbers.next();
            }
            let marks = Marks { retain: false, subscription_ids: &encoded.key.subscription_ids, publication };
            form.encode(&mut encoded.frames, publish, marks);
        }
        self.copies.extend(message);
        self.messages += 1;
    }

    fn start(
        &mut self,
        broker: &Broker,
        matched: &Arc<Matched>,
        publisher: Option<&Arc<Session>>,
        topic: &str,
    ) {
        self.topic.clear();
        self.topic.push_str(topic);
        self.matched = Some(matched.clone());
        self.publisher = publisher.cloned();
        self.in_use = 0;
        self.places.clear();
        self.peers = PeerSet::default();
        let clustered = broker.peers().any();
        for target in &matched.targets {
            let target = target.for_publisher(publisher);
            let here = target.filter(|target| !clustered || self.is_here(broker, &target.session));
            let place = here.map_or(u32::MAX, |target| self.place_of(broker, target));
            self.places.push(place);
        }
        if !self.peers.is_empty() {
            self.records = weir_cluster::record::Run::default();
            self.open(Key { form: LINK, retain: false, subscription_ids: SmallVec::new() }, 1);
        }
    }

    /// Whether a receiver is this node's to serve; another's is noted.
    fn is_here(&mut self, broker: &Broker, session: &Session) -> bool {
        if session.is_online() && session.peer.is_none() {
            return true;
        }
        match broker.peers().slot_of(session) {
            // What another node has sent it serves there, and counts who is away.
            _ if self.publisher.is_none() => false,
            Some(slot) => {
                self.peers.add(slot);
                false
            }
            // Nobody can reach it: that is counted here.
            None => true,
        }
    }

    /// The place of the bytes a receiver takes.
    fn place_of(&mut self, broker: &Broker, target: &Target) -> u32 {
        let form = target.session.form();
        let same = |e: &Encoded| e.key.form == form && e.key.subscription_ids == target.subscription_ids;
        let place = self.encoded[..self.in_use].iter().position(same).unwrap_or_else(|| {
            let marks = Marks { retain: false, subscription_ids: &target.subscription_ids, publication: 0 };
            let copies = broker.form(form).copies(&self.topic, marks);
            self.open(Key { form, retain: false, subscription_ids: target.subscription_ids.clone() }, copies)
        });
        place as u32
    }

    fn open(&mut self, key: Key, copies: u64) -> usize {
        match self.encoded.get_mut(self.in_use) {
            Some(encoded) => {
                encoded.key = key;
                encoded.copies = copies;
                encoded.frames.clear();
            }
            None => self.encoded.push(Encoded { key, frames: Vec::new(), shared: None, copies }),
        }
        self.in_use += 1;
        self.in_use - 1
    }

    /// A receiver the publisher should wait for before this run is pushed.
    pub fn pressed_by(&self, limits: &outbox::Limits) -> Option<Arc<Session>> {
        let matched = self.matched.as_ref()?;
        let presses = |t: &&Target| match &t.session.peer {
            None => t.session.outbox.presses(limits),
            Some(peer) => peer.link.is_up() && peer.link.presses(stream_of(&self.topic)),
        };
        matched.targets.iter().find(presses).map(|target| target.session.clone())
    }

    /// Gives the run to all its receivers and empties it.
    pub fn push(&mut self, broker: &Broker, tally: &mut Tally) {
        let (Some(matched), publisher) = (self.matched.take(), self.publisher.take()) else { return };
        let realm = self.realm.take();
        let mut copies = self.messages * matched.denied;
        broker.ledger().lost(Loss::Denied, copies);
        // A run may have waited for a slow receiver while rights were lost.
        let stale = matched.access_version != broker.access().version();
        // What goes to other nodes is copied into the frames of the links.
        let here = self.encoded[..self.in_use].iter_mut().filter(|e| e.key.form != LINK);
        here.for_each(|e| e.share(matched.targets.len()));
        for (target, place) in matched.targets.iter().zip(&self.places) {
            let Some(target) = target.for_publisher(publisher.as_ref()) else { continue };
            let Some(encoded) = self.encoded.get(*place as usize) else { continue };
            let own = self.messages * encoded.copies;
            if own == 0 {
                continue;
            }
            copies += own;
            if stale && !target.session.may_receive(broker.access(), &self.topic) {
                let client = target.session.client_id();
                broker.ledger().lost_by(client, &self.topic, Loss::Denied, own);
            } else if !target.session.is_online() || target.session.form() != encoded.key.form {
                let client = target.session.client_id();
                broker.ledger().lost_by(client, &self.topic, Loss::Offline, own);
            } else if self.copies.is_empty() || target.qos == Qos::AtMostOnce {
                self.push_frames(broker, &target.session, encoded);
            } else {
                self.push_copies(broker, target);
            }
        }
        if let Some(realm) = realm.filter(|_| !self.peers.is_empty()) {
            copies += self.push_to_peers(broker, &realm.name);
        }
        tally.matched += copies;
        tally.unmatched += if copies == 0 { self.messages } else { 0 };
        self.messages = 0;
        self.numbers = Numbers::default();
        self.copies.clear();
        for encoded in &mut self.encoded {
            encoded.frames.clear();
            encoded.shared = None;
        }
        self.encoded.truncate(64);
    }

    fn push_frames(&self, broker: &Broker, session: &Arc<Session>, encoded: &Encoded) {
        let run = outbox::Run {
            form: broker.form(encoded.key.form),
            frames: encoded.as_run(),
            messages: self.messages * encoded.copies,
            client: session.client_id(),
            topic: &self.topic,
        };
        if let RunFrames::Copy(frames) = run.frames {
            broker.pressure().grew(frames.len());
        }
        session.outbox.push_frames(&run, broker.limits(), broker.ledger());
    }

    /// Once to each other node that has a receiver.
    fn push_to_peers(&self, broker: &Broker, realm: &Arc<str>) -> u64 {
        let mut copies = 0;
        if !self.copies.is_empty() {
            for message in &self.copies {
                let mut outgoing = Outgoing::default();
                self.peers.iter().for_each(|slot| outgoing.fan_out(slot));
                copies += outgoing.send(broker, realm, message);
            }
            return copies;
        }
        let Some(encoded) = self.encoded[..self.in_use].iter().find(|e| e.key.form == LINK) else { return 0 };
        for peer in self.peers.iter().filter_map(|slot| broker.peers().get(slot)) {
            peer.link.push_frames(stream_of(&self.topic), &encoded.frames, self.messages as u32);
            broker.ledger().linked.add(self.messages);
            copies += self.messages;
        }
        copies
    }

    fn push_copies(&self, broker: &Broker, target: &Target) {
        for message in &self.copies {
            let delivery = delivery(message, target, None);
            push_copy(broker, &target.session, Live { delivery, number: None, claim: None });
        }
    }
}

/// Puts a copy that wants a packet id in the outbox of a receiver.
pub fn push_copy(broker: &Broker, session: &Session, live: Live) {
    session.outbox.push_copy(session.client_id(), live, broker.limits(), broker.ledger());
}

/// The copy a receiver is owed (MQTT-3.3.1-12: RETAIN only as published, where asked).
pub fn delivery(message: &Arc<Message>, target: &Target, group: Option<weir_model::Filter>) -> Delivery {
    Delivery {
        message: message.clone(),
        qos: message.qos.min(target.qos),
        retain: message.retain && target.retain_as_published,
        subscription_ids: target.subscription_ids.clone(),
        group,
    }
}

/// Gives one message to the live receivers whose copy does not go through the store. `outgoing` gathers
/// what goes to other nodes; without it, receivers there are left out.
pub fn deliver(
    broker: &Broker,
    message: &Arc<Message>,
    matched: &Matched,
    publisher: Option<&Arc<Session>>,
    outgoing: Option<&mut Outgoing>,
) -> u64 {
    deliver_as(broker, (message, 0), matched, publisher, outgoing)
}

/// The same; `publication`: what its number is if the message does not say it, 0 = one is made when it is wanted.
fn deliver_as(
    broker: &Broker,
    (message, publication): (&Arc<Message>, u64),
    matched: &Matched,
    publisher: Option<&Arc<Session>>,
    mut outgoing: Option<&mut Outgoing>,
) -> u64 {
    let mut frames = Frames { publication, ..Frames::default() };
    let mut copies = matched.denied;
    broker.ledger().lost(Loss::Denied, copies);
    let clustered = broker.peers().any();
    let addressed = Addressed::of(message.properties.as_deref());
    let selected = matched.of(message);
    for target in selected.as_deref().unwrap_or(&matched.targets) {
        let to = match &addressed {
            Some(addressed) => addressed.target(target, publisher),
            None => target.for_publisher(publisher),
        };
        let Some(target) = to else { continue };
        let delivery = delivery(message, target, None);
        let away = clustered && (target.session.peer.is_some() || !target.session.is_online());
        if away {
            let through_store = delivery.qos > Qos::AtMostOnce && target.session.stored.is_some();
            match (outgoing.as_deref_mut(), broker.peers().slot_of(&target.session)) {
                (Some(outgoing), Some(slot)) if !through_store => {
                    outgoing.fan_out(slot);
                    continue;
                }
                // Nobody can reach it: that is counted here.
                (Some(_), None) => {}
                _ => continue,
            }
        }
        if delivery.qos > Qos::AtMostOnce && target.session.stored.is_some() {
            continue;
        }
        copies += frames.push(broker, &target.session, delivery);
    }
    copies
}

/// The same for a message that is its topic's retained value at that position.
pub fn deliver_kept(
    broker: &Broker,
    realm: &Realm,
    (message, position): (&Arc<Message>, Option<Position>),
    matched: &Matched,
    publisher: Option<&Arc<Session>>,
    outgoing: Option<&mut Outgoing>,
) -> u64 {
    if let Some(at) = position {
        realm.retained.giving(message, at);
    }
    let publication = position.map_or(0, publication::of);
    deliver_as(broker, (message, publication), matched, publisher, outgoing)
}

/// After a retained value was delivered: a newer one may have been given to receivers here before. What they
/// see last is what the store holds, so they get it once more, in the lane of the one that was late.
pub fn correct(
    broker: &Broker,
    realm: &Realm,
    (late, position): (&Message, Option<Position>),
    matched: &Matched,
) -> u64 {
    let newer = position.and_then(|at| realm.retained.given_after(&late.topic, at));
    newer.map_or(0, |newer| {
        let again = Arc::new(Message { qos: late.qos, ..Message::clone(&newer) });
        let publication = realm.retained.position(&late.topic).map_or(0, publication::of);
        deliver_as(broker, (&again, publication), matched, None, None)
    })
}

/// The wire forms of one message, made when first needed.
#[derive(Default)]
pub struct Frames {
    made: SmallVec<[Made; 2]>,
    /// Said in all of them; 0 = none has wanted it.
    publication: u64,
}

/// The frames of one form, and how many there are.
struct Made {
    key: Key,
    frames: Bytes,
    copies: u64,
}

impl Frames {
    /// Puts one copy in the outbox of a receiver; returns how many frames that is. Of QoS 0 middleware is asked here, of
    /// others when it is sent.
    pub fn push(&mut self, broker: &Broker, session: &Arc<Session>, delivery: Delivery) -> u64 {
        let topic = delivery.message.topic.clone();
        if !session.is_online() {
            broker.ledger().lost_by(session.client_id(), &topic, Loss::Offline, 1);
        } else if delivery.qos > Qos::AtMostOnce {
            push_copy(broker, session, Live { delivery, number: None, claim: None });
        } else if broker.asks_on_delivery() {
            match broker.on_deliver(session, &delivery.message) {
                Ok(None) => return self.push_frame(broker, session, &delivery),
                Ok(Some(message)) => {
                    let altered = Delivery { message, ..delivery };
                    return Frames::default().push_frame(broker, session, &altered);
                }
                Err(_) => broker.ledger().lost_by(session.client_id(), &topic, Loss::Middleware, 1),
            }
        } else {
            return self.push_frame(broker, session, &delivery);
        }
        1
    }

    fn push_frame(&mut self, broker: &Broker, session: &Arc<Session>, delivery: &Delivery) -> u64 {
        let form = broker.form(session.form());
        let Made { frames, copies, .. } = self.frames(broker, session.form(), delivery);
        let messages = *copies;
        if messages == 0 {
            return 0;
        }
        let frames = if frames.len() < 1024 { RunFrames::Copy(frames) } else { RunFrames::Share(frames) };
        let topic = &delivery.message.topic;
        let run = outbox::Run { form, frames, messages, client: session.client_id(), topic };
        session.outbox.push_frames(&run, broker.limits(), broker.ledger());
        messages
    }

    fn frames(&mut self, broker: &Broker, id: FormId, delivery: &Delivery) -> &Made {
        let subscription_ids = delivery.subscription_ids.clone();
        let key = Key { form: id, retain: delivery.retain, subscription_ids };
        let at = self.made.iter().position(|made| made.key == key).unwrap_or_else(|| {
            let form = broker.form(id);
            if form.tells_publication() && self.publication == 0 {
                self.publication = next_publication();
            }
            let subscription_ids = &key.subscription_ids;
            let marks = Marks { retain: key.retain, subscription_ids, publication: self.publication };
            let (mut frames, message) = (Vec::new(), &delivery.message);
            form.encode(&mut frames, &borrowed(message), marks);
            let copies = form.copies(&message.topic, marks);
            self.made.push(Made { frames: frames.into(), copies, key });
            self.made.len() - 1
        });
        &self.made[at]
    }
}

/// Seconds a message may still live, rounded up; `None` = for ever (MQTT-3.3.2-6).
pub fn seconds_left(message: &Message) -> Option<u32> {
    let left = message.expires_at?.since(crate::clock::unix());
    Some(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
}

/// A message as a publish, for encoding.
pub fn borrowed(message: &Message) -> Publish<'_> {
    Publish {
        topic: &message.topic,
        payload: &message.payload,
        is_json: false,
        qos: Qos::AtMostOnce,
        retain: message.retain,
        expiry_seconds: seconds_left(message),
        properties: message.properties.clone(),
        conditions: None,
    }
}
