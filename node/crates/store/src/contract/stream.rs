//! Streams: partitions that records are appended to, and groups that read them (`guarantees.md` 2, 6, 11).
//!
//! A partition is one slot family: its records, what its stream keeps of them, and the place of each group in it. Who
//! acts for a group in a partition holds a fence for it, as the owner of a session does.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::{Message, MessageId, Position, UnixMillis};

use super::Incarnation;

/// Names one partition of one generation of a stream. The number of partitions never changes within a generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    pub realm: Arc<str>,
    pub stream: Arc<str>,
    /// A new one each time the stream is made, or made with another number of partitions.
    pub generation: u64,
    pub partition: u32,
}

/// What happens inside one partition.
#[derive(Debug, Clone)]
pub enum PartitionOp {
    /// Makes the partition, or changes what it keeps. What is over the new bounds goes at once; compaction begins with
    /// what is appended from then on.
    Configure { retention: Retention },
    /// Appends a record: [`super::Outcome::Appended`]. A partition that was never made, is sealed or gone takes
    /// nothing: [`super::Outcome::Gone`].
    Append(Append),
    /// Takes no more records, keeps those it has: its stream goes on in another generation. [`super::Outcome::Gone`]
    /// when there is none.
    Seal,
    /// Lets go what is over the bounds by now, and every record up to and with `before`. Nothing in a partition that is
    /// gone.
    Trim { before: Option<Position> },
    /// Takes the group's place in this partition, which `start` gives to a group that has none yet:
    /// [`super::Outcome::Acquired`], or [`super::Outcome::Held`] while the lease of another owner stands. In a partition
    /// that is gone: [`super::Outcome::Gone`].
    Acquire { group: Arc<str>, start: Start },
    /// Replaces the group's progress. Fenced: refused unless the place is held under this very fence.
    Commit { group: Arc<str>, fence: u64, progress: Progress },
    /// As `Commit`, and the place is free for others. Fenced.
    Release { group: Arc<str>, fence: u64, progress: Progress },
    /// A value that the group keeps in this partition under a key of its own (the state of a handler) is now this one,
    /// or forgotten: `None`. A key of at most [`KEPT_KEY_BYTES_MAX`] and a value of at most [`KEPT_VALUE_BYTES_MAX`]:
    /// more is refused [`super::Refusal::TooLarge`]. Fenced.
    Keep { group: Arc<str>, fence: u64, key: Bytes, value: Option<Bytes> },
    /// Appends to the group's outbox in this partition what is to be published elsewhere, under this id at every try:
    /// [`super::Outcome::Owed`]. An id that is owed already is answered with its entry. Fenced.
    Owe { group: Arc<str>, fence: u64, id: MessageId, message: Arc<Message> },
    /// Entries of the group's outbox up to and with `through` are published: they are forgotten. That there are none,
    /// or none any more, is no error. Fenced.
    Paid { group: Arc<str>, fence: u64, through: u64 },
    /// The group is no more, with what it keeps and owes; one that is not there is no error. Not fenced: whoever holds
    /// its place is refused from then on.
    Forget { group: Arc<str> },
    /// Moves the place of a group that nobody holds, or whose owner's lease is over; [`super::Outcome::Held`] otherwise. A
    /// group that has no place yet is given one. Whoever held it is refused from then on. What it keeps and owes stays.
    Seek { group: Arc<str>, start: Start },
    /// Ends the partition: records, groups and all.
    Drop,
}

impl PartitionOp {
    /// Whether it brings something to be stored that intakes are bounded by; acknowledgements are always let in.
    pub(crate) fn is_bounded(&self) -> bool {
        match self {
            PartitionOp::Append(_) | PartitionOp::Owe { .. } => true,
            PartitionOp::Keep { value, .. } => value.is_some(),
            _ => false,
        }
    }
}

/// Most bytes in the key of a value that a group keeps: a KiB of somebody's key, and what marks it.
pub const KEPT_KEY_BYTES_MAX: usize = (1 << 10) + 64;

/// Most bytes in such a value.
pub const KEPT_VALUE_BYTES_MAX: usize = 64 << 10;

/// A message that a group owes: its entry, the id it is published under, and itself.
pub type OwedMessage = (u64, MessageId, Arc<Message>);

/// One record for one partition.
#[derive(Debug, Clone)]
pub struct Append {
    /// Set when the same record may come again: a known id is answered with its first place.
    pub id: Option<MessageId>,
    /// What its order and its compaction go by; empty = none.
    pub key: Bytes,
    pub message: Arc<Message>,
}

/// What a stream keeps, per partition. 0 = no bound. The newest record stays whatever its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    pub records_max: u64,
    /// Topic, payload and properties.
    pub bytes_max: u64,
    pub age_max_ms: u64,
    /// Of records with the same key the last one only; an empty payload takes the key away and is kept until it is
    /// let go by the bounds.
    pub is_compacted: bool,
}

/// A record's place: where it stands, and how many were appended before it. Ordered by position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    pub position: Position,
    /// Dense within a generation, from 1 on; a store that was rolled back gives some a second time.
    pub number: u64,
}

/// Where a reader or a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    Earliest,
    /// With what is appended from now on.
    Latest,
    After(Position),
    /// With the first record that was appended at that time or later, on the store's clock.
    At(UnixMillis),
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to here is finished.
    pub low: Mark,
    /// Finished above it: first and last of each run of records, in order. Bounded by who commits.
    pub done: Vec<(Mark, Mark)>,
    /// Records above `low`, not finished, that were delivered before, in order. Bounded by who commits.
    pub attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub at: Mark,
    /// Deliveries that were over without success.
    pub deliveries: u32,
    /// Not to be delivered before; `None` = at once.
    pub retry_at: Option<UnixMillis>,
}

/// What a reader is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub mark: Mark,
    pub key: Bytes,
    pub message: Arc<Message>,
}

/// What one read of a partition found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamPage {
    /// In order.
    pub records: Vec<Record>,
    pub ends: PartitionEnds,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEnds {
    /// Records up to here were let go by the bounds or by `Trim`; those that compaction took are not counted.
    pub trimmed: Mark,
    /// The newest record ever appended.
    pub tail: Mark,
    /// Records and bytes in it now.
    pub records: u64,
    pub bytes: u64,
    pub is_sealed: bool,
}

/// A partition as an operator sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartitionInfo {
    pub ends: PartitionEnds,
    pub retention: Retention,
    /// By name.
    pub groups: Vec<GroupPlace>,
}

/// The place of one group in one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPlace {
    pub group: Arc<str>,
    /// Who acts for it; `None` = nobody. In a store that is not shared the incarnation is 0.
    pub owner: Option<Incarnation>,
    pub fence: u64,
    pub progress: Progress,
    /// Values that it keeps.
    pub kept: u64,
    /// Entries in its outbox.
    pub owed: u64,
}
