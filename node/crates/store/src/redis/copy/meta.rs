//! What the store says of itself and its nodes, and the mark of a copy that is not finished.
//!
//! The mark is the field `copying` of what the store says of itself: `<token> <Unix milliseconds> <from where>`. With it
//! goes a layout that no version knows, for those that do not know the mark.

use redis::{Cmd, FromRedisValue, ParsingError, Value};

use crate::redis::layout::Layout;
use crate::redis::lease::LAYOUT_VERSION;
use crate::redis::shard::Shard;

/// Above every layout there will be.
const UNFINISHED_LAYOUT: u32 = 1_000_000;

/// A copy that has written nothing for so long is taken for dead.
const STALE_MS: u64 = 10_000;

/// What the steps share; the keys are those of the leases.
const BASE: &str = "#!lua flags=allow-oom
local STORE, NODES, DEAD = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function nodes(is_live)
  local rows, found = redis.call('HGETALL', NODES), {}
  for i = 1, #rows, 2 do
    local incarnation, till = string.match(rows[i + 1], '^(%d+) (%d+)')
    if (tonumber(till) > now) == is_live then found[#found + 1] = { rows[i], incarnation } end
  end
  return found
end
local function copying()
  return string.match(redis.call('HGET', STORE, 'copying') or '', '^(%S+) (%d+) (.*)$')
end
";

/// Answers cluster, layout, shards, incarnation, who copies to it from where, and the nodes that hold a lease.
const LOOK: &str = "
local store = redis.call('HMGET', STORE, 'cluster', 'layout', 'shards', 'incarnation')
local token, at, from = copying()
local live = {}
for _, node in ipairs(nodes(true)) do live[#live + 1] = node[1] end
return { store[1] or '', store[2] or '', store[3] or '', store[4] or '', token and from or false, live }";

/// Arguments: cluster, shards, layout, token, from where, stale. Nodes without a lease that stands have to enter anew.
/// Answers what is wrong and more of that, or `begun`.
const BEGIN: &str = "
local live = nodes(true)
if #live > 0 then return { 'live', live[1][1] } end
local token, at = copying()
if token and token ~= ARGV[4] and at + ARGV[6] > now then
  return { 'copying', text(math.floor((now - at) / 1000)) }
end
for _, node in ipairs(nodes(false)) do
  redis.call('HDEL', NODES, node[1])
  redis.call('HSET', DEAD, node[2], text(now))
end
redis.call('HSET', STORE, 'cluster', ARGV[1], 'shards', ARGV[2], 'layout', ARGV[3],
  'copying', ARGV[4] .. ' ' .. text(now) .. ' ' .. ARGV[5])
return { 'begun', '' }";

/// Arguments: token. Says that the copy is alive. Answers whether it is still this one.
const TOUCH: &str = "
local token, at, from = copying()
if token ~= ARGV[1] then return 0 end
redis.call('HSET', STORE, 'copying', token .. ' ' .. text(now) .. ' ' .. from)
return 1";

/// Arguments: token. Nobody has to wait for this copy.
const GIVE_UP: &str = "
local token, at, from = copying()
if token == ARGV[1] then redis.call('HSET', STORE, 'copying', token .. ' 0 ' .. from) end
return redis.status_reply('OK')";

/// Arguments: token, layout. Answers whether it is, or was, this copy's.
const FINISH: &str = "
local token = copying()
if not token then return 1 end
if token ~= ARGV[1] then return 0 end
redis.call('HSET', STORE, 'layout', ARGV[2])
redis.call('HDEL', STORE, 'copying')
return 1";

fn call(layout: &Layout, script: &str) -> Cmd {
    let key = |name: &str| layout.key(Shard::Nodes, name);
    let mut call = redis::cmd("EVAL");
    call.arg(format!("{BASE}{script}")).arg(3).arg(key("store")).arg(key("nodes")).arg(key("dead"));
    call
}

pub(super) fn look(layout: &Layout) -> Cmd {
    call(layout, LOOK)
}

pub(super) fn begin(layout: &Layout, cluster_id: &str, token: &str, from: &str) -> Cmd {
    let mut call = call(layout, BEGIN);
    call.arg(cluster_id).arg(layout.shards).arg(UNFINISHED_LAYOUT).arg(token).arg(from).arg(STALE_MS);
    call
}

pub(super) fn touch(layout: &Layout, token: &str) -> Cmd {
    let mut call = call(layout, TOUCH);
    call.arg(token);
    call
}

pub(super) fn give_up(layout: &Layout, token: &str) -> Cmd {
    let mut call = call(layout, GIVE_UP);
    call.arg(token);
    call
}

pub(super) fn finish(layout: &Layout, token: &str) -> Cmd {
    let mut call = call(layout, FINISH);
    call.arg(token).arg(LAYOUT_VERSION);
    call
}

/// A store as it was looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None` = there is none.
    pub cluster: Option<String>,
    pub layout: Option<String>,
    pub shards: Option<u16>,
    /// The newest that a node was given.
    pub incarnation: String,
    /// From where the copy comes that is not finished.
    pub copying: Option<String>,
    /// Nodes that hold a lease.
    pub live: Vec<String>,
}

impl Seen {
    /// The layout, when this version does not know it.
    pub fn newer_layout(&self) -> Option<String> {
        self.layout.clone().filter(|layout| layout.parse::<u32>().is_ok_and(|found| found > LAYOUT_VERSION))
    }
}

impl FromRedisValue for Seen {
    fn from_redis_value(value: Value) -> Result<Seen, ParsingError> {
        type Parts = (String, String, String, String, Value, Vec<String>);
        let (cluster, layout, shards, incarnation, copying, live) = Parts::from_redis_value(value)?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let copying = match copying {
            Value::Nil => None,
            from => Some(String::from_redis_value(from)?),
        };
        let shards = given(shards).and_then(|shards| shards.parse().ok());
        Ok(Seen { cluster: given(cluster), layout: given(layout), shards, incarnation, copying, live })
    }
}
