//! Copying a store into another, whatever either of them is: rows as both can read them out and take them in.
//!
//! A copy is of a store that no node works on, into one that holds nothing. Everything keeps its own number: fences,
//! generations, queue numbers, entries, message ids and Positions. What the copy gives out later is above all of it:
//! the [`Marks`] say where that begins. A target is marked as unfinished until what it holds was read back and found
//! the same; no node starts on it before, and a copy that is run again starts over.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Filter, Message, MessageId, Position, Topic, UnixMillis};

use crate::redis::{ConnectError, EnrolError};
use crate::{
    Delivery, Detach, Fence, Mark, OpenError, OutboxEntry, Owner, PartitionKey, Record, RowState, SessionKey,
    SubscriptionOptions, TableRow, Will,
};

mod digest;
mod pages;
mod run;
mod stream;

pub use digest::{Digest, Kind, Tally};
pub(crate) use pages::Pages;
pub use run::{Progress, run};
pub(crate) use stream::described;
pub use stream::{ClaimCopy, OwedCopy, PartitionCopy, PlaceCopy};

/// One row, or some rows that belong together. Sessions come before the rows of their queues, partitions before what
/// belongs to them, places of groups before what these keep and owe. A kind of data that the contract gains is one variant more here, one [`Kind`], and a form in each
/// backend.
#[derive(Debug, Clone, PartialEq)]
pub enum CopyRow {
    Session(Box<SessionCopy>),
    /// Rows of one queue, by rising numbers.
    Queue {
        key: SessionKey,
        generation: u64,
        rows: Vec<QueueCopy>,
    },
    /// What a session of this generation still owes, although it may have ended.
    Owed {
        key: SessionKey,
        generation: u64,
        entry: OutboxEntry,
    },
    Delayed {
        realm: Arc<str>,
        due: UnixMillis,
        entry: OutboxEntry,
    },
    /// Ids by which repeats of delayed publishes are recognised, the oldest first.
    DelaySeen(Vec<MessageId>),
    Retained {
        realm: Arc<str>,
        topic: Topic,
        position: Position,
        message: Arc<Message>,
    },
    Partition(Box<PartitionCopy>),
    Place {
        key: PartitionKey,
        place: PlaceCopy,
    },
    /// Message ids by which repeats of appends to a partition are recognised and what each of them got, the oldest
    /// first; all of a partition.
    RecordSeen {
        key: PartitionKey,
        ids: Vec<(MessageId, Mark)>,
    },
    /// Records of one partition, by rising marks.
    Records {
        key: PartitionKey,
        records: Vec<Record>,
    },
    /// Values that a group keeps in a partition, with their keys.
    Kept {
        key: PartitionKey,
        group: Arc<str>,
        values: Vec<(Bytes, Bytes)>,
    },
    /// What a group has in its outbox in a partition, by rising entries.
    GroupOwed {
        key: PartitionKey,
        group: Arc<str>,
        entries: Vec<OwedCopy>,
    },
    /// The newest entry that an outbox ever gave, of one that gave any.
    GroupOutbox {
        key: PartitionKey,
        group: Arc<str>,
        tail: u64,
    },
    /// A row that is there. Those of [`crate::Table::Members`] are of nodes that do not work on the copy: left out.
    Table(TableRow),
    /// Idempotency keys come in the order in which they run out.
    Claim(Box<ClaimCopy>),
}

/// A session or a share group, all but its queue.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionCopy {
    pub key: SessionKey,
    /// Of a share group the fence is 0.
    pub fence: Fence,
    pub owner: Option<Arc<Owner>>,
    pub persistent: bool,
    pub expiry_seconds: u32,
    pub will: Option<Will>,
    /// How its last connection ended; `None` = it had one when its node ended, or it is a share group.
    pub left: Option<Detach>,
    /// The newest queue number ever given.
    pub tail: u64,
    /// No use of a packet id was counted above this.
    pub uses: u64,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    /// Packet ids of QoS 2 messages taken over and not yet released, and which use of it each is.
    pub received: Vec<(u16, u64)>,
    /// Message ids by which repeats are recognised, the oldest first.
    pub seen: Vec<MessageId>,
}

