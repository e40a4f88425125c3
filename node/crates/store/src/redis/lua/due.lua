-- What is due. Keys: the shard's tag. What is answered is claimed: it comes again after the claim, to anybody.

-- Everything a node must know of a session that it did not see opened; `outbox` is what it owes.
local function whole(s, outbox)
  if not s.g then return { s.sid, 0, 0, '', 0, 0, '0', '', '', {}, { 1, 0, 0, 0, 0 }, outbox } end
  local rest = load_rest(s)
  return {
    s.sid, s.g, s.f, rest.owner or '', rest.persistent, tonumber(rest.expiry), rest.at or '', rest.home or '',
    rest.will_delay or '', call('HGETALL', of(s, ':subscriptions:')), ends(s, rest), outbox,
  }
end

-- A session whose connection was on the node `home`, if nothing else has become of it.
local function orphan(home, sid)
  local s = load_session(sid)
  local rest = s.g and load_rest(s)
  return rest and rest.home == home and { 'orphan', whole(s, {}) }
end

-- What a timer is about, or nil when that is no more.
local function due_of(member)
  local kind, what = string.match(member, '^(%a+):(.*)$')
  if kind == 'delayed' then
    local value = call('HGET', key(':delayed'), what)
    return value and { kind, tonumber(what), value }
  elseif kind == 'owed' then
    local entry, sid = string.match(what, '^(%d+):(.*)$')
    local value = call('HGET', key(':outbox:') .. sid, entry)
    return value and { kind, sid, tonumber(entry), value }
  elseif kind == 'orphan' then
    return orphan(string.match(what, '^(%d+):(.*)$'))
  end
  local s = load_session(what)
  return s.g and { kind, what, s.g, s.f }
end

-- The sessions of lost nodes are left to anybody.
local function adopt(a, i, max)
  for dead = i, #a do
    local lost = call('SPOP', key(':owned:') .. a[dead], max)
    for n = 1, #lost do
      call('ZADD', key(':left'), now, 'orphan:' .. a[dead] .. ':' .. lost[n])
    end
  end
end

-- Timers that are over by `at` and claimed by nobody; a claim is of a timer and its time.
local function due_timers(at, max, claim, found)
  local timers, claims, first = key(':timers'), key(':claims'), 0
  call('ZREMRANGEBYSCORE', claims, '-inf', now)
  while #found < max do
    local members, stale = call('ZRANGEBYSCORE', timers, '-inf', at, 'WITHSCORES', 'LIMIT', first, max), {}
    if #members == 0 then return end
    for i = 1, #members, 2 do
      local member, score = members[i], members[i + 1]
      local entry = due_of(member)
      if not entry then
        stale[#stale + 1] = member
      elseif #found < max and (claim == 0 or call('ZADD', claims, 'NX', now + claim, member .. '@' .. score) == 1) then
        found[#found + 1] = { score, entry }
      end
    end
    if #stale > 0 then call('ZREM', timers, unpack(stale)) end
    first = first + #members / 2 - #stale
  end
end

-- What lost nodes left behind; who is given it has it until the claim is over.
local function left_behind(max, claim, found)
  local left = key(':left')
  local members = call('ZRANGEBYSCORE', left, '-inf', now, 'LIMIT', 0, max - #found)
  for i = 1, #members do
    local entry = due_of(members[i])
    if entry then
      found[#found + 1] = { '+inf', entry }
      call('ZADD', left, now + claim, members[i])
    else
      call('ZREM', left, members[i])
    end
  end
end

-- Arguments: now, most entries, milliseconds of a claim, then the incarnations of lost nodes.
-- Answers { due at, { kind, ... } } each.
local function due(keys, a)
  enter(keys)
  read_clock()
  sessions, touched, queue_sid = {}, {}, false
  local max, claim, found = tonumber(a[2]), tonumber(a[3]), {}
  adopt(a, 4, max)
  due_timers(a[1], max, claim, found)
  left_behind(max, claim, found)
  return pack(found)
end

redis.register_function { function_name = 'weir_1_due', callback = due, flags = { 'allow-oom' } }

-- Arguments: cursor, about how many. Answers { next cursor, { session... } }.
local function scan(keys, a)
  enter(keys)
  sessions, touched, queue_sid = {}, {}, false
  local page, found = call('HSCAN', key(':sessions'), a[1], 'COUNT', a[2]), {}
  for i = 1, #page[2], 2 do
    local sid, state = page[2][i], page[2][i + 1]
    if sid ~= LEGEND_FIELD then
      local s = new_session(sid, state)
      found[#found + 1] = whole(s, call('HGETALL', of(s, ':outbox:')))
    end
  end
  return pack({ page[1], found })
end

redis.register_function { function_name = 'weir_1_scan', callback = scan, flags = { 'no-writes' } }

-- Answers the row of the shard; makes it when it is not there.
local function read_account(keys)
  enter(keys)
  read_clock()
  load_shard()
  return account()
end

redis.register_function { function_name = 'weir_1_account', callback = read_account, flags = { 'allow-oom' } }
