//! The broker handle: what every connection and actor of a node shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use metrics::gauge;
use parking_lot::RwLock;
use ractor::{Actor, ActorRef};
use tokio::sync::{Semaphore, SemaphorePermit};
use weir_access::Access;
use weir_store::{ReadError, Restored, SessionKind, Store};

use crate::admin::Admin;
use crate::binding::{self, Bindings};
use crate::calls::Calls;
use crate::clock;
use crate::config::Config;
use crate::form::{Form, FormId};
use crate::ledger::Ledger;
use crate::limited::{Limit, Limited};
use crate::mirror::Tables;
use crate::outbox::{Bell, Limits};
use crate::peers::Peers;
use crate::pressure::Pressure;
use crate::publication;
use crate::publish::settle::Settling;
use crate::realm::Realm;
use crate::session::Session;
use crate::session::directory::Directory;
use crate::session::owner;
use crate::slow::Slow;
use crate::stream::group::{self, Groups};
use crate::stream::{Streams, janitor};
use crate::supervisor::{Supervise, Supervisor};
use crate::sync::desk::Desk;
use crate::sys::figures::Figures;
use crate::timers::{self, Timers};
use crate::topic::{EXACT_SHARDS, Topics};

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the store cannot be read")]
    Store(#[from] ReadError),
    #[error("the supervisor does not start: {0}")]
    Actors(#[from] ractor::SpawnErr),
}

/// Cheap to clone; the node has one.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

pub(crate) struct Shared {
    config: Config,
    limits: Limits,
    forms: &'static [&'static dyn Form],
    store: Arc<dyn Store>,
    access: Arc<Access>,
    ledger: Ledger,
    limited: Limited,
    pressure: Pressure,
    realms: RwLock<HashMap<Arc<str>, Arc<Realm>>>,
    sessions: Directory,
    topics: Topics,
    peers: Peers,
    streams: Streams,
    groups: Groups,
    bindings: Bindings,
    calls: Calls,
    incarnation: u64,
    settling: Settling,
    desk: Desk,
    topic_starts: Vec<AtomicBool>,
    connections: AtomicU64,
    wills: Wills,
    timers: Timers,
    slow: Slow,
    figures: Figures,
    admin: Admin,
    supervisor: parking_lot::Mutex<Option<ActorRef<Supervise>>>,
    started_ms: u64,
    runtime: tokio::runtime::Handle,
}

/// Paces what the broker publishes of its own when many sessions end at once.
pub struct Wills {
    turns: Semaphore,
    /// Turns a second, and most in stock; 0 = no limit.
    per_second: usize,
}

impl Wills {
    fn new(per_second: usize) -> Wills {
        let per_second = per_second.min(u32::MAX as usize);
        Wills { turns: Semaphore::new(per_second), per_second }
    }

    /// Takes a turn if there is one now.
    pub fn try_acquire(&self) -> bool {
        self.per_second == 0 || self.turns.try_acquire().map(SemaphorePermit::forget).is_ok()
    }

    /// Waits for a turn.
    pub async fn acquire(&self) {
        if let Ok(permit) = self.turns.acquire().await {
            permit.forget();
        }
    }

    /// Gives the turns of this tenth of a second.
    pub(crate) fn refill(&self, ticks: u64) {
        let room = self.per_second.saturating_sub(self.turns.available_permits());
        self.turns.add_permits(timers::in_tenth(self.per_second as u64, ticks).min(room));
    }
}

