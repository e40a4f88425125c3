-- Batches. Keys: the shard's tag. A batch is answered as the first time when it is one of the last few of its node,
-- applied when the one before it is the last, and refused with GAP otherwise: so nothing is reordered or doubled.
-- A number always stands for the same batch, also for one that was given up: it may still come late.

local WINDOW = 4        -- batches of one node that may be unanswered

local function begin(keys, a)
  enter(keys)
  local ms, guard = string.match(a[18], '^(%d+):(%d+)$')
  incarnation, replayed, replayed_guard = a[1], tonumber(ms), tonumber(guard)
  read_clock()
  limits = {
    place = tonumber(a[5]), policy = a[6], messages = tonumber(a[7]), bytes = tonumber(a[8]),
    all_messages = tonumber(a[9]), all_bytes = tonumber(a[10]), retained_messages = tonumber(a[11]),
    retained_bytes = tonumber(a[12]), ids = tonumber(a[13]), delay_ids = tonumber(a[14]), changes = a[15],
    claim = tonumber(a[16]), claims_max = tonumber(a[19]),
  }
  messages_max, bytes_max, all_messages_max, all_bytes_max =
    limits.messages, limits.bytes, limits.all_messages, limits.all_bytes
  sessions, touched, queue_sid, standing = {}, {}, false, {}
  for known in string.gmatch(a[20], '%d+') do standing[#standing + 1] = known end
end

-- One step of a session: its place in the list, number of ops, and each op as letter, number of arguments, arguments.
local function session_step(s, a, i, answers)
  local n, ops, at, refusal = #answers, a[i + 1], i + 2, nil
  changed_hands, more_messages, more_bytes = false, 0, 0
  for _ = 1, ops do
    refusal = refusal or CHECK[a[at]](s, a, at + 2)
    at = at + 2 + a[at + 1]
  end
  if refusal then
    answers[n + 1] = refusal
    return at
  end
  at = i + 2
  for op = 1, ops do
    answers[n + op] = APPLY[a[at]](s, a, at + 2)
    at = at + 2 + a[at + 1]
  end
  return at
end

-- The steps of sessions. The most common one, one message without anything special for one queue, has a short form: its
-- place below zero, topic, payload.
local function session_steps(ids, generations, a)
  local answers, i, n, last, listed = {}, 1, 0, #a, load_sessions(ids)
  local is_plain = may_grow and limits.policy ~= 'refuse'
  while i <= last do
    local place = a[i]
    if place > 0 then
      i = session_step(listed[place], a, i, answers)
      n = #answers
    else
      local s, generation, topic, payload = listed[-place], generations[-place], a[i + 1], a[i + 2]
      local bytes = #topic + #payload
      if is_plain and s.g == generation and fits(s, bytes, 0, 0) then
        n = n + 1
        answers[n] = append(s, bytes, topic, payload, '1', false)
      else
        session_step(s, { -place, 1, 'E', 7, generation, '', bytes, topic, payload, '1', false }, 1, answers)
        n = #answers
      end
      i = i + 3
    end
  end
  save_sessions()
  return answers
end

-- The steps of topics: the op's name, number of arguments, arguments.
local function topic_steps(a)
  local answers, i = {}, 1
  while i <= #a do
    answers[#answers + 1] = APPLY[a[i]](a, i + 2)
    i = i + 2 + a[i + 1]
  end
  return answers
end

-- Of partitions the second list are the message ids that records bring.
local function steps(ids, generations, a)
  if kind == 't' then return topic_steps(a) end
  if kind == 'p' then return partition_steps(ids, generations, a) end
  return session_steps(ids, generations, a)
end

-- Arguments: incarnation, number, the number before it, epoch believed or 0, the limits, and packed: the ids of
-- sessions, the generations that plain steps are for, and the steps; of a batch that a rollback has undone when it made
-- its last change, else ''; most idempotency keys; the highest incarnation and those that were not buried.
-- Answers { answers, account, whether it is a repeat }.
local function apply(keys, a, growing)
  begin(keys, a)
  may_grow = growing
  load_shard()
  if a[4] ~= '0' and tonumber(a[4]) ~= shard.epoch then
    return redis.error_reply('STALEEPOCH ' .. text(shard.epoch))
  end
  local batch, number = key(':batch:') .. incarnation, tonumber(a[2])
  local place = 'answers' .. number % WINDOW
  local row = call('HMGET', batch, 'number', place)
  local last, of, answered = tonumber(row[1] or 0), string.match(row[2] or '', '^(%d+):(.*)$')
  if of == a[2] then return { answered, account(), 1 } end
  if tonumber(a[3]) ~= last or number <= last then return redis.error_reply('GAP ' .. text(last)) end
  local answers = pack(steps(cmsgpack.unpack(a[17])))
  if replayed then count('healed', 1) end
  save_shard()
  call('HSET', batch, 'number', a[2], place, a[2] .. ':' .. answers)
  if number % 256 == 1 then call('EXPIRE', batch, 604800) end
  return { answers, account(), 0 }
end

redis.register_function('weir_1_grow', function(keys, a) return apply(keys, a, true) end)

redis.register_function {
  function_name = 'weir_1_free',
  callback = function(keys, a) return apply(keys, a, false) end,
  flags = { 'allow-oom' },
}
