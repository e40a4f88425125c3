//! The other nodes of the cluster, as receivers: who of them wants a message, and on which link it goes.
//!
//! A peer stands in the routes like a subscriber, with the filters its clean sessions have; what its
//! persistent sessions want is known here by the mirror of the store. A message goes once to each peer
//! that has a receiver, and is matched there again, among that node's own.
//!
//! When a peer says all it wants anew, that is for a new receiver; what is left to the one before in the
//! end, it wants no more.

mod barrier;
pub mod inbox;
mod outgoing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use weir_cluster::{Digest, Link, Links};
use weir_model::Filter;
use weir_store::{SessionKey, SessionKind, SubscriptionOptions};

use crate::broker::Broker;
use crate::clock;
use crate::form::FormId;
use crate::realm::Realm;
use crate::routes::Matched;
use crate::session::Session;
pub use outgoing::Outgoing;
pub(crate) use outgoing::{encode, stream_of};

/// The form of what goes over a link: runs of [`weir_cluster::record`].
pub const LINK: FormId = FormId::MAX;

/// How long what a peer sends may wait for a slow receiver here.
const PRESSED: std::time::Duration = std::time::Duration::from_millis(20);

/// The connection number of what stands in the routes for a peer.
const LINKED: u64 = u64::MAX;

/// Another node, as long as its link stands.
pub struct Peer {
    /// Its place in a set of peers, below 64.
    pub slot: u8,
    pub incarnation: u64,
    pub link: Arc<Link>,
    /// What stands for it in the routes of each realm.
    receivers: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    wanted: Mutex<Wanted>,
}

/// What a peer has said of its interest.
#[derive(Default)]
struct Wanted {
    /// Of what it has said since it last began to say all.
    digest: Digest,
    /// Receivers with what it had said before that.
    before: Vec<Arc<Session>>,
}

impl Wanted {
    fn change(&mut self, realm: &Realm, filter: &Filter, had: Option<SubscriptionOptions>, now: u32) {
        let was = had.map_or(0, |options| options.subscription_id.unwrap_or(1));
        self.digest.change(&realm.name, filter, was, now);
        for before in self.before.iter().filter(|before| before.key.realm == realm.name) {
            realm.routes.unlink(filter, before);
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("slot", &self.slot).field("incarnation", &self.incarnation).finish()
    }
}

/// A link that is full.
pub(crate) struct Pressed {
    /// What stands for the peer in the routes.
    pub peer: Arc<Session>,
    stream: u64,
    /// When a publish began to wait.
    pub since_ms: u64,
}

/// A set of peers, by slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerSet(u64);

impl PeerSet {
    pub fn add(&mut self, slot: u8) {
        self.0 |= 1 << slot;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, slot: u8) -> bool {
        self.0 >> slot & 1 == 1
    }

    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |slot| self.contains(*slot))
    }
}

/// The peers of a node; empty on a node alone.
#[derive(Default)]
pub struct Peers {
    /// Whether there is, or was, a peer: what a node alone asks before anything else.
    any: AtomicBool,
    table: RwLock<Vec<Option<Arc<Peer>>>>,
    links: std::sync::OnceLock<Arc<Links>>,
    /// Taken to write by whoever makes routes anew, to read by whoever changes them beside the topic shards.
    pub(crate) routes: RwLock<()>,
}

impl Peers {
    /// The node has become one of a cluster.
    fn join(&self, links: Arc<Links>) {
        let _ = self.links.set(links);
    }

    /// How to reach all of them; `None` on a node alone.
    pub fn links(&self) -> Option<&Arc<Links>> {
        self.links.get()
    }

    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub fn get(&self, slot: u8) -> Option<Arc<Peer>> {
        self.table.read().get(usize::from(slot))?.clone()
    }

    pub fn of_incarnation(&self, incarnation: u64) -> Option<Arc<Peer>> {
        self.table.read().iter().flatten().find(|peer| peer.incarnation == incarnation).cloned()
    }

    /// Whether no other node that is linked has started earlier.
    pub fn is_oldest(&self, incarnation: u64) -> bool {
        self.table.read().iter().flatten().all(|peer| peer.incarnation > incarnation)
    }

    /// The peer a receiver is reached by, if it is not connected here: itself, or its session's home.
    pub fn slot_of(&self, session: &Session) -> Option<u8> {
        if let Some(peer) = &session.peer {
            return Some(peer.slot);
        }
        Some(self.of_incarnation(session.home()?)?.slot)
    }

    /// Whether a receiver can be reached now, here or by a link.
    pub fn reaches(&self, session: &Session) -> bool {
        session.is_online() || self.slot_of(session).is_some()
    }

    /// Whether a member of a share group can take what lies in the store: one connected here, or a
    /// persistent one that can be reached. A peer answers for its clean members itself.
    pub fn serves(&self, session: &Session) -> bool {
        session.peer.is_none() && (session.is_online() || (session.stored.is_some() && self.reaches(session)))
    }

    /// The full link that a QoS 1 or 2 publish must wait for, if there is one and it has not waited long
    /// enough since: then what does not fit goes its way (`guarantees.md` 8).
    pub(crate) fn pressed_by(
        &self,
        realm: &Realm,
        matched: &Matched,
        topic: &str,
        since_ms: u64,
    ) -> Option<Pressed> {
        let stream = stream_of(topic);
        let peers = matched.targets.iter().filter_map(|target| self.get(self.slot_of(&target.session)?));
        let pressed = |peer: Arc<Peer>| Pressed { peer: peer.receiver(&realm.name), stream, since_ms };
        peers.map(pressed).find(|pressed| self.still_presses(pressed))
    }

