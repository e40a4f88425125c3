//! A session: one client's subscriptions, its outbox, and what it has not finished.
//!
//! The handle ([`Session`]) is what routes and directories hold. What the connection decides is in
//! [`window`] (outgoing QoS 1 and 2) and [`intake`] (incoming), plain structs without IO. The
//! [`directory`] knows every session of the node; its shards are actors.

pub mod directory;
pub mod intake;
mod orphans;
pub mod owner;
pub mod shard;
mod subscriptions;
pub mod testament;
pub mod wheel;
pub mod window;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use weir_access::{Access, Identity};
use weir_model::Filter;
use weir_store::{SessionKey, SubscriptionOptions};

use crate::clock;
use crate::form::FormId;
use crate::outbox::{Limits, Outbox};
use crate::peers::Peer;
use subscriptions::Subscriptions;

/// Where a connection comes from: for logs, and for what only a local one may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub address: IpAddr,
    pub port: u16,
    /// The listener's name.
    pub listener: &'static str,
    /// Whether that listener is bound to a loopback address.
    pub local: bool,
}

/// One client's session, connected or not. A clean session lives as long as its connection.
pub struct Session {
    pub key: SessionKey,
    /// The stored session's generation: QoS 1 and 2 copies go through its queue in the store.
    pub stored: Option<u64>,
    pub outbox: Outbox,
    form: AtomicU8,
    /// The connection that has it; 0 = none.
    connection: AtomicU64,
    last_seen_ms: AtomicU64,
    keep_alive_ms: AtomicU32,
    /// QoS 2 packet ids whose messages this process has fanned out, until they are released.
    fanned_out: Mutex<BTreeSet<u16>>,
    /// The generation of its row in the store, which a clean session has for its will alone.
    pub row: Option<u64>,
    /// Whether its will fires as soon as its connection ends.
    will_at_once: AtomicBool,
    /// Whether its connection holds a large part of a packet whose rest has not come.
    half_received: AtomicBool,
    /// Who has it, or had it last; `None` = restored from a store that did not say.
    identity: ArcSwapOption<Identity>,
    /// Where its connection comes from, or came from last.
    origin: Mutex<Option<Origin>>,
    /// Its own list, from which routes are made anew when a topic shard was lost.
    subscriptions: Mutex<Subscriptions>,
    /// It is over and subscribes to nothing any more; changed with its list locked.
    over: AtomicBool,
    /// The incarnation of another node that has its connection; 0 = none has.
    home: AtomicU64,
    /// The newest fence heard of; 0 = none, for it has no row.
    fence: AtomicU64,
    /// Set for what stands in the routes for another node: the receivers there.
    pub peer: Option<Arc<Peer>>,
}

impl Session {
    pub fn new(key: SessionKey, stored: Option<u64>, row: Option<u64>) -> Arc<Session> {
        Session::with_peer(key, stored, row, None)
    }

    /// What stands for another node in the routes of a realm.
    pub(crate) fn of_peer(key: SessionKey, peer: Arc<Peer>) -> Arc<Session> {
        Session::with_peer(key, None, None, Some(peer))
    }

