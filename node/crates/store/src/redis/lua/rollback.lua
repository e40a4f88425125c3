-- A rollback: the server has forgotten what it acknowledged. The epoch of the shard is raised, and nothing that was
-- given a number before is mistaken for what gets one from now on.

-- More numbers than a shard gives in the time that a rollback undoes.
local JUMP = 4194304

-- The rows of share groups get numbers that no late acknowledgement means.
local function skip_in_groups()
  local cursor = '0'
  repeat
    local page = call('HSCAN', key(':sessions'), cursor, 'MATCH', 'g:*', 'COUNT', 1000)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local s = load_session(page[2][i])
      if s.g and not s.dirty then
        s.tail = s.tail + JUMP
        touch(s)
      end
    end
  until cursor == '0'
  save_sessions()
end

-- Has the mirrors of all nodes load the shard again.
-- Arguments: the epoch and the counter that the node was last answered with, and for how many milliseconds nobody is given
-- the place of a group. Raises the epoch unless that was done since.
-- Answers { account, whether it was raised }.
local function raise(keys, a)
  enter(keys)
  read_clock()
  sessions, touched, queue_sid = {}, {}, false
  load_shard()
  local epoch, counter = tonumber(a[1]), tonumber(a[2])
  if shard.epoch > epoch and shard.counter >= counter then return { account(), 0 } end
  shard.epoch = math.max(shard.epoch + 1, epoch + 1, now)
  count('counter', math.max(counter - shard.counter, 0) + JUMP)
  count('group_base', JUMP)
  shard.floor = shard.counter * 4096 + 4095
  shard.held_until = now + tonumber(a[3])
  if kind == 's' then skip_in_groups() end
  save_shard()
  call('XADD', key(':changes'), '*', 'kind', 'raised', 'epoch', text(shard.epoch))
  return { account(), 1 }
end

redis.register_function { function_name = 'weir_1_raise', callback = raise, flags = { 'allow-oom' } }
