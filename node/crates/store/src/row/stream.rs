//! Rows of streams, tables and idempotency keys. Names may be long: they stand in the rows, never in the keys.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::{Message, MessageId, Position, Topic, UnixMillis};

use crate::{Incarnation, Mark, PartitionKey, Progress, Retention, Table, TableRow};

/// Under the partition's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartitionRow {
    pub key: PartitionKey,
    pub retention: Retention,
}

/// Under the partition's id and a number of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlaceRow {
    pub group: Arc<str>,
    pub owner: Option<Incarnation>,
    pub fence: u64,
    pub progress: Progress,
}

/// Under the partition's id, the number of the group's place, and its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwedRow {
    pub id: MessageId,
    pub message: Arc<Message>,
}

/// One place in the ring of message ids of a partition; `at` counts the ids ever put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SeenRow {
    pub at: u64,
    pub id: MessageId,
    pub mark: Mark,
}

/// Under the partition's id and the record's number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordRow {
    pub position: Position,
    pub key: Bytes,
    pub message: Arc<Message>,
}

/// Under a number of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellRow {
    pub table: Table,
    pub key: Arc<str>,
    pub version: u64,
    pub value: Bytes,
}

impl From<&CellRow> for TableRow {
    fn from(row: &CellRow) -> TableRow {
        let CellRow { table, key, version, value } = row;
        TableRow { table: *table, key: key.clone(), version: *version, value: Some(value.clone()) }
    }
}

/// An idempotency key, under a number that says which is older.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimRow {
    pub realm: Arc<str>,
    pub topic: Topic,
    pub key: Arc<str>,
    pub id: MessageId,
    pub position: Position,
    pub until: UnixMillis,
    pub settled: bool,
}
