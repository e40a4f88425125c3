-- What happens inside a topic shard: retained and delayed messages. Each step is one op.

-- A topic that has a retained message may always replace it by one that is not larger.
local function may_retain(old, bytes)
  local replaced = old or 0
  if not old and shard.retained_messages >= limits.retained_messages then return false end
  return shard.retained_bytes - replaced + bytes <= limits.retained_bytes or (old ~= nil and bytes <= replaced)
end

-- Whether somebody has retained something after the batch that is applied again, and before the rollback was known.
local function is_newer(value)
  local at = replayed and tonumber(string.match(value, '^%d+ (%d+)'))
  return at and at > replayed and at <= shard.epoch
end

-- What is known for a while after a rollback of what was put back at topics and taken away since: for longer than nodes
-- take to put back what they have. One table, because Lua has no room for more locals.
local SINCE = { ms = 600000, gone = '9007199254740991 9007199254740991 -' }

-- A value is taken away: there is none then that could tell that what a node puts back is older.
function SINCE.note_gone(topic)
  if replayed or shard.floor == 0 or now - shard.epoch > SINCE.ms then return end
  call('HSET', key(':replayed'), topic, SINCE.gone)
  call('PEXPIRE', key(':replayed'), SINCE.ms)
end

-- Whether a value was taken away since the rollback.
function SINCE.is_gone(topic)
  return replayed and call('HGET', key(':replayed'), topic) == SINCE.gone
end

-- A topic with a guard is changed together with it, by `exchange`; what a rollback undid is put back as it was.
local function is_guarded(topic)
  return not replayed and call('HEXISTS', key(':tables'), GUARD .. topic) == 1
end

-- Tells that a topic retains this from now on. Answers the change.
local function tell_retained(topic, message)
  if message then return tell('kind', 'retained', 'topic', topic, 'message', message) end
  return tell('kind', 'cleared', 'topic', topic)
end

-- Writes what was told, and counts it.
local function write_retained(topic, old, bytes, change, message)
  local retained = key(':retained')
  if bytes then
    call('HSET', retained, topic, bytes .. ' ' .. change .. '\n' .. message)
  else
    call('HDEL', retained, topic)
    SINCE.note_gone(topic)
  end
  if old then
    count('retained_messages', -1)
    count('retained_bytes', -old)
  end
  if bytes then
    count('retained_messages', 1)
    count('retained_bytes', bytes)
  end
end

-- Arguments: topic id, bytes or false, message. A value is `<bytes> <change>\n<message>`: the change is the entry of
-- `changes` that told of it, and with the epoch its position.
function APPLY.retain(a, i)
  local topic, bytes = a[i], a[i + 1]
  if bytes and not may_grow then return STORE_FULL end
  local was = call('HGET', key(':retained'), topic)
  local old = was and tonumber(string.match(was, '^%d+')) or nil
  if was and is_newer(was) or SINCE.is_gone(topic) then return DONE end
  if is_guarded(topic) then return GUARDED end
  if bytes and not may_retain(old, bytes) then return RETAINED_FULL end
  local change = tell_retained(topic, bytes and a[i + 2])
  write_retained(topic, old, bytes, change, a[i + 2])
  return { change, shard.epoch }
end

-- Notes the id of a delayed publish; false when it was known.
local function remember_delayed(id)
  local seen = key(':delay_seen')
  if call('ZADD', seen, 'NX', shard.counter + 1, id) == 0 then return false end
  count('counter', 1)
  call('ZREMRANGEBYRANK', seen, 0, -(limits.delay_ids + 1))
  return true
end

-- Arguments: due, id or '', bytes, realm, message. A value is `<bytes> <epoch> <bytes of realm>\n<realm><message>`.
function APPLY.delay(a, i)
  if not may_grow then return STORE_FULL end
  local id, bytes = a[i + 1], a[i + 2]
  if id ~= '' and call('ZSCORE', key(':delay_seen'), id) then return DUPLICATE end
  if shard.delayed_messages >= limits.all_messages or shard.delayed_bytes + bytes > limits.all_bytes then
    return QUEUES_FULL
  end
  if id ~= '' then remember_delayed(id) end
  local entry, realm = text(next_number()), a[i + 3]
  call('HSET', key(':delayed'), entry,
    format('%d %.0f %d\n', bytes, shard.epoch, #realm) .. realm .. a[i + 4])
  call('ZADD', key(':timers'), a[i], 'delayed:' .. entry)
  count('delayed_messages', 1)
  count('delayed_bytes', bytes)
  return DONE
end

-- Arguments: entry.
function APPLY.delayed(a, i)
  local entry = text(a[i])
  local was = call('HGET', key(':delayed'), entry)
  if not was then return DONE end
  call('HDEL', key(':delayed'), entry)
  call('ZREM', key(':timers'), 'delayed:' .. entry)
  count('delayed_messages', -1)
  count('delayed_bytes', -tonumber(string.match(was, '^%d+')))
  return DONE
end
