//! Tables: small named values that every node knows, each with a version: definitions of streams, members of
//! groups, handlers and their bindings.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which table. The bytes in it are the business of who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// Definitions of streams, by realm and name.
    Streams,
    /// Definitions of consumer groups, by realm, stream and name.
    Groups,
    /// Which nodes have members of a group, by realm, stream, group and incarnation.
    Members,
    /// Handlers that were uploaded: their versions and aliases.
    Handlers,
    /// What handlers are bound to.
    Bindings,
    /// What bindings refer to by name and nobody reads back. Never in a log.
    Secrets,
    /// What guards topics, by realm and topic; each row lies in its topic's family. See [`super::guarded`].
    Guards,
}

/// What happens to one row. Answered [`super::Outcome::Put`], or [`super::Outcome::Differs`] when it is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOp {
    /// At most 64 KiB: more is refused [`super::Refusal::TooLarge`].
    Put { value: Bytes, expect: Expect },
    /// A row that is not there is answered as one that is gone.
    Delete { expect: Expect },
}

/// Most bytes in a row's value.
pub const TABLE_VALUE_BYTES_MAX: usize = 64 << 10;

/// What a row has to be for a change to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    Anything,
    Absent,
    /// This version.
    Version(u64),
}

/// A row as the mirrors hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    pub table: Table,
    pub key: Arc<str>,
    /// Never given twice to a key: rows made again have higher ones.
    pub version: u64,
    /// `None` = deleted.
    pub value: Option<Bytes>,
}
