//! The places of groups in partitions: taken, moved on, given back.

use std::sync::Arc;

use super::partition::{Group, Partition};
use super::{Batch, Effects, State};
use crate::row::{Kind, number_key};
use crate::{Incarnation, Outcome, PartitionKey, Progress, Start};

impl State {
    pub(super) fn acquire(
        &mut self,
        key: &PartitionKey,
        group: Arc<str>,
        start: Start,
        batch: &Batch,
    ) -> Outcome {
        let Some(partition) = self.partitions.get(key) else { return Outcome::Gone };
        if let Some(by) = owner(partition, &group, batch).filter(|owner| *owner != batch.node) {
            return Outcome::Held { by };
        }
        let fence = self.next_number();
        let Some(place) = self.place(key, &group, start, fence) else { return Outcome::Gone };
        place.owner = Some(batch.node);
        place.fence = fence;
        let progress = place.progress.clone();
        Outcome::Acquired { fence, progress }
    }

    /// The fence was checked.
    pub(super) fn commit_group(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        progress: Progress,
        release: bool,
    ) -> Outcome {
        let Some(place) = self.place(key, group, Start::Earliest, 0) else { return Outcome::Gone };
        place.progress = progress;
        if release {
            place.owner = None;
        }
        Outcome::Done
    }

    pub(super) fn seek_group(
        &mut self,
        key: &PartitionKey,
        group: Arc<str>,
        start: Start,
        batch: &Batch,
    ) -> Outcome {
        let Some(partition) = self.partitions.get(key) else { return Outcome::Gone };
        let held = owner(partition, &group, batch);
        let held = held.or_else(|| partition.groups.get(&group)?.owner.filter(|_| !batch.is_shared));
        if let Some(by) = held {
            return Outcome::Held { by };
        }
        let low = partition.low_for(start);
        let number = self.next_number();
        let Some(place) = self.place(key, &group, start, number) else { return Outcome::Gone };
        place.owner = None;
        place.progress = Progress { low, ..Progress::default() };
        Outcome::Done
    }

    pub(super) fn forget_group(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        out: &mut Effects,
    ) -> Outcome {
        if let Some(partition) = self.partitions.get_mut(key)
            && let Some(place) = partition.groups.remove(group)
        {
            place.forget_effects(partition.id, out);
            out.delete(number_key(Kind::Place, partition.id, place.place));
        }
        Outcome::Done
    }

    /// The group's place, to be changed and written with this group commit; one that is not there is made, under that
    /// number.
    fn place(
        &mut self,
        key: &PartitionKey,
        group: &Arc<str>,
        start: Start,
        number: u64,
    ) -> Option<&mut Group> {
        self.note_place(key, group);
        let partition = self.partitions.get_mut(key)?;
        if !partition.groups.contains_key(group) {
            let progress = Progress { low: partition.low_for(start), ..Progress::default() };
            let made = Group { place: number, progress, ..Group::default() };
            partition.groups.insert(group.clone(), made);
        }
        partition.groups.get_mut(group)
    }

    /// The group's row is to be written with this group commit.
    pub(super) fn note_place(&mut self, key: &PartitionKey, group: &Arc<str>) {
        if self.partitions.get_mut(key).is_some_and(|partition| partition.note_group(group)) {
            self.changed_partitions.push(key.clone());
        }
    }

    /// Nobody holds a place any more: whoever did was of a process that has ended.
    pub fn forget_owners(&mut self) {
        let places = self.partitions.values_mut().flat_map(|partition| partition.groups.values_mut());
        places.for_each(|place| place.owner = None);
    }
}

/// Whose the group's place is, as long as the owner's lease stands.
fn owner(partition: &Partition, group: &Arc<str>, batch: &Batch) -> Option<Incarnation> {
    let owner = partition.groups.get(group)?.owner?;
    batch.standing.contains(&owner).then_some(owner)
}