    fn with_peer(
        key: SessionKey,
        stored: Option<u64>,
        row: Option<u64>,
        peer: Option<Arc<Peer>>,
    ) -> Arc<Session> {
        Arc::new(Session {
            key,
            home: AtomicU64::new(0),
            fence: AtomicU64::new(0),
            peer,
            stored,
            outbox: Outbox::default(),
            form: AtomicU8::new(0),
            connection: AtomicU64::new(0),
            last_seen_ms: AtomicU64::new(0),
            keep_alive_ms: AtomicU32::new(0),
            fanned_out: Mutex::default(),
            row,
            will_at_once: AtomicBool::new(false),
            half_received: AtomicBool::new(false),
            identity: ArcSwapOption::empty(),
            origin: Mutex::new(None),
            subscriptions: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    pub fn client_id(&self) -> &Arc<str> {
        &self.key.name
    }

    /// Who has it, or had it last.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    pub fn set_identity(&self, identity: Arc<Identity>) {
        self.identity.store(Some(identity));
    }

    /// Where its connection comes from, or came from last; `None` = nobody has come for it yet.
    pub fn origin(&self) -> Option<Origin> {
        *self.origin.lock()
    }

    pub fn set_origin(&self, origin: Origin) {
        *self.origin.lock() = Some(origin);
    }

    /// Whether a message of `topic` may go to whoever has it. Where that is not known yet, it may be
    /// queued, and is asked again on its way out.
    pub fn may_receive(&self, access: &Access, topic: &str) -> bool {
        let identity = self.identity.load();
        identity.as_ref().is_none_or(|identity| access.may_receive(&identity.principal, topic))
    }

    /// Registers a publisher to be woken when little waits for this receiver; false when little does.
    pub fn wait_until_low(&self, waker: &Waker, limits: &Limits) -> bool {
        match &self.peer {
            Some(peer) => peer.link.wait_until_low(waker),
            None => self.outbox.wait_until_low(waker, limits),
        }
    }

    /// Gives the session to a connection; one that had it hears that it has it no more.
    pub fn attach(
        &self,
        connection: u64,
        form: FormId,
        keep_alive_ms: u32,
    ) -> (u64, Vec<crate::outbox::Live>) {
        self.connection.store(connection, Ordering::Release);
        self.form.store(form, Ordering::Relaxed);
        self.keep_alive_ms.store(keep_alive_ms, Ordering::Relaxed);
        self.seen();
        self.outbox.clear(connection)
    }

    /// The connection has ended; false when another one has it already.
    pub fn detach(&self, connection: u64) -> bool {
        self.connection.compare_exchange(connection, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn is_attached_to(&self, connection: u64) -> bool {
        self.connection.load(Ordering::Acquire) == connection
    }

    pub fn is_online(&self) -> bool {
        self.connection.load(Ordering::Acquire) != 0
    }

    pub fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    pub fn form(&self) -> FormId {
        self.form.load(Ordering::Relaxed)
    }

    /// The node that has its connection, when that is another one.
    pub fn home(&self) -> Option<u64> {
        Some(self.home.load(Ordering::Acquire)).filter(|home| *home != 0)
    }

    pub(crate) fn set_home(&self, home: Option<u64>) {
        self.home.store(home.unwrap_or(0), Ordering::Release);
    }

    /// The newest fence heard of.
    pub fn fence(&self) -> u64 {
        self.fence.load(Ordering::Acquire)
    }

    /// Notes a fence; false when a newer one is known.
    pub(crate) fn raise_fence(&self, fence: u64) -> bool {
        self.fence.fetch_max(fence, Ordering::AcqRel) <= fence
    }

    /// The client was heard.
    pub fn seen(&self) {
        self.last_seen_ms.store(clock::coarse_ms(), Ordering::Relaxed);
    }

    /// As granted at connect; 0 = it may be silent for ever.
    pub fn keep_alive_ms(&self) -> u32 {
        self.keep_alive_ms.load(Ordering::Relaxed)
    }

    /// When it must have been heard again (MQTT-3.1.2-22: one and a half keep-alives); `None` = never.
    pub fn silent_at_ms(&self) -> Option<u64> {
        let keep_alive = u64::from(self.keep_alive_ms.load(Ordering::Relaxed));
        (keep_alive > 0).then(|| self.last_seen_ms.load(Ordering::Relaxed) + keep_alive * 3 / 2)
    }

    /// Notes that the message under a QoS 2 packet id was fanned out, or that the id was released.
    pub fn fanned_out(&self, packet_id: u16, done: bool) {
        let mut ids = self.fanned_out.lock();
        if done {
            ids.insert(packet_id);
        } else {
            ids.remove(&packet_id);
        }
    }

    /// Whether the message under a QoS 2 packet id was fanned out by this process.
    pub fn was_fanned_out(&self, packet_id: u16) -> bool {
        self.fanned_out.lock().contains(&packet_id)
    }

    /// Whether its connection holds a large part of a packet whose rest has not come.
    pub fn has_half_received(&self) -> bool {
        self.half_received.load(Ordering::Relaxed)
    }

    pub fn set_half_received(&self, half: bool) {
        if self.has_half_received() != half {
            self.half_received.store(half, Ordering::Relaxed);
        }
    }

    pub fn set_will_at_once(&self, at_once: bool) {
        self.will_at_once.store(at_once, Ordering::Relaxed);
    }

    pub fn has_will_at_once(&self) -> bool {
        self.will_at_once.load(Ordering::Relaxed)
    }

    /// Notes a subscription in its own list; returns whether it replaced one. `None`: the session is over
    /// and subscribes to nothing.
    pub fn note(&self, filter: &Filter, options: SubscriptionOptions) -> Option<bool> {
        let mut list = self.subscriptions.lock();
        (!self.over.load(Ordering::Relaxed)).then(|| list.insert(filter, options))
    }

    /// The session is over: takes all subscriptions off its list, which takes no more.
    pub fn give_up_subscriptions(&self) -> Vec<Filter> {
        let mut list = self.subscriptions.lock();
        self.over.store(true, Ordering::Relaxed);
        std::mem::take(&mut *list).to_vec().into_iter().map(|(filter, _)| filter).collect()
    }

    /// Takes a subscription off its own list; returns whether it was there.
    pub fn forget(&self, filter: &Filter) -> bool {
        self.subscriptions.lock().remove(filter)
    }

    /// All of them, in no order.
    pub fn subscriptions(&self) -> Vec<(Filter, SubscriptionOptions)> {
        self.subscriptions.lock().to_vec()
    }

    /// Those whose patterns begin with `prefix`, in no order.
    pub fn subscriptions_below(&self, prefix: &str) -> Vec<(Filter, SubscriptionOptions)> {
        let mut found = self.subscriptions.lock().to_vec();
        found.retain(|(filter, _)| filter.share().is_none() && filter.pattern().starts_with(prefix));
        found
    }

    /// Its subscriptions of one pattern that are not shared: one, but several while they select differently.
    pub fn subscriptions_of(&self, pattern: &str) -> Vec<Filter> {
        self.subscriptions.lock().of_pattern(pattern)
    }

    /// How many of its subscriptions have a condition on the body.
    pub fn filtered_subscriptions(&self) -> usize {
        self.subscriptions.lock().filtered()
    }

    /// Whether any of them selects of what matches.
    pub fn selects(&self) -> bool {
        self.subscriptions.lock().to_vec().iter().any(|(filter, _)| filter.selector().is_some())
    }

    /// How it has subscribed to a filter, if it has.
    pub fn subscription(&self, filter: &Filter) -> Option<SubscriptionOptions> {
        self.subscriptions.lock().get(filter)
    }

    pub fn subscription_count(&self) -> usize {
        self.subscriptions.lock().len()
    }

    /// How many subscriptions it has, and how many of them are shared.
    pub fn subscription_counts(&self) -> (usize, usize) {
        let list = self.subscriptions.lock();
        (list.len(), list.shared())
    }

    pub fn has(&self, filter: &Filter) -> bool {
        self.subscriptions.lock().contains(filter)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("client_id", &self.key.name).field("stored", &self.stored).finish()
    }
}
