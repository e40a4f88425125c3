//! Making, altering, moving and ending groups, and joining them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;
use weir_store::{
    Expect, Incarnation, Outcome, PartitionEnds, PartitionKey, PartitionOp, Progress, ReadError, Refusal,
    Start, Step, Table, TableOp,
};

use super::catalog::{GroupKey, Seen};
use super::definition::{DefinitionError, GroupDefinition, Moving, Row};
use super::hub::{Hub, sweep};
use super::life::{KeeperMsg, LifeMsg};
use super::member::{Member, MemberOptions};
use crate::broker::Broker;
use crate::clock;
use crate::limited::Limit;
use crate::stream::Stream;
use crate::stream::definition::NAME_BYTES_MAX;

/// How long a move waits until all nodes have given back their places.
const MOVE_WAIT: Duration = Duration::from_secs(15);

/// How long until a place is asked for again that another node still holds.
const MOVE_AGAIN: Duration = Duration::from_millis(50);

/// How often a change is tried again that somebody else's came in the way of.
const TRIES: usize = 8;

/// Most records a member may hold.
const IN_FLIGHT_MAX: u32 = 10_000;

/// Why something was not done with a group. Nothing has changed then, except after [`GroupError::Held`], when the move
/// goes on as soon as it can, and [`GroupError::Store`] with an unknown outcome.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("there is no stream `{name}`")]
    NoStream { name: Arc<str> },
    #[error("stream `{stream}` has no group `{name}`")]
    NoGroup { stream: Arc<str>, name: Arc<str> },
    #[error("there is a group `{name}` already, and it is another")]
    Exists { name: Arc<str> },
    #[error("somebody else has changed the group `{name}` meanwhile: look again")]
    Changed { name: Arc<str> },
    #[error("there are {max} groups, as many as `broker.groups_max` allows")]
    TooMany { max: usize },
    #[error("this node has {max} members, as many as `broker.group_members_max` allows")]
    TooManyMembers { max: usize },
    #[error("`{field}` of a member is not from {least} to {most}")]
    Member { field: &'static str, least: u64, most: u64 },
    #[error("a node still holds a partition of the group: {by}")]
    Held { by: Incarnation },
    #[error("the store did not take it: {0}")]
    Store(#[from] Refusal),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// A group as an operator sees it. What is counted is counted on this node since it started.
#[derive(Debug, Clone)]
pub struct GroupInfo {
    pub name: Arc<str>,
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
    /// Makes a group; one that is there as asked already is left as it is.
    pub async fn create_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        definition: GroupDefinition,
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        self.check_group(&stream, group, &definition)?;
        let key = group_key(&stream, group);
        let max = self.config().groups_max;
        let is_new = self.groups_known().seen(&key).row.is_none();
        if max > 0 && is_new && self.groups_known().len() >= max {
            self.limited(Limit::Groups);
            return Err(GroupError::TooMany { max });
        }
        let moving = Some(Moving { to: definition.start, since: clock::unix() });
        let row = Row { definition: definition.clone(), moving, created_at: clock::unix() };
        match self.put_group(&key, &row, Expect::Absent).await? {
            true => self.finish_move(&key).await,
            false => {
                self.store().caught_up().await?;
                let (_, found) = self.group_row(&key)?;
                match found.definition == definition {
                    true => self.finish_move(&key).await,
                    false => Err(GroupError::Exists { name: key.group }),
                }
            }
        }
    }

    /// Changes what a group is. Its `start` does not move it: that is [`Broker::seek_group`].
    pub async fn alter_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        definition: GroupDefinition,
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        self.check_group(&stream, group, &definition)?;
        self.change_group(&group_key(&stream, group), |row| row.definition = definition.clone()).await
    }

    /// The same, from what it is at that moment.
    pub async fn alter_group_by(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        change: impl Fn(&mut GroupDefinition),
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let key = group_key(&stream, group);
        let mut definition = self.group_row(&key)?.1.definition.clone();
        change(&mut definition);
        self.check_group(&stream, group, &definition)?;
        self.change_group(&key, |row| change(&mut row.definition)).await
    }

    /// Nothing is delivered to members until it is taken back; what they hold they may finish.
    pub async fn pause_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        is_paused: bool,
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        self.change_group(&group_key(&stream, group), |row| row.definition.is_paused = is_paused).await
    }

    /// Moves a group: its members give back what they hold, and go on from there.
    pub async fn seek_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        start: Start,
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let key = group_key(&stream, group);
        let moving = Moving { to: start, since: clock::unix() };
        self.change_group(&key, |row| row.moving = Some(moving)).await?;
        self.finish_move(&key).await
    }

    /// Ends a group: its members are told, its progress is forgotten.
    pub async fn delete_group(&self, realm: &Arc<str>, stream: &str, group: &str) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let key = group_key(&stream, group);
        self.group_row(&key)?;
        self.delete_rows(&key).await?;
        let forget = |key| {
            let op = PartitionOp::Forget { group: group.into() };
            Step::Partition { key, ops: smallvec![op] }
        };
        let answer = self.submit(partitions(&stream).map(forget).collect()).await;
        answer.into_iter().find_map(Result::err).map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The stream is gone, and its partitions with all progress in them: so are the rows of its groups.
    pub async fn delete_groups_of(&self, realm: &str, stream: &str) -> Result<(), GroupError> {
        for key in self.groups_known().of_stream(realm, stream) {
            self.delete_rows(&key).await?;
        }
        Ok(())
    }

    async fn delete_rows(&self, key: &GroupKey) -> Result<(), GroupError> {
        let delete =
            |table, key| Step::Table { table, key, op: TableOp::Delete { expect: Expect::Anything } };
        let nodes = self.groups_known().seen(key).nodes;
        let members = nodes.keys().map(|node| delete(Table::Members, key.member_key(*node)));
        let steps = [delete(Table::Groups, key.row_key())].into_iter().chain(members).collect();
        match self.submit(steps).await.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(refusal.into()),
            None => Err(Refusal::Unknown.into()),
        }
    }

    /// The groups of a stream, by name, and how far each has come.
    pub async fn groups(&self, realm: &Arc<str>, stream: &str) -> Result<Vec<GroupInfo>, GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let mut places = Vec::new();
        for key in partitions(&stream) {
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

    /// Becomes a member of a group at this node.
    pub async fn join_group(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        options: MemberOptions,
    ) -> Result<Member, GroupError> {
        check_member(&options)?;
        if self.groups_known().is_leaving() {
            return Err(GroupError::ShuttingDown);
        }
        if self.stream_of(realm, stream).is_err() {
            self.store().caught_up().await?;
        }
        let found = self.stream_of(realm, stream)?;
        let key = group_key(&found, group);
        if self.groups_known().seen(&key).row.is_none() {
            // Another node has made it just now, perhaps.
            self.store().caught_up().await?;
        }
        let (_, row) = self.group_row(&key)?;
        let max = self.config().group_members_max;
        if !self.groups_known().enters(max) {
            self.limited(Limit::GroupMembers);
            return Err(GroupError::TooManyMembers { max });
        }
        let counts = self.groups_known().seen(&key).counts;
        let fresh = || Hub::new(key.clone(), row.clone(), counts.clone());
        let joined = self.groups_known().hub_for(&key, fresh, |hub| hub.join(options.clone()));
        let Some((hub, (member, bell), is_fresh)) = joined else { return Err(GroupError::ShuttingDown) };
        if is_fresh {
            self.groups_known().keeper.cast(KeeperMsg::Start(hub.clone()));
        }
        Ok(Member::new(self.clone(), hub, member, bell))
    }

    /// Makes a group's actor on this node panic, for the supervision tests.
    pub fn panic_group(&self, realm: &Arc<str>, stream: &str, group: &str) {
        let hubs = self.groups_known().hubs();
        let is_meant = |hub: &&Arc<Hub>| {
            hub.key.realm == *realm && *hub.key.stream == *stream && *hub.key.group == *group
        };
        hubs.iter().filter(is_meant).for_each(|hub| {
            hub.slot.cast(LifeMsg::Panic);
        });
    }

    /// Moves the places of a group where its row says, when nobody holds them any more, and lets members go on.
    pub(super) async fn finish_move(&self, key: &GroupKey) -> Result<(), GroupError> {
        let begun = tokio::time::Instant::now();
        let (version, row) = self.group_row(key)?;
        let Some(moving) = row.moving else { return Ok(()) };
        let stream = self.stream_of(&key.realm, &key.stream)?;
        let mut left: Vec<_> = partitions(&stream).collect();
        loop {
            let seek = |at: &PartitionKey| {
                let op = PartitionOp::Seek { group: key.group.clone(), start: moving.to };
                Step::Partition { key: at.clone(), ops: smallvec![op] }
            };
            let answer = self.submit(left.iter().map(seek).collect()).await;
            let mut held = Vec::new();
            let mut by = 0;
            for (at, step) in left.into_iter().zip(answer) {
                if let Some(Outcome::Held { by: owner }) = step?.first() {
                    (by, _) = (*owner, held.push(at));
                }
            }
            left = held;
            if left.is_empty() {
                break;
            }
            if begun.elapsed() >= MOVE_WAIT {
                return Err(GroupError::Held { by });
            }
            tokio::time::sleep(MOVE_AGAIN).await;
        }
        let row = Row { moving: None, ..(*row).clone() };
        if self.put_group(key, &row, Expect::Version(version)).await? {
            return Ok(());
        }
        // Altered meanwhile, or finished by another node.
        self.change_group(key, |row| row.moving = row.moving.filter(|other| *other != moving)).await
    }

    fn check_group(
        &self,
        stream: &Stream,
        group: &str,
        definition: &GroupDefinition,
    ) -> Result<(), GroupError> {
        definition.check(&stream.name, group)?;
        match &definition.dead_letter {
            Some(name) if self.streams().get(&stream.realm, name).is_none() => {
                Err(DefinitionError::DeadLetterUnknown { name: name.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// The row of a group, and its version.
    fn group_row(&self, key: &GroupKey) -> Result<(u64, Arc<Row>), GroupError> {
        let missing = || GroupError::NoGroup { stream: key.stream.clone(), name: key.group.clone() };
        self.groups_known().seen(key).row.ok_or_else(missing)
    }

    async fn change_group(&self, key: &GroupKey, change: impl Fn(&mut Row)) -> Result<(), GroupError> {
        for _ in 0..TRIES {
            let (version, row) = self.group_row(key)?;
            let mut changed = (*row).clone();
            change(&mut changed);
            if changed == *row || self.put_group(key, &changed, Expect::Version(version)).await? {
                return Ok(());
            }
            self.store().caught_up().await?;
        }
        Err(GroupError::Changed { name: key.group.clone() })
    }

    /// Writes a row; false when it is not as expected.
    async fn put_group(&self, key: &GroupKey, row: &Row, expect: Expect) -> Result<bool, GroupError> {
        // A row of ours always can be written as JSON; an empty one is refused when it is read.
        let value = Bytes::from(serde_json::to_vec(row).unwrap_or_default());
        let op = TableOp::Put { value, expect };
        let step = Step::Table { table: Table::Groups, key: key.row_key(), op };
        match self.submit(vec![step]).await.into_iter().next() {
            Some(Ok(outcomes)) => Ok(matches!(outcomes.first(), Some(Outcome::Put { .. }))),
            Some(Err(refusal)) => Err(refusal.into()),
            None => Err(Refusal::Unknown.into()),
        }
    }

    fn stream_of(&self, realm: &Arc<str>, name: &str) -> Result<Arc<Stream>, GroupError> {
        self.streams().get(realm, name).ok_or_else(|| GroupError::NoStream { name: name.into() })
    }
}

fn group_key(stream: &Stream, group: &str) -> GroupKey {
    GroupKey { realm: stream.realm.clone(), stream: stream.name.clone(), group: group.into() }
}

/// All partitions of a stream, oldest generation first.
fn partitions(stream: &Stream) -> impl Iterator<Item = PartitionKey> {
    let all = stream.generations().flat_map(|(generation, count)| (0..count).map(move |n| (generation, n)));
    all.map(|(generation, partition)| stream.partition_of(generation, partition))
}

fn check_member(options: &MemberOptions) -> Result<(), GroupError> {
    if options.in_flight_max == 0 || options.in_flight_max > IN_FLIGHT_MAX {
        return Err(GroupError::Member { field: "in_flight_max", least: 1, most: IN_FLIGHT_MAX.into() });
    }
    if options.bytes_max == 0 {
        return Err(GroupError::Member { field: "bytes_max", least: 1, most: u64::MAX });
    }
    match options.name.len() > NAME_BYTES_MAX {
        true => Err(GroupError::Member { field: "name (bytes)", least: 0, most: NAME_BYTES_MAX as u64 }),
        false => Ok(()),
    }
}

fn info(key: &GroupKey, seen: &Seen, partitions: Vec<GroupPartition>) -> Option<GroupInfo> {
    let (_, row) = seen.row.as_ref()?;
    let counts = &seen.counts;
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    Some(GroupInfo {
        name: key.group.clone(),
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
