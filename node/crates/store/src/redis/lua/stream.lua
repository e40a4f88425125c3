-- What happens inside partitions: appends, groups, and what a stream keeps. Ids of entries are made of the server's clock;
-- all that one call appends to a partition has one millisecond and rising numbers in it.

local PARTITION_APPLY = {}  -- what each op does, by its letter: (partition, args, first argument) -> outcome
local PARTITION_CHECK = {}  -- why an op must not happen: (partition, args, first argument) -> refusal or nil

local standing      -- the highest incarnation ever given, and those that have not been buried, as the node knows them

-- Numbers below a thousand as text, plain and with leading zeros, made when they are first needed: making text of numbers
-- is most of what Lua itself has to do for a record.
local SHORT, PADDED = {}, {}
local thousands, thousands_text = 0, ''

local function digits(known, form, number)
  local made = known[number]
  if not made then
    made = format(form, number)
    known[number] = made
  end
  return made
end

-- A number as text, fast for those that follow each other.
local function count_text(number)
  if number < 1000 then return digits(SHORT, '%d', number) end
  local rest = number % 1000
  local full = number - rest
  if full ~= thousands then thousands, thousands_text = full, format('%.0f', full / 1000) end
  return thousands_text .. digits(PADDED, '%03d', rest)
end

-- Starts what a call appends to a partition: the first entry says where the server's clock stands. Answers its id.
local function append_first(p, ...)
  local id = call('XADD', p.stream, '*', ...)
  local ms, seq = parse_entry(id)
  if not is_before(p.ms, p.seq, ms, seq) then
    call('XDEL', p.stream, id)
    ms, seq = p.ms, p.seq + 1
    call('XADD', p.stream, entry_text(ms, seq), ...)
  end
  p.prefix, p.ms, p.seq = format('%.0f-', ms), ms, seq
  if p.epoch ~= shard.epoch then
    p.epoch = shard.epoch
    p.epochs[#p.epochs + 1] = { p.epoch, ms, seq }
    forget_epochs(p)
  end
end

-- Appends a record and answers its number, or all of its mark when it is the first of the call.
local function append_record(p, bytes, topic, payload, more)
  local number, answer = p.number + 1, nil
  if not p.prefix then
    correct(p)
    if more then
      append_first(p, 'topic', topic, 'payload', payload, 'number', number, unpack(more))
    else
      append_first(p, 'topic', topic, 'payload', payload, 'number', number)
    end
    answer = { number, p.ms, p.seq, p.epoch, 1 }
  else
    local seq = p.seq + 1
    local id = p.prefix .. count_text(seq)
    p.seq, answer = seq, number
    if more then
      call('XADD', p.stream, id, 'topic', topic, 'payload', payload, 'number', count_text(number), unpack(more))
    else
      call('XADD', p.stream, id, 'topic', topic, 'payload', payload, 'number', count_text(number))
    end
  end
  p.number, p.records, p.bytes = number, p.records + 1, p.bytes + bytes
  p.appended, p.appended_bytes = p.appended + 1, (p.appended_bytes or 0) + bytes
  return answer
end

-- Of records with the same key only the newest stays.
local function compact(p, record_key)
  local keys = key(':keys:') .. p.id
  local old = call('HGET', keys, record_key)
  call('HSET', keys, record_key, p.prefix .. p.seq)
  local entry = old and call('XRANGE', p.stream, old, old)[1]
  if not entry then return end
  local bytes = record_bytes(entry[2])
  call('XDEL', p.stream, old)
  p.records, p.bytes = p.records - 1, math.max(p.bytes - bytes, 0)
  count('compacted', 1)
  count('stream_records', -1)
  count('stream_bytes', -bytes)
end

function PARTITION_CHECK.A()
  if not may_grow then return STORE_FULL end
end

-- Arguments: id or '', bytes, topic, payload, further fields and their values (the key first, if any) or false.
function PARTITION_APPLY.A(p, a, i)
  if not p.is_made or p.is_sealed then return GONE end
  local id, more = a[i], a[i + 4]
  local known = id ~= '' and p.seen and p.seen[id]
  if known then
    local epoch, ms, seq, number = parse_mark(known)
    return { number, ms, seq, epoch, 0 }
  end
  local answer = append_record(p, a[i + 1], a[i + 2], a[i + 3], more)
  if p.is_compacted and more and more[1] == 'key' then compact(p, more[2]) end
  if id ~= '' then
    local mark = tail_of(p)
    p.seen = p.seen or {}
    p.seen[id] = mark
    local fresh = p.fresh or {}
    fresh[#fresh + 1], fresh[#fresh + 2] = id, mark
    p.fresh = fresh
  end
  return answer
end

-- Arguments: most records, bytes, milliseconds, whether it is compacted.
function PARTITION_APPLY.C(p, a, i)
  if not p.is_made then
    make_partition(p)
    call('SADD', key(':partitions'), p.id)
    p.told = 'made'
  end
  if p.is_compacted and a[i + 3] ~= 1 then call('UNLINK', key(':keys:') .. p.id) end
  p.records_max, p.bytes_max, p.age_max_ms, p.is_compacted = a[i], a[i + 1], a[i + 2], a[i + 3] == 1
  p.is_dirty = true
  correct(p)
  return DONE
end
PARTITION_CHECK.C = PARTITION_CHECK.A

function PARTITION_APPLY.L(p)
  if not p.is_made then return GONE end
  if not p.is_sealed then
    p.is_sealed, p.is_dirty = true, true
    p.told = 'sealed'
  end
  return DONE
end

-- Arguments: epoch, ms, seq of the last record to go; or ''.
function PARTITION_APPLY.T(p, a, i)
  if not p.is_made then return DONE end
  if a[i] ~= '' then
    local ms, seq = behind(p, a[i], a[i + 1], a[i + 2])
    if is_before(p.keep_ms, p.keep_seq, ms, seq) then p.keep_ms, p.keep_seq = ms, seq end
  end
  p.is_dirty = true
  correct(p)
  let_go(p, AT_ONCE_MAX)
  return DONE
end

function PARTITION_APPLY.D(p)
  if not p.is_made then return DONE end
  local there = p.records
  count('stream_ended', there)
  count('stream_records', p.appended - there)
  count('stream_bytes', (p.appended_bytes or 0) - p.bytes)
  count('appended', p.appended)
  EFFECTS.drop(p)
  call('UNLINK', p.stream, p.row, key(':groups:') .. p.id, key(':keys:') .. p.id, key(':ids:') .. p.id,
    key(':ids_order:') .. p.id)
  call('SREM', key(':partitions'), p.id)
  p.is_made, p.is_dirty, p.prefix, p.appended, p.appended_bytes, p.seen, p.fresh = false, false, nil, 0, 0, nil, nil
  p.told = 'dropped'
  return DONE
end

-- A group's row is `<owner or 0> <fence>`, a line end, and its progress as JSON.
local function load_group(p, name)
  local row = call('HGET', key(':groups:') .. p.id, name)
  if not row then return nil end
  local owner, fence, progress = string.match(row, '^(%d+) (%d+)\n(.*)$')
  return { owner = owner, fence = tonumber(fence), progress = progress }
end

local function save_group(p, name, owner, fence, progress)
  call('HSET', key(':groups:') .. p.id, name, owner .. ' ' .. text(fence) .. '\n' .. progress)
end

-- Whether an incarnation was buried: those never come back.
local function is_buried(owner)
  if #standing == 0 or tonumber(owner) > tonumber(standing[1]) then return false end
  for i = 2, #standing do
    if standing[i] == owner then return false end
  end
  return true
end

-- Who holds a group's place, or nil. Fences from before a rollback are nobody's.
local function holder(group)
  if not group or group.owner == '0' or group.fence <= shard.floor or is_buried(group.owner) then return nil end
  return group.owner
end

-- The mark of the last record before an entry, whether that is there or not.
local function mark_before(p, ms, seq)
  local entry = call('XREVRANGE', p.stream, '(' .. entry_text(ms, seq), '-', 'COUNT', 1)[1]
  if entry then return mark_of(p, entry) end
  return p.trimmed
end

-- Where a group begins. Arguments: how, then epoch, ms and seq of a position, or a time as ms.
local function start_of(p, a, i)
  correct(p)
  local how, epoch, ms, seq = a[i], a[i + 1], a[i + 2], a[i + 3]
  if how == 'earliest' then return p.trimmed end
  if how == 'latest' then return tail_of(p) end
  if how == 'at' then
    if is_before(p.ms, p.seq, ms, 0) then return mark_before(p, p.ms, p.seq + 1) end
    return mark_before(p, ms, 0)
  end
  local trimmed_epoch, trimmed_ms, trimmed_seq = parse_mark(p.trimmed)
  if epoch < trimmed_epoch or (epoch == trimmed_epoch and is_before(ms, seq, trimmed_ms, trimmed_seq)) then
    return mark_text(epoch, ms, seq, 0)
  end
  return mark_before(p, behind(p, epoch, ms, seq))
end

local function progress_at(mark)
  return '{"low":"' .. mark .. '"}'
end

-- Within a step: a place that changes hands is held under no fence that is known before.
local function moves(p, a, i)
  p.moved[a[i]] = true
end
PARTITION_CHECK.F, PARTITION_CHECK.K = moves, moves

function PARTITION_CHECK.D(p)
  p.is_going = true
end

function PARTITION_CHECK.Q(p, a, i)
  if replayed then return FENCED end
  moves(p, a, i)
end

-- Arguments: group, how to begin (start_of). Answers { 1, fence, progress }, or { 0, who has it }; for a while after a
-- rollback nobody is given a place, and nobody has it.
function PARTITION_APPLY.Q(p, a, i)
  if not p.is_made then return GONE end
  if now < shard.held_until then return { 0, '0' } end
  local name, fence = a[i], nil
  local group = load_group(p, name)
  local owner = holder(group)
  if owner and owner ~= incarnation then return { 0, owner } end
  local progress = group and group.progress or progress_at(start_of(p, a, i + 1))
  fence = next_number()
  save_group(p, name, incarnation, fence, progress)
  return { 1, fence, progress }
end

-- Arguments: group, fence, progress.
function PARTITION_CHECK.M(p, a, i)
  local name, fence = a[i], a[i + 1]
  if p.is_going or p.moved[name] then return FENCED end
  if p.held[name] == fence then return nil end
  local group = p.is_made and load_group(p, name)
  if not group or group.owner == '0' or group.fence ~= fence then return FENCED end
  if not replayed and fence <= shard.floor then return FENCED end
  p.held[name] = fence
end

function PARTITION_CHECK.R(p, a, i)
  local refusal = PARTITION_CHECK.M(p, a, i)
  moves(p, a, i)
  return refusal
end

function PARTITION_APPLY.M(p, a, i)
  save_group(p, a[i], load_group(p, a[i]).owner, a[i + 1], a[i + 2])
  return DONE
end

function PARTITION_APPLY.R(p, a, i)
  save_group(p, a[i], '0', a[i + 1], a[i + 2])
  return DONE
end

-- Arguments: group, fence, key, value or false.
function PARTITION_CHECK.V(p, a, i)
  local value = a[i + 3]
  if value and not may_grow then return STORE_FULL end
  local refusal = PARTITION_CHECK.M(p, a, i)
  if refusal then return refusal end
  if #a[i + 2] > EFFECTS.KEY_BYTES_MAX or (value and #value > EFFECTS.VALUE_BYTES_MAX) then return TOO_LARGE end
end

-- Arguments: group, fence, id, and what EFFECTS.owe takes.
function PARTITION_CHECK.O(p, a, i)
  if not may_grow then return STORE_FULL end
  local asked = p.asked[a[i]] or {}
  asked[#asked + 1] = a[i + 2]
  p.asked[a[i]] = asked
  return PARTITION_CHECK.M(p, a, i)
end
PARTITION_CHECK.P = PARTITION_CHECK.M
PARTITION_APPLY.V, PARTITION_APPLY.O, PARTITION_APPLY.P = EFFECTS.keep, EFFECTS.owe, EFFECTS.paid

-- Arguments: group.
function PARTITION_APPLY.F(p, a, i)
  if not p.is_made then return DONE end
  call('HDEL', key(':groups:') .. p.id, a[i])
  EFFECTS.forget(p, a[i])
  return DONE
end

-- Arguments: group, how to begin.
function PARTITION_APPLY.K(p, a, i)
  if not p.is_made then return GONE end
  local owner = holder(load_group(p, a[i]))
  if owner then return { 0, owner } end
  save_group(p, a[i], '0', next_number(), progress_at(start_of(p, a, i + 1)))
  return DONE
end

-- Looks up the message ids that the records of a batch bring: places and ids in turn.
local function load_seen(listed, ids)
  local asked = {}
  for i = 1, #ids, 2 do
    local list = asked[ids[i]] or {}
    list[#list + 1] = ids[i + 1]
    asked[ids[i]] = list
  end
  for place, list in pairs(asked) do
    local p = listed[place]
    local marks = call('HMGET', key(':ids:') .. p.id, unpack(list))
    p.seen = {}
    for i = 1, #list do p.seen[list[i]] = marks[i] or nil end
  end
end

-- Notes new message ids, and forgets the oldest.
local function save_seen(p)
  local ids, order, names = key(':ids:') .. p.id, key(':ids_order:') .. p.id, {}
  call('HSET', ids, unpack(p.fresh))
  for i = 1, #p.fresh, 2 do names[#names + 1] = p.fresh[i] end
  local over = call('RPUSH', order, unpack(names)) - limits.ids
  if over > 0 then
    local oldest = call('LPOP', order, over)
    for first = 1, #oldest, 1000 do
      call('HDEL', ids, unpack(oldest, first, math.min(first + 999, #oldest)))
    end
  end
end

-- Sees to what a call has left to do for a partition.
local function settle_partition(p)
  if p.appended > 0 then
    count('appended', p.appended)
    count('stream_records', p.appended)
    count('stream_bytes', p.appended_bytes)
    p.is_dirty = true
    if p.fresh then save_seen(p) end
    let_go(p, LET_GO_MAX)
    if not p.told then p.told = 'appended' end
  elseif p.is_dirty then
    let_go(p, LET_GO_MAX)
  end
  if p.is_made and p.is_dirty then save_partition(p) end
  EFFECTS.save(p)
  if p.told == 'dropped' then
    tell('kind', 'dropped', 'partition', p.id)
  elseif p.told then
    tell('kind', p.told, 'partition', p.id, 'tail', tail_of(p))
  end
end

-- One step of a partition: its place in the list, number of ops, and each op as letter, number of arguments, arguments.
local function partition_step(p, a, i, answers)
  local n, ops, at, refusal = #answers, a[i + 1], i + 2, nil
  p.moved, p.held, p.asked, p.is_going = {}, {}, {}, false
  for _ = 1, ops do
    local check = PARTITION_CHECK[a[at]]
    refusal = refusal or (check and check(p, a, at + 2))
    at = at + 2 + a[at + 1]
  end
  if refusal then
    answers[n + 1] = refusal
    return at
  end
  at = i + 2
  for op = 1, ops do
    answers[n + op] = PARTITION_APPLY[a[at]](p, a, at + 2)
    at = at + 2 + a[at + 1]
  end
  return at
end

-- Plain records of one partition that follow each other, behind the first of the call. Answers where they end.
local function append_run(p, a, i, answers)
  local place, stream, prefix, seq, number, bytes = a[i], p.stream, p.prefix, p.seq, p.number, 0
  local n, first = #answers, p.number
  repeat
    local topic, payload = a[i + 1], a[i + 2]
    seq, number, n = seq + 1, number + 1, n + 1
    call('XADD', stream, prefix .. count_text(seq), 'topic', topic, 'payload', payload, 'number', count_text(number))
    bytes = bytes + #topic + #payload
    answers[n] = number
    i = i + 3
  until a[i] ~= place
  local more = number - first
  p.seq, p.number, p.records, p.bytes = seq, number, p.records + more, p.bytes + bytes
  p.appended, p.appended_bytes = p.appended + more, p.appended_bytes + bytes
  return i
end

-- The steps of partitions. The most common one, one record without anything special, has a short form: its place below
-- zero, topic, payload.
local function partition_steps(ids, seen, a)
  local answers, i, n, last, listed = {}, 1, 0, #a, {}
  for place = 1, #ids do listed[place] = load_partition(ids[place]) end
  load_seen(listed, seen)
  while i <= last do
    local place = a[i]
    if place > 0 then
      i = partition_step(listed[place], a, i, answers)
      n = #answers
    else
      local p = listed[-place]
      if not may_grow then
        answers[n + 1], i = STORE_FULL, i + 3
      elseif not p.is_made or p.is_sealed then
        answers[n + 1], i = GONE, i + 3
      elseif p.prefix then
        i = append_run(p, a, i, answers)
      else
        answers[n + 1], i = append_record(p, #a[i + 1] + #a[i + 2], a[i + 1], a[i + 2], false), i + 3
      end
      n = #answers
    end
  end
  for place = 1, #ids do settle_partition(listed[place]) end
  return answers
end
