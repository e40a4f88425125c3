//! The store's own side of the ledger: what it holds, and what came and went since it was opened.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use weir_model::Position;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::row::Key;
use crate::state::LetGo;

/// Copies and bytes (topic, payload and properties). Balanced at every moment:
/// `restored + added = acknowledged + dropped + ended + queued_messages`, and for records of streams
/// `stream_restored + appended = trimmed + compacted + stream_ended + stream_records` (`guarantees.md` 9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Rows in all queues now, of sessions and share groups; those released by PUBREC count, without
    /// bytes.
    pub queued_messages: u64,
    pub queued_bytes: u64,
    /// Messages that wait for their delay now.
    pub delayed_messages: u64,
    pub delayed_bytes: u64,
    /// Retained messages now.
    pub retained_messages: u64,
    pub retained_bytes: u64,
    /// Rows that were in queues when the store was opened.
    pub restored: u64,
    /// Copies put in queues.
    pub added: u64,
    /// Copies delivered, expired, moved to another queue or given up by who acts for the queue.
    pub acknowledged: u64,
    /// Copies that a full queue let go for newer ones.
    pub dropped: u64,
    /// Copies that went with their session.
    pub ended: u64,
    /// Copies that a full queue did not take: they were never in.
    pub not_taken: u64,
    /// Records in all partitions of streams now.
    pub stream_records: u64,
    pub stream_bytes: u64,
    /// Records that were in partitions when the store was opened.
    pub stream_restored: u64,
    /// Records appended to partitions.
    pub appended: u64,
    /// Records let go by the bounds of their stream, or because everything up to them was.
    pub trimmed: u64,
    /// Records that a newer one with the same key took away.
    pub compacted: u64,
    /// Records that went with their partition.
    pub stream_ended: u64,
    /// Idempotency keys now; one whose time is over may still count.
    pub idempotency_keys: u64,
    /// Idempotency keys that were let go before their time, for newer ones.
    pub idempotency_keys_dropped: u64,
}

impl Account {
    /// Whether what came in is what went and what is here.
    pub fn is_balanced(&self) -> bool {
        let queues = self.acknowledged + self.dropped + self.ended + self.queued_messages;
        let streams = self.trimmed + self.compacted + self.stream_ended + self.stream_records;
        self.restored + self.added == queues && self.stream_restored + self.appended == streams
    }

    /// Records of streams were let go by the bounds.
    pub(crate) fn let_go(&mut self, gone: LetGo) {
        self.trimmed += gone.records;
        self.stream_records -= gone.records;
        self.stream_bytes -= gone.bytes;
    }

    /// What is queued and delayed: messages and bytes, bounded together.
    pub(crate) fn owed(&self) -> (u64, u64) {
        (self.queued_messages + self.delayed_messages, self.queued_bytes + self.delayed_bytes)
    }
}

/// How large the retained message of each topic is, and a hash of where it stands. A topic is known by 128 bits of a
/// seeded hash: the mirror holds the topics themselves.
#[derive(Debug)]
pub(crate) struct RetainedSizes {
    sizes: HashMap<(u64, u64), Size>,
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u32,
    place: u64,
}

impl Default for RetainedSizes {
    fn default() -> RetainedSizes {
        RetainedSizes { sizes: HashMap::new(), seed: RandomState::new().hash_one(0u8) }
    }
}

impl RetainedSizes {
    pub fn get(&self, row: &Key) -> Option<u32> {
        self.sizes.get(&self.hash(row)).map(|size| size.bytes)
    }

    /// Whether the topic's message stands here; `None` = it has none.
    pub fn stands_at(&self, row: &Key, position: Option<Position>) -> bool {
        let place = self.sizes.get(&self.hash(row)).map(|size| size.place);
        place == position.map(|position| self.place(position))
    }

    /// Sets or removes a topic's message; what was there.
    pub fn set(&mut self, row: &Key, stored: Option<(u32, Position)>) -> Option<u32> {
        let hash = self.hash(row);
        let before = match stored {
            Some((bytes, position)) => {
                let place = self.place(position);
                self.sizes.insert(hash, Size { bytes, place })
            }
            None => self.sizes.remove(&hash),
        };
        before.map(|size| size.bytes)
    }

    fn place(&self, position: Position) -> u64 {
        let Position { epoch, ms, seq } = position;
        let numbers = [epoch, ms, seq].map(u64::to_le_bytes);
        xxh3_64_with_seed(numbers.as_flattened(), self.seed)
    }

    fn hash(&self, row: &Key) -> (u64, u64) {
        let hash = xxh3_128_with_seed(row, self.seed);
        ((hash >> 64) as u64, hash as u64)
    }
}
