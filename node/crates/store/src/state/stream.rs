//! What happens inside a partition: records appended and let go, made, sealed, dropped.

use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::effects::check_size;
use super::partition::{LetGo, Partition};
use super::{Batch, Effects, Outcomes, State};
use crate::row::{Kind, PartitionRow, RecordRow, Row, id_key, number_key};
use crate::{
    Append, Mark, Outcome, PartitionEnds, PartitionInfo, PartitionKey, PartitionOp, Refusal, Retention, Start,
};

/// How many records one append lets go because of their age: the next ones go on.
const AGED_PER_APPEND: u64 = 16;

impl State {
    pub(super) fn apply_partition(
        &mut self,
        key: &PartitionKey,
        ops: SmallVec<[PartitionOp; 1]>,
        batch: &Batch,
        out: &mut Effects,
    ) -> Result<Outcomes, Refusal> {
        self.check_partition(key, &ops, batch)?;
        Ok(ops.into_iter().map(|op| self.apply_partition_op(key, op, batch, out)).collect())
    }

    fn check_partition(&self, key: &PartitionKey, ops: &[PartitionOp], batch: &Batch) -> Result<(), Refusal> {
        // Groups whose place changes hands in this very step: no fence the caller knows is valid.
        let mut moved: SmallVec<[&Arc<str>; 2]> = SmallVec::new();
        let mut is_dropped = false;
        for op in ops {
            if !batch.may_grow && grows(op) {
                return Err(Refusal::DiskFull);
            }
            if let Some((group, fence)) = fence_of(op) {
                let partition = self.partitions.get(key).filter(|_| !is_dropped);
                let held = partition.and_then(|partition| partition.groups.get(group));
                if !held.is_some_and(|held| held.is_held_under(fence)) || moved.contains(&group) {
                    return Err(Refusal::Fenced);
                }
            }
            match op {
                PartitionOp::Append(_) => batch.refused.map_or(Ok(()), Err)?,
                PartitionOp::Keep { key, value, .. } => check_size(key, value.as_ref())?,
                PartitionOp::Release { group, .. }
                | PartitionOp::Acquire { group, .. }
                | PartitionOp::Forget { group }
                | PartitionOp::Seek { group, .. } => moved.push(group),
                PartitionOp::Drop => is_dropped = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn apply_partition_op(
        &mut self,
        key: &PartitionKey,
        op: PartitionOp,
        batch: &Batch,
        out: &mut Effects,
    ) -> Outcome {
        match op {
            PartitionOp::Append(append) => self.append(key, append, batch, out),
            PartitionOp::Configure { retention } => self.configure(key, retention, batch, out),
            PartitionOp::Seal => self.seal(key),
            PartitionOp::Trim { before } => {
                let Some(partition) = self.partitions.get_mut(key) else { return Outcome::Done };
                let gone = before.map_or(LetGo::default(), |before| partition.trim_up_to(before));
                self.account.let_go(gone);
                let gone = partition.trim(batch.now, u64::MAX);
                self.account.let_go(gone);
                self.note_partition(key);
                Outcome::Done
            }
            PartitionOp::Acquire { group, start } => self.acquire(key, group, start, batch),
            PartitionOp::Commit { group, progress, .. } => self.commit_group(key, &group, progress, false),
            PartitionOp::Release { group, progress, .. } => self.commit_group(key, &group, progress, true),
            PartitionOp::Keep { group, key: name, value, .. } => self.keep(key, &group, name, value, out),
            PartitionOp::Owe { group, id, message, .. } => self.owe(key, &group, id, message, out),
            PartitionOp::Paid { group, through, .. } => self.paid(key, &group, through, out),
            PartitionOp::Forget { group } => self.forget_group(key, &group, out),
            PartitionOp::Seek { group, start } => self.seek_group(key, group, start, batch),
            PartitionOp::Drop => self.drop_partition(key, out),
        }
    }

    fn append(&mut self, key: &PartitionKey, append: Append, batch: &Batch, out: &mut Effects) -> Outcome {
        let Append { id, key: record_key, message } = append;
        let Some(partition) = self.partitions.get_mut(key).filter(|partition| !partition.is_sealed) else {
            return Outcome::Gone;
        };
        if let Some(mark) = id.and_then(|id| partition.seen.get(&id)) {
            return Outcome::Appended { mark, first: false };
        }
        self.position = self.position.max(partition.tail.position).next(batch.now.0);
        let mark = Mark { position: self.position, number: partition.tail.number + 1 };
        if let Some(id) = id {
            let capacity = self.rules.dedup_ids_max;
            let row = partition.seen.insert(id, mark, capacity);
            let place = row.at % capacity as u64;
            out.put(number_key(Kind::RecordSeen, partition.id, place), Row::RecordSeen(Box::new(row)));
        }
        let bytes = u32::try_from(message.size_bytes()).unwrap_or(u32::MAX);
        partition.tail = mark;
        partition.runs.push(mark, bytes);
        self.account.appended += 1;
        self.account.stream_records += 1;
        self.account.stream_bytes += u64::from(bytes);
        if partition.retention.is_compacted
            && !record_key.is_empty()
            && let Some(older) =
                partition.newest.replace(xxh3_128_with_seed(&record_key, self.seed), mark.number)
            && let Some(bytes) = partition.runs.remove(older)
        {
            self.account.compacted += 1;
            self.account.stream_records -= 1;
            self.account.stream_bytes -= u64::from(bytes);
            out.delete(number_key(Kind::Record, partition.id, older));
        }
        let row = RecordRow { position: mark.position, key: record_key, message };
        out.fresh(number_key(Kind::Record, partition.id, mark.number), Row::Record(row));
        let gone = partition.trim(batch.now, AGED_PER_APPEND);
        self.account.let_go(gone);
        partition.newest.tidy(partition.trimmed.number, partition.runs.records());
        if partition.note() {
            self.changed_partitions.push(key.clone());
        }
        Outcome::Appended { mark, first: true }
    }

    fn configure(
        &mut self,
        key: &PartitionKey,
        retention: Retention,
        batch: &Batch,
        out: &mut Effects,
    ) -> Outcome {
        if !self.partitions.contains_key(key) {
            let made = Box::new(Partition { id: self.next_number(), ..Partition::default() });
            self.partitions.insert(key.clone(), made);
        }
        let Some(partition) = self.partitions.get_mut(key) else { return Outcome::Gone };
        if partition.retention.is_compacted && !retention.is_compacted {
            partition.newest.clear();
        }
        partition.retention = retention;
        let row = PartitionRow { key: key.clone(), retention };
        out.put(id_key(Kind::Partition, partition.id), Row::Partition(Box::new(row)));
        let gone = partition.trim(batch.now, u64::MAX);
        self.account.let_go(gone);
        self.note_partition(key);
        Outcome::Done
    }

    fn seal(&mut self, key: &PartitionKey) -> Outcome {
        let Some(partition) = self.partitions.get_mut(key) else { return Outcome::Gone };
        partition.is_sealed = true;
        self.note_partition(key);
        Outcome::Done
    }

    fn drop_partition(&mut self, key: &PartitionKey, out: &mut Effects) -> Outcome {
        let Some(partition) = self.partitions.remove(key) else { return Outcome::Done };
        let id = partition.id;
        for group in partition.groups.values() {
            group.forget_effects(id, out);
            out.delete(number_key(Kind::Place, id, group.place));
        }
        for place in 0..partition.seen.places(self.rules.dedup_ids_max) {
            out.delete(number_key(Kind::RecordSeen, id, place));
        }
        out.delete(id_key(Kind::PartitionEnds, id));
        out.delete(id_key(Kind::Partition, id));
        self.account.stream_ended += partition.runs.records();
        self.account.stream_records -= partition.runs.records();
        self.account.stream_bytes -= partition.runs.bytes();
        out.appended.push((key.clone(), None));
        Outcome::Done
    }

    /// Writes what was put off to once per group commit.
    pub(super) fn settle_partitions(&mut self, out: &mut Effects) {
        for key in std::mem::take(&mut self.changed_partitions) {
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            let id = partition.id;
            for group in std::mem::take(&mut partition.changed_groups) {
                let Some(place) = partition.groups.get_mut(&group) else { continue };
                if std::mem::take(&mut place.outbox.is_changed) {
                    out.put(number_key(Kind::OwedTail, id, place.place), Row::OwedTail(place.outbox.tail));
                }
                let row = Row::Place(Box::new(place.row(&group)));
                out.put(number_key(Kind::Place, id, place.place), row);
            }
            if std::mem::take(&mut partition.is_changed) {
                let ends = partition.ends();
                out.put(id_key(Kind::PartitionEnds, id), Row::PartitionEnds(Box::new(ends)));
                out.appended.push((key, Some(partition.tail)));
            }
        }
    }

    /// The partition's ends are to be written with this group commit.
    pub(super) fn note_partition(&mut self, key: &PartitionKey) {
        if self.partitions.get_mut(key).is_some_and(|partition| partition.note()) {
            self.changed_partitions.push(key.clone());
        }
    }

    /// Where the rows of a partition lie, and the number of the first record to read, as far as it is known.
    pub fn stream_from(&self, key: &PartitionKey, start: Start) -> Option<(u64, u64)> {
        let partition = self.partitions.get(key)?;
        Some((partition.id, partition.first_for(start)))
    }

    pub fn partition(&self, key: &PartitionKey) -> Option<PartitionInfo> {
        let partition = self.partitions.get(key)?;
        let (ends, retention) = (partition.ends(), partition.retention);
        Some(PartitionInfo { ends, retention, groups: partition.places() })
    }

    /// Where all partitions begin and end, by the id their rows lie under.
    pub fn all_ends(&self) -> impl Iterator<Item = (u64, PartitionEnds)> {
        self.partitions.values().map(|partition| (partition.id, partition.ends()))
    }
}

/// Whether an op needs more room than it frees.
fn grows(op: &PartitionOp) -> bool {
    match op {
        PartitionOp::Append(_) | PartitionOp::Configure { .. } | PartitionOp::Owe { .. } => true,
        PartitionOp::Keep { value, .. } => value.is_some(),
        _ => false,
    }
}

/// Whose place an op is for, and under which fence it has to be held.
fn fence_of(op: &PartitionOp) -> Option<(&Arc<str>, u64)> {
    match op {
        PartitionOp::Commit { group, fence, .. }
        | PartitionOp::Release { group, fence, .. }
        | PartitionOp::Keep { group, fence, .. }
        | PartitionOp::Owe { group, fence, .. }
        | PartitionOp::Paid { group, fence, .. } => Some((group, *fence)),
        _ => None,
    }
}
