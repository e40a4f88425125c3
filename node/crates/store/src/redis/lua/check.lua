-- Whether a step may happen at all: decided before any of its ops leaves a trace.

-- What the ops of this step before the one in hand will have changed.
local changed_hands, more_messages, more_bytes

local function check_fence(s, a, i)
  if not s.g or changed_hands or s.g ~= a[i] or s.f ~= a[i + 1] then return FENCED end
end

-- A session that is taken up again with no larger a will than it has: who comes to drain must be let in.
local function resumes(s, a, i)
  if not s.g or a[i] == 1 then return false end
  local rest = load_rest(s)
  return rest.persistent == '1' and not has_expired(rest) and a[i + 6] <= tonumber(rest.will_bytes or 0)
end

function CHECK.O(s, a, i)
  if replayed then return FENCED end
  if not may_grow and not resumes(s, a, i) then return STORE_FULL end
  changed_hands = true
  if is_of_another(s, a[i + 3]) then return NOT_OWNER end
end

function CHECK.N(s, a, i)
  if not may_grow then return STORE_FULL end
  local refusal = check_fence(s, a, i)
  if refusal then return refusal end
  if is_of_another(s, a[i + 2]) then return NOT_OWNER end
end

-- Only where a full queue refuses its publisher; the other policies always let a step through.
function CHECK.E(s, a, i)
  if not may_grow then return STORE_FULL end
  if limits.policy ~= 'refuse' or (s.g ~= a[i] and not is_group(s)) or has_seen(s, a[i + 1]) then return nil end
  more_messages = more_messages + 1
  more_bytes = more_bytes + a[i + 2]
  if s.messages + more_messages > limits.messages or s.bytes + more_bytes > limits.bytes then
    return QUEUE_REFUSES
  end
  if shard.queued_messages + more_messages > limits.all_messages
    or shard.queued_bytes + more_bytes > limits.all_bytes then
    return QUEUES_FULL
  end
end

local function note_ack(s, number)
  if limits.policy ~= 'refuse' or not s.g then return end
  local bytes = waiting_bytes(s, number)
  if bytes then
    more_messages, more_bytes = more_messages - 1, more_bytes - bytes
  elseif call('ZSCORE', of(s, ':released:'), number) then
    more_messages = more_messages - 1
  end
end

-- After a rollback the numbers of queues may be given anew: what was delivered before says nothing about them.
local function is_about_another(fence)
  return not replayed and fence <= shard.floor
end

function CHECK.A(s, a, i)
  if is_about_another(a[i + 1]) then return FENCED end
  note_ack(s, a[i + 2])
  return check_fence(s, a, i)
end

-- A share group's acknowledgement has no fence: groups have no owner.
function CHECK.G(s, a, i)
  note_ack(s, a[i + 2])
end
APPLY.G = APPLY.A

local function check_growing(s, a, i)
  if not may_grow then return STORE_FULL end
  return check_fence(s, a, i)
end

CHECK.S, CHECK.R = check_growing, check_growing
CHECK.U, CHECK.L, CHECK.C, CHECK.D = check_fence, check_fence, check_fence, check_fence

function CHECK.P(s, a, i)
  if is_about_another(a[i + 1]) then return FENCED end
  return check_fence(s, a, i)
end

function CHECK.F() end
CHECK.X = CHECK.F

function CHECK.Z(s, a, i)
  if not s.g or s.g ~= a[i] then return nil end
  if a[i + 1] ~= '' and a[i + 1] ~= s.f then return FENCED end
  changed_hands = true
end
