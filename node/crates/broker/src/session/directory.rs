//! The directory: every session of this node by its client id. One client id lives once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use ractor::Actor;
use weir_access::Identity;
use weir_model::Reason;
use weir_store::{Fence, QueueEnds, SessionKey, Will};

use super::Session;
use super::shard::{ShardActor, ShardMsg};
use crate::broker::Broker;
use crate::form::FormId;
use crate::realm::Realm;
use crate::supervisor::{ChildSpec, Slot};

/// Session shards of a node; a client id belongs to one.
const SHARDS: usize = 16;

/// How long a connection that is being replaced may take to read what has come for it. It is a turn
/// of its task; one that takes longer is stuck.
const LEAVING: std::time::Duration = std::time::Duration::from_secs(1);

type Table = HashMap<(Arc<str>, Arc<str>), Arc<Session>>;

#[derive(Default)]
/// The table of one shard, which outlives its actor.
pub struct Shard {
    pub(super) table: Mutex<Table>,
    /// The session being opened, and the newest fence another node has opened it with meanwhile.
    pub(super) opening: Mutex<Option<(SessionKey, u64)>>,
    slot: Slot<ShardMsg>,
}

impl Shard {
    /// Takes a session out unless another one has its place.
    pub(super) fn remove(&self, session: &Arc<Session>) {
        let key = (session.key.realm.clone(), session.key.name.clone());
        let mut table = self.table.lock();
        if table.get(&key).is_some_and(|known| Arc::ptr_eq(known, session)) {
            table.remove(&key);
        }
    }
}

pub struct Directory {
    hasher: hashbrown::DefaultHashBuilder,
    shards: Vec<Arc<Shard>>,
    /// Connections that were given a session since the start.
    opened: AtomicU64,
}

/// What the sessions of a node come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub sessions: usize,
    pub connected: usize,
    /// Copies in outboxes that lie in no store.
    pub waiting: u64,
}

/// Subscriptions of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subscriptions {
    pub all: usize,
    /// Those among them to shared filters.
    pub shared: usize,
}

/// What a new connection asks for.
#[derive(Clone)]
pub struct Request {
    pub realm: Arc<Realm>,
    pub client_id: Arc<str>,
    /// Whose connection it is; the session belongs to its user id.
    pub identity: Arc<Identity>,
    pub clean_start: bool,
    /// How long the session outlives the connection; 0 = not at all, `u32::MAX` = for ever.
    pub expiry_seconds: u32,
    pub will: Option<Will>,
    pub keep_alive_ms: u32,
    pub form: FormId,
    /// Unique among the connections of this process, never 0.
    pub connection: u64,
}

impl Request {
    /// Whether it is of the user a session belongs to (`guarantees.md` 4).
    pub(super) fn is_of_owner(&self, session: &Session) -> bool {
        let same = |owner: &Identity| owner.principal.user_id == self.identity.principal.user_id;
        session.identity().is_none_or(|owner| same(&owner))
    }
}

/// The session a connection was given.
#[derive(Debug, Clone)]
pub struct Opened {
    pub session: Arc<Session>,
    /// Its right to write, if it has a row in the store.
    pub fence: Option<Fence>,
    pub present: bool,
    pub queue: QueueEnds,
    /// QoS 2 packet ids received and not released.
    pub received: Vec<u16>,
}

/// How a connection ended.
#[derive(Clone)]
pub struct Closing {
    pub realm: Arc<Realm>,
    pub session: Arc<Session>,
    pub connection: u64,
    pub fence: Option<Fence>,
    /// Whether the will fires: everything but a DISCONNECT with reason 0 (MQTT-3.14.4-3).
    pub will: bool,
    pub will_delay_seconds: u32,
    pub expiry_seconds: u32,
    /// Deliveries up to this number were sent.
    pub sent: u64,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory {
            hasher: hashbrown::DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            opened: AtomicU64::new(0),
        }
    }
}

impl Directory {
    fn shard(&self, client_id: &str) -> &Arc<Shard> {
        use std::hash::BuildHasher;
        &self.shards[self.hasher.hash_one(client_id) as usize % SHARDS]
    }

    /// Opens a session for a connection; whoever had it is told.
    pub async fn open(&self, request: Request) -> Result<Opened, Reason> {
        self.let_leave(&request).await;
        let shard = self.shard(&request.client_id);
        let request = Arc::new(request);
        let answer = shard.slot.call(|reply| ShardMsg::Open { request: request.clone(), reply }).await;
        let opened = answer.unwrap_or(Err(Reason::Unavailable));
        self.opened.fetch_add(u64::from(opened.is_ok()), Ordering::Relaxed);
        opened
    }

    /// A client may say goodbye on one socket and be back on another before the first was read: its
    /// old connection reads what has come first, so that the goodbye counts.
    async fn let_leave(&self, request: &Request) {
        let Some(session) = self.find(&request.realm.name, &request.client_id) else { return };
        let connection = session.connection();
        if connection == 0 || !request.is_of_owner(&session) {
            return;
        }
        if let Some(read_out) = session.outbox.ask_to_read_out(connection) {
            let _ = tokio::time::timeout(LEAVING, read_out).await;
        }
    }

