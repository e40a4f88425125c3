-- Guards: what is noted beside a topic's retained message, changed together with it. A guard is a row of the tables, in
-- the shard of its topic.

local GUARD_BYTES_MAX = 61440

-- What stands behind the guard in its row: `<epoch>:<change> ` of each value that came with it.
local function positions_of(changes)
  local head = {}
  for n = 1, #changes do head[n] = text(shard.epoch) .. ':' .. changes[n] .. ' ' end
  return table.concat(head)
end

-- Writes or deletes a guard. Answers its version, 0 when there was nothing to delete.
local function write_guard(topic, was, guard, changes)
  local row, tables = GUARD .. topic, key(':tables')
  if not guard and not was then return 0 end
  local version = next_number()
  if not guard then
    tell('kind', 'deleted', 'row', row, 'version', text(version))
    call('HDEL', tables, row)
    return version
  end
  local value = positions_of(changes) .. '\n' .. guard
  local change = tell('kind', 'put', 'row', row, 'version', text(version), 'value', value)
  call('HSET', tables, row, text(version) .. ' ' .. change .. '\n' .. value)
  return version
end

-- Why the values are not taken, or nil.
local function refused(a, i, old, grows, guard)
  if guard and #guard > GUARD_BYTES_MAX then return TOO_LARGE end
  if grows and not may_grow then return STORE_FULL end
  for n = 0, a[i + 5] - 1 do
    local bytes = a[i + 6 + 2 * n]
    if bytes and not may_retain(old, bytes) then return RETAINED_FULL end
  end
end

-- What was put back at a topic: the versions that the newest guard and the guard of the newest value had at first, and the
-- change of that value.
local function put_back_at(topic)
  local noted = call('HGET', key(':replayed'), topic)
  local guard, value, change = string.match(noted or '', '^(%d+) (%d+) (%S*)$')
  return tonumber(guard or 0), tonumber(value or 0), change or ''
end

-- Whether somebody has set a value since the rollback, or had set a newer one before it was known.
local function is_overtaken(was, change)
  if not was then return false end
  local at = string.match(was, '^%d+ (%S+)')
  if at == change then return false end
  return tonumber(string.match(at, '^%d+')) > shard.epoch or (replayed > 0 and is_newer(was)) or false
end

-- What is left of an exchange that is put back, beside what other nodes have put back already: versions tell in which
-- order guards were written. Whether its guard, and whether its values.
local function put_back(topic, was)
  if SINCE.is_gone(topic) then return false, false end
  if replayed_guard == 0 then
    local is_due = not (was and is_newer(was))
    return is_due, is_due
  end
  local guard, value, change = put_back_at(topic)
  if is_overtaken(was, change) then return false, false end
  return guard <= replayed_guard, value <= replayed_guard
end

-- Notes what was put back.
local function note_put_back(topic, with_guard, last)
  if replayed_guard == 0 then return end
  local guard, value, change = put_back_at(topic)
  if with_guard then guard = replayed_guard end
  if last then value, change = replayed_guard, last end
  call('HSET', key(':replayed'), topic, text(guard) .. ' ' .. text(value) .. ' ' .. change)
  call('PEXPIRE', key(':replayed'), SINCE.ms)
end

-- Arguments: topic id, the change that told of the retained message that was seen or '', the version of the guard that
-- was seen or 0, whether the guard changes, the guard or false, number of values, and of each its bytes or false, and
-- the message. Answers { version, epoch, change... }, or DONE when what was seen is no more. What a rollback undid is put
-- back unless there is something newer.
function APPLY.exchange(a, i)
  local topic, changes_guard, guard = a[i], a[i + 3] == 1, a[i + 4]
  local was, had = call('HGET', key(':retained'), topic), call('HGET', key(':tables'), GUARD .. topic)
  local with_guard, with_values = true, true
  if replayed then
    with_guard, with_values = put_back(topic, was)
    if not with_guard and not with_values then return DONE end
  elseif (was and string.match(was, '^%d+ (%S+)') or '') ~= a[i + 1] or (version_of(had) or 0) ~= a[i + 2] then
    return DONE
  end
  local old, values = was and tonumber(string.match(was, '^%d+')) or nil, with_values and a[i + 5] or 0
  changes_guard = changes_guard and with_guard
  local no = refused(a, i, old, (changes_guard and guard) or (values > 0 and a[i + 4 + 2 * values]), guard)
  if no then return no end
  local changes = {}
  for n = 1, values do
    changes[n] = tell_retained(topic, a[i + 4 + 2 * n] and a[i + 5 + 2 * n])
  end
  if values > 0 then
    write_retained(topic, old, a[i + 4 + 2 * values], changes[values], a[i + 5 + 2 * values])
  end
  local version = changes_guard and write_guard(topic, had, guard, changes) or 0
  if replayed then note_put_back(topic, changes_guard, changes[values]) end
  return { version, shard.epoch, unpack(changes) }
end
