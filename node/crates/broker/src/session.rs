//! A session: one client's subscriptions, its outbox, and what it has not finished.
//!
//! The handle ([`Session`]) is what routes and directories hold. What the connection decides is in
//! [`window`] (outgoing QoS 1 and 2) and [`intake`] (incoming), plain structs without IO. The
//! [`directory`] knows every session of the node; its shards are actors.

pub mod directory;
pub mod intake;
pub mod shard;
pub mod wheel;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_model::Filter;
use weir_store::{SessionKey, SubscriptionOptions};

use crate::clock;
use crate::form::FormId;
use crate::outbox::Outbox;

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
    fanned_out: Mutex<Vec<u16>>,
    /// The generation of its row in the store, which a clean session has for its will alone.
    pub row: Option<u64>,
    /// Whether its will fires as soon as its connection ends.
    will_at_once: AtomicBool,
    /// Its own list, from which routes are made anew when a topic shard was lost.
    subscriptions: Mutex<Vec<(Filter, SubscriptionOptions)>>,
}

impl Session {
    pub fn new(key: SessionKey, stored: Option<u64>, row: Option<u64>) -> Arc<Session> {
        Arc::new(Session {
            key,
            stored,
            outbox: Outbox::default(),
            form: AtomicU8::new(0),
            connection: AtomicU64::new(0),
            last_seen_ms: AtomicU64::new(0),
            keep_alive_ms: AtomicU32::new(0),
            fanned_out: Mutex::new(Vec::new()),
            row,
            will_at_once: AtomicBool::new(false),
            subscriptions: Mutex::new(Vec::new()),
        })
    }

    pub fn client_id(&self) -> &Arc<str> {
        &self.key.name
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

    /// The client was heard.
    pub fn seen(&self) {
        self.last_seen_ms.store(clock::coarse_ms(), Ordering::Relaxed);
    }

    /// When it must have been heard again (MQTT-3.1.2-22: one and a half keep-alives); `None` = never.
    pub fn silent_at_ms(&self) -> Option<u64> {
        let keep_alive = u64::from(self.keep_alive_ms.load(Ordering::Relaxed));
        (keep_alive > 0).then(|| self.last_seen_ms.load(Ordering::Relaxed) + keep_alive * 3 / 2)
    }

    /// Notes that the message under a QoS 2 packet id was fanned out, or that the id was released.
    pub fn fanned_out(&self, packet_id: u16, done: bool) {
        let mut ids = self.fanned_out.lock();
        ids.retain(|known| *known != packet_id);
        if done {
            ids.push(packet_id);
        }
    }

    /// Whether the message under a QoS 2 packet id was fanned out by this process.
    pub fn was_fanned_out(&self, packet_id: u16) -> bool {
        self.fanned_out.lock().contains(&packet_id)
    }

    pub fn set_will_at_once(&self, at_once: bool) {
        self.will_at_once.store(at_once, Ordering::Relaxed);
    }

    pub fn has_will_at_once(&self) -> bool {
        self.will_at_once.load(Ordering::Relaxed)
    }

    /// Notes a subscription in its own list; returns whether it replaced one.
    pub fn note(&self, filter: &Filter, options: SubscriptionOptions) -> bool {
        let mut list = self.subscriptions.lock();
        match list.iter_mut().find(|(known, _)| known == filter) {
            Some(entry) => {
                entry.1 = options;
                true
            }
            None => {
                if list.is_empty() {
                    list.reserve_exact(1);
                }
                list.push((filter.clone(), options));
                false
            }
        }
    }

    /// Takes a subscription off its own list; returns whether it was there.
    pub fn forget(&self, filter: &Filter) -> bool {
        let mut list = self.subscriptions.lock();
        let before = list.len();
        list.retain(|(known, _)| known != filter);
        list.len() < before
    }

    pub fn subscriptions(&self) -> Vec<(Filter, SubscriptionOptions)> {
        self.subscriptions.lock().clone()
    }

    pub fn subscription_count(&self) -> usize {
        self.subscriptions.lock().len()
    }

    pub fn has(&self, filter: &Filter) -> bool {
        self.subscriptions.lock().iter().any(|(known, _)| known == filter)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("client_id", &self.key.name).field("stored", &self.stored).finish()
    }
}