    /// A connection has ended. Returns when its session is detached or over.
    pub async fn close(&self, closing: Closing) {
        let shard = self.shard(closing.session.client_id());
        let closing = Arc::new(closing);
        let _ = shard.slot.call(|reply| ShardMsg::Close { closing: closing.clone(), reply }).await;
    }

    /// The client of a connected session has proved anew who it is: when that ends has changed.
    pub fn renewed(&self, session: &Arc<Session>) {
        self.shard(session.client_id()).slot.cast(ShardMsg::Renewed(session.clone()));
    }

    /// The will delay of a detached session is over.
    pub(crate) async fn fire_will(&self, key: &SessionKey, fence: Fence) {
        let message = |reply| ShardMsg::FireWill { key: key.clone(), fence, reply };
        let _ = self.shard(&key.name).slot.call(message).await;
    }

    /// A detached session has expired.
    pub(crate) async fn expire(&self, key: &SessionKey, fence: Fence) {
        let message = |reply| ShardMsg::Expire { key: key.clone(), fence, reply };
        let _ = self.shard(&key.name).slot.call(message).await;
    }

    /// Moves the keep-alive wheels of all shards.
    pub(crate) fn tick(&self) {
        for shard in &self.shards {
            shard.slot.cast(ShardMsg::Tick);
        }
    }

    pub fn find(&self, realm: &Arc<str>, client_id: &Arc<str>) -> Option<Arc<Session>> {
        self.shard(client_id).table.lock().get(&(realm.clone(), client_id.clone())).cloned()
    }

    /// Puts a restored session in its place.
    pub(crate) fn restore(&self, session: &Arc<Session>) {
        let key = (session.key.realm.clone(), session.key.name.clone());
        self.shard(session.client_id()).table.lock().insert(key, session.clone());
    }

    /// Takes a session out unless another one has its place.
    pub(crate) fn remove(&self, session: &Arc<Session>) {
        self.shard(session.client_id()).remove(session);
    }

    /// Another node has opened a session: if this one is opening it, the newer fence has it.
    pub(crate) fn note_elsewhere(&self, key: &SessionKey, fence: u64) {
        let mut opening = self.shard(&key.name).opening.lock();
        if let Some((_, newest)) = opening.as_mut().filter(|(opened, _)| opened == key) {
            *newest = fence.max(*newest);
        }
    }

    /// Whether this node is opening a session, and has not heard that another one has it since.
    pub(crate) fn is_opening(&self, key: &SessionKey) -> bool {
        let opening = self.shard(&key.name).opening.lock();
        opening.as_ref().is_some_and(|(opened, newest)| opened == key && *newest == 0)
    }

    /// Shows every session to `look`, which must be quick: the part of the table it stands in is locked.
    pub(crate) fn each(&self, look: &mut dyn FnMut(&Arc<Session>)) {
        for shard in &self.shards {
            shard.table.lock().values().for_each(&mut *look);
        }
    }

    /// Every session of a realm, connected or not.
    pub fn all(&self, realm: &Arc<str>) -> Vec<Arc<Session>> {
        let of_realm = |shard: &Arc<Shard>| {
            let table = shard.table.lock();
            table.iter().filter(|((r, _), _)| r == realm).map(|(_, s)| s.clone()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of_realm).collect()
    }

    /// Sessions known, and those with a connection.
    pub fn count(&self) -> (usize, usize) {
        let census = self.census();
        (census.sessions, census.connected)
    }

    /// Connections that were given a session since the start.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Subscriptions of all sessions; looks at each.
    pub fn subscriptions(&self) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        for shard in &self.shards {
            for session in shard.table.lock().values() {
                let (all, shared) = session.subscription_counts();
                subscriptions.all += all;
                subscriptions.shared += shared;
            }
        }
        subscriptions
    }

    /// Looks at every session once.
    pub fn census(&self) -> Census {
        self.census_with(&mut |_| {})
    }

    /// The same, and shows who has a connection to `look`, which must be quick.
    pub fn census_with(&self, look: &mut dyn FnMut(&Arc<Session>)) -> Census {
        let mut census = Census::default();
        for shard in &self.shards {
            let table = shard.table.lock();
            census.sessions += table.len();
            for session in table.values().filter(|session| session.is_online()) {
                census.connected += 1;
                census.waiting += session.outbox.waiting();
                look(session);
            }
        }
        census
    }

    pub(crate) fn children(broker: &Broker) -> Vec<ChildSpec> {
        (0..SHARDS)
            .map(|index| {
                let broker = broker.clone();
                let start = move |supervisor| {
                    let (broker, shard) = (broker.clone(), broker.sessions().shards[index].clone());
                    let started = async move {
                        let (actor, _) =
                            Actor::spawn_linked(None, ShardActor, (broker, shard.clone()), supervisor)
                                .await?;
                        shard.slot.set(actor.clone());
                        Ok(actor.get_cell())
                    };
                    Box::pin(started) as futures_util::future::BoxFuture<'static, _>
                };
                ChildSpec { kind: "session_shard", start: Arc::new(start) }
            })
            .collect()
    }

    /// Makes a shard panic, for the supervision tests.
    pub fn panic(&self, shard: usize) {
        self.shards[shard % SHARDS].slot.cast(ShardMsg::Panic);
    }
}
