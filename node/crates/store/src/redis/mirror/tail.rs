//! Questions about the ends of streams, many in one round trip.

use redis::{Pipeline, RedisError};

use super::EntryId;
use crate::redis::errors::Kind;
use crate::redis::layout::Layout;
use crate::redis::servers::{Away, Connection, Servers};
use crate::redis::shard::Shard;

/// Answers the id of each stream's last entry, `0-0` without one.
const TAILS: &str = "#!lua flags=no-writes,allow-cross-slot-keys
local tails = {}
for i = 1, #KEYS do
  local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
  tails[i] = last and last[1] or '0-0'
end
return tails";

/// Answers for each stream whether the entry up to which it was read is still there (then nothing behind it has been
/// trimmed), or, when nothing was read, whether nothing was ever trimmed.
const WHOLE: &str = "#!lua flags=no-writes,allow-cross-slot-keys
local whole = {}
for i = 1, #KEYS do
  if ARGV[i] ~= '0-0' then
    whole[i] = #redis.call('XRANGE', KEYS[i], ARGV[i], ARGV[i])
  elseif redis.call('EXISTS', KEYS[i]) == 0 then
    whole[i] = 1
  else
    local info, added = redis.call('XINFO', 'STREAM', KEYS[i]), 0
    for n = 1, #info, 2 do
      if info[n] == 'entries-added' then added = info[n + 1] end
    end
    whole[i] = added == redis.call('XLEN', KEYS[i]) and 1 or 0
  end
end
return whole";

/// The key of a shard's stream of changes.
pub(super) fn changes(layout: &Layout, shard: Shard) -> String {
    layout.key(shard, "changes")
}

/// The last entry of the streams of shards that lie on one primary.
pub(super) async fn tails(
    servers: &Servers,
    layout: &Layout,
    shards: Vec<Shard>,
) -> Result<Vec<(Shard, EntryId)>, Away> {
    let Some(first) = shards.first().copied() else { return Ok(Vec::new()) };
    let mut connection = servers.commands(first).await?;
    match tails_by(&mut connection, layout, &shards, servers.is_cluster()).await {
        Ok(tails) => Ok(shards.into_iter().zip(tails).collect()),
        Err(error) => {
            Kind::of(&error).count();
            servers.lost(&connection, &error);
            Err(Away { shard: first, cause: error.to_string().into(), retry_in: super::BLOCK })
        }
    }
}

/// The last entry of these streams over this connection, in order.
pub(super) async fn tails_by(
    connection: &mut Connection,
    layout: &Layout,
    shards: &[Shard],
    is_cluster: bool,
) -> Result<Vec<EntryId>, RedisError> {
    let keys: Vec<String> = shards.iter().map(|shard| changes(layout, *shard)).collect();
    let question = question(TAILS, &keys, &[], is_cluster);
    let answers: Vec<Vec<Vec<u8>>> = question.query_async(connection).await?;
    let id = |text: Vec<u8>| EntryId::parse(&text).unwrap_or_default();
    Ok(answers.into_iter().flatten().map(id).collect())
}

/// Whether nothing that was not read yet has been trimmed from these streams.
pub(super) async fn are_whole(
    connection: &mut Connection,
    layout: &Layout,
    read: &[(Shard, EntryId)],
    is_cluster: bool,
) -> Result<Vec<bool>, RedisError> {
    let keys: Vec<String> = read.iter().map(|(shard, _)| changes(layout, *shard)).collect();
    let ids: Vec<String> = read.iter().map(|(_, id)| id.to_string()).collect();
    let question = question(WHOLE, &keys, &ids, is_cluster);
    let answers: Vec<Vec<i64>> = question.query_async(connection).await?;
    Ok(answers.into_iter().flatten().map(|count| count > 0).collect())
}

/// One call for all keys, or in a cluster one for each.
fn question(script: &str, keys: &[String], arguments: &[String], is_cluster: bool) -> Pipeline {
    let mut question = redis::pipe();
    if !is_cluster {
        question.cmd("EVAL").arg(script).arg(keys.len()).arg(keys).arg(arguments);
        return question;
    }
    for (at, key) in keys.iter().enumerate() {
        question.cmd("EVAL").arg(script).arg(1).arg(key).arg(arguments.get(at));
    }
    question
}