impl Broker {
    /// Reads the store, puts restored sessions in their places and starts the actors. `forms` is
    /// what a connection's [`FormId`] points into.
    pub async fn start(
        config: Config,
        store: Arc<dyn Store>,
        access: Arc<Access>,
        forms: &'static [&'static dyn Form],
    ) -> Result<Broker, StartError> {
        clock::tick();
        let limits = Limits {
            bytes_max: config.outbox_bytes_max,
            bytes_high: config.outbox_bytes_high,
            messages_max: config.outbox_messages_max,
            stalled_ms: config.outbox_stalled_ms,
        };
        let wills = Wills::new(config.wills_per_second);
        let pressure = Pressure::new(&config);
        let node = store.node();
        let incarnation = node.map_or(0, |node| node.incarnation);
        let calls = Calls::new(config.calls.clone(), incarnation);
        let broker = Broker(Arc::new(Shared {
            config,
            limits,
            forms,
            store,
            access,
            ledger: Ledger::default(),
            limited: Limited::default(),
            pressure,
            realms: RwLock::default(),
            sessions: Directory::default(),
            topics: Topics::default(),
            peers: Peers::default(),
            streams: Streams::default(),
            groups: Groups::default(),
            bindings: Bindings::default(),
            calls,
            settling: Settling::default(),
            desk: Desk::default(),
            incarnation,
            topic_starts: (0..=EXACT_SHARDS).map(|_| AtomicBool::new(false)).collect(),
            connections: AtomicU64::new(0),
            wills,
            timers: Timers::default(),
            slow: Slow::default(),
            figures: Figures::default(),
            admin: Admin::default(),
            supervisor: parking_lot::Mutex::new(None),
            started_ms: clock::now_ms(),
            runtime: tokio::runtime::Handle::current(),
        }));
        broker.realm_or_new(&Arc::from(weir_model::DEFAULT_REALM));
        let restored = broker.restore().await?;
        let mut children = Topics::children(&broker);
        children.extend(Directory::children(&broker));
        children.push(timers::child(&broker));
        children.push(group::child(&broker));
        children.push(binding::life::child(&broker));
        children.extend(janitor::child(&broker));
        let (supervisor, _) = Actor::spawn(None, Supervisor, children).await?;
        *broker.0.supervisor.lock() = Some(supervisor);
        publication::made_by(broker.incarnation());
        broker.configure_streams_later();
        broker.begin_histories().await;
        // What nodes share, `due` tells who left behind.
        if !broker.store().is_shared() {
            broker.settle_restored(restored).await;
        }
        Ok(broker)
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    pub fn access(&self) -> &Arc<Access> {
        &self.0.access
    }

    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Counts that one of the limits was met.
    pub fn limited(&self, limit: Limit) {
        self.0.limited.count(limit);
    }

    /// How short of memory the node is.
    pub fn pressure(&self) -> &Pressure {
        &self.0.pressure
    }

    pub fn sessions(&self) -> &Directory {
        &self.0.sessions
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    pub fn topics(&self) -> &Topics {
        &self.0.topics
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Broker {
        Broker(shared)
    }

    /// This node among those that share its store; 0 when it has it alone.
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    pub(crate) fn settling(&self) -> &Settling {
        &self.0.settling
    }

    /// Every stream there is.
    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// Every consumer group there is.
    pub(crate) fn groups_known(&self) -> &Groups {
        &self.0.groups
    }

    /// Every handler and binding there is.
    pub(crate) fn bindings(&self) -> &Bindings {
        &self.0.bindings
    }

    /// Remote procedure calls.
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// The other nodes of the cluster.
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub fn form(&self, id: FormId) -> &'static dyn Form {
        self.0.forms[usize::from(id)]
    }

    pub fn wills(&self) -> &Wills {
        &self.0.wills
    }

    /// Where tasks are spawned from threads of the store.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.0.runtime
    }

    pub fn timers(&self) -> &Timers {
        &self.0.timers
    }

    /// Who takes less than is sent to it.
    pub fn slow(&self) -> &Slow {
        &self.0.slow
    }

    /// What administrators ask, and what they watch.
    pub fn admin(&self) -> &Admin {
        &self.0.admin
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// A number for a new connection, never given twice and never 0.
    pub fn next_connection(&self) -> u64 {
        self.0.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Milliseconds since the start.
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(clock::now_ms() - self.0.started_ms)
    }

    pub fn realm(&self, name: &Arc<str>) -> Option<Arc<Realm>> {
        self.0.realms.read().get(name).cloned()
    }

    /// The realm of that name, made on first use.
    pub fn realm_or_new(&self, name: &Arc<str>) -> Arc<Realm> {
        if let Some(realm) = self.realm(name) {
            return realm;
        }
        let fresh = || Arc::new(Realm::new(name.clone(), self.config().rules_of(name)));
        self.0.realms.write().entry(name.clone()).or_insert_with(fresh).clone()
    }

    pub fn realms(&self) -> Vec<Arc<Realm>> {
        self.0.realms.read().values().cloned().collect()
    }

    /// Notes that a topic shard starts; true when it had run before.
    pub(crate) fn note_topic_start(&self, shard: usize) -> bool {
        self.0.topic_starts[shard].swap(true, Ordering::AcqRel)
    }

    /// Rings at every connection: the node stops.
    pub fn say_goodbye(&self) {
        for realm in self.realms() {
            for session in self.sessions().all(&realm.name) {
                session.outbox.ring(Bell::Shutdown);
            }
        }
    }

    /// Stops the actors. The connections must have ended before; the store is closed by its owner.
    pub async fn shutdown(&self) {
        self.leave_groups().await;
        let supervisor = self.0.supervisor.lock().take();
        if let Some(supervisor) = supervisor {
            for child in supervisor.get_children() {
                child.unlink(supervisor.get_cell());
                child.stop(None);
            }
            let _ = supervisor.stop_and_wait(None, Some(Duration::from_secs(1))).await;
        }
        self.forget_middleware();
    }

    /// Refreshes what is measured rather than counted: every second, and before somebody looks.
    pub fn gauge(&self) {
        let mut slow = self.slow().sample(self.limits().bytes_high);
        let census = self.sessions().census_with(&mut |session| slow.look(session));
        gauge!("weir_broker_slow_subscribers").set(slow.finish() as f64);
        gauge!("weir_broker_sessions").set(census.sessions as f64);
        gauge!("weir_broker_sessions_connected").set(census.connected as f64);
        gauge!("weir_broker_copies_waiting").set(census.waiting as f64);
        let imbalance = self.ledger().balance(census.waiting).imbalance();
        gauge!("weir_broker_ledger_imbalance_messages").set(imbalance as f64);
        let retained: usize = self.realms().iter().map(|realm| realm.retained.len()).sum();
        gauge!("weir_broker_retained_messages").set(retained as f64);
        gauge!("weir_broker_group_members").set(self.groups_known().members() as f64);
        gauge!("weir_broker_groups_served").set(self.groups_known().live() as f64);
    }

    async fn restore(&self) -> Result<Vec<Restored>, StartError> {
        let broker = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut restored = Vec::new();
            let mirror = Arc::new(Tables(Arc::downgrade(&broker.0)));
            broker.store().restore(mirror, &mut |row| {
                broker.restore_session(&row);
                restored.push(row);
            })?;
            Ok::<_, ReadError>(restored)
        });
        Ok(read.await.map_err(|_| ReadError::Unavailable)??)
    }

    /// Puts a session found in the store in its place.
    fn restore_session(&self, row: &Restored) {
        // One that ends with its connection has a queue if it is a resumed one.
        let stored = row.persistent || !row.subscriptions.is_empty();
        if !stored || row.key.kind != SessionKind::Client {
            return;
        }
        let realm = self.realm_or_new(&row.key.realm);
        let generation = row.fence.generation;
        let session = Session::new(row.key.clone(), Some(generation), Some(generation));
        session.raise_fence(row.fence.fence);
        session.set_home(row.home);
        if let Some(identity) = row.owner.as_ref().and_then(|owner| owner::known(owner, &row.key.realm)) {
            session.set_identity(Arc::new(identity));
        }
        for (filter, options) in &row.subscriptions {
            session.note(filter, *options);
            realm.routes.insert(filter, &session, *options, false);
        }
        self.sessions().restore(&session);
    }
}
