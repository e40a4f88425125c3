//! An overlay: rows and deletions that are not in the tables yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::Progress;
use crate::row::{Change, Key, Kind, Row, Write, kind_key, numbers_of};
use crate::sweep::Sweep;

/// What a row costs in memory besides its message.
const ROW_BYTES: usize = 200;

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A `fresh` row lies under a key that no layer below has: deleting it leaves nothing behind.
    Row { row: Row, fresh: bool },
    /// A row of a layer below is gone.
    Gone,
}

impl Entry {
    pub fn row(&self) -> Option<&Row> {
        match self {
            Entry::Row { row, .. } => Some(row),
            Entry::Gone => None,
        }
    }
}

/// Bounded by the commit log: a checkpoint empties both when either is larger than `log_bytes_max`.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<Key, Entry>,
    bytes: usize,
    sweep: Sweep,
    /// Records of the layers below that were let go, by partition: their rows go with this overlay.
    dead: BTreeMap<u64, RangeInclusive<u64>>,
}

impl Overlay {
    pub fn apply(&mut self, write: Write) {
        self.sweep.note(&write);
        match write.change {
            Change::Fresh(row) => self.insert(write.key, Entry::Row { row, fresh: true }),
            Change::Put(row) => {
                let fresh = matches!(self.rows.get(&write.key), Some(Entry::Row { fresh: true, .. }));
                self.insert(write.key, Entry::Row { row, fresh });
            }
            Change::Delete => match self.rows.get(&write.key) {
                Some(Entry::Row { fresh: true, .. }) => {
                    if let Some(entry) = self.rows.remove(&write.key) {
                        self.bytes -= write.key.len() + weight(&entry);
                    }
                }
                _ => self.insert(write.key, Entry::Gone),
            },
        }
    }

    /// Takes up to so many records out that were let go: a layer below has none of them, or they are among those that
    /// [`Overlay::bury`] will name.
    pub fn sweep(&mut self, rows_max: usize) {
        for _ in 0..rows_max {
            let Some(key) = self.sweep.next(&self.rows) else { return };
            if let Some(entry) = self.rows.remove(&key) {
                self.bytes -= key.len() + weight(&entry);
            }
        }
    }

    /// Names records of the layers below whose rows are to go with this overlay.
    pub fn bury(&mut self, dead: BTreeMap<u64, RangeInclusive<u64>>) {
        self.dead = dead;
    }

    /// What was named so.
    pub fn dead(&self) -> &BTreeMap<u64, RangeInclusive<u64>> {
        &self.dead
    }

    /// Whether this row is one of those.
    pub fn is_dead(&self, key: &[u8]) -> bool {
        key.first() == Some(&(Kind::Record as u8))
            && numbers_of(key)
                .is_some_and(|(id, number)| self.dead.get(&id).is_some_and(|dead| dead.contains(&number)))
    }

    /// The records in it: first and last number by partition.
    pub fn records(&self) -> HashMap<u64, RangeInclusive<u64>> {
        let mut found = HashMap::new();
        // They come partition by partition: the present one, its first and its last number.
        let mut present: Option<(u64, u64, u64)> = None;
        for (key, entry) in self.rows.range(kind_key(Kind::Record)..=kind_key(Kind::Cell)) {
            let (Some((id, number)), Entry::Row { .. }) = (numbers_of(key), entry) else { continue };
            match &mut present {
                Some((same, _, last)) if *same == id => *last = number,
                other => {
                    let before = other.replace((id, number, number));
                    found.extend(before.map(|(id, first, last)| (id, first..=last)));
                }
            }
        }
        found.extend(present.map(|(id, first, last)| (id, first..=last)));
        found
    }

    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.rows.get(key)
    }

    pub fn range(&self, range: RangeInclusive<Key>) -> impl Iterator<Item = (&Key, &Entry)> {
        self.rows.range(range)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.rows.iter()
    }

    /// About how much memory it takes, and never less than its rows take in a table.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.dead.is_empty()
    }

    /// Whether a row of a layer below is deleted or may be replaced here: once merged, that gives room
    /// back.
    pub fn hides(&self) -> bool {
        !self.dead.is_empty()
            || self.rows.values().any(|entry| !matches!(entry, Entry::Row { fresh: true, .. }))
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        let key_bytes = key.len();
        self.bytes += key_bytes + weight(&entry);
        if let Some(old) = self.rows.insert(key, entry) {
            self.bytes -= key_bytes + weight(&old);
        }
    }
}

/// Notes one record more among those known, first and last by partition; numbers must rise.
pub(crate) fn note_record(found: &mut HashMap<u64, RangeInclusive<u64>>, id: u64, number: u64) {
    let range = found.entry(id).or_insert(number..=number);
    *range = *range.start()..=number;
}

fn weight(entry: &Entry) -> usize {
    let row = entry.row().map_or(0, |row| match row {
        Row::Waiting { delivery, body: 0 } => delivery.message.size_bytes(),
        Row::Body(message) | Row::Retained { message, .. } | Row::Delayed { message, .. } => {
            message.size_bytes()
        }
        Row::Outbox(outbox) => outbox.message.size_bytes(),
        Row::Session(session) => session.will.as_ref().map_or(0, |will| will.message.size_bytes()),
        Row::Record(record) => record.message.size_bytes() + record.key.len(),
        Row::Partition(row) => row.key.realm.len() + row.key.stream.len(),
        Row::Place(row) => {
            let Progress { done, attempts, .. } = &row.progress;
            row.group.len() + size_of_val(done.as_slice()) + size_of_val(attempts.as_slice())
        }
        Row::Cell(row) => row.key.len() + row.value.len(),
        Row::Claim(row) => row.realm.len() + row.topic.len() + row.key.len(),
        Row::Kept(value) => value.len(),
        Row::Owed(row) => row.message.size_bytes(),
        _ => 0,
    });
    ROW_BYTES + row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Kind, id_key};

    #[test]
    fn a_fresh_row_goes_without_a_trace_and_an_old_one_leaves_its_deletion() {
        let mut overlay = Overlay::default();
        let (new, old) = (id_key(Kind::Received, 1), id_key(Kind::Received, 2));
        overlay.apply(Write { key: new.clone(), change: Change::Fresh(Row::Received(1)) });
        overlay.apply(Write { key: new.clone(), change: Change::Put(Row::Received(2)) });
        overlay.apply(Write { key: old.clone(), change: Change::Put(Row::Received(1)) });
        overlay.apply(Write { key: new.clone(), change: Change::Delete });
        overlay.apply(Write { key: old.clone(), change: Change::Delete });
        assert!(overlay.get(&new).is_none());
        assert!(matches!(overlay.get(&old), Some(Entry::Gone)));
        overlay.apply(Write { key: old.clone(), change: Change::Put(Row::Received(3)) });
        overlay.apply(Write { key: old.clone(), change: Change::Delete });
        assert!(matches!(overlay.get(&old), Some(Entry::Gone)));
    }
}
