//! What a group keeps and owes in a partition: values by key, and an outbox in the order of its entries.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use weir_model::{Message, MessageId};

use super::partition::Group;
use super::{Effects, State};
use crate::row::{Key, Kind, OwedRow, Row, kept_key, number_key, owed_key};
use crate::{KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX, Outcome, PartitionKey, Refusal};

/// The outbox of a group in a partition: ids here, messages in the rows.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The newest entry ever given.
    pub tail: u64,
    /// In order.
    entries: VecDeque<(u64, MessageId)>,
    /// The same, to know what is owed already.
    ids: HashMap<MessageId, u64>,
    /// Its row of the tail is to be written with this group commit.
    pub is_changed: bool,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts in what was found in the tables.
    pub fn restore(&mut self, entry: u64, id: MessageId) {
        self.tail = self.tail.max(entry);
        let place = self.entries.partition_point(|(known, _)| *known < entry);
        match self.entries.get_mut(place).filter(|(known, _)| *known == entry) {
            Some(known) => known.1 = id,
            None => self.entries.insert(place, (entry, id)),
        }
        self.ids.insert(id, entry);
    }

    /// A new entry.
    fn push(&mut self, id: MessageId) -> u64 {
        self.tail += 1;
        self.entries.push_back((self.tail, id));
        self.ids.insert(id, self.tail);
        self.tail
    }

    /// Entries above one, in order.
    pub fn above(&self, after: u64) -> impl Iterator<Item = (u64, MessageId)> {
        let from = self.entries.partition_point(|(entry, _)| *entry <= after);
        self.entries.range(from..).copied()
    }

    /// Takes out those up to one, and says which they were.
    fn take_through(&mut self, through: u64) -> impl Iterator<Item = u64> {
        let Outbox { entries, ids, .. } = self;
        let count = entries.partition_point(|(entry, _)| *entry <= through);
        entries.drain(..count).map(|(entry, id)| {
            ids.remove(&id);
            entry
        })
    }
}

/// Whether a value may be kept under this key.
pub(super) fn check_size(key: &Bytes, value: Option<&Bytes>) -> Result<(), Refusal> {
    let is_large =
        key.len() > KEPT_KEY_BYTES_MAX || value.is_some_and(|value| value.len() > KEPT_VALUE_BYTES_MAX);
    if is_large { Err(Refusal::TooLarge) } else { Ok(()) }
}

impl Group {
    /// Deletes the rows of what it keeps and owes in the partition of this id.
    pub fn forget_effects(&self, id: u64, out: &mut Effects) {
        for key in &self.kept {
            out.delete(kept_key(id, self.place, key));
        }
        for (entry, _) in self.outbox.above(0) {
            out.delete(owed_key(id, self.place, entry));
        }
        if self.outbox.tail > 0 {
            out.delete(number_key(Kind::OwedTail, id, self.place));
        }
    }
}

/// The fence of each was checked.
impl State {
    pub(super) fn keep(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        name: Bytes,
        value: Option<Bytes>,
        out: &mut Effects,
    ) -> Outcome {
        let Some((id, place)) = self.held_group(key, group) else { return Outcome::Gone };
        let row = kept_key(id, place.place, &name);
        match value {
            Some(value) => {
                if !place.kept.contains(&name) {
                    // A copy: it may be a part of something large.
                    place.kept.insert(Bytes::copy_from_slice(&name));
                }
                out.put(row, Row::Kept(value));
            }
            None if place.kept.remove(&name) => out.delete(row),
            None => {}
        }
        Outcome::Done
    }

    pub(super) fn owe(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        id: MessageId,
        message: Arc<Message>,
        out: &mut Effects,
    ) -> Outcome {
        let Some((partition, place)) = self.held_group(key, group) else { return Outcome::Gone };
        if let Some(entry) = place.outbox.ids.get(&id) {
            return Outcome::Owed { entry: *entry };
        }
        let entry = place.outbox.push(id);
        place.outbox.is_changed = true;
        out.fresh(owed_key(partition, place.place, entry), Row::Owed(Box::new(OwedRow { id, message })));
        self.note_place(key, group);
        Outcome::Owed { entry }
    }

    pub(super) fn paid(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        through: u64,
        out: &mut Effects,
    ) -> Outcome {
        let Some((id, place)) = self.held_group(key, group) else { return Outcome::Gone };
        let Group { place, outbox, .. } = place;
        for entry in outbox.take_through(through) {
            out.delete(owed_key(id, *place, entry));
        }
        Outcome::Done
    }

    /// A group, and the id of its partition.
    fn held_group(&mut self, key: &PartitionKey, group: &Arc<str>) -> Option<(u64, &mut Group)> {
        let partition = self.partitions.get_mut(key)?;
        Some((partition.id, partition.groups.get_mut(group)?))
    }

    /// A group as readers see it, and the id of its partition.
    fn shown_group(&self, key: &PartitionKey, group: &str) -> Option<(u64, &Group)> {
        let partition = self.partitions.get(key)?;
        Some((partition.id, partition.groups.get(group)?))
    }

    /// Where the values of a group lie that it keeps under these keys; `None` = it keeps nothing under it.
    pub fn kept_rows(&self, key: &PartitionKey, group: &str, names: &[Bytes]) -> Vec<Option<Key>> {
        let found = self.shown_group(key, group);
        let row = |name: &Bytes| {
            let (id, place) = found.filter(|(_, place)| place.kept.contains(name))?;
            Some(kept_key(id, place.place, name))
        };
        names.iter().map(row).collect()
    }

    /// The keys of values that a group keeps, at most so many behind one.
    pub fn kept_names(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Vec<Bytes> {
        let Some((_, place)) = self.shown_group(key, group) else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        place.kept.range::<Bytes, _>((from, Bound::Unbounded)).take(limit).cloned().collect()
    }

    /// What a group owes, at most so many entries above one, and where each lies.
    pub fn owed_rows(&self, key: &PartitionKey, group: &str, after: u64, limit: usize) -> Vec<(u64, Key)> {
        let Some((id, place)) = self.shown_group(key, group) else { return Vec::new() };
        let entries = place.outbox.above(after).take(limit);
        entries.map(|(entry, _)| (entry, owed_key(id, place.place, entry))).collect()
    }
}
