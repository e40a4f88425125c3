-- Copies: rows of another store, written under their own numbers into a shard that holds nothing. While that lasts the
-- hash `copy` says by whom (`token`), and which page was the last (`page`): one that comes again changes nothing.

local COPY = {}     -- what becomes of each row, by its kind: (row)

-- Writes a long list of arguments a part at a time; the parts are even.
local function put(command, name, list)
  for first = 1, #list, 1000 do
    call(command, name, unpack(list, first, math.min(first + 999, #list)))
  end
end

-- { kind, session id, generation, fence, tail, fields of its row, subscriptions, received, seen, expires at or '',
-- will at or '', whether its connection was lost }
function COPY.session(row)
  local s = load_session(row[2])
  if s.g then error('the session ' .. s.sid .. ' comes twice') end
  s.g, s.f, s.tail = row[3], row[4], row[5]
  touch(s)
  put('HSET', of(s, ':session:'), row[6])
  put('HSET', of(s, ':subscriptions:'), row[7])
  put('HSET', of(s, ':received:'), row[8])
  put('ZADD', of(s, ':seen:'), row[9])
  if row[10] ~= '' then call('ZADD', key(':timers'), row[10], 'expiry:' .. s.sid) end
  if row[11] ~= '' then call('ZADD', key(':timers'), row[11], 'will:' .. s.sid) end
  if row[12] then call('ZADD', key(':left'), now, 'orphan:1:' .. s.sid) end
  if is_group(s) then call('ZADD', key(':idle'), 0, s.sid) end
end

-- { kind, session id, rows: { number, bytes, fields }, or { number } of a released one }
function COPY.queue(row)
  local s, bytes = load_session(row[2]), 0
  for _, entry in ipairs(row[3]) do
    local number = entry[1]
    if entry[3] then
      call('XADD', queue_of(s), format('%.0f-0', number), unpack(entry[3]))
      s.waiting = s.waiting + 1
      bytes = bytes + entry[2]
    else
      call('ZADD', of(s, ':released:'), number, text(number))
    end
    s.tail = math.max(s.tail, number)
  end
  s.messages = s.messages + #row[3]
  s.bytes = s.bytes + bytes
  touch(s)
  if is_group(s) then call('ZREM', key(':idle'), s.sid) end
  count('added', #row[3])
  count('queued_messages', #row[3])
  count('queued_bytes', bytes)
end

-- { kind, session id, entry, value }
function COPY.owed(row)
  local entry = text(row[3])
  call('HSET', key(':outbox:') .. row[2], entry, row[4])
  call('HSETNX', key(':sessions'), row[2], '')
  call('ZADD', key(':left'), now, 'owed:' .. entry .. ':' .. row[2])
end

-- { kind, entry, due, bytes, value }
function COPY.delayed(row)
  local entry = text(row[2])
  call('HSET', key(':delayed'), entry, row[5])
  call('ZADD', key(':timers'), row[3], 'delayed:' .. entry)
  count('delayed_messages', 1)
  count('delayed_bytes', row[4])
end

-- { kind, { score, id, ... } }
function COPY.delay_seen(row)
  put('ZADD', key(':delay_seen'), row[2])
end

-- { kind, topic id, bytes, value }
function COPY.retained(row)
  call('HSET', key(':retained'), row[2], row[4])
  count('retained_messages', 1)
  count('retained_bytes', row[3])
end

-- { kind, partition id, names and values of its row }
function COPY.partition(row)
  call('SADD', key(':partitions'), row[2])
  call('HSET', key(':partition:') .. row[2], unpack(row[3]))
end

-- { kind, partition id, { group, its row, ... } }
function COPY.places(row)
  put('HSET', key(':groups:') .. row[2], row[3])
end

-- { kind, partition id, { id, mark, ... }, { id, ... } }
function COPY.record_seen(row)
  put('HSET', key(':ids:') .. row[2], row[3])
  put('RPUSH', key(':ids_order:') .. row[2], row[4])
end

-- { kind, partition id, { { entry, epoch, bytes, key or '', names and values }, ... } }: what the partition's row says of
-- its tail is so already.
function COPY.records(row)
  local p, keys, bytes = load_partition(row[2]), {}, 0
  for _, record in ipairs(row[3]) do
    call('XADD', p.stream, record[1], unpack(record[5]))
    local last = p.epochs[#p.epochs]
    if not last or last[1] ~= record[2] then
      local ms, seq = parse_entry(record[1])
      p.epochs[#p.epochs + 1] = { record[2], ms, seq }
    end
    if p.is_compacted and record[4] ~= '' then keys[#keys + 1], keys[#keys + 2] = record[4], record[1] end
    bytes = bytes + record[3]
  end
  if #keys > 0 then put('HSET', key(':keys:') .. p.id, keys) end
  p.records, p.bytes = p.records + #row[3], p.bytes + bytes
  save_partition(p)
  count('appended', #row[3])
  count('stream_records', #row[3])
  count('stream_bytes', bytes)
end

-- What a group keeps or owes is noted; its numbers go on without a jump.
local function note_effects(name, tail)
  call(tail and 'HSET' or 'HSETNX', key(':effects'), name, text(tail or 0) .. ' ' .. text(shard.epoch))
end

-- { kind, `<partition id>:<group>`, { key, value, ... }, { 0, key, ... } }
function COPY.kept(row)
  put('HSET', key(':kept:') .. row[2], row[3])
  put('ZADD', key(':kept_keys:') .. row[2], row[4])
  note_effects(row[2])
end

-- { kind, `<partition id>:<group>`, { { entry, names and values }, ... }, { entry, id, ... } }
function COPY.group_owed(row)
  for _, entry in ipairs(row[3]) do
    call('XADD', key(':owed:') .. row[2], entry[1], unpack(entry[2]))
  end
  put('ZADD', key(':owed_ids:') .. row[2], row[4])
  note_effects(row[2])
end

-- { kind, `<partition id>:<group>`, newest entry }
function COPY.group_outbox(row)
  note_effects(row[2], row[3])
end

-- { kind, row id, value }
function COPY.cell(row)
  call('HSET', key(':tables'), row[2], row[3])
end

-- { kind, name, value, until }
function COPY.claim(row)
  call('HSET', key(':idempotency'), row[2], row[3])
  call('ZADD', key(':idempotency_until'), row[4], row[2])
  count('idempotency_keys', 1)
end

local function enter_copy(keys, token)
  enter(keys)
  read_clock()
  load_shard()
  sessions, touched, queue_sid = {}, {}, false
  return call('HGET', key(':copy'), 'token') == token
end

local function superseded()
  return redis.error_reply('SUPERSEDED by another copy')
end

-- Arguments: token, epoch. Whoever copied before writes nothing more. Answers the epoch.
local function begin_copy(keys, a)
  enter_copy(keys, a[1])
  shard.epoch = math.max(shard.epoch + 1, tonumber(a[2]))
  shard_changed = true
  save_shard()
  call('HSET', key(':copy'), 'token', a[1], 'page', 0)
  return shard.epoch
end

local function remove(s)
  call('UNLINK', of(s, ':session:'), queue_of(s), of(s, ':subscriptions:'), of(s, ':released:'), of(s, ':received:'),
    of(s, ':seen:'), of(s, ':outbox:'))
  call('HDEL', key(':sessions'), s.sid)
end

-- Removes some of what groups keep and owe. Answers whether there was any.
local function remove_effects()
  local names = call('HRANDFIELD', key(':effects'), 100)
  for _, name in ipairs(names) do
    call('UNLINK', key(':kept:') .. name, key(':kept_keys:') .. name, key(':owed:') .. name, key(':owed_ids:') .. name)
    call('HDEL', key(':effects'), name)
  end
  return #names > 0
end

-- Removes some partitions. Answers whether there were any.
local function remove_partitions()
  local ids = call('SRANDMEMBER', key(':partitions'), 100)
  for _, id in ipairs(ids) do
    call('UNLINK', key(':stream:') .. id, key(':partition:') .. id, key(':groups:') .. id, key(':keys:') .. id,
      key(':ids:') .. id, key(':ids_order:') .. id)
    call('SREM', key(':partitions'), id)
  end
  return #ids > 0
end

-- Arguments: token. Removes some of what an unfinished copy, or a store that held nothing that counts, has left. Answers
-- whether there may be more.
local function clear_copy(keys, a)
  if not enter_copy(keys, a[1]) then return superseded() end
  if remove_effects() or remove_partitions() then return 1 end
  local cursor, found = '0', 0
  repeat
    local page = call('HSCAN', key(':sessions'), cursor, 'COUNT', 200)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      if page[2][i] ~= LEGEND_FIELD then
        remove(new_session(page[2][i], ''))
        found = found + 1
      end
    end
  until found > 0 or cursor == '0'
  if found > 0 then return 1 end
  call('UNLINK', key(':retained'), key(':delayed'), key(':delay_seen'), key(':timers'), key(':claims'), key(':left'),
    key(':idle'), key(':tables'), key(':idempotency'), key(':idempotency_until'))
  for _, name in ipairs({ 'queued_messages', 'queued_bytes', 'delayed_messages', 'delayed_bytes', 'retained_messages',
    'retained_bytes', 'added', 'acknowledged', 'dropped', 'ended', 'not_taken', 'stream_records', 'stream_bytes',
    'appended', 'trimmed', 'compacted', 'stream_ended', 'idempotency_keys', 'idempotency_keys_dropped' }) do
    shard[name] = 0
  end
  shard_changed = true
  save_shard()
  return 0
end

-- Arguments: token, number of the page, packed rows.
local function take_in(keys, a)
  if not enter_copy(keys, a[1]) then return superseded() end
  local last = tonumber(call('HGET', key(':copy'), 'page'))
  if tonumber(a[2]) <= last then return 0 end
  for _, row in ipairs(cmsgpack.unpack(a[3])) do
    COPY[row[1]](row)
  end
  save_sessions()
  save_shard()
  call('HSET', key(':copy'), 'page', a[2])
  return 1
end

-- Arguments: token, counter, group base, the newest change that a Position names or ''. From now on the shard gives out
-- what is above.
local function end_copy(keys, a)
  if not enter_copy(keys, a[1]) then
    return call('EXISTS', key(':copy')) == 0 and 0 or superseded()
  end
  shard.counter = math.max(shard.counter, tonumber(a[2]))
  shard.group_base = math.max(shard.group_base, tonumber(a[3]))
  shard_changed = true
  save_shard()
  if a[4] ~= '' then
    -- Refused where the stream is further already, which is as good.
    redis.pcall('XADD', key(':changes'), a[4], 'kind', 'raised', 'epoch', text(shard.epoch))
  end
  call('DEL', key(':copy'))
  return 1
end

redis.register_function { function_name = 'weir_1_copy_begin', callback = begin_copy, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_1_copy_clear', callback = clear_copy, flags = { 'allow-oom' } }
redis.register_function('weir_1_copy_in', take_in)
redis.register_function { function_name = 'weir_1_copy_end', callback = end_copy, flags = { 'allow-oom' } }
