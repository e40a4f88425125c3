-- The queue of a session or share group: a stream of the rows that wait, ids `<number>-0`, and a sorted set of the
-- numbers that PUBREC has released. A row's size is what the broker counts: topic, payload and properties.

local function row_bytes(fields)
  for i = 5, #fields, 2 do
    if fields[i] == 'bytes' then return tonumber(fields[i + 1]) end
  end
  return #fields[2] + #fields[4]
end

-- The bytes of a waiting row, or nil.
local function waiting_bytes(s, number)
  if s.waiting == 0 then return nil end
  local id = number .. '-0'
  local rows = call('XRANGE', queue_of(s), id, id)
  return rows[1] and row_bytes(rows[1][2])
end

-- Takes the message of a waiting row out of the queue and the accounts.
local function take_message(s, id, bytes)
  call('XDEL', queue_of(s), id)
  s.waiting = s.waiting - 1
  s.bytes = s.bytes - bytes
  count('queued_bytes', -bytes)
  touch(s)
end

local function take_row(s)
  s.messages = s.messages - 1
  count('queued_messages', -1)
  touch(s)
end

-- Of the limits those that every message is held against.
local messages_max, bytes_max, all_messages_max, all_bytes_max

-- Whether a message fits after so much has gone: into its own queue and into all together.
local function fits(s, bytes, gone_messages, gone_bytes)
  return s.messages - gone_messages < messages_max
    and s.bytes - gone_bytes + bytes <= bytes_max
    and shard.queued_messages - gone_messages < all_messages_max
    and shard.queued_bytes - gone_bytes + bytes <= all_bytes_max
end

-- Lets the oldest messages go until this one fits; says how many.
local function make_room(s, bytes)
  local dropped = 0
  while not fits(s, bytes, 0, 0) do
    local oldest = call('XRANGE', queue_of(s), '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    take_message(s, oldest[1], row_bytes(oldest[2]))
    take_row(s)
    dropped = dropped + 1
  end
  count('dropped', dropped)
  return dropped
end

-- Notes a message id; false when it was known.
local function remember(s, id)
  local seen = of(s, ':seen:')
  if call('ZADD', seen, 'NX', shard.counter + 1, id) == 0 then return false end
  count('counter', 1)
  if call('ZCARD', seen) > limits.ids then
    call('ZREMRANGEBYRANK', seen, 0, -(limits.ids + 1))
  end
  return true
end

local function has_seen(s, id)
  return id ~= '' and call('ZSCORE', of(s, ':seen:'), id)
end

-- Appends a row that has room. Further fields and their values, or false. A QoS of 1 goes without saying.
local function append(s, bytes, topic, payload, qos, more)
  local number = s.tail + 1
  if more then
    call('XADD', queue_of(s), format('%d-0', number), 'topic', topic, 'payload', payload, 'qos', qos, unpack(more))
  elseif qos ~= '1' then
    call('XADD', queue_of(s), format('%d-0', number), 'topic', topic, 'payload', payload, 'qos', qos)
  else
    call('XADD', queue_of(s), format('%d-0', number), 'topic', topic, 'payload', payload)
  end
  s.tail = number
  s.messages = s.messages + 1
  s.waiting = s.waiting + 1
  s.bytes = s.bytes + bytes
  shard.added = shard.added + 1
  shard.queued_messages = shard.queued_messages + 1
  shard.queued_bytes = shard.queued_bytes + bytes
  shard_changed = true
  if not s.dirty then touch(s) end
  return number
end

-- Arguments: generation, id or '', bytes, topic, payload, qos, further fields and their values or false.
function APPLY.E(s, a, i)
  if s.g ~= a[i] and not is_group(s) then return GONE end
  if not s.g then make_group(s) end
  local bytes, id, dropped = a[i + 2], a[i + 1], 0
  local fitting = fits(s, bytes, 0, 0)
  if not fitting and not (limits.policy == 'oldest' and fits(s, bytes, s.waiting, s.bytes)) then
    if has_seen(s, id) then return DUPLICATE end
    count('not_taken', 1)
    return QUEUE_FULL
  end
  if id ~= '' and not remember(s, id) then return DUPLICATE end
  if not fitting then dropped = make_room(s, bytes) end
  local number = append(s, bytes, a[i + 3], a[i + 4], a[i + 5], a[i + 6])
  if dropped > 0 then return { number, dropped } end
  return number
end

-- Arguments: fence (two), number. Not again after a rollback: the number may be another message's.
function APPLY.A(s, a, i)
  if replayed then return DONE end
  local number = a[i + 2]
  local bytes = waiting_bytes(s, number)
  if bytes then
    take_message(s, number .. '-0', bytes)
  elseif s.messages == s.waiting or call('ZREM', of(s, ':released:'), number) == 0 then
    return DONE
  end
  take_row(s)
  count('acknowledged', 1)
  if s.messages == 0 and is_group(s) then note_idle(s) end
  return DONE
end

-- Arguments: fence (two), number. Not again, as above.
function APPLY.P(s, a, i)
  if replayed then return DONE end
  local number = a[i + 2]
  local bytes = waiting_bytes(s, number)
  if bytes then
    take_message(s, number .. '-0', bytes)
    call('ZADD', of(s, ':released:'), number, number)
  end
  return DONE
end

-- Arguments: fence (two), packet id.
function APPLY.R(s, a, i)
  local received, packet_id = of(s, ':received:'), a[i + 2]
  local use = call('HGET', received, packet_id)
  if use then return { 0, tonumber(use) } end
  use = call('HINCRBY', of(s, ':session:'), 'uses', 1)
  call('HSET', received, packet_id, use)
  return { 1, use }
end

-- Arguments: fence (two), packet id.
function APPLY.L(s, a, i)
  call('HDEL', of(s, ':received:'), a[i + 2])
  return DONE
end
