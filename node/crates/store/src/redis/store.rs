//! The store on Redis: what every part of it works with, and the contract on top.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, pending};
use parking_lot::Mutex;
use redis::RedisError;
use tokio::task::JoinHandle;
use weir_model::UnixMillis;

use super::account::Accounts;
use super::due::due;
use super::lane::{Budget, Lane};
use super::layout::{Layout, partition_id, session_id, topic_id};
use super::lease::{Ended, Lease, Term, boot_clock};
use super::mirror::Feed;
use super::read::{self, Group, read_error};
use super::refresh::refresh;
use super::rollback::Rollbacks;
use super::runtime::Runtime;
use super::servers::{Connection, Servers};
use super::shard::Shard;
use super::submit::{Gate, Room, Submit, Work};
use super::witness::{self, Witnesses};
use crate::counters::Counters;
use crate::state::Rules;
use crate::{
    Account, Done, Due, LeaseEnded, Level, Mirror, NodeRef, NotProved, OwedMessage, Page, PartitionInfo,
    PartitionKey, Queued, ReadError, Refusal, Restored, SessionKey, Start, Step, Store, StreamPage, TopicOp,
};

/// What lanes and readers share.
pub(super) struct Context {
    pub servers: Arc<Servers>,
    pub layout: Layout,
    pub node: NodeRef,
    pub store_id: String,
    pub rules: Rules,
    pub claim_ms: u64,
    pub changes_max: u64,
    pub batch_bytes_max: usize,
    pub unknown_wait: Duration,
    pub accounts: Arc<Accounts>,
    pub counters: Counters,
    /// The node's mirror.
    pub feed: Arc<Feed>,
    pub rollbacks: Rollbacks,
    pub witnesses: Witnesses,
    /// Taken up when everything is restored.
    pub lease: OnceLock<Arc<Lease>>,
}

impl Context {
    /// See [`Lease::not_buried`]; empty without a lease.
    pub fn not_buried(&self) -> String {
        self.lease.get().map(|lease| lease.not_buried()).unwrap_or_default()
    }

    /// See [`Lease::term`]; `None` without a lease.
    pub fn term(&self) -> Option<Term> {
        self.lease.get().and_then(|lease| lease.term())
    }

    /// A connection for commands to where a shard is.
    async fn connection(&self, shard: Shard) -> Result<Connection, ReadError> {
        self.servers.commands(shard).await.map_err(|_| ReadError::Unavailable)
    }

    /// A read over this connection has failed.
    fn not_read(&self, connection: &Connection, error: &RedisError) -> ReadError {
        super::errors::Kind::of(error).count();
        self.servers.lost(connection, error);
        read_error(error)
    }
}

/// The store of one node on a Redis that nodes share.
pub struct RedisStore {
    context: Arc<Context>,
    lanes: Vec<Arc<Lane>>,
    room: Arc<Room>,
    /// Where everything runs.
    runtime: Runtime,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    refresher: JoinHandle<()>,
    is_restored: Mutex<bool>,
}

impl RedisStore {
    pub(super) fn start(context: Arc<Context>, room: Arc<Room>, runtime: Runtime) -> RedisStore {
        let budget = Budget::new(context.servers.config());
        let lanes: Vec<Arc<Lane>> =
            context.layout.all().map(|shard| Lane::new(shard, budget.clone())).collect();
        let spawn = |lane: &Arc<Lane>| runtime.handle().spawn(lane.clone().run(context.clone()));
        let tasks = lanes.iter().map(spawn).collect();
        let refresher = runtime.handle().spawn(refresh(context.clone(), lanes.clone()));
        RedisStore {
            context,
            lanes,
            room,
            runtime,
            tasks: Mutex::new(tasks),
            refresher,
            is_restored: Mutex::new(false),
        }
    }

    fn lane(&self, shard: Shard) -> &Arc<Lane> {
        &self.lanes[self.context.layout.index(shard)]
    }

    fn shard_of(&self, step: &Step) -> Shard {
        let layout = &self.context.layout;
        match step {
            Step::Session { key, .. } => layout.of_session(&session_id(key)),
            Step::Topic { op: TopicOp::Delayed { entry }, realm, topic } => {
                layout.of_delayed(*entry, realm, topic)
            }
            Step::Topic { realm, topic, .. } => layout.of_topic(&topic_id(realm, topic)),
            Step::Partition { key, .. } => layout.of_partition(&partition_id(key)),
            Step::Table { table, key, .. } => layout.of_row(*table, key),
        }
    }

    /// The parts of a submit by lane, in order.
    fn split(&self, steps: Vec<Step>, submit: &Arc<Submit>) -> Vec<(Shard, Work)> {
        let mut parts: Vec<(Shard, Work)> = Vec::new();
        let mut places: HashMap<Shard, usize> = HashMap::new();
        let term = self.context.term();
        for (index, step) in steps.into_iter().enumerate() {
            let shard = self.shard_of(&step);
            let place = *places.entry(shard).or_insert_with(|| {
                parts.push((shard, Work::new(submit.clone(), term)));
                parts.len() - 1
            });
            parts[place].1.add(index, step);
        }
        parts
    }

