-- The life of a session: opened, left, ended, and what becomes of its will.

-- The outbox entry that a session of this generation owes, the newest one: { entry, value } or false.
local function owed(s, generation)
  local outbox, found = call('HGETALL', of(s, ':outbox:')), false
  for i = 1, #outbox, 2 do
    local made_by = string.match(outbox[i + 1], '^%d+')
    if tonumber(made_by) == generation and (not found or tonumber(outbox[i]) > found[1]) then
      found = { tonumber(outbox[i]), outbox[i + 1] }
    end
  end
  return found
end

-- Moves the will to the outbox; `fence`: of whose will is meant, 0 = whoever's it is. A value is `<generation> <epoch> <expires at or 0> <bytes of owner>\n<owner><message>`.
local function fire_will(s, generation, fence)
  local row = of(s, ':session:')
  local will = s.g == generation and (fence == 0 or fence == s.f) and call('HMGET', row, 'will', 'will_expiry', 'owner')
  if not will or not will[1] then return owed(s, generation) end
  call('HDEL', row, 'will', 'will_delay', 'will_expiry', 'will_bytes', 'will_at')
  call('ZREM', key(':timers'), 'will:' .. s.sid)
  local entry, owner, expires_at = text(next_number()), will[3] or '', 0
  if will[2] then expires_at = now + will[2] * 1000 end
  local value = format('%.0f %.0f %.0f %d\n', generation, shard.epoch, expires_at, #owner) .. owner .. will[1]
  call('HSET', of(s, ':outbox:'), entry, value)
  call('ZADD', key(':left'), now + limits.claim, 'owed:' .. entry .. ':' .. s.sid)
  return { tonumber(entry), value }
end

-- Everything of the session goes, but what it still owes. The nodes are not told.
local function remove_session(s)
  stop_timers(s)
  leave_home(s, load_rest(s))
  if s.messages > 0 then
    count('ended', s.messages)
    count('queued_messages', -s.messages)
    count('queued_bytes', -s.bytes)
  end
  if is_group(s) and s.tail > shard.group_base then count('group_base', s.tail - shard.group_base) end
  call('UNLINK', of(s, ':session:'), queue_of(s), of(s, ':subscriptions:'), of(s, ':released:'),
    of(s, ':received:'), of(s, ':seen:'))
  if call('EXISTS', of(s, ':outbox:')) == 1 then
    call('HSET', key(':sessions'), s.sid, '')
  else
    call('HDEL', key(':sessions'), s.sid)
  end
  s.g, s.f = false, 0
  s.tail, s.messages, s.waiting, s.bytes = 0, 0, 0, 0
end

function end_session(s)
  if not is_group(s) then tell('kind', 'ended', 'session', s.sid, 'generation', text(s.g)) end
  remove_session(s)
end

local function tell_opened(s, persistent, owner, present)
  tell('kind', 'opened', 'session', s.sid, 'generation', text(s.g), 'fence', text(s.f), 'home', incarnation,
    'persistent', persistent, 'present', present, 'owner', owner)
end

-- Takes leave of how the last connection left the session: fires a will that is late, ends what is not resumed.
-- Answers whether it is resumed, what was fired, and the rest of what was there.
local function take_over(s, clean)
  if not s.g then return false, false, {} end
  local rest, fired = load_rest(s), false
  local present = rest.persistent == '1' and not has_expired(rest) and clean == 0
  local is_due = rest.will_delay == '0'
  if rest.at then is_due = rest.will_at and tonumber(rest.will_at) <= now end
  if not present or (rest.will_delay and is_due) then fired = fire_will(s, s.g, 0) end
  if not present then
    remove_session(s)
    return false, fired, {}
  end
  stop_timers(s)
  leave_home(s, rest)
  return true, fired, rest
end

-- Arguments: clean start, persistent, expiry, user, owner, then the will: message or '', its bytes, delay, and
-- expiry or ''.
function APPLY.O(s, a, i)
  local present, fired, rest = take_over(s, a[i])
  local fence, row = next_number(), of(s, ':session:')
  if present then
    s.f = fence
    touch(s)
    call('HDEL', row, 'at', 'sent', 'expires_at', 'will_at', 'will', 'will_delay', 'will_expiry', 'will_bytes')
  else
    make(s, fence, 0)
  end
  call('HSET', row, 'generation', text(s.g), 'fence', text(fence), 'home', incarnation, 'persistent', a[i + 1],
    'expiry', a[i + 2], 'user', a[i + 3], 'owner', a[i + 4])
  if a[i + 5] ~= '' then
    call('HSET', row, 'will', a[i + 5], 'will_bytes', a[i + 6], 'will_delay', a[i + 7])
    if a[i + 8] ~= '' then call('HSET', row, 'will_expiry', a[i + 8]) end
  end
  call('SADD', key(':owned:') .. incarnation, s.sid)
  tell_opened(s, a[i + 1], a[i + 4], present and 1 or 0)
  local subscriptions, received = {}, {}
  if present then
    subscriptions = call('HGETALL', of(s, ':subscriptions:'))
    received = call('HKEYS', of(s, ':received:'))
  end
  return { s.g, fence, present, subscriptions, ends(s, rest), received, fired }
end

-- Arguments: fence (two), user, owner.
function APPLY.N(s, a, i)
  local row = of(s, ':session:')
  call('HSET', row, 'user', a[i + 2], 'owner', a[i + 3])
  tell_opened(s, call('HGET', row, 'persistent'), a[i + 3], 1)
  return DONE
end

-- Arguments: fence (two).
function APPLY.C(s)
  call('HDEL', of(s, ':session:'), 'will', 'will_delay', 'will_expiry', 'will_bytes', 'will_at')
  call('ZREM', key(':timers'), 'will:' .. s.sid)
  return DONE
end

-- Arguments: fence (two), at, sent, expires at or '', will at or ''.
function APPLY.D(s, a, i)
  local rest = load_rest(s)
  stop_timers(s)
  leave_home(s, rest)
  local row = of(s, ':session:')
  call('HDEL', row, 'home', 'expires_at', 'will_at')
  call('HSET', row, 'at', a[i + 2], 'sent', a[i + 3])
  if a[i + 4] ~= '' then
    call('HSET', row, 'expires_at', a[i + 4])
    call('ZADD', key(':timers'), a[i + 4], 'expiry:' .. s.sid)
  end
  if a[i + 5] ~= '' and rest.will_delay then
    call('HSET', row, 'will_at', a[i + 5])
    call('ZADD', key(':timers'), a[i + 5], 'will:' .. s.sid)
  end
  if s.waiting == 0 then call('UNLINK', queue_of(s)) end
  tell('kind', 'detached', 'session', s.sid, 'generation', text(s.g), 'fence', text(s.f))
  return DONE
end

-- Arguments: generation, fence or 0.
function APPLY.F(s, a, i)
  return { fire_will(s, a[i], a[i + 1]) }
end

-- Arguments: entry.
function APPLY.X(s, a, i)
  local entry = text(a[i])
  call('HDEL', of(s, ':outbox:'), entry)
  call('ZREM', key(':left'), 'owed:' .. entry .. ':' .. s.sid)
  if not s.g and call('EXISTS', of(s, ':outbox:')) == 0 then call('HDEL', key(':sessions'), s.sid) end
  return DONE
end

-- Arguments: generation, fence or ''.
function APPLY.Z(s, a, i)
  if s.g == a[i] then end_session(s) end
  return DONE
end

-- Arguments: fence (two), filter, options.
function APPLY.S(s, a, i)
  call('HSET', of(s, ':subscriptions:'), a[i + 2], a[i + 3])
  tell('kind', 'subscribed', 'session', s.sid, 'generation', text(s.g), 'filter', a[i + 2], 'options', a[i + 3])
  return DONE
end

-- Arguments: fence (two), filter.
function APPLY.U(s, a, i)
  if call('HDEL', of(s, ':subscriptions:'), a[i + 2]) == 1 then
    tell('kind', 'unsubscribed', 'session', s.sid, 'generation', text(s.g), 'filter', a[i + 2])
  end
  return DONE
end
