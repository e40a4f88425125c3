//! The store contract: what must outlive a node, said in the words of the domain.
//!
//! A [`Step`] is atomic and stays inside one slot family (`guarantees.md` 2): one session (or share
//! group) with its queue, or one topic shard. A [`Store::submit`] takes several steps at once; each
//! is decided on its own (but what follows a refused [`Step::Topic`] and brings a copy is refused with
//! it: a publish is kept whole or not at all), and the group is answered together, after everything
//! decided in it is durable at the store's [`Level`], or at that of [`Store::submit_at`]. Whatever crosses families goes through a session's outbox or a
//! [`MessageId`], so every step may be repeated: a repeat is answered like the first time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use weir_model::{Filter, Grant, Message, MessageId, Position, Principal, Qos, Topic, UnixMillis};

pub mod copy;
mod guard;
mod level;
mod nodes;
mod queue;
mod rollback;
mod stream;
mod table;

pub use crate::account::Account;
pub(crate) use guard::guard_value;
pub use guard::{Exchange, GUARD_BYTES_MAX, GuardRow, guard_key, guarded};
pub use level::{LevelChoice, NotProved, UnknownChoice};
pub use nodes::{Incarnation, LeaseEnded, NodeRef, SessionChange};
pub use queue::{Delivery, Enqueue, Page, QueueEnds, Queued, RowState};
pub use rollback::{Rollback, ShardRollback};
pub use stream::{
    Append, Attempt, GroupPlace, KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX, Mark, OwedMessage, PartitionEnds,
    PartitionInfo, PartitionKey, PartitionOp, Progress, Record, Retention, Start, StreamPage,
};
pub use table::{Expect, TABLE_VALUE_BYTES_MAX, Table, TableOp, TableRow};
pub use weir_model::Level;

/// Names a session or a share group within a realm: one slot family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    pub realm: Arc<str>,
    pub kind: SessionKind,
    /// The client id, or the whole filter of the group (`$share/<name>/<pattern>`).
    pub name: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionKind {
    Client,
    /// A share group is a queue and nothing else: made by its first enqueue, gone when empty.
    Group,
}

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

/// Who acts for a session: every protected write compares the fence with the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// A new one each time the session is made from nothing.
    pub generation: u64,
    /// Raised by each [`SessionOp::Open`]; the newest connection has the highest.
    pub fence: u64,
}

/// What happens inside one session family.
#[derive(Debug, Clone)]
pub enum SessionOp {
    /// Takes the session for a new connection: raises the fence, or makes it anew.
    Open(Open),
    /// Adds or replaces a subscription. Fenced.
    Subscribe { fence: Fence, filter: Filter, options: SubscriptionOptions },
    /// Removes a subscription; one that is not there is no error. Fenced.
    Unsubscribe { fence: Fence, filter: Filter },
    /// Appends to the session's queue unless the session is gone or re-made.
    Enqueue(Enqueue),
    /// A delivery is over (PUBACK, PUBCOMP, expired, moved on): its row goes. Fenced.
    Ack { fence: Fence, number: u64 },
    /// PUBREC came: the row keeps its number, its message goes. Fenced.
    Pubrec { fence: Fence, number: u64 },
    /// A row of a share group's queue has been moved to a member or dropped. Not fenced: groups have no owner.
    GroupAck { number: u64 },
    /// A QoS 2 PUBLISH came in under this packet id. Fenced.
    Receive { fence: Fence, packet_id: u16 },
    /// PUBREL came: the packet id is free for the next message. Fenced.
    Release { fence: Fence, packet_id: u16 },
    /// DISCONNECT without will: the will is forgotten (MQTT-3.14.4-3). Fenced.
    ClearWill { fence: Fence },
    /// The connection has ended: starts the clocks of will and expiry. Fenced.
    Detach { fence: Fence, detach: Detach },
    /// Moves the will to the outbox in one step. A will already moved is answered with the same entry. Compares the
    /// generation, and the fence too when one is given: a will that is due must not be that of who has come since.
    FireWill { generation: u64, fence: Option<u64> },
    /// The outbox entry was published at its destinations: forget it.
    OutboxDone { entry: u64 },
    /// The client has proved anew who it is: the owner is replaced; another user is refused. Fenced.
    Renew { fence: Fence, owner: Arc<Owner> },
    /// Ends the session: subscriptions, queue, will, everything but its outbox. Compares the
    /// generation, and the fence too when one is given (an expiry must not end a session that was
    /// opened again meanwhile).
    End { generation: u64, fence: Option<u64> },
}