/// A row of a queue under its own number.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueCopy {
    pub number: u64,
    pub state: RowState,
    /// Rows with the same number here share their message; 0 = it is this row's alone.
    pub body: u64,
}

impl QueueCopy {
    /// The message, unless PUBREC has released it.
    pub fn delivery(&self) -> Option<&Delivery> {
        match &self.state {
            RowState::Waiting(delivery) => Some(delivery),
            RowState::Released => None,
        }
    }
}

/// How far a store has counted. All it gives out from then on is above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The highest epoch of any Position or message id.
    pub epoch: u64,
    /// The highest generation, fence, entry or body.
    pub number: u64,
    /// No share group has ever given a queue number above this and been forgotten.
    pub group_base: u64,
}

/// How many message ids a store remembers.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Of one session or partition.
    pub ids_max: usize,
    /// Of delayed publishes.
    pub delay_ids_max: usize,
}

/// Takes rows in, a page at a time; what it answers ends the reading.
pub type Sink<'a> = &'a mut dyn FnMut(Vec<CopyRow>) -> Result<(), CopyError>;

/// A store to be read out. Blocking; not to be called from a task of a runtime.
pub trait CopySource {
    /// How far it has counted by now.
    fn marks(&mut self) -> Result<Marks, CopyError>;

    /// Hands over every row once, in pages of bounded size.
    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError>;

    /// Says whether what was read is all there is: [`CopyError::Changed`] when a node has started on it meanwhile.
    fn settle(&mut self) -> Result<(), CopyError> {
        Ok(())
    }
}

/// A store to be filled. Blocking; not to be called from a task of a runtime.
pub trait CopyTarget {
    fn windows(&self) -> Windows;

    /// Marks it as unfinished. Answers whether it was an unfinished copy before: that has been removed.
    fn begin(&mut self, source: Marks) -> Result<bool, CopyError>;

    /// Takes rows in; in what order they become durable is open until [`CopyTarget::finish`].
    fn write(&mut self, rows: Vec<CopyRow>) -> Result<(), CopyError>;

    /// Hands over everything it holds now.
    fn read_back(&mut self, sink: Sink<'_>) -> Result<(), CopyError>;

    /// Makes everything durable and takes the mark away: from now on nodes start on it.
    fn finish(&mut self, source: Marks) -> Result<(), CopyError>;
}

/// Why there is no copy. The store that was read is as it was; the other one is as it was or marked as unfinished.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no store in {store}")]
    Missing { store: String },
    #[error("{store} is not empty, it holds {holds}: copy into another place, or empty this one first")]
    NotEmpty { store: String, holds: String },
    #[error("{store} is in use by {by}: stop it first{hint}", hint = .may_be_live.then_some(", or say --live").unwrap_or_default())]
    InUse { store: String, by: String, may_be_live: bool },
    #[error("another copy is writing to {store}; it wrote {seconds} s ago")]
    OtherCopy { store: String, seconds: u64 },
    #[error("{store} is itself an unfinished copy of {from}")]
    Unfinished { store: String, from: String },
    #[error("{store} is damaged: {row} cannot be read: {cause}")]
    Damaged { store: String, row: String, cause: String },
    #[error("{row} is more than {store} can hold: {cause}")]
    TooLarge { store: String, row: String, cause: String },
    #[error("the disk of {path} is full")]
    DiskFull { path: PathBuf },
    #[error("{store} has no memory left (`maxmemory`): {cause}")]
    StoreFull { store: String, cause: String },
    #[error("{store} is away: {cause}")]
    Away { store: String, cause: String },
    #[error("{store} refuses it: {cause}")]
    Refused { store: String, cause: String },
    #[error("{store} was taken over by another copy")]
    Superseded { store: String },
    #[error(
        "a node has started on {store} meanwhile: what it changed may be missing, so the copy is not taken"
    )]
    Changed { store: String },
    #[error("of {kind}, {written} rows were read back where {read} were written, or not the same ones")]
    Differs { kind: Kind, read: u64, written: u64 },
    #[error("{store}: {cause}")]
    Enrol { store: String, cause: EnrolError },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}
