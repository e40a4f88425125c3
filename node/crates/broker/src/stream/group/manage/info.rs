//! Groups as an operator sees them: how they are made, and how far each has come.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_store::{Incarnation, PartitionEnds, PartitionKey, Progress, ReadError};

use super::GroupError;
use crate::broker::Broker;
use crate::stream::Stream;
use crate::stream::group::catalog::{GroupKey, Seen};
use crate::stream::group::definition::GroupDefinition;
use crate::stream::group::hub::sweep;

/// A group as an operator sees it. What is counted is counted on this node since it started.
#[derive(Debug, Clone)]
pub struct GroupInfo {
    pub name: Arc<str>,
    /// Of its definition; another one after every change.
    pub version: u64,
    pub definition: GroupDefinition,
    /// Its places are being moved: nobody is given anything.
    pub is_moving: bool,
    /// The nodes with members.
    pub nodes: Vec<Incarnation>,
    /// Of every generation that may hold records, oldest first.
    pub partitions: Vec<GroupPartition>,
    /// Records, by their numbers, that were let go before the group had read them.
    pub lost: u64,
    /// Records given up without a dead-letter stream.
    pub dropped: u64,
    pub dead_lettered: u64,
    /// Times a partition had forgotten records that the group had read.
    pub went_back: u64,
    /// Members ended because they did nothing.
    pub stalled: u64,
    /// Times a partition was taken anew because it could be neither read nor stored.
    pub reacquired: u64,
    /// Times another node had taken a partition that this one still worked on.
    pub fenced: u64,
}

/// How far a group has come in one partition.
#[derive(Debug, Clone)]
pub struct GroupPartition {
    pub generation: u64,
    pub partition: u32,
    pub ends: PartitionEnds,
    pub owner: Option<Incarnation>,
    /// As stored; `None` = the group has not begun there.
    pub progress: Option<Progress>,
}

impl GroupPartition {
    /// Records, by their numbers, that are not finished; those that compaction took are among them.
    pub fn lag(&self) -> u64 {
        let Some(progress) = &self.progress else { return self.ends.records };
        let finished: u64 =
            progress.done.iter().map(|(first, last)| (last.number + 1).saturating_sub(first.number)).sum();
        self.ends.tail.number.saturating_sub(progress.low.number).saturating_sub(finished)
    }
}

impl Broker {
    /// The groups of a stream, by name, and how far each has come.
    pub async fn groups(&self, realm: &Arc<str>, stream: &str) -> Result<Vec<GroupInfo>, GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let mut places = Vec::new();
        for key in stream.partitions() {
            let info = self.store().partition(key.clone()).await?.unwrap_or_default();
            places.push((key, info));
        }
        let keys = self.groups_known().of_stream(&stream.realm, &stream.name);
        let infos = keys.into_iter().filter_map(|key| {
            let seen = self.groups_known().seen(&key);
            let of_partition = |(at, info): &(PartitionKey, weir_store::PartitionInfo)| {
                let place = info.groups.iter().find(|place| place.group == key.group);
                GroupPartition {
                    generation: at.generation,
                    partition: at.partition,
                    ends: info.ends,
                    owner: place.and_then(|place| place.owner),
                    progress: place.map(|place| place.progress.clone()),
                }
            };
            info(&key, &seen, places.iter().map(of_partition).collect())
        });
        Ok(infos.collect())
    }

    /// Whether every group of a stream has finished all records of an earlier generation; also when it has no group.
    pub async fn groups_have_finished(&self, stream: &Stream, generation: u64) -> Result<bool, ReadError> {
        for key in self.groups_known().of_stream(&stream.realm, &stream.name) {
            if !sweep::has_finished(self, stream, generation, &key.group).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn info(key: &GroupKey, seen: &Seen, partitions: Vec<GroupPartition>) -> Option<GroupInfo> {
    let (version, row) = seen.row.as_ref()?;
    let counts = &seen.counts;
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    Some(GroupInfo {
        name: key.group.clone(),
        version: *version,
        definition: row.definition.clone(),
        is_moving: row.moving.is_some(),
        nodes: seen.nodes.keys().copied().collect(),
        partitions,
        lost: count(&counts.lost),
        dropped: count(&counts.dropped),
        dead_lettered: count(&counts.dead_lettered),
        went_back: count(&counts.went_back),
        stalled: count(&counts.stalled),
        reacquired: count(&counts.reacquired),
        fenced: count(&counts.fenced),
    })
}
