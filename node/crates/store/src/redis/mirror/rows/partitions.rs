//! Partitions on their way to the mirror: how far each has come, for those who wait for records.

use super::*;
use crate::redis::layout::{partition_id, partition_of};
use crate::redis::marks::mark_of;
use crate::{Mark, PartitionKey};

impl Rows {
    /// A step of this node was answered that a partition has records up to here; to be called before its caller hears
    /// of it.
    pub fn appended(&self, key: &PartitionKey, tail: Mark) {
        let name = partition_id(key);
        let mut rows = self.shards[self.layout.index(self.layout.of_partition(&name))].lock();
        let known = rows.tails.get(&*name).copied().flatten();
        if known.is_none_or(|known| known < tail) {
            self.hand_on_tail(&mut rows, name, key, tail);
        }
    }

    /// A step of this node was answered that a partition is gone.
    pub fn dropped(&self, key: &PartitionKey) {
        let name = partition_id(key);
        let mut rows = self.shards[self.layout.index(self.layout.of_partition(&name))].lock();
        rows.tails.insert(name.into(), None);
        self.hand_on_end(key);
    }

    /// The stream tells of it, perhaps after an answer has: then it is older, or the same.
    pub(super) fn hear_tail(&self, rows: &mut ShardRows, key: &PartitionKey, tail: Mark, seals: bool) {
        let name = partition_id(key);
        let is_news = match rows.tails.get(&*name) {
            None => true,
            Some(None) => false,
            Some(Some(known)) => *known < tail || (seals && *known == tail),
        };
        if is_news {
            self.hand_on_tail(rows, name, key, tail);
        }
    }

    pub(super) fn hear_end(&self, rows: &mut ShardRows, key: &PartitionKey) {
        // An answer may have said so already.
        if rows.tails.remove(&*partition_id(key)) != Some(None) {
            self.hand_on_end(key);
        }
    }

    fn hand_on_tail(&self, rows: &mut ShardRows, name: String, key: &PartitionKey, tail: Mark) {
        rows.tails.insert(name.into(), Some(tail));
        if let Some(mirror) = self.mirror.get() {
            mirror.appended(key, Some(tail));
        }
    }

    fn hand_on_end(&self, key: &PartitionKey) {
        if let Some(mirror) = self.mirror.get() {
            mirror.appended(key, None);
        }
    }

    /// After a gap or a rollback every partition is told as it is; of those that are restored nothing is.
    pub(super) async fn load_partitions(
        &self,
        shard: Shard,
        tail: EntryId,
        connection: &mut Connection,
    ) -> Result<(), RedisError> {
        self.shards[self.layout.index(shard)].lock().begin(0, tail);
        if self.restoring.lock().is_some() {
            return Ok(());
        }
        let mut names = redis::cmd("SMEMBERS");
        names.arg(self.layout.key(shard, "partitions"));
        let names: Vec<String> = names.query_async(connection).await?;
        let mut question = redis::pipe();
        for name in &names {
            question.cmd("HGET").arg(self.layout.key(shard, &format!("partition:{name}"))).arg("tail");
        }
        let tails: Vec<Option<String>> =
            if names.is_empty() { Vec::new() } else { question.query_async(connection).await? };
        let mut rows = self.shards[self.layout.index(shard)].lock();
        for (name, tail) in names.iter().zip(tails) {
            let Some(tail) = tail else { continue };
            match (mark_of(&tail), partition_of(name)) {
                (Ok(tail), Some(key)) => self.hand_on_tail(&mut rows, name.clone(), &key, tail),
                (Err(error), _) => unreadable(shard, &error),
                (_, None) => unreadable(shard, &DecodeError::Name(name.clone())),
            }
        }
        let before = std::mem::take(&mut rows.tails);
        for (name, tail) in before {
            if names.contains(&name.to_string()) {
                rows.tails.insert(name, tail);
            } else if let (Some(_), Some(key)) = (tail, partition_of(&name)) {
                self.hand_on_end(&key);
            }
        }
        Ok(())
    }
}
