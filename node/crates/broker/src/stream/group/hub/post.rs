//! A partition that this node serves for a group: its place, and what is under way for it.

use weir_store::PartitionKey;

use super::COMMIT_CHANGES;
use super::debts::Debts;
use crate::stream::group::catalog::GroupKey;
use crate::stream::group::effects::OwedIds;
use crate::stream::group::place::Place;

pub(in super::super) struct Post {
    pub key: PartitionKey,
    pub fence: u64,
    pub place: Place,
    pub debts: Debts,
    /// Made with the first message owed.
    owed_ids: Option<OwedIds>,
    pub is_reading: bool,
    /// Not to be read before.
    pub read_at: u64,
    pub is_writing: bool,
    /// The changes of the place that are stored.
    pub stored: u64,
    /// Since when something is not stored.
    pub dirty_since: Option<u64>,
    /// Somebody waits for it to be stored.
    pub is_awaited: bool,
    /// It is another node's, or nobody's, since then: it is given back when its records are.
    pub leaving: Option<u64>,
    pub is_burying: bool,
    /// No dead letter is tried before.
    pub bury_at: u64,
    /// Since when it can neither be read nor stored.
    pub trouble_since: Option<u64>,
    pub looked_at: u64,
    /// As much is pending as may be.
    pub is_full: bool,
}

impl Post {
    /// `partitions`: how many there are of its generation.
    pub fn new(key: PartitionKey, partitions: u32, fence: u64, place: Place, now: u64) -> Post {
        Post {
            key,
            fence,
            place,
            debts: Debts::new(partitions),
            owed_ids: None,
            is_reading: false,
            read_at: 0,
            is_writing: false,
            stored: 0,
            dirty_since: None,
            is_awaited: false,
            leaving: None,
            is_burying: false,
            bury_at: 0,
            trouble_since: None,
            looked_at: now,
            is_full: false,
        }
    }

    pub fn owed_ids(&mut self, group: &GroupKey) -> OwedIds {
        let Post { key, owed_ids, .. } = self;
        *owed_ids.get_or_insert_with(|| OwedIds::new(group, key.generation, key.partition))
    }

    /// Something may have changed. Whether it is so much that it should be stored at once.
    pub fn touched(&mut self, now: u64) -> bool {
        let unstored = self.place.changes().saturating_sub(self.stored);
        if unstored > 0 || self.debts.wants_telling() {
            self.dirty_since.get_or_insert(now);
        }
        unstored >= COMMIT_CHANGES && !self.is_writing
    }

    /// Whether its progress wants storing now.
    pub fn wants_storing(&self, now: u64, commit_ms: u64) -> bool {
        let unstored = self.place.changes().saturating_sub(self.stored);
        let wants = (unstored > 0 || self.debts.wants_telling()) && !self.is_writing;
        let Some(since) = self.dirty_since.filter(|_| wants) else { return false };
        now >= since && (self.is_awaited || unstored >= COMMIT_CHANGES || now - since >= commit_ms)
    }

    /// The store did not do something: later again.
    pub fn failed(&mut self, now: u64) {
        self.trouble_since.get_or_insert(now);
    }
}
