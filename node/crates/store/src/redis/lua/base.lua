-- What one call works on. A call holds the server until it returns, so file-level locals are its own: every
-- entry point sets them anew. Keys are made from the shard's tag, which is the one key of every call: all keys
-- of a shard lie in one slot. Numbers stay below 2^53 and become text by `%.0f`, for Lua's own form loses digits.

local call, format, pack  -- bound by `enter`: while a library is loaded its functions have no globals yet

local FENCED, NOT_OWNER, STORE_FULL, QUEUE_REFUSES, QUEUES_FULL, RETAINED_FULL, TOO_LARGE = -1, -2, -3, -4, -5, -6, -7
local GUARDED = -8
local DONE, DUPLICATE, GONE, QUEUE_FULL = 0, 'duplicate', 'gone', 'full'

local GUARD = 'guards:'   -- what stands before a topic's id in the name of its guard's row

local tag          -- start of every key, `{weir:s3}`
local kind         -- of the shard: `s`, `t` or `p`
local now          -- Unix milliseconds on the store's clock
local incarnation  -- of the calling node, as text
local may_grow     -- false = only what frees memory
local limits       -- { policy, messages, bytes, all_messages, all_bytes, ids, changes, claim }
local shard        -- the row of the shard
local shard_changed
local replayed     -- of a batch that is applied again after a rollback: Unix milliseconds of its last change; else nil
local replayed_guard -- and the version of the newest guard that it wrote, 0 = none

-- What the row of a shard holds, in the order in which it is read and answered.
local SHARD = {
  'epoch', 'counter', 'group_base', 'queued_messages', 'queued_bytes', 'delayed_messages', 'delayed_bytes',
  'retained_messages', 'retained_bytes', 'added', 'acknowledged', 'dropped', 'ended', 'not_taken',
  'version', 'healed', 'floor', 'stream_records', 'stream_bytes', 'appended', 'trimmed', 'compacted', 'stream_ended',
  'idempotency_keys', 'idempotency_keys_dropped', 'held_until', 'clock',
}

-- What every entry point does first.
local function enter(keys)
  call, format, pack = redis.call, string.format, cmsgpack.pack
  tag = keys[1]
  kind = string.match(tag, ':(%a)%d+}$')
end

-- Stands among the states of sessions to say what they are; and being long, it has the server keep even few of them in
-- a hash table, in which a state is found at once.
local LEGEND_FIELD, LEGEND = 'legend', 'generation, fence (6 bytes), tail (5), messages, waiting (4), bytes (5): big-endian'

local function text(number)
  return format('%.0f', number)
end

local function key(name)
  return tag .. name
end

local function read_clock()
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function load_shard()
  local row = call('HMGET', key(':shard'), unpack(SHARD))
  shard = {}
  for i = 1, #SHARD do
    shard[SHARD[i]] = tonumber(row[i] or 0)
  end
  shard_changed = false
  if not row[1] then
    shard.epoch = now
    call('HSET', key(':shard'), 'epoch', text(now))
    if kind == 's' then call('HSET', key(':sessions'), LEGEND_FIELD, LEGEND) end
  end
end

local function save_shard()
  if not shard_changed then return end
  shard.version = shard.version + 1
  local fields = {}
  for i = 1, #SHARD do
    fields[2 * i - 1] = SHARD[i]
    fields[2 * i] = shard[SHARD[i]]
  end
  call('HSET', key(':shard'), unpack(fields))
end

local function account()
  local values = {}
  for i = 1, #SHARD do
    values[i] = shard[SHARD[i]]
  end
  return pack(values)
end

local function count(name, more)
  shard[name] = shard[name] + more
  shard_changed = true
end

-- The next generation, fence or entry: never given before in this store, for the shard's place is in its low digits.
local function next_number()
  shard.counter = shard.counter + 1
  shard_changed = true
  return shard.counter * 4096 + limits.place
end

-- Tells the mirrors of all nodes. Answers the entry's id.
local function tell(...)
  return call('XADD', key(':changes'), 'MAXLEN', '~', limits.changes, '*', ...)
end
