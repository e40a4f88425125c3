//! The store contract: what must outlive a node, said in the words of the domain.
//!
//! A [`Step`] is atomic and stays inside one slot family (`guarantees.md` 2): one session (or share
//! group) with its queue, or one topic shard. A [`Store::submit`] takes several steps at once; each
//! is decided on its own (but what follows a refused [`Step::Topic`] and brings a copy is refused with
//! it: a publish is kept whole or not at all), and the group is answered together, after everything
//! decided in it is durable at the store's [`Level`], or at that of [`Store::submit_at`]. Whatever
//! crosses families goes through a session's outbox or a [`MessageId`], so every step may be repeated:
//! a repeat is answered like the first time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use smallvec::SmallVec;
use weir_model::{Message, MessageId, Topic, UnixMillis};

mod answer;
pub mod copy;
mod guard;
mod level;
mod mirror;
mod nodes;
mod queue;
mod rollback;
mod session;
mod stream;
mod table;

pub use crate::account::Account;
pub use answer::{Answer, Done, Outcome, Refusal};
pub(crate) use guard::guard_value;
pub use guard::{Exchange, GUARD_BYTES_MAX, GuardRow, guard_key, guarded};
pub use level::{LevelChoice, NotProved, UnknownChoice};
pub use mirror::{Due, Mirror, ReadError, Restored};
pub use nodes::{Incarnation, LeaseEnded, NodeRef, SessionChange};
pub use queue::{Delivery, Enqueue, Page, QueueEnds, Queued, RowState};
pub use rollback::{Rollback, ShardRollback};
pub use session::{
    Detach, Fence, Open, Opened, OutboxEntry, Owner, SessionKey, SessionKind, SessionOp, SubscriptionOptions,
    Will,
};
pub use stream::{
    Append, Attempt, GroupPlace, KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX, Mark, OwedMessage, PartitionEnds,
    PartitionInfo, PartitionKey, PartitionOp, Progress, Record, Retention, Start, StreamPage,
};
pub use table::{Expect, TABLE_VALUE_BYTES_MAX, Table, TableOp, TableRow};
pub use weir_model::Level;

/// One atomic step in one slot family.
#[derive(Debug, Clone)]
pub enum Step {
    Session {
        key: SessionKey,
        ops: SmallVec<[SessionOp; 1]>,
    },
    Topic {
        realm: Arc<str>,
        topic: Topic,
        op: TopicOp,
    },
    Partition {
        key: PartitionKey,
        ops: SmallVec<[PartitionOp; 1]>,
    },
    /// Each row is a family of its own.
    Table {
        table: Table,
        key: Arc<str>,
        op: TableOp,
    },
}

/// What happens inside one topic shard.
#[derive(Debug, Clone)]
pub enum TopicOp {
    /// Replaces the retained message; `None` removes it (MQTT-3.3.1-6). Of a topic that has a guard it is refused:
    /// [`Refusal::Guarded`].
    Retain { message: Option<Arc<Message>> },
    /// Changes the retained message and the guard of the topic together, if both are as they were when it was decided:
    /// [`Outcome::Exchanged`], else [`Outcome::Moved`].
    Exchange(Box<Exchange>),
    /// Keeps the message until `due`, then it shows up in [`Store::due`]. A known id is a no-op.
    Delay { due: UnixMillis, id: Option<MessageId>, message: Arc<Message> },
    /// The delayed message was published: forget it.
    Delayed { entry: u64 },
    /// Takes an idempotency key of this topic: [`Outcome::Claimed`]. The first to come gives it its `id`, under which
    /// every try publishes. Kept until `until`, and at least `idempotency_keys_max` of a shard are.
    Claim { key: Arc<str>, id: MessageId, until: UnixMillis },
    /// What was published under this key has reached all its destinations.
    Settle { key: Arc<str>, id: MessageId },
}

