-- What groups keep and owe in partitions: values under keys of their own, and an outbox of messages to be published
-- elsewhere. The hash `effects` of the shard has every group that has ever had either: `<newest entry> <epoch>`.

local EFFECTS = {
  KEY_BYTES_MAX = 1088,
  VALUE_BYTES_MAX = 65536,
  JUMP = 4194304,   -- more entries than a group is given in the time that a rollback undoes
}

-- What a group keeps and owes in a partition, as this call sees it.
function EFFECTS.of(p, group)
  p.effects = p.effects or {}
  local e = p.effects[group]
  if e then return e end
  local name = p.id .. ':' .. group
  e = {
    name = name, kept = key(':kept:') .. name, keys = key(':kept_keys:') .. name, owed = key(':owed:') .. name,
    ids = key(':owed_ids:') .. name, known = {}, fresh = {},
  }
  local tail, epoch = string.match(call('HGET', key(':effects'), name) or '', '^(%d+) (%d+)$')
  e.is_noted, e.tail, e.epoch = tail ~= nil, tonumber(tail or shard.group_base), tonumber(epoch or shard.epoch)
  p.effects[group] = e
  return e
end

-- Arguments: group, fence, key, value or false. The keys are there a second time in their order.
function EFFECTS.keep(p, a, i)
  local e, name, value = EFFECTS.of(p, a[i]), a[i + 2], a[i + 3]
  if not value then
    if call('HDEL', e.kept, name) == 1 then call('ZREM', e.keys, name) end
    return DONE
  end
  if call('HSET', e.kept, name, value) == 1 then call('ZADD', e.keys, 0, name) end
  e.is_changed = e.is_changed or not e.is_noted
  return DONE
end

-- Under which entry an id is owed, or false. All ids that a step brings are looked up together.
function EFFECTS.known(p, e, group, id)
  local asked = p.asked[group]
  if e.known[id] == nil and asked then
    for first = 1, #asked, 1000 do
      local last = math.min(first + 999, #asked)
      local entries = call('ZMSCORE', e.ids, unpack(asked, first, last))
      for n = first, last do
        local one = asked[n]
        local entry = entries[n - first + 1]
        if e.known[one] == nil then e.known[one] = entry and tonumber(entry) end
      end
    end
    p.asked[group] = nil
  end
  return e.known[id]
end

-- Arguments: group, fence, id, topic, payload, further fields and their values or false. Answers the entry. Behind what
-- a rollback may have undone the numbers jump; what it has undone is given them as before.
function EFFECTS.owe(p, a, i)
  local e, id, more = EFFECTS.of(p, a[i]), a[i + 2], a[i + 5]
  local known = EFFECTS.known(p, e, a[i], id)
  if known then return known end
  if e.epoch ~= shard.epoch and not replayed then
    e.tail, e.epoch = e.tail + EFFECTS.JUMP, shard.epoch
  end
  e.tail, e.is_changed = e.tail + 1, true
  local entry = entry_text(e.tail, 0)
  if more then
    call('XADD', e.owed, entry, 'id', id, 'topic', a[i + 3], 'payload', a[i + 4], unpack(more))
  else
    call('XADD', e.owed, entry, 'id', id, 'topic', a[i + 3], 'payload', a[i + 4])
  end
  local n = #e.fresh
  e.fresh[n + 1], e.fresh[n + 2], e.known[id] = text(e.tail), id, e.tail
  return e.tail
end

function EFFECTS.save_ids(e)
  for first = 1, #e.fresh, 1000 do
    call('ZADD', e.ids, unpack(e.fresh, first, math.min(first + 999, #e.fresh)))
  end
  e.fresh = {}
end

-- Arguments: group, fence, the last entry that is published. After a rollback nothing is taken for published: others may
-- have lost it, too, and who has not knows it by its id.
function EFFECTS.paid(p, a, i)
  if replayed then return DONE end
  local e, through = EFFECTS.of(p, a[i]), a[i + 2]
  if through >= e.tail then
    call('UNLINK', e.owed, e.ids)
    e.known, e.fresh = {}, {}
    return DONE
  end
  EFFECTS.save_ids(e)
  call('XTRIM', e.owed, 'MINID', '=', entry_text(through + 1, 0))
  call('ZREMRANGEBYSCORE', e.ids, '-inf', text(through))
  for id, entry in pairs(e.known) do
    if entry and entry <= through then e.known[id] = false end
  end
  return DONE
end

-- Ends what a group keeps and owes.
function EFFECTS.forget(p, group)
  local e = EFFECTS.of(p, group)
  call('UNLINK', e.kept, e.keys, e.owed, e.ids)
  call('HDEL', key(':effects'), e.name)
  p.effects[group] = nil
end

-- Ends what all groups of a partition keep and owe.
function EFFECTS.drop(p)
  local groups = call('HKEYS', key(':groups:') .. p.id)
  for first = 1, #groups, 1000 do
    local names, last = {}, math.min(first + 999, #groups)
    for n = first, last do names[#names + 1] = p.id .. ':' .. groups[n] end
    local rows = call('HMGET', key(':effects'), unpack(names))
    for n = first, last do
      local group = groups[n]
      if rows[n - first + 1] or (p.effects and p.effects[group]) then EFFECTS.forget(p, group) end
    end
  end
end

-- Writes what was put off to once a call.
function EFFECTS.save(p)
  for _, e in pairs(p.effects or {}) do
    if e.is_changed then
      call('HSET', key(':effects'), e.name, text(e.tail) .. ' ' .. text(e.epoch))
    end
    EFFECTS.save_ids(e)
  end
end
