//! Partitions, and idempotency keys, as a copy has them.

use std::sync::Arc;

use weir_model::{Message, MessageId, Position, Topic, UnixMillis};

use crate::{Mark, PartitionKey, Progress, Retention};

/// A partition, all but its groups, records and the ids it knows.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionCopy {
    pub key: PartitionKey,
    pub retention: Retention,
    /// Records up to here were let go.
    pub trimmed: Mark,
    /// The newest record ever appended.
    pub tail: Mark,
    pub is_sealed: bool,
}

/// How far a group has come in a partition. Nobody holds it in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceCopy {
    pub group: Arc<str>,
    /// Of who held it last: none is given twice.
    pub fence: u64,
    pub progress: Progress,
}

/// An entry of the outbox of a group in a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct OwedCopy {
    pub entry: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
}

/// An idempotency key, for the time it has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCopy {
    pub realm: Arc<str>,
    pub topic: Topic,
    pub key: Arc<str>,
    pub id: MessageId,
    /// Where it was first seen.
    pub position: Position,
    pub until: UnixMillis,
    /// Its publish is done.
    pub settled: bool,
}

/// A partition, for who has to find it.
pub(crate) fn described(key: &PartitionKey) -> String {
    let PartitionKey { realm, stream, generation, partition } = key;
    format!("partition {partition} of the stream `{stream}` (generation {generation}) in realm `{realm}`")
}
