//! Effects: what the end of a record brings about beside its end, committed with it in one step or not at all.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, MessageId};
use weir_store::Mark;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::catalog::GroupKey;
use super::member::Receipt;

/// Effects of one record. A member that finishes it hands them over: see [`super::Answers::finish`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Values that the group keeps in the record's partition; `None` = forgotten.
    pub kept: Vec<(Bytes, Option<Bytes>)>,
    /// Messages to be published, in order. Each is published once it is certain that the record is finished, under an
    /// id that is the same at every try.
    pub owed: Vec<Arc<Message>>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.owed.is_empty()
    }
}

/// What a group keeps under a key, as far as its node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Known(Option<Bytes>),
    /// Only the store knows.
    Unknown,
}

/// The `slot` of ids of what groups owe.
const OWED_SLOT: u32 = u32::MAX - 3;

/// The id of the `nth` message that a record leads to; a pure function of names, so that every node and every try gives
/// the same.
pub(super) fn owed_id(group: &GroupKey, generation: u64, at: &Receipt, nth: usize) -> MessageId {
    let Mark { position, number } = at.mark;
    let of = format!("{}/{generation}/{}/{position}/{number}/{nth}", group.row_key(), at.partition);
    let source = xxh3_64_with_seed(of.as_bytes(), 1);
    MessageId { source, slot: OWED_SLOT, count: xxh3_64(of.as_bytes()) }
}
