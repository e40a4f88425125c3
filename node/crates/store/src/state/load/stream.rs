//! Partitions found in the rows of a store.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::State;
use crate::row::{
    Key, Kind, OwedRow, PartitionRow, PlaceRow, RecordRow, SeenRow, effect_of, number_key, numbers_of,
};
use crate::state::partition::{Group, Partition, Seen};
use crate::{Mark, PartitionEnds, PartitionKey};

/// The partitions found so far, by the id their rows lie under.
#[derive(Default)]
pub(super) struct Partitions(HashMap<u64, Found>);

struct Found {
    key: PartitionKey,
    partition: Box<Partition>,
    seen: Vec<SeenRow>,
    /// By the number their rows lie under.
    places: HashMap<u64, Arc<str>>,
}

/// Each answers `None` when the row belongs to nothing.
impl Partitions {
    pub fn add(&mut self, key: &Key, row: &PartitionRow) -> Option<()> {
        let id = numbers_of(key)?.0;
        let partition = Box::new(Partition { id, retention: row.retention, ..Partition::default() });
        self.0
            .insert(id, Found { key: row.key.clone(), partition, seen: Vec::new(), places: HashMap::new() });
        Some(())
    }

    pub fn add_ends(&mut self, key: &Key, ends: &PartitionEnds) -> Option<()> {
        let PartitionEnds { trimmed, tail, is_sealed, .. } = *ends;
        let partition = &mut self.0.get_mut(&numbers_of(key)?.0)?.partition;
        (partition.trimmed, partition.tail, partition.is_sealed) = (trimmed, tail, is_sealed);
        Some(())
    }

    pub fn add_place(&mut self, key: &Key, row: &PlaceRow) -> Option<()> {
        let (id, place) = numbers_of(key)?;
        let PlaceRow { group, owner, fence, progress } = row.clone();
        let found = Group { place, owner, fence, progress, ..Group::default() };
        let Found { partition, places, .. } = self.0.get_mut(&id)?;
        places.insert(place, group.clone());
        partition.groups.insert(group, found);
        Some(())
    }

    pub fn add_kept(&mut self, key: &Key) -> Option<()> {
        let (id, place) = numbers_of(key)?;
        let name = Bytes::copy_from_slice(effect_of(key)?);
        self.group(id, place)?.kept.insert(name);
        Some(())
    }

    pub fn add_owed(&mut self, key: &Key, row: &OwedRow) -> Option<()> {
        let (id, place) = numbers_of(key)?;
        let entry = u64::from_be_bytes(effect_of(key)?.try_into().ok()?);
        self.group(id, place)?.outbox.restore(entry, row.id);
        Some(())
    }

    pub fn add_owed_tail(&mut self, key: &Key, tail: u64) -> Option<()> {
        let (id, place) = numbers_of(key)?;
        let outbox = &mut self.group(id, place)?.outbox;
        outbox.tail = outbox.tail.max(tail);
        Some(())
    }

    /// The group whose rows lie under these numbers.
    fn group(&mut self, id: u64, place: u64) -> Option<&mut Group> {
        let Found { partition, places, .. } = self.0.get_mut(&id)?;
        partition.groups.get_mut(places.get(&place)?)
    }

    pub fn add_seen(&mut self, key: &Key, row: &SeenRow, capacity: usize) -> Option<()> {
        let (id, place) = numbers_of(key)?;
        let found = self.0.get_mut(&id).filter(|_| place < capacity as u64)?;
        found.seen.push(*row);
        Some(())
    }

    /// A record. One that compaction takes away goes to the garbage; those that were let go are the business of the
    /// shelf.
    pub fn add_record(
        &mut self,
        key: &Key,
        row: &RecordRow,
        seed: u64,
        garbage: &mut Vec<Key>,
    ) -> Option<()> {
        let (id, number) = numbers_of(key)?;
        let Some(Found { partition, .. }) = self.0.get_mut(&id) else { return Some(()) };
        if number <= partition.trimmed.number {
            return Some(());
        }
        let mark = Mark { position: row.position, number };
        partition.tail = partition.tail.max(mark);
        partition.runs.push(mark, u32::try_from(row.message.size_bytes()).unwrap_or(u32::MAX));
        if partition.retention.is_compacted && !row.key.is_empty() {
            let older = partition.newest.replace(xxh3_128_with_seed(&row.key, seed), number);
            if let Some(older) = older.filter(|older| partition.runs.remove(*older).is_some()) {
                garbage.push(number_key(Kind::Record, id, older));
            }
        }
        Some(())
    }

    /// Hands them to the state they are part of.
    pub fn finish(self, state: &mut State) {
        let capacity = state.rules.dedup_ids_max;
        for Found { key, mut partition, seen, .. } in self.0.into_values() {
            partition.seen = Seen::restore(seen, capacity);
            state.account.stream_records += partition.runs.records();
            state.account.stream_bytes += partition.runs.bytes();
            state.partitions.insert(key, partition);
        }
        state.account.stream_restored = state.account.stream_records;
    }
}