    pub(crate) fn still_presses(&self, pressed: &Pressed) -> bool {
        let wait_max_ms = self.links().map_or(0, |links| links.config().wait_max_ms);
        let full = |peer: &Arc<Peer>| peer.link.presses_sure(pressed.stream);
        pressed.peer.peer.as_ref().is_some_and(full)
            && clock::now_ms().saturating_sub(pressed.since_ms) < wait_max_ms
    }

    /// The peer of a link, made when it is first heard of.
    pub(crate) fn of_link(&self, link: &Arc<Link>) -> Arc<Peer> {
        let slot = link.slot();
        let mut table = self.table.write();
        if table.len() <= usize::from(slot) {
            table.resize(usize::from(slot) + 1, None);
        }
        let place = &mut table[usize::from(slot)];
        match place {
            Some(peer) if peer.incarnation == link.incarnation() => peer.clone(),
            _ => {
                let peer = Arc::new(Peer {
                    slot,
                    incarnation: link.incarnation(),
                    link: link.clone(),
                    receivers: Mutex::default(),
                    wanted: Mutex::default(),
                });
                self.any.store(true, Ordering::Release);
                place.insert(peer).clone()
            }
        }
    }

    /// The link is over for good.
    fn remove(&self, link: &Arc<Link>) {
        if let Some(place) = self.table.write().get_mut(usize::from(link.slot())) {
            place.take_if(|peer| peer.incarnation == link.incarnation());
        }
    }

    /// What stands for all peers in the routes of a realm.
    pub(crate) fn receivers(&self, realm: &Arc<str>) -> Vec<Arc<Session>> {
        let table = self.table.read();
        let all = table.iter().flatten().flat_map(|peer| {
            let now = peer.receivers.lock().get(realm).cloned();
            let before = peer.wanted.lock().before.clone();
            now.into_iter().chain(before.into_iter().filter(|before| before.key.realm == *realm))
        });
        all.collect()
    }
}

impl Peer {
    /// What stands for it in the routes of a realm.
    fn receiver(self: &Arc<Peer>, realm: &Arc<str>) -> Arc<Session> {
        let fresh = || {
            let name = Arc::from(format!("$peer/{}", self.link.node_id()));
            let key = SessionKey { realm: realm.clone(), kind: SessionKind::Client, name };
            let session = Session::of_peer(key, self.clone());
            session.attach(LINKED, LINK, 0);
            session
        };
        self.receivers.lock().entry(realm.clone()).or_insert_with(fresh).clone()
    }

    /// Its clean sessions want `filter`: so many, for a shared one.
    fn wants(self: &Arc<Peer>, realm: &Realm, filter: &Filter, members: u32) {
        let receiver = self.receiver(&realm.name);
        let options = SubscriptionOptions {
            qos: weir_model::Qos::ExactlyOnce,
            retain_as_published: true,
            // Of no use for a peer otherwise: how many members it stands for.
            subscription_id: filter.share().map(|_| members),
            ..SubscriptionOptions::default()
        };
        let mut wanted = self.wanted.lock();
        let had = realm.routes.link(filter, &receiver, options);
        wanted.change(realm, filter, had, members);
    }

    /// None of its clean sessions wants `filter` any more.
    fn wants_no_more(self: &Arc<Peer>, realm: &Realm, filter: &Filter) {
        let receiver = self.receiver(&realm.name);
        let mut wanted = self.wanted.lock();
        let had = realm.routes.unlink(filter, &receiver);
        wanted.change(realm, filter, had, 0);
    }

    /// It says all it wants anew.
    fn say_anew(&self) {
        let receivers = std::mem::take(&mut *self.receivers.lock());
        let mut wanted = self.wanted.lock();
        // Where it wanted nothing there is nothing to take back.
        if std::mem::take(&mut wanted.digest).filters > 0 {
            wanted.before.extend(receivers.into_values());
        }
    }

    /// What it has not said again it wants no more.
    fn has_said_all(&self, broker: &Broker) {
        let before = std::mem::take(&mut self.wanted.lock().before);
        before.iter().for_each(|before| drop(give_up(broker, before)));
    }

    /// Its link is over for good.
    fn is_gone(&self, broker: &Broker) {
        let mut receivers: Vec<_> = std::mem::take(&mut *self.receivers.lock()).into_values().collect();
        receivers.append(&mut self.wanted.lock().before);
        let shared: Vec<_> = receivers.iter().flat_map(|receiver| give_up(broker, receiver)).collect();
        broker.collect_after(&shared);
    }

    fn digest(&self) -> Digest {
        self.wanted.lock().digest
    }
}

/// Takes a receiver out of the routes; returns the shared filters it had.
fn give_up(broker: &Broker, receiver: &Arc<Session>) -> Vec<(Arc<Realm>, Filter)> {
    receiver.detach(LINKED);
    let Some(realm) = broker.realm(&receiver.key.realm) else { return Vec::new() };
    let shared = realm.routes.unlink_all(receiver);
    shared.into_iter().map(|filter| (realm.clone(), filter)).collect()
}
