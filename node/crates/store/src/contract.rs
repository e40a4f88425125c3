//! The store contract: what must outlive a node, said in the words of the domain.
//!
//! A [`Step`] is atomic and stays inside one slot family (`guarantees.md` 2): one session (or share
//! group) with its queue, or one topic shard. A [`Store::submit`] takes several steps at once; each
//! is decided on its own (but what follows a refused [`Step::Topic`] and brings a copy is refused with
//! it: a publish is kept whole or not at all), and the group is answered together, after everything
//! decided in it is durable at the store's [`Level`]. Whatever crosses families goes through a session's outbox or a
//! [`MessageId`], so every step may be repeated: a repeat is answered like the first time.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use weir_model::{Filter, Message, MessageId, Position, Qos, Topic, UnixMillis};

/// What an acknowledgement promises to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The death of any Weir process.
    Stored,
    /// Also power loss of the machine.
    Fsynced,
}

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
    Session { key: SessionKey, ops: SmallVec<[SessionOp; 1]> },
    Topic { realm: Arc<str>, topic: Topic, op: TopicOp },
}

/// Who acts for a session: every protected write compares the fence with the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Moves the will to the outbox in one step. A will already moved is answered with the same entry.
    FireWill { generation: u64 },
    /// The outbox entry was published at its destinations: forget it.
    OutboxDone { entry: u64 },
    /// Ends the session: subscriptions, queue, will, everything but its outbox. Compares the
    /// generation, and the fence too when one is given (an expiry must not end a session that was
    /// opened again meanwhile).
    End { generation: u64, fence: Option<u64> },
}

/// What a new connection asks of its session.
#[derive(Debug, Clone)]
pub struct Open {
    /// `None` is anonymous. Another user's session is refused: [`Refusal::NotOwner`].
    pub user_id: Option<Arc<str>>,
    pub clean_start: bool,
    /// Whether it shall outlive the connection. If not, the row is only kept for its will and is
    /// ended on detach, or at the next start of the store.
    pub persistent: bool,
    /// How long it outlives a connection that is lost with its node; `u32::MAX` = for ever.
    /// [`SessionOp::Detach`] has the last word.
    pub expiry_seconds: u32,
    pub will: Option<Will>,
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

/// One copy for one queue.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// Generation of the session this copy is meant for; ignored for groups.
    pub generation: u64,
    /// Set when the same publish may come again: a known id is answered [`Outcome::Duplicate`].
    pub id: Option<MessageId>,
    pub delivery: Delivery,
}

/// A message as one receiver gets it. The same `Arc` in many steps of one submit is stored once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub message: Arc<Message>,
    /// The lower of the message's and the subscription's.
    pub qos: Qos,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// Ids of all subscriptions that matched.
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// The shared filter it came by: what its receiver leaves behind is handed to another member.
    pub group: Option<Filter>,
}

/// What happens inside one topic shard.
#[derive(Debug, Clone)]
pub enum TopicOp {
    /// Replaces the retained message; `None` removes it (MQTT-3.3.1-6).
    Retain { message: Option<Arc<Message>> },
    /// Keeps the message until `due`, then it shows up in [`Store::due`]. A known id is a no-op.
    Delay { due: UnixMillis, id: Option<MessageId>, message: Arc<Message> },
    /// The delayed message was published: forget it.
    Delayed { entry: u64 },
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

/// Where a queue begins and ends. Numbers are dense, start at 1 and never repeat within a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEnds {
    /// The oldest row's number; `tail + 1` when empty.
    pub head: u64,
    /// The newest number ever given.
    pub tail: u64,
    /// Rows up to here may have been sent before. After a crash: `tail`, for nobody knows.
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// A row of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub number: u64,
    pub state: RowState,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RowState {
    /// To be sent, or sent and not yet answered.
    Waiting(Delivery),
    /// PUBREC came: PUBREL is due.
    Released,
}

/// A message that a family owes to the rest of the world, under the same id at every try.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    pub entry: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
}

pub use crate::account::Account;

/// Why nothing was written. Certainly not done, except [`Refusal::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a newer connection owns the session, or it is gone")]
    Fenced,
    #[error("the session belongs to another user")]
    NotOwner,
    #[error("the disk is full")]
    DiskFull,
    #[error("the queue of a receiver is full and its policy refuses the publisher")]
    QueueRefuses,
    #[error("all queues together hold as much as they may, and the queue's policy refuses the publisher")]
    QueuesFull,
    #[error("as much is retained as may be")]
    RetainedFull,
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
    Will { key: SessionKey, generation: u64 },
    /// A detached session has expired: `FireWill` (if it has a will), then `End`.
    Expiry { key: SessionKey, fence: Fence },
    /// A delayed message wants publishing, then [`TopicOp::Delayed`].
    Delayed { realm: Arc<str>, entry: OutboxEntry },
}

/// Hears of every change of the mirrored tables, in commit order, before the submit is answered.
/// Implemented by the broker; must be quick and must not block or submit.
pub trait Mirror: Send + Sync {
    /// The retained message of a topic is now this, or gone.
    fn retained(&self, realm: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>);
}

/// A session found at start.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    pub key: SessionKey,
    pub fence: Fence,
    pub user_id: Option<Arc<str>>,
    pub persistent: bool,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    pub queue: QueueEnds,
    /// `None` = its connection died with the node: it wants `Detach` (or will and `End` when not
    /// persistent).
    pub detached_at: Option<UnixMillis>,
    /// As given when it was opened.
    pub expiry_seconds: u32,
    pub has_will: bool,
    /// The will's delay; 0 without a will.
    pub will_delay_seconds: u32,
    /// What it still owes.
    pub outbox: Vec<OutboxEntry>,
}

/// How many rows one read may return.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub rows_max: usize,
    /// At least one row is returned even when it is larger.
    pub bytes_max: usize,
}

/// What went wrong in reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store is closed or away")]
    Unavailable,
    #[error("a row of {table} cannot be read: {cause}")]
    Damaged { table: &'static str, cause: String },
}

/// A store: memory, embedded, later Redis. One suite runs over all of them (`suite.rs`).
pub trait Store: Send + Sync + 'static {
    /// Queues steps and returns at once. Steps of one caller for one family are applied in the
    /// order submitted. The intake is bounded in messages: a full one answers [`Refusal::Unavailable`]
    /// to more of them, and still takes acknowledgements and the ends of sessions.
    fn submit(&self, steps: Vec<Step>, done: Done);

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

    /// What is due by `now`, oldest first, at most `max`. It is returned again until dealt with.
    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>>;

    /// At start, before anything is submitted: every session (and the retained messages, by way of
    /// the mirror). Blocking.
    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError>;

    /// What it holds, and what has come and gone: as far as it was answered.
    fn account(&self) -> Account;

    /// What an answer of this store promises.
    fn level(&self) -> Level;

    /// Waits for everything submitted, flushes, stops. Later submits are refused `Unavailable`.
    fn close(&self) -> BoxFuture<'static, ()>;
}