/// What a new connection asks of its session.
#[derive(Debug, Clone)]
pub struct Open {
    /// Takes the place of the owner there was; another user's session is refused: [`Refusal::NotOwner`].
    /// `None` counts as anonymous.
    pub owner: Option<Arc<Owner>>,
    pub clean_start: bool,
    /// Whether it shall outlive the connection. If not, the row is only kept for its will and is
    /// ended on detach, or at the next start of the store.
    pub persistent: bool,
    /// How long it outlives a connection that is lost with its node; `u32::MAX` = for ever.
    /// [`SessionOp::Detach`] has the last word.
    pub expiry_seconds: u32,
    pub will: Option<Will>,
}

/// Whose a session is, and what that rests on: what happens while its client is away is judged by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Owners are told apart by its user id alone; without one it is anonymous.
    pub principal: Arc<Principal>,
    /// `None` = written in the layout before this was kept: of the principal only the user id is known.
    pub grant: Option<Grant>,
}

impl Owner {
    /// The user id, if there is an owner and it has one.
    pub fn user_id(owner: Option<&Arc<Owner>>) -> Option<&Arc<str>> {
        owner?.principal.user_id.as_ref()
    }
}

/// A will message and its delay (MQTT-3.1.3.2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Will {
    pub message: Arc<Message>,
    pub delay_seconds: u32,
    /// The will's own lifetime, counted from when it is published.
    pub expiry_seconds: Option<u32>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach {
    pub at: UnixMillis,
    /// Deliveries up to this number were sent at least once: re-sends carry DUP.
    pub sent: u64,
    /// When the session ends; `None` = never. A session that is not persistent ends at once by `End`.
    pub expires_at: Option<UnixMillis>,
    /// When the will fires, if it is still there.
    pub will_at: Option<UnixMillis>,
}

/// A subscription as stored and mirrored (MQTT-3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionOptions {
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub subscription_id: Option<u32>,
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

/// What one op did. A step answers one outcome per op, or one refusal for all of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Opened(Box<Opened>),
    /// In the queue under this number; `dropped` older ones had to go (`queue_full`).
    Enqueued {
        number: u64,
        dropped: u32,
    },
    /// This id was here before.
    Duplicate,
    /// No session of that generation: nothing written (`session_gone`).
    Gone,
    /// The queue is full and its policy keeps the old: the new one was dropped (`queue_full`).
    QueueFull,
    /// `first` is false when the packet id was already taken by an earlier PUBLISH.
    Received {
        first: bool,
        id: MessageId,
    },
    /// The will as an outbox entry, or `None` when there is none.
    Fired(Option<OutboxEntry>),
    Retained(Position),
    /// Where each of the values stands, and which version the guard has now; 0 = none, or it was left as it was.
    Exchanged {
        positions: SmallVec<[Position; 1]>,
        version: u64,
    },
    /// The retained message or the guard is another one by now: nothing was written.
    Moved,
    /// In the partition; `first` is false when its id was there before.
    Appended {
        mark: Mark,
        first: bool,
    },
    /// The group's place is the caller's: the fence is higher than any before.
    Acquired {
        fence: u64,
        progress: Progress,
    },
    /// The group's place is another's.
    Held {
        by: Incarnation,
    },
    /// In the outbox of the group, under a number that it never gives twice: dense from 1 on. A store that was rolled
    /// back leaves a gap before what it gives from then on; a group that was forgotten begins anew.
    Owed {
        entry: u64,
    },
    /// The row is there, or gone, under this version.
    Put {
        version: u64,
    },
    /// The row is not as expected: it has this version, or is not there.
    Differs {
        version: Option<u64>,
    },
    /// The idempotency key stands for this id, since this position. `settled`: there is nothing more to do for it.
    Claimed {
        id: MessageId,
        position: Position,
        settled: bool,
    },
}

/// The session as its new connection finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub fence: Fence,
    /// State of an earlier connection is resumed (MQTT-3.2.2-2).
    pub present: bool,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    pub queue: QueueEnds,
    /// Packet ids of QoS 2 messages taken over and not yet released.
    pub received: Vec<u16>,
    /// A will that the connection before had left, when this open replaces a session (clean start):
    /// it is in the outbox now and wants publishing. A resumed session's pending will is cancelled.
    pub fired: Option<OutboxEntry>,
}

/// A message that a family owes to the rest of the world, under the same id at every try.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    pub entry: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
    /// Whose will it is, as the session's last connection gave it. `None` for a delayed message.
    pub owner: Option<Arc<Owner>>,
}

