//! Partitions of an embedded store as rows of a copy: what each is lies apart from where it begins and ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use weir_model::MessageId;

use crate::copy::{CopyError, CopyRow, OwedCopy, Pages, PartitionCopy, PlaceCopy, described};
use crate::row::{Key, Kind, PlaceRow, RecordRow, Row, SeenRow, effect_of, numbers_of};
use crate::{Mark, PartitionKey, Record};

/// The partitions, by the id their rows lie under. What belongs to none of them was dropped with its partition.
#[derive(Default)]
pub(super) struct Partitions {
    found: BTreeMap<u64, PartitionCopy>,
    /// Whose the places are, by the id of the partition and the number their rows lie under.
    places: HashMap<(u64, u64), Arc<str>>,
    /// They were handed on: what comes now belongs to them.
    are_out: bool,
    /// The ids of one partition, which lie in a ring.
    seen: Option<(u64, Vec<SeenRow>)>,
}

impl Partitions {
    /// Rows must come in the order of their keys.
    pub fn add(&mut self, key: &Key, row: &Row, pages: &mut Pages<'_>) -> Result<(), CopyError> {
        let Some((id, number)) = numbers_of(key) else { return Ok(()) };
        if key[0] >= Kind::Place as u8 {
            self.hand_on_partitions(pages)?;
        }
        if key[0] > Kind::RecordSeen as u8 {
            self.hand_on_seen(pages)?;
        }
        match row {
            Row::Partition(row) => {
                let (trimmed, tail) = (Mark::default(), Mark::default());
                let (key, retention) = (row.key.clone(), row.retention);
                self.found.insert(id, PartitionCopy { key, retention, trimmed, tail, is_sealed: false });
            }
            Row::PartitionEnds(ends) => {
                if let Some(found) = self.found.get_mut(&id) {
                    (found.trimmed, found.tail, found.is_sealed) = (ends.trimmed, ends.tail, ends.is_sealed);
                }
            }
            Row::Place(row) => return self.add_place((id, number), row, pages),
            Row::RecordSeen(row) => return self.add_seen(id, **row, pages),
            Row::Record(row) => return self.add_record((id, number), row, pages),
            Row::Kept(_) | Row::Owed(_) | Row::OwedTail(_) => {
                return self.add_effect((id, number), effect_of(key).unwrap_or_default(), row, pages);
            }
            _ => {}
        }
        Ok(())
    }

    /// No more rows of partitions come.
    pub fn hand_on(&mut self, pages: &mut Pages<'_>) -> Result<(), CopyError> {
        self.hand_on_partitions(pages)?;
        self.hand_on_seen(pages)
    }

    /// What is known of the partition under this id, for who has to find it.
    pub fn describe(&self, id: u64) -> String {
        self.found.get(&id).map_or_else(|| format!("the partition {id}"), |found| described(&found.key))
    }

    fn add_place(
        &mut self,
        (id, number): (u64, u64),
        row: &PlaceRow,
        pages: &mut Pages<'_>,
    ) -> Result<(), CopyError> {
        let Some(key) = self.key(id) else { return Ok(()) };
        let PlaceRow { group, fence, progress, .. } = row.clone();
        self.places.insert((id, number), group.clone());
        pages.add(CopyRow::Place { key, place: PlaceCopy { group, fence, progress } })
    }

    fn add_seen(&mut self, id: u64, row: SeenRow, pages: &mut Pages<'_>) -> Result<(), CopyError> {
        if self.seen.as_ref().is_some_and(|(of, _)| *of != id) {
            self.hand_on_seen(pages)?;
        }
        self.seen.get_or_insert((id, Vec::new())).1.push(row);
        Ok(())
    }

    /// Rows of records that were let go are still there until a checkpoint removes them.
    fn add_record(
        &self,
        (id, number): (u64, u64),
        row: &RecordRow,
        pages: &mut Pages<'_>,
    ) -> Result<(), CopyError> {
        let Some(partition) = self.found.get(&id).filter(|found| number > found.trimmed.number) else {
            return Ok(());
        };
        let mark = Mark { position: row.position, number };
        let record = Record { mark, key: row.key.clone(), message: row.message.clone() };
        pages.add_record(&partition.key, record)
    }

    /// What a group keeps or owes.
    fn add_effect(
        &self,
        (id, place): (u64, u64),
        name: &[u8],
        row: &Row,
        pages: &mut Pages<'_>,
    ) -> Result<(), CopyError> {
        let whose = self.found.get(&id).map(|found| &found.key).zip(self.places.get(&(id, place)));
        let Some((key, group)) = whose else { return Ok(()) };
        match (row, <[u8; 8]>::try_from(name)) {
            (Row::Kept(value), _) => {
                pages.add_kept((key, group), (Bytes::copy_from_slice(name), value.clone()))
            }
            (Row::Owed(row), Ok(entry)) => {
                let (id, message) = (row.id, row.message.clone());
                pages.add_owed((key, group), OwedCopy { entry: u64::from_be_bytes(entry), id, message })
            }
            (Row::OwedTail(tail), _) => {
                let (key, group) = (key.clone(), group.clone());
                pages.add(CopyRow::GroupOutbox { key, group, tail: *tail })
            }
            _ => Ok(()),
        }
    }

    fn hand_on_partitions(&mut self, pages: &mut Pages<'_>) -> Result<(), CopyError> {
        if std::mem::replace(&mut self.are_out, true) {
            return Ok(());
        }
        let mut rows = self.found.values().map(|found| CopyRow::Partition(Box::new(found.clone())));
        rows.try_for_each(|row| pages.add(row))
    }

    fn hand_on_seen(&mut self, pages: &mut Pages<'_>) -> Result<(), CopyError> {
        let Some((id, rows)) = self.seen.take() else { return Ok(()) };
        let Some(key) = self.key(id) else { return Ok(()) };
        pages.add(CopyRow::RecordSeen { key, ids: newest_last(rows) })
    }

    fn key(&self, id: u64) -> Option<PartitionKey> {
        self.found.get(&id).map(|found| found.key.clone())
    }
}

/// Each id once, as it was seen last.
fn newest_last(mut rows: Vec<SeenRow>) -> Vec<(MessageId, Mark)> {
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.at));
    let mut known = HashSet::new();
    rows.retain(|row| known.insert(row.id));
    rows.into_iter().rev().map(|row| (row.id, row.mark)).collect()
}
