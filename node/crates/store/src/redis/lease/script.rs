//! The steps of leases. All keys lie in the shard of the nodes; none grows, so all run when Redis is out of memory.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value};

use crate::redis::layout::Layout;
use crate::redis::shard::Shard;
use crate::{Incarnation, NodeRef};

/// What the steps share. `store`: what the store says of itself. `nodes`: by node id, `<incarnation> <until> <since>`:
/// Unix milliseconds on the store's clock when the lease ends and since when it has stood without a break, 0 before the
/// first renewal. `dead`: by incarnation, since when.
const BASE: &str = "#!lua flags=allow-oom
local STORE, NODES, DEAD = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function node(id)
  local row = redis.call('HGET', NODES, id)
  if not row then return nil end
  local incarnation, till, since = string.match(row, '^(%d+) (%d+) (%d+)$')
  return incarnation, tonumber(till), tonumber(since)
end
local function bury(id, incarnation)
  redis.call('HDEL', NODES, id)
  redis.call('HSET', DEAD, incarnation, text(now))
end
";

/// Arguments: cluster, layout, shards, node id, wanted incarnation. Answers what is wrong and what is there instead, or
/// `enrolled` and the incarnation.
const ENROL: &str = "
local store = redis.call('HMGET', STORE, 'cluster', 'layout', 'shards', 'incarnation', 'copying')
if store[5] then return { 'copying', string.match(store[5], '^%S+ %d+ (.*)$') or '' } end
if store[1] and store[1] ~= ARGV[1] then return { 'cluster', store[1] } end
if store[2] and tonumber(store[2]) > tonumber(ARGV[2]) then return { 'layout', store[2] } end
if store[3] and store[3] ~= ARGV[3] then return { 'shards', store[3] } end
local before = node(ARGV[4])
if before then bury(ARGV[4], before) end
local incarnation = text(math.max(tonumber(ARGV[5]), tonumber(store[4] or 0) + 1))
redis.call('HSET', STORE, 'cluster', ARGV[1], 'layout', ARGV[2], 'shards', ARGV[3], 'incarnation', incarnation)
redis.call('HSET', NODES, ARGV[4], incarnation .. ' 0 0')
return { 'enrolled', incarnation }";

/// Arguments: node id, incarnation, milliseconds. A node that has stood for a whole lease lists those as dead whose
/// leases are over. Answers `stands`, the nodes that hold one, the dead, the highest incarnation ever given, and those that
/// are not buried; or `superseded` and by whom; or `gone`; or `held`.
const RENEW: &str = "
local incarnation, till, since = node(ARGV[1])
if not incarnation then return { 'gone' } end
if incarnation ~= ARGV[2] then return { 'superseded', incarnation } end
local lease = tonumber(ARGV[3])
if till <= now then
  if now < tonumber(redis.call('HGET', STORE, 'held_until') or 0) then return { 'held' } end
  since = now
end
redis.call('HSET', NODES, ARGV[1], incarnation .. ' ' .. text(now + lease) .. ' ' .. text(since))
local standing, rows = {}, redis.call('HKEYS', NODES)
for _, id in ipairs(rows) do
  local incarnation, till = node(id)
  if till > now then
    standing[#standing + 1] = id
    standing[#standing + 1] = incarnation
  elseif till > 0 and since + lease <= now then
    bury(id, incarnation)
  end
end
local kept, rows = {}, redis.call('HVALS', NODES)
for i = 1, #rows do kept[i] = string.match(rows[i], '^%d+') end
return { 'stands', standing, redis.call('HKEYS', DEAD), redis.call('HGET', STORE, 'incarnation'), kept }";

/// Arguments: milliseconds. For so long nobody is given a lease who does not hold one.
const HOLD: &str = "
redis.call('HSET', STORE, 'held_until', text(now + tonumber(ARGV[1])))
return redis.status_reply('OK')";

/// Arguments: node id, incarnation.
const LEAVE: &str = "
if node(ARGV[1]) == ARGV[2] then bury(ARGV[1], ARGV[2]) end
return redis.status_reply('OK')";

/// Arguments: milliseconds. Answers the incarnations that have been dead for longer.
const LONG_DEAD: &str = "
local found, rows = {}, redis.call('HGETALL', DEAD)
for i = 1, #rows, 2 do
  if tonumber(rows[i + 1]) + tonumber(ARGV[1]) <= now then found[#found + 1] = rows[i] end
end
return found";

/// Arguments: incarnations. They are not listed any more.
const FORGET: &str = "
if #ARGV > 0 then redis.call('HDEL', DEAD, unpack(ARGV)) end
return redis.status_reply('OK')";

fn call(layout: &Layout, script: &str) -> Cmd {
    let key = |name: &str| layout.key(Shard::Nodes, name);
    let mut call = redis::cmd("EVAL");
    call.arg(format!("{BASE}{script}")).arg(3).arg(key("store")).arg(key("nodes")).arg(key("dead"));
    call
}

pub(super) fn enrol(layout: &Layout, version: u32, cluster_id: &str, node: &NodeRef) -> Cmd {
    let mut call = call(layout, ENROL);
    call.arg(cluster_id).arg(version).arg(layout.shards).arg(&*node.node_id).arg(node.incarnation);
    call
}

pub(super) fn renew(layout: &Layout, node: &NodeRef, lease: Duration) -> Cmd {
    let mut call = call(layout, RENEW);
    call.arg(&*node.node_id).arg(node.incarnation).arg(millis(lease));
    call
}

pub(in crate::redis) fn hold(layout: &Layout, lease: Duration) -> Cmd {
    let mut call = call(layout, HOLD);
    call.arg(millis(lease));
    call
}

pub(super) fn leave(layout: &Layout, node: &NodeRef) -> Cmd {
    let mut call = call(layout, LEAVE);
    call.arg(&*node.node_id).arg(node.incarnation);
    call
}

pub(super) fn long_dead(layout: &Layout, since: Duration) -> Cmd {
    let mut call = call(layout, LONG_DEAD);
    call.arg(millis(since));
    call
}

pub(super) fn forget(layout: &Layout, dead: &[Incarnation]) -> Cmd {
    let mut call = call(layout, FORGET);
    call.arg(dead);
    call
}

/// What a renewal was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    Stands {
        nodes: Vec<NodeRef>,
        dead: Vec<Incarnation>,
        highest: Incarnation,
        not_buried: Vec<Incarnation>,
    },
    Superseded {
        by: Incarnation,
    },
    Gone,
    /// The store went back a short while ago.
    Held,
}

impl FromRedisValue for Renewed {
    fn from_redis_value(value: Value) -> Result<Renewed, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        match String::from_redis_value(next())?.as_str() {
            "stands" => {
                let nodes = Vec::<(String, Incarnation)>::from_redis_value(next())?.into_iter();
                let node = |(id, incarnation): (String, _)| NodeRef { node_id: id.into(), incarnation };
                let dead = Vec::<Incarnation>::from_redis_value(next())?;
                let highest = Incarnation::from_redis_value(next())?;
                let not_buried = Vec::<Incarnation>::from_redis_value(next())?;
                Ok(Renewed::Stands { nodes: nodes.map(node).collect(), dead, highest, not_buried })
            }
            "held" => Ok(Renewed::Held),
            "superseded" => Ok(Renewed::Superseded { by: Incarnation::from_redis_value(next())? }),
            "gone" => Ok(Renewed::Gone),
            other => Err(ParsingError::from(format!("`{other}` is no answer to a renewal"))),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