/// Why nothing was written. Certainly not done, except [`Refusal::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a newer connection owns the session, or it is gone")]
    Fenced,
    #[error("the session belongs to another user")]
    NotOwner,
    #[error("the disk is full")]
    DiskFull,
    #[error("the server that keeps it has no memory left")]
    StoreFull,
    #[error("the queue of a receiver is full and its policy refuses the publisher")]
    QueueRefuses,
    #[error("all queues together hold as much as they may, and the queue's policy refuses the publisher")]
    QueuesFull,
    #[error("as much is retained as may be")]
    RetainedFull,
    #[error("it is larger than may be")]
    TooLarge,
    #[error("somebody waits at the topic, or its value has a will")]
    Guarded,
    #[error("the store is closed or away")]
    Unavailable,
    #[error("the store failed in the middle; what it kept is not known")]
    Unknown,
}

/// One answer per submitted step, in order.
pub type Answer = Vec<Result<SmallVec<[Outcome; 1]>, Refusal>>;

/// Called exactly once, from a thread of the store, when every step of the submit is decided and
/// durable. Must be quick and must not block.
pub type Done = Box<dyn FnOnce(Answer) + Send>;

/// Something whose time has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// The will delay of a detached session is over: `FireWill` wants submitting.
    Will { key: SessionKey, fence: Fence },
    /// A detached session has expired: `FireWill` (if it has a will), then `End`.
    Expiry { key: SessionKey, fence: Fence },
    /// A delayed message wants publishing, then [`TopicOp::Delayed`].
    Delayed { realm: Arc<str>, entry: OutboxEntry },
    /// Its connection's node has lost its lease: it wants what a restart would do (`Detach`, or will and
    /// `End` when not persistent). What it owes comes as [`Due::Owed`], its `outbox` is empty here. Only
    /// of a shared store.
    Orphan(Box<Restored>),
    /// An outbox entry that nobody has seen to for `claim_ms`: the node that fired it may be dead. Wants
    /// publishing, then `OutboxDone`. Only of a shared store.
    Owed { key: SessionKey, entry: OutboxEntry },
}

/// Hears of every change of the mirrored tables, in commit order: of this node's before the submit is
/// answered, of other nodes' soon after ([`Store::caught_up`] waits for them).
/// Implemented by the broker; must be quick and must not block.
pub trait Mirror: Send + Sync {
    /// The retained message of a topic is now this, or gone.
    fn retained(&self, realm: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>);

    /// A session of any node changed. Called by stores that nodes share, for changes of all nodes, this
    /// one included; own changes may come a second time. It may submit, and must not wait for the answer.
    fn session(&self, key: &SessionKey, change: SessionChange);

    /// A row of a table is now this, or gone. At restore every row is told.
    fn table(&self, _row: TableRow) {}

    /// A partition has records up to here, or is gone: `None`. Of many appends only the last may be told; of a shared
    /// store those of all nodes.
    fn appended(&self, _key: &PartitionKey, _tail: Option<Mark>) {}

    /// A shared store has forgotten what it acknowledged, to this node or another; what this node could still put back
    /// is there again. Connections of sessions in it know more or less than the store.
    fn rolled_back(&self, _rollback: &Rollback) {}
}

/// A session found at start, or left behind by a lost node.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    pub key: SessionKey,
    pub fence: Fence,
    /// As its last connection gave it.
    pub owner: Option<Arc<Owner>>,
    pub persistent: bool,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    pub queue: QueueEnds,
    /// `None` = its connection died with the node: it wants `Detach` (or will and `End` when not
    /// persistent).
    pub detached_at: Option<UnixMillis>,
    /// The node whose connection has it, as far as the row says; `None` = detached, or the store is not
    /// shared.
    pub home: Option<Incarnation>,
    /// As given when it was opened.
    pub expiry_seconds: u32,
    pub has_will: bool,
    /// The will's delay; 0 without a will.
    pub will_delay_seconds: u32,
    /// What it still owes.
    pub outbox: Vec<OutboxEntry>,
}

/// What went wrong in reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store is closed or away")]
    Unavailable,
    #[error("a row of {table} cannot be read: {cause}")]
    Damaged { table: &'static str, cause: String },
}

impl ReadError {
    /// For who is told no more than that. What cannot be read is logged.
    pub(crate) fn into_refusal(self) -> Refusal {
        match self {
            ReadError::Unavailable => Refusal::Unavailable,
            ReadError::Damaged { table, cause } => {
                tracing::error!(table, cause, "what a group keeps or owes cannot be read");
                Refusal::Unknown
            }
        }
    }
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
