//! Rows of records that were let go, taken out of a map a few at a time.

use std::collections::{BTreeMap, VecDeque};

use crate::row::{Change, Key, Kind, Row, Write, number_key, numbers_of};

/// Partitions with the number up to which their records are gone: until none of those is left in the map. Readers never
/// look below, so nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    floors: VecDeque<(u64, u64)>,
}

impl Sweep {
    /// Notes what a write lets go.
    pub fn note(&mut self, write: &Write) {
        if write.key.first() != Some(&(Kind::PartitionEnds as u8)) {
            return;
        }
        let floor = match &write.change {
            Change::Fresh(Row::PartitionEnds(ends)) | Change::Put(Row::PartitionEnds(ends)) => {
                ends.trimmed.number
            }
            _ => u64::MAX,
        };
        if let Some((id, _)) = numbers_of(&write.key).filter(|_| floor > 0) {
            self.floors.push_back((id, floor));
        }
    }

    /// The next row that is to go.
    pub fn next<T>(&mut self, rows: &BTreeMap<Key, T>) -> Option<Key> {
        while let Some((id, floor)) = self.floors.front().copied() {
            let dead = number_key(Kind::Record, id, 0)..=number_key(Kind::Record, id, floor);
            if let Some((key, _)) = rows.range(dead).next() {
                return Some(key.clone());
            }
            self.floors.pop_front();
        }
        None
    }
}

/// How many rows one group commit sweeps for each of its writes, and at least.
pub(crate) const SWEPT_PER_WRITE: usize = 2;
pub(crate) const SWEPT_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::id_key;
    use crate::{Mark, PartitionEnds};

    #[test]
    fn only_what_was_let_go_is_swept() {
        let key = |id, number| number_key(Kind::Record, id, number);
        let mut rows: BTreeMap<Key, ()> =
            (1..=3).flat_map(|id| (1..=4).map(move |number| (key(id, number), ()))).collect();
        let mut sweep = Sweep::default();
        let trimmed = Mark { number: 2, ..Mark::default() };
        let ends = Row::PartitionEnds(Box::new(PartitionEnds { trimmed, ..PartitionEnds::default() }));
        sweep.note(&Write { key: id_key(Kind::PartitionEnds, 2), change: Change::Put(ends) });
        sweep.note(&Write { key: id_key(Kind::PartitionEnds, 3), change: Change::Delete });
        while let Some(dead) = sweep.next(&rows) {
            rows.remove(&dead);
        }
        let left: Vec<Key> = rows.into_keys().collect();
        assert_eq!(left, [key(1, 1), key(1, 2), key(1, 3), key(1, 4), key(2, 3), key(2, 4)]);
    }
}
