-- Tables: small named values with a version, which every node knows; and idempotency keys. Both lie in topic shards.

local VALUE_BYTES_MAX = 65536
local CLAIMS_AT_ONCE = 16   -- expired ones that one claim lets go

-- Whether a row is as expected: '' = anything, 0 = absent, else its version.
local function is_expected(version, expect)
  return expect == '' or (version or 0) == expect
end

local function version_of(row)
  return row and tonumber(string.match(row, '^%d+')) or nil
end

-- Arguments: row, what to expect, value. A row's value is `<version> <change>\n<value>`. Answers { 1, version, change } or
-- { 0, version or 0 }.
function APPLY.put(a, i)
  if not may_grow then return STORE_FULL end
  if #a[i + 2] > VALUE_BYTES_MAX then return TOO_LARGE end
  local row, tables = a[i], key(':tables')
  local version = version_of(call('HGET', tables, row))
  if not is_expected(version, a[i + 1]) then return { 0, version or 0 } end
  version = next_number()
  local change = tell('kind', 'put', 'row', row, 'version', text(version), 'value', a[i + 2])
  call('HSET', tables, row, text(version) .. ' ' .. change .. '\n' .. a[i + 2])
  return { 1, version, change }
end

-- Arguments: row, what to expect. The change is '' when there was nothing to delete.
function APPLY.delete(a, i)
  local row, tables = a[i], key(':tables')
  local version = version_of(call('HGET', tables, row))
  if not is_expected(version, a[i + 1]) then return { 0, version or 0 } end
  if not version then return { 1, 0, '' } end
  version = next_number()
  local change = tell('kind', 'deleted', 'row', row, 'version', text(version))
  call('HDEL', tables, row)
  return { 1, version, change }
end

local function forget_claims(names)
  if #names == 0 then return end
  call('HDEL', key(':idempotency'), unpack(names))
  call('ZREM', key(':idempotency_until'), unpack(names))
  count('idempotency_keys', -#names)
end

-- Lets go what is over, and when there are too many, the one that is over first.
local function make_room_for_claim()
  local times = key(':idempotency_until')
  forget_claims(call('ZRANGEBYSCORE', times, '-inf', now, 'LIMIT', 0, CLAIMS_AT_ONCE))
  if call('ZCARD', times) < limits.claims_max then return end
  forget_claims(call('ZRANGE', times, 0, 0))
  count('idempotency_keys_dropped', 1)
end

-- Arguments: name, id, until. A value is `<id> <epoch>:<ms>-<seq> <until> <0 or 1>`, 1 = settled. Answers
-- { id, epoch, ms, seq, settled }.
function APPLY.claim(a, i)
  local name, claims = a[i], key(':idempotency')
  local row = call('HGET', claims, name)
  if row then
    local id, epoch, ms, seq, till, settled = string.match(row, '^(%S+) (%d+):(%d+)%-(%d+) (%d+) (%d)$')
    if tonumber(till) > now then return { id, epoch, ms, seq, settled } end
    forget_claims({ name })
  end
  if not may_grow then return STORE_FULL end
  make_room_for_claim()
  count('counter', 1)
  shard.clock = math.max(shard.clock, now)
  local epoch, ms, seq = text(shard.epoch), text(shard.clock), text(shard.counter)
  call('HSET', claims, name, a[i + 1] .. ' ' .. epoch .. ':' .. ms .. '-' .. seq .. ' ' .. a[i + 2] .. ' 0')
  call('ZADD', key(':idempotency_until'), a[i + 2], name)
  count('idempotency_keys', 1)
  return { a[i + 1], epoch, ms, seq, '0' }
end

-- Arguments: name, id.
function APPLY.settle(a, i)
  local claims = key(':idempotency')
  local row = call('HGET', claims, a[i])
  if row and string.match(row, '^%S+') == a[i + 1] then
    call('HSET', claims, a[i], string.sub(row, 1, -2) .. '1')
  end
  return DONE
end