    /// Copies wait until the topics of the same submit have answered.
    fn put_gate(&self, parts: &mut [(Shard, Work)]) {
        let is_topic = |shard: &Shard| matches!(shard, Shard::Topic(_));
        let topics: usize =
            parts.iter().filter(|(shard, _)| is_topic(shard)).map(|(_, work)| work.steps().count()).sum();
        let waiting: Vec<Arc<Lane>> = parts
            .iter()
            .filter(|(shard, _)| !is_topic(shard))
            .map(|(shard, _)| self.lane(*shard).clone())
            .collect();
        if topics == 0 || waiting.is_empty() {
            return;
        }
        let gate = Gate::new(topics, waiting);
        for (shard, work) in parts {
            if is_topic(shard) { work.open(gate.clone()) } else { work.wait_for(gate.clone()) }
        }
    }

    fn refuse(&self, work: Work) {
        self.context.counters.refused(Refusal::Unavailable, work.steps().count());
        work.refuse(Refusal::Unavailable);
    }

    /// Takes up the lease and waits until it stands.
    fn take_lease(&self) -> Result<(), ReadError> {
        let Context { servers, layout, node, feed, .. } = &*self.context;
        let (servers, layout, node, feed) = (servers.clone(), layout.clone(), node.clone(), feed.clone());
        let context = self.context.clone();
        let standing = self.runtime.handle().spawn(async move {
            let lease = Lease::start(servers, layout, feed, node, boot_clock());
            context.lease.get_or_init(|| lease.clone());
            lease.standing().await
        });
        match self.runtime.handle().block_on(standing) {
            Ok(Ok(())) => Ok(()),
            _ => Err(ReadError::Unavailable),
        }
    }

    /// Runs a read on the store's own runtime, whoever waits for it.
    fn reading<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ReadError>> {
        let task = self.runtime.handle().spawn(read);
        async move { task.await.unwrap_or(Err(ReadError::Unavailable)) }.boxed()
    }
}

