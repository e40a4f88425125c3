//! Effects: what the end of a record brings about beside its end, committed with it in one step or not at all.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, MessageId, Position};
use weir_store::Mark;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::catalog::GroupKey;

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

/// The ids of what a group owes in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwedIds {
    seeds: [u64; 2],
}

impl OwedIds {
    pub fn new(group: &GroupKey, generation: u64, partition: u32) -> OwedIds {
        let of = format!("{}/{generation}/{partition}", group.row_key());
        OwedIds { seeds: [xxh3_64(of.as_bytes()), xxh3_64_with_seed(of.as_bytes(), 1)] }
    }

    /// The id of the `nth` message that a record leads to; a pure function of names, so that every node and every try
    /// gives the same.
    pub fn of(&self, record: Mark, nth: usize) -> MessageId {
        let Mark { position: Position { epoch, ms, seq }, number } = record;
        let mut of = [0; 40];
        for (bytes, part) in of.chunks_exact_mut(8).zip([epoch, ms, seq, number, nth as u64]) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        let [count, source] = self.seeds.map(|seed| xxh3_64_with_seed(&of, seed));
        MessageId { source, slot: OWED_SLOT, count }
    }
}