/// A store: memory, embedded, Redis. One suite runs over all of them (`suite.rs`).
///
/// Where several nodes share a store, each has its own handle with its own mirror and its own lease. The
/// lease is given back by [`Store::leave`], and lost when the handle is closed or dropped, or not renewed
/// in time. [`SessionOp::Open`] notes the opener's incarnation as the session's home; `Detach` and `End`
/// clear it. Every session has a row while it is connected, also a clean one without a will.
pub trait Store: Send + Sync + 'static {
    /// Queues steps and returns at once. Steps of one caller for one family are applied in the
    /// order submitted. The intake is bounded in messages: a full one answers [`Refusal::Unavailable`]
    /// to more of them, and still takes acknowledgements and the ends of sessions.
    fn submit(&self, steps: Vec<Step>, done: Done) {
        self.submit_at(steps, None, done);
    }

    /// The same, answered at another level than the store's own: later, when that is reached too, or as soon as the
    /// lower one is. Nobody else's answer waits for it. A higher one that is not reached in time is answered
    /// [`Refusal::Unknown`]: the steps are done. Ask [`Store::proves`] first; one that is not proved is never reached.
    fn submit_at(&self, steps: Vec<Step>, level: Option<Level>, done: Done);

    /// Whether an answer can have this level now.
    ///
    /// # Errors
    /// See [`NotProved`].
    fn proves(&self, level: Level) -> Result<(), NotProved> {
        if level <= self.level() { Ok(()) } else { Err(NotProved::Never) }
    }

    /// Whether the intake is less than half full. A caller that can wait for answers to what it has
    /// submitted should, before it submits more messages.
    fn has_room(&self) -> bool {
        true
    }

    /// Rows with numbers above `after`, in order. Sees everything answered before the call.
    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>>;

    /// Records of a partition, and where it begins and ends. Sees everything answered before the call. One that was
    /// never made, or is gone, is empty.
    fn read_stream(
        &self,
        _key: PartitionKey,
        _start: Start,
        _page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        ready(Err(ReadError::Unavailable)).boxed()
    }

    /// A partition and its groups; `None` = it was never made, or is gone.
    fn partition(&self, _key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        ready(Err(ReadError::Unavailable)).boxed()
    }

    /// What a group keeps under these keys, in their order; `None` = nothing. Sees everything answered before the call.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: the store is away. [`Refusal::Unknown`]: what it has cannot be read, which it logs.
    fn kept(
        &self,
        _key: &PartitionKey,
        _group: &str,
        _keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        ready(Err(Refusal::Unavailable)).boxed()
    }

    /// Values that a group keeps, by their keys in the order of bytes: at most so many behind `after`. One that is
    /// changed meanwhile is there as it was before or after. Fewer than `limit` = there are no more.
    ///
    /// # Errors
    /// As [`Store::kept`].
    fn kept_page(
        &self,
        _key: &PartitionKey,
        _group: &str,
        _after: Option<Bytes>,
        _limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        ready(Err(Refusal::Unavailable)).boxed()
    }

    /// What is in a group's outbox, in the order of its entries: at most so many above `after`. Sees everything
    /// answered before the call.
    ///
    /// # Errors
    /// As [`Store::kept`].
    fn owed(
        &self,
        _key: &PartitionKey,
        _group: &str,
        _after: u64,
        _limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        ready(Err(Refusal::Unavailable)).boxed()
    }

    /// What others find the records of a partition under; `None` = nobody else can read this store.
    fn stream_name(&self, _key: &PartitionKey) -> Option<String> {
        None
    }

    /// What is due by `now`, oldest first, at most `max`. It is returned again until dealt with. A shared
    /// store claims what it returns: for `claim_ms` nobody is given it again, then anybody is. Only timers
    /// are compared to `now`; claims and leases run on the store's clock.
    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>>;

    /// At start, before anything is submitted: every session (and the retained messages, by way of
    /// the mirror). Blocking.
    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError>;

    /// What it holds, and what has come and gone: as far as it was answered.
    fn account(&self) -> Account;

    /// What an answer of this store promises, unless it was asked for at another level.
    fn level(&self) -> Level;

    /// This node, as the others know it; `None` in a store that is not shared.
    fn node(&self) -> Option<NodeRef> {
        None
    }

    /// What tells this store from all others that nodes could share; `None` in one that is not shared.
    fn store_id(&self) -> Option<&str> {
        None
    }

    /// Whether the steps of one submit are applied with nobody else's between them. If not, two nodes may
    /// be first at one family each.
    fn applies_at_once(&self) -> bool {
        true
    }

    /// Whether other nodes work on the same store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether this node's lease stands and what it knows by its mirror is not older than a second or so:
    /// only then may it acknowledge what it keeps (`guarantees.md` 5). Cheap: an atomic and a clock.
    fn stands(&self) -> bool {
        true
    }

    /// Which time without a gap it is in which this node's lease stands; 0 = it does not. What a client was let in with
    /// in one is not begun in another: that client may be served elsewhere since. Always the same where nothing is
    /// shared.
    fn term(&self) -> u64 {
        1
    }

    /// The nodes that hold a lease, this one included, as of the last renewal. Empty in a store that is
    /// not shared.
    fn nodes(&self) -> Vec<NodeRef> {
        Vec::new()
    }

    /// Whether the node of an incarnation is known to be no more: its lease is over, and it never comes back. One that
    /// is not in [`Store::nodes`] may just be new.
    fn is_gone(&self, incarnation: Incarnation) -> bool {
        !self.nodes().iter().any(|node| node.incarnation == incarnation)
    }

    /// Waits until this node's mirror has heard everything that any node was answered before this call.
    fn caught_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        ready(Ok(())).boxed()
    }

    /// Waits until this node's lease is over for good, but for a clean leave; call it after
    /// [`Store::restore`]. Never in a store that is not shared.
    fn lease_ended(&self) -> BoxFuture<'static, LeaseEnded> {
        pending().boxed()
    }

    /// What this node was acknowledged last, for [`Store::witness`] of other nodes, or of this one when it has started
    /// again; some hundred bytes of text. `None` in a store that is not shared.
    fn marks(&self) -> Option<String> {
        None
    }

    /// Hears what another node, or this one before its last start, was acknowledged last. If that node is gone and the
    /// store knows less, it was rolled back (`guarantees.md` 7).
    fn witness(&self, _marks: &str) {}

    /// Gives this node's lease back: its sessions become orphans at once. For a clean leave, before
    /// [`Store::close`].
    fn leave(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    /// Waits for everything submitted, flushes, stops. Later submits are refused `Unavailable`.
    fn close(&self) -> BoxFuture<'static, ()>;
}