impl Store for RedisStore {
    fn submit_at(&self, steps: Vec<Step>, level: Option<Level>, done: Done) {
        if steps.is_empty() {
            return done(Vec::new());
        }
        let taken = self.room.take(&steps);
        let submit = Submit::new(steps.len(), done);
        let mut parts = self.split(steps, &submit);
        let Some(taken) = taken else {
            return parts.into_iter().for_each(|(_, work)| self.refuse(work));
        };
        self.put_gate(&mut parts);
        let taken = Arc::new(taken);
        for (shard, mut work) in parts {
            work.take_room(taken.clone());
            work.level = level;
            if let Err(work) = self.lane(shard).intake.push(work) {
                self.refuse(work);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.room.is_half_empty()
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        let context = self.context.clone();
        self.reading(async move {
            let shard = context.layout.of_session(&session_id(&key));
            let mut connection = context.connection(shard).await?;
            let rows = read::queue(&mut connection, &context.layout, &key, after, page).await;
            rows.map_err(|error| context.not_read(&connection, &error))
        })
    }

    fn read_stream(
        &self,
        key: PartitionKey,
        start: Start,
        page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        let context = self.context.clone();
        self.reading(async move {
            let shard = context.layout.of_partition(&partition_id(&key));
            let mut connection = context.connection(shard).await?;
            let found = read::stream(&mut connection, &context.layout, &key, start, page).await;
            found.map_err(|error| context.not_read(&connection, &error))
        })
    }

    fn partition(&self, key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        let context = self.context.clone();
        self.reading(async move {
            let shard = context.layout.of_partition(&partition_id(&key));
            let mut connection = context.connection(shard).await?;
            let found = read::partition(&mut connection, &context.layout, &key).await;
            found.map_err(|error| context.not_read(&connection, &error))
        })
    }

    fn kept(
        &self,
        key: &PartitionKey,
        group: &str,
        keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        let (context, key, group) = (self.context.clone(), key.clone(), group.to_owned());
        let names = keys.to_vec();
        let reading = self.reading(async move {
            let group = Group::of(&context.layout, &key, &group);
            let mut connection = context.connection(group.shard).await?;
            let found = group.kept(&mut connection, &names).await;
            found.map_err(|error| context.not_read(&connection, &error))
        });
        reading.map(|found| found.map_err(ReadError::into_refusal)).boxed()
    }

    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        let (context, key, group) = (self.context.clone(), key.clone(), group.to_owned());
        let reading = self.reading(async move {
            let group = Group::of(&context.layout, &key, &group);
            let mut connection = context.connection(group.shard).await?;
            let found = group.kept_page(&mut connection, after, limit).await;
            found.map_err(|error| context.not_read(&connection, &error))
        });
        reading.map(|found| found.map_err(ReadError::into_refusal)).boxed()
    }

    fn owed(
        &self,
        key: &PartitionKey,
        group: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        let (context, key, group) = (self.context.clone(), key.clone(), group.to_owned());
        let reading = self.reading(async move {
            let group = Group::of(&context.layout, &key, &group);
            let mut connection = context.connection(group.shard).await?;
            let found = group.owed(&mut connection, after, limit).await;
            found.map_err(|error| context.not_read(&connection, &error))
        });
        reading.map(|found| found.map_err(ReadError::into_refusal)).boxed()
    }

    fn stream_name(&self, key: &PartitionKey) -> Option<String> {
        let layout = &self.context.layout;
        Some(super::stream_key(&layout.prefix, layout.shards, key))
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        let context = self.context.clone();
        let lost = self.context.lease.get().map(|lease| lease.dead()).unwrap_or_default();
        self.reading(async move { due(&context, now, max, &lost).await })
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        let Context { servers, layout, node, feed, .. } = &*self.context;
        if !std::mem::replace(&mut *self.is_restored.lock(), true) {
            feed.restore(self.runtime.handle(), mirror, session)?;
            return self.take_lease();
        }
        // Only the first mirror goes on hearing.
        let once = Feed::new(servers.clone(), layout.clone(), node.incarnation);
        let restored = once.restore(self.runtime.handle(), mirror, session);
        once.close();
        restored
    }

    fn account(&self) -> Account {
        self.context.counters.account()
    }

    fn level(&self) -> Level {
        self.context.servers.level()
    }

    /// Of all primaries: what a message owes may lie on any of them.
    fn proves(&self, level: Level) -> Result<(), NotProved> {
        match level <= self.level() {
            true => Ok(()),
            false => Ok(self.context.servers.proves(level)?),
        }
    }

    fn node(&self) -> Option<NodeRef> {
        Some(self.context.node.clone())
    }

    fn store_id(&self) -> Option<&str> {
        Some(&self.context.store_id)
    }

    fn marks(&self) -> Option<String> {
        let last = self.lanes.iter().map(|lane| lane.last.load(Ordering::Acquire));
        Some(witness::text(self.context.node.incarnation, UnixMillis::from(SystemTime::now()), last))
    }

    fn witness(&self, marks: &str) {
        self.context.witnesses.note(marks, self.lanes.len());
    }

    fn lease_ended(&self) -> BoxFuture<'static, LeaseEnded> {
        let lease = self.context.lease.get().cloned();
        async move {
            let Some(lease) = lease else { return pending().await };
            let mut ended = lease.ended();
            loop {
                match &*ended.borrow_and_update() {
                    Some(Ended::Superseded { by }) => return LeaseEnded::Superseded { by: *by },
                    Some(Ended::Buried) => return LeaseEnded::Buried,
                    Some(Ended::Left) | None => {}
                }
                if ended.changed().await.is_err() {
                    return pending().await;
                }
            }
        }
        .boxed()
    }

    fn applies_at_once(&self) -> bool {
        false
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn stands(&self) -> bool {
        self.context.lease.get().is_some_and(|lease| lease.stands())
    }

    fn term(&self) -> u64 {
        self.context.term().map_or(0, u64::from)
    }

    fn nodes(&self) -> Vec<NodeRef> {
        self.context.lease.get().map(|lease| lease.nodes()).unwrap_or_default()
    }

    fn is_gone(&self, incarnation: crate::Incarnation) -> bool {
        self.context.lease.get().is_some_and(|lease| lease.is_gone(incarnation))
    }

    fn leave(&self) -> BoxFuture<'static, ()> {
        let lease = self.context.lease.get().cloned();
        let leaving = self.runtime.handle().spawn(async move {
            if let Some(lease) = lease {
                lease.leave().await;
            }
        });
        async move {
            // An error says that the runtime has ended, and the lease with it.
            let _ = leaving.await;
        }
        .boxed()
    }

    fn caught_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        let context = self.context.clone();
        self.reading(async move { context.feed.caught_up().await })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.lanes.iter().for_each(|lane| lane.intake.close());
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let context = self.context.clone();
        self.refresher.abort();
        let closing = self.runtime.handle().spawn(async move {
            join_all(tasks).await;
            if let Some(lease) = context.lease.get() {
                lease.close();
            }
            context.feed.close();
            context.servers.close();
        });
        async move {
            // An error says that the runtime has ended, and everything with it.
            let _ = closing.await;
        }
        .boxed()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.intake.close());
        self.refresher.abort();
        if let Some(lease) = self.context.lease.get() {
            lease.close();
        }
        self.context.feed.close();
        self.context.servers.close();
        self.runtime.end_after(std::mem::take(&mut *self.tasks.lock()));
    }
}
