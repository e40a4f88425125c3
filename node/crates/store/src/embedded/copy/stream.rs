//! Partitions, rows of tables and idempotency keys of a copy as rows of an embedded store, under numbers of its own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::{MessageId, Position};

use super::write::put;
use crate::copy::{ClaimCopy, OwedCopy, PartitionCopy, PlaceCopy, Windows};
use crate::row::{
    CellRow, ClaimRow, Kind, OwedRow, PartitionRow, PlaceRow, RecordRow, Row, SeenRow, Write, id_key,
    kept_key, number_key, owed_key,
};
use crate::{Mark, PartitionEnds, PartitionKey, Record, TableRow};

/// Under what the rows lie whose keys are numbers of the store itself.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The highest number given.
    newest: u64,
    partitions: HashMap<PartitionKey, u64>,
    /// Of groups, by the partition's number.
    places: HashMap<(u64, Arc<str>), u64>,
    /// The latest time in any Position: what is appended later must stand behind it.
    at_ms: u64,
}

impl Names {
    pub fn newest(&self) -> u64 {
        self.newest
    }

    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// The number of a partition, and that of the group's place in it.
    fn place(&self, key: &PartitionKey, group: &Arc<str>) -> Option<(u64, u64)> {
        let id = self.partitions.get(key)?;
        Some((*id, *self.places.get(&(*id, group.clone()))?))
    }

    fn next(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    fn note(&mut self, position: Position) {
        self.at_ms = self.at_ms.max(position.ms);
    }
}

pub(super) fn partition(copy: PartitionCopy, names: &mut Names) -> Vec<Write> {
    let PartitionCopy { key, retention, trimmed, tail, is_sealed } = copy;
    names.note(tail.position);
    let id = names.next();
    names.partitions.insert(key.clone(), id);
    // How many records it has is counted when the store is opened.
    let ends = PartitionEnds { trimmed, tail, is_sealed, ..PartitionEnds::default() };
    vec![
        put(id_key(Kind::Partition, id), Row::Partition(Box::new(PartitionRow { key, retention }))),
        put(id_key(Kind::PartitionEnds, id), Row::PartitionEnds(Box::new(ends))),
    ]
}

/// What belongs to a partition comes behind it.
pub(super) fn place(key: &PartitionKey, place: PlaceCopy, names: &mut Names) -> Vec<Write> {
    let Some(id) = names.partitions.get(key).copied() else { return Vec::new() };
    let PlaceCopy { group, fence, progress } = place;
    let number = names.next();
    names.places.insert((id, group.clone()), number);
    let row = Row::Place(Box::new(PlaceRow { group, owner: None, fence, progress }));
    vec![put(number_key(Kind::Place, id, number), row)]
}

/// What a group keeps and owes comes behind its place.
pub(super) fn kept(
    key: &PartitionKey,
    group: &Arc<str>,
    values: Vec<(Bytes, Bytes)>,
    names: &Names,
) -> Vec<Write> {
    let Some((id, place)) = names.place(key, group) else { return Vec::new() };
    values.into_iter().map(|(name, value)| put(kept_key(id, place, &name), Row::Kept(value))).collect()
}

pub(super) fn owed(
    key: &PartitionKey,
    group: &Arc<str>,
    entries: Vec<OwedCopy>,
    names: &Names,
) -> Vec<Write> {
    let Some((partition, place)) = names.place(key, group) else { return Vec::new() };
    let row = |OwedCopy { entry, id, message }: OwedCopy| {
        put(owed_key(partition, place, entry), Row::Owed(Box::new(OwedRow { id, message })))
    };
    entries.into_iter().map(row).collect()
}

pub(super) fn outbox(key: &PartitionKey, group: &Arc<str>, tail: u64, names: &Names) -> Vec<Write> {
    let Some((id, place)) = names.place(key, group) else { return Vec::new() };
    vec![put(number_key(Kind::OwedTail, id, place), Row::OwedTail(tail))]
}

pub(super) fn record_seen(
    key: &PartitionKey,
    ids: Vec<(MessageId, Mark)>,
    windows: Windows,
    names: &Names,
) -> Vec<Write> {
    let Some(id) = names.partitions.get(key).copied() else { return Vec::new() };
    let row = |(at, (of, mark)): (u64, (MessageId, Mark))| {
        let place = number_key(Kind::RecordSeen, id, at % windows.ids_max as u64);
        put(place, Row::RecordSeen(Box::new(SeenRow { at, id: of, mark })))
    };
    (0..).zip(ids).map(row).collect()
}

pub(super) fn records(key: &PartitionKey, records: Vec<Record>, names: &mut Names) -> Vec<Write> {
    let Some(id) = names.partitions.get(key).copied() else { return Vec::new() };
    records.iter().for_each(|record| names.note(record.mark.position));
    let row = |Record { mark, key, message }: Record| {
        let row = RecordRow { position: mark.position, key, message };
        put(number_key(Kind::Record, id, mark.number), Row::Record(row))
    };
    records.into_iter().map(row).collect()
}

pub(super) fn cell(row: TableRow, names: &mut Names) -> Vec<Write> {
    let TableRow { table, key, version, value } = row;
    let Some(value) = value else { return Vec::new() };
    let row = CellRow { table, key, version, value };
    vec![put(id_key(Kind::Cell, names.next()), Row::Cell(Box::new(row)))]
}

pub(super) fn claim(copy: ClaimCopy, names: &mut Names) -> Vec<Write> {
    let ClaimCopy { realm, topic, key, id, position, until, settled } = copy;
    names.note(position);
    let row = ClaimRow { realm, topic, key, id, position, until, settled };
    vec![put(id_key(Kind::Claim, names.next()), Row::Claim(Box::new(row)))]
}
