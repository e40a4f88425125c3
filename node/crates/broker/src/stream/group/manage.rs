//! Making, altering and ending groups.

mod info;
mod joining;
mod moving;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::smallvec;
use weir_store::{Expect, Incarnation, Outcome, PartitionOp, ReadError, Refusal, Step, Table, TableOp};

use super::catalog::GroupKey;
use super::definition::{DefinitionError, GroupDefinition, Moving, Row};
use crate::broker::Broker;
use crate::clock;
use crate::limited::Limit;
use crate::stream::Stream;

pub use info::{GroupInfo, GroupPartition};

/// How often a change is tried again that somebody else's came in the way of.
const TRIES: usize = 8;

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

    /// The same, from what it is at that moment; with a `version`, only if it is still that one.
    pub async fn alter_group_by(
        &self,
        realm: &Arc<str>,
        stream: &str,
        group: &str,
        version: Option<u64>,
        change: impl Fn(&mut GroupDefinition),
    ) -> Result<(), GroupError> {
        let stream = self.stream_of(realm, stream)?;
        let key = group_key(&stream, group);
        let (now, row) = self.group_row(&key)?;
        let mut changed = (*row).clone();
        change(&mut changed.definition);
        self.check_group(&stream, group, &changed.definition)?;
        let Some(version) = version else {
            return self.change_group(&key, |row| change(&mut row.definition)).await;
        };
        match version == now && self.put_group(&key, &changed, Expect::Version(version)).await? {
            true => Ok(()),
            false => Err(GroupError::Changed { name: key.group }),
        }
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
        let answer = self.submit(stream.partitions().map(forget).collect()).await;
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
