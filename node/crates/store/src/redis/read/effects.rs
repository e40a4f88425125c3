//! Reading what groups keep and owe in partitions.

use bytes::Bytes;
use redis::{RedisError, Value};

use super::stream::entries;
use super::{garbled, unconfirmed};
use crate::redis::decode;
use crate::redis::layout::{Layout, partition_id};
use crate::redis::servers::Connection;
use crate::redis::shard::Shard;
use crate::{GroupPlace, OwedMessage, PartitionKey};

/// Most fields of one question.
const FIELDS_MAX: usize = 1000;

/// A group of a partition.
pub(in crate::redis) struct Group<'a> {
    layout: &'a Layout,
    pub shard: Shard,
    /// `<partition id>:<group>`
    name: String,
}

impl<'a> Group<'a> {
    pub fn of(layout: &'a Layout, key: &PartitionKey, group: &str) -> Group<'a> {
        let id = partition_id(key);
        Group { layout, shard: layout.of_partition(&id), name: format!("{id}:{group}") }
    }

    /// What it keeps under these keys. All of it is as safe as the level wants.
    pub async fn kept(
        &self,
        connection: &mut Connection,
        names: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, RedisError> {
        let found = self.values(connection, names).await?;
        if found.iter().any(Option::is_some) {
            self.confirm(connection).await?;
        }
        Ok(found)
    }

    /// What it keeps, by its keys in their order: at most so many behind one.
    pub async fn kept_page(
        &self,
        connection: &mut Connection,
        mut after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RedisError> {
        let mut found = Vec::new();
        while found.len() < limit {
            let room = (limit - found.len()).min(FIELDS_MAX);
            let names = self.names(connection, after.as_ref(), room).await?;
            let Some(last) = names.last().cloned() else { break };
            let values = self.values(connection, &names).await?;
            found.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
            after = Some(last);
        }
        if !found.is_empty() {
            self.confirm(connection).await?;
        }
        Ok(found)
    }

    /// What it owes, at most so many entries above one. All of them are as safe as the level wants.
    pub async fn owed(
        &self,
        connection: &mut Connection,
        after: u64,
        limit: usize,
    ) -> Result<Vec<OwedMessage>, RedisError> {
        let mut question = redis::cmd("XRANGE");
        question.arg(self.key("owed")).arg(format!("{}-0", after.saturating_add(1)));
        question.arg("+").arg("COUNT").arg(limit);
        let found = entries(question.query_async::<Value>(connection).await?)?;
        let entry = |(id, fields): &(_, Vec<Bytes>)| decode::owed(*id, fields).map_err(garbled);
        let found = found.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        if !found.is_empty() {
            self.confirm(connection).await?;
        }
        Ok(found)
    }

    async fn names(
        &self,
        connection: &mut Connection,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, RedisError> {
        let from = after.map_or_else(|| b"-".to_vec(), |after| [b"(", &after[..]].concat());
        let mut question = redis::cmd("ZRANGEBYLEX");
        question.arg(self.key("kept_keys")).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        question.query_async(connection).await
    }

    async fn values(
        &self,
        connection: &mut Connection,
        names: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, RedisError> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(FIELDS_MAX) {
            let mut question = redis::cmd("HMGET");
            question.arg(self.key("kept"));
            for name in names {
                question.arg(&name[..]);
            }
            found.extend(question.query_async::<Vec<Option<Bytes>>>(connection).await?);
        }
        Ok(found)
    }

    fn key(&self, kind: &str) -> String {
        self.layout.key(self.shard, &format!("{kind}:{}", self.name))
    }

    async fn confirm(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if connection.wait().map_err(unconfirmed)?.is_none() {
            return Ok(());
        }
        let confirmed = connection.confirm(&self.layout.prefix, self.shard, super::CONFIRM).await;
        confirmed.map_err(unconfirmed)
    }
}

/// Fills in how much the groups of a partition keep and owe.
pub(super) async fn count(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
    places: &mut [GroupPlace],
) -> Result<(), RedisError> {
    for places in places.chunks_mut(FIELDS_MAX) {
        let groups: Vec<Group> = places.iter().map(|place| Group::of(layout, key, &place.group)).collect();
        let mut question = redis::cmd("HMGET");
        question.arg(layout.key(groups[0].shard, "effects"));
        for group in &groups {
            question.arg(&group.name);
        }
        let known: Vec<Option<Bytes>> = question.query_async(connection).await?;
        let with_effects = places.iter_mut().zip(&groups).zip(known).filter(|(_, known)| known.is_some());
        for ((place, group), _) in with_effects {
            let mut counts = redis::pipe();
            counts.cmd("HLEN").arg(group.key("kept")).cmd("XLEN").arg(group.key("owed"));
            (place.kept, place.owed) = counts.query_async(connection).await?;
        }
    }
    Ok(())
}
