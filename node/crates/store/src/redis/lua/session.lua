-- Sessions as one call sees them. What every op needs of a session, its state (generation, fence, tail, messages, waiting,
-- bytes), lies packed in the hash `sessions`
-- under its id, so that a batch reads and writes the states of all its sessions at once; the rest lies in a hash of its
-- own. An empty state is that of a session that has ended and still owes something. A session id is `<kind>:<realm>:<name>`, kind `c` (client) or `g` (share group).

local APPLY = {}    -- what each op does, by its letter: (session, args, first argument) -> outcome
local CHECK = {}    -- why an op must not happen: (session, args, first argument) -> refusal or nil

local STATE = '>I6I6I5I4I4I5'

local sessions      -- by session id
local touched       -- those whose state is to be written

local end_session

-- Eight fields: one more, and the table of each session of a batch is twice as large.
local function new_session(sid, state)
  local s
  if state and state ~= '' then
    local g, f, tail, messages, waiting, bytes = struct.unpack(STATE, state)
    s = { sid = sid, g = g, f = f, tail = tail, messages = messages, waiting = waiting, bytes = bytes, dirty = false }
  else
    s = { sid = sid, g = false, f = 0, tail = 0, messages = 0, waiting = 0, bytes = 0, dirty = false }
  end
  sessions[sid] = s
  return s
end

local function is_group(s)
  return string.byte(s.sid) == 103
end

local function load_session(sid)
  return sessions[sid] or new_session(sid, call('HGET', key(':sessions'), sid))
end

-- Loads many at once; answers them in order.
local function load_sessions(ids)
  local found = {}
  for first = 1, #ids, 1000 do
    local states = call('HMGET', key(':sessions'), unpack(ids, first, math.min(first + 999, #ids)))
    for i = 1, #states do
      found[first + i - 1] = new_session(ids[first + i - 1], states[i])
    end
  end
  return found
end

local function touch(s)
  if not s.dirty then
    s.dirty = true
    touched[#touched + 1] = s
  end
end

local function save_sessions()
  for first = 1, #touched, 1000 do
    local fields, n = {}, 0
    for i = first, math.min(first + 999, #touched) do
      local s = touched[i]
      if s.g then
        fields[n + 1] = s.sid
        fields[n + 2] = struct.pack(STATE, s.g, s.f, s.tail, s.messages, s.waiting, s.bytes)
        n = n + 2
      end
    end
    if n > 0 then call('HSET', key(':sessions'), unpack(fields)) end
  end
end

local function of(s, name)
  return tag .. name .. s.sid
end

local queue_sid, queue_name = false, false

local function queue_of(s)
  if s.sid ~= queue_sid then
    queue_sid, queue_name = s.sid, tag .. ':queue:' .. s.sid
  end
  return queue_name
end

-- Makes the session anew, with an empty queue that goes on after `tail`.
local function make(s, fence, tail)
  s.g, s.f = next_number(), fence
  s.tail, s.messages, s.waiting, s.bytes = tail, 0, 0, 0
  touch(s)
end

local function make_group(s)
  make(s, 0, shard.group_base)
  call('HSET', of(s, ':session:'), 'generation', text(s.g), 'persistent', 1, 'expiry', 4294967295)
end

-- Share groups are kept although empty, a few, so that a lively one is not made and forgotten per message.
local function note_idle(s)
  local idle = key(':idle')
  if call('ZADD', idle, 'NX', shard.counter + 1, s.sid) == 0 then return end
  count('counter', 1)
  if call('ZCARD', idle) <= 64 then return end
  local oldest = load_session(call('ZPOPMIN', idle)[1])
  if oldest.g and oldest.messages == 0 then end_session(oldest) end
end

local REST = {
  'home', 'persistent', 'expiry', 'user', 'owner', 'at', 'sent', 'expires_at', 'will_at', 'will_delay',
  'will_expiry', 'will_bytes',
}

-- What only few ops need of a session.
local function load_rest(s)
  local row, rest = call('HMGET', of(s, ':session:'), unpack(REST)), {}
  for i = 1, #REST do rest[REST[i]] = row[i] end
  return rest
end

local function has_expired(rest)
  return rest.expires_at and tonumber(rest.expires_at) <= now
end

-- Another user's session may be neither taken nor renewed, until it has expired.
local function is_of_another(s, user)
  if not s.g then return false end
  local rest = load_rest(s)
  return (rest.user or '') ~= user and not has_expired(rest)
end

local function stop_timers(s)
  call('ZREM', key(':timers'), 'will:' .. s.sid, 'expiry:' .. s.sid)
end

local function leave_home(s, rest)
  if rest.home then call('SREM', key(':owned:') .. rest.home, s.sid) end
end

local function ends(s, rest)
  local first = call('XRANGE', queue_of(s), '-', '+', 'COUNT', 1)[1]
  local head = first and tonumber(string.match(first[1], '^%d+')) or s.tail + 1
  if s.messages > s.waiting then
    head = math.min(head, tonumber(call('ZRANGE', of(s, ':released:'), 0, 0)[1]))
  end
  local sent = rest.at and math.min(tonumber(rest.sent), s.tail) or s.tail
  return { head, s.tail, sent, s.messages, s.bytes }
end
