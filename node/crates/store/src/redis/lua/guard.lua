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

-- Arguments: topic id, the change that told of the retained message that was seen or '', the version of the guard that
-- was seen or 0, whether the guard changes, the guard or false, number of values, and of each its bytes or false, and
-- the message. Answers { version, epoch, change... }, or DONE when what was seen is no more. What a rollback undid is put
-- back unless there is something newer.
function APPLY.exchange(a, i)
  local topic, changes_guard, guard = a[i], a[i + 3] == 1, a[i + 4]
  local was, had = call('HGET', key(':retained'), topic), call('HGET', key(':tables'), GUARD .. topic)
  if replayed then
    if was and is_newer(was) then return DONE end
  elseif (was and string.match(was, '^%d+ (%S+)') or '') ~= a[i + 1] or (version_of(had) or 0) ~= a[i + 2] then
    return DONE
  end
  local old, values = was and tonumber(string.match(was, '^%d+')) or nil, a[i + 5]
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
  return { version, shard.epoch, unpack(changes) }
end
