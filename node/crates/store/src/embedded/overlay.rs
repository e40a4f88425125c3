//! An overlay: rows and deletions that are not in the tables yet.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::row::{Change, Key, Row, Write};

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
}

impl Overlay {
    pub fn apply(&mut self, write: Write) {
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
        self.rows.is_empty()
    }

    /// Whether a row of a layer below is deleted or may be replaced here: once merged, that gives room
    /// back.
    pub fn hides(&self) -> bool {
        self.rows.values().any(|entry| !matches!(entry, Entry::Row { fresh: true, .. }))
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        let key_bytes = key.len();
        self.bytes += key_bytes + weight(&entry);
        if let Some(old) = self.rows.insert(key, entry) {
            self.bytes -= key_bytes + weight(&old);
        }
    }
}

fn weight(entry: &Entry) -> usize {
    let message = match entry {
        Entry::Gone => None,
        Entry::Row { row, .. } => match row {
            Row::Waiting { delivery, body: 0 } => Some(&delivery.message),
            Row::Body(message) | Row::Retained { message, .. } | Row::Delayed { message, .. } => {
                Some(message)
            }
            Row::Outbox(outbox) => Some(&outbox.message),
            Row::Session(session) => session.will.as_ref().map(|will| &will.message),
            _ => None,
        },
    };
    ROW_BYTES + message.map_or(0, |message| message.size_bytes())
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
