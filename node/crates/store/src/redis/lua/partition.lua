-- Partitions of streams as one call sees them. The records lie in a stream of Redis that anybody can read; what is known
-- of them in the hash `partition`, the places of groups in the hash `groups`. A mark is `<epoch>:<ms>-<seq>/<number>`.

local PARTITION = {
  'records_max', 'bytes_max', 'age_max_ms', 'compacted', 'sealed', 'tail', 'trimmed', 'records', 'bytes', 'epochs',
  'keep_from',
}

local NOTHING = '0:0-0/0'
local EPOCHS_MAX = 8        -- of a partition, beside those of which there are records
local EPOCHS_EVER = 256     -- with them: older ones are taken for the oldest that is known
local LET_GO_MAX = 2000     -- records that one call lets go: the rest goes with the next ones
local AT_ONCE_MAX = 10000   -- the same, when somebody asks for it
local PIECE = 100           -- records that are looked at together

local function parse_mark(mark)
  local epoch, ms, seq, number = string.match(mark, '^(%d+):(%d+)%-(%d+)/(%d+)$')
  return tonumber(epoch), tonumber(ms), tonumber(seq), tonumber(number)
end

local function mark_text(epoch, ms, seq, number)
  return format('%.0f:%.0f-%.0f/%.0f', epoch, ms, seq, number)
end

local function entry_text(ms, seq)
  return format('%.0f-%.0f', ms, seq)
end

local function parse_entry(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function is_before(ms, seq, other_ms, other_seq)
  return ms < other_ms or (ms == other_ms and seq < other_seq)
end

local function new_partition(id)
  return { id = id, stream = key(':stream:') .. id, row = key(':partition:') .. id, is_made = false, appended = 0 }
end

-- What a partition is when it has just been made.
local function make_partition(p)
  p.is_made, p.is_sealed, p.trimmed, p.records, p.bytes, p.epochs = true, false, NOTHING, 0, 0, {}
  p.epoch, p.ms, p.seq, p.number = 0, 0, 0, 0
  p.keep_ms, p.keep_seq = 0, 0
end

local function load_partition(id)
  local p = new_partition(id)
  local row = call('HMGET', p.row, unpack(PARTITION))
  if not row[6] then return p end
  make_partition(p)
  p.records_max, p.bytes_max, p.age_max_ms = tonumber(row[1]), tonumber(row[2]), tonumber(row[3])
  p.is_compacted, p.is_sealed, p.trimmed = row[4] == '1', row[5] == '1', row[7]
  p.epoch, p.ms, p.seq, p.number = parse_mark(row[6])
  p.records, p.bytes = tonumber(row[8]), tonumber(row[9])
  for epoch, ms, seq in string.gmatch(row[10] or '', '(%d+):(%d+)%-(%d+)') do
    p.epochs[#p.epochs + 1] = { tonumber(epoch), tonumber(ms), tonumber(seq) }
  end
  if row[11] then p.keep_ms, p.keep_seq = parse_entry(row[11]) end
  return p
end

local function tail_of(p)
  return mark_text(p.epoch, p.ms, p.seq, p.number)
end

local function save_partition(p)
  local epochs = {}
  for i = 1, #p.epochs do
    local e = p.epochs[i]
    epochs[i] = format('%.0f:%.0f-%.0f', e[1], e[2], e[3])
  end
  call('HSET', p.row, 'records_max', p.records_max, 'bytes_max', p.bytes_max, 'age_max_ms', p.age_max_ms,
    'compacted', p.is_compacted and 1 or 0, 'sealed', p.is_sealed and 1 or 0, 'tail', tail_of(p),
    'trimmed', p.trimmed, 'records', p.records, 'bytes', p.bytes, 'epochs', table.concat(epochs, ' '),
    'keep_from', entry_text(p.keep_ms, p.keep_seq))
end

-- The epoch in which an entry was appended.
local function epoch_of(p, ms, seq)
  for i = #p.epochs, 2, -1 do
    local e = p.epochs[i]
    if not is_before(ms, seq, e[2], e[3]) then return e[1] end
  end
  return p.epochs[1] and p.epochs[1][1] or p.epoch
end

-- Forgets the oldest epochs, first of all those of which every record was let go.
local function forget_epochs(p)
  local _, ms, seq = parse_mark(p.trimmed)
  while #p.epochs > EPOCHS_MAX do
    local e = p.epochs[2]
    if is_before(ms, seq + 1, e[2], e[3]) and #p.epochs <= EPOCHS_EVER then return end
    table.remove(p.epochs, 1)
  end
end

-- The first entry that may stand behind a position, at most the one behind the tail.
local function behind(p, epoch, ms, seq)
  local next_ms, next_seq, known = p.ms, p.seq + 1, nil
  for i = 1, #p.epochs do
    local e = p.epochs[i]
    if e[1] > epoch then
      next_ms, next_seq = e[2], e[3]
      break
    end
    known = e[1]
  end
  local is_older = p.epochs[1] and epoch < p.epochs[1][1]
  if (known == epoch or is_older) and is_before(ms, seq + 1, next_ms, next_seq) then return ms, seq + 1 end
  return next_ms, next_seq
end

local function number_of(fields)
  for i = 5, #fields, 2 do
    if fields[i] == 'number' then return tonumber(fields[i + 1]) end
  end
end

local function mark_of(p, entry)
  local ms, seq = parse_entry(entry[1])
  return mark_text(epoch_of(p, ms, seq), ms, seq, number_of(entry[2]) or 0)
end

-- What counts of an entry; also of one that somebody else has put there.
local function record_bytes(fields)
  return fields[4] and row_bytes(fields) or 0
end

-- Somebody else has deleted or trimmed records, or the whole key: what is not there has gone as if it was trimmed.
local function correct(p)
  local there = p.is_checked and p.records or call('XLEN', p.stream)
  p.is_checked = true
  if there == p.records then return end
  p.is_dirty = true
  local first = call('XRANGE', p.stream, '-', '+', 'COUNT', 1)[1]
  local _, ms, seq = parse_mark(p.trimmed)
  if not first then
    p.trimmed = tail_of(p)
  else
    local first_ms, first_seq = parse_entry(first[1])
    local number = number_of(first[2])
    if number and number > 1 and is_before(ms, seq + 1, first_ms, first_seq) then
      local _, _, _, trimmed = parse_mark(p.trimmed)
      if number - 1 > trimmed then
        if first_seq > 0 then first_seq = first_seq - 1 else first_ms, first_seq = first_ms - 1, 0 end
        p.trimmed = mark_text(epoch_of(p, first_ms, first_seq), first_ms, first_seq, number - 1)
      end
    end
  end
  local bytes = there == 0 and 0 or math.floor(p.bytes * there / math.max(p.records, 1))
  if there < p.records then count('trimmed', p.records - there) else count('appended', there - p.records) end
  count('stream_records', there - p.records)
  count('stream_bytes', bytes - p.bytes)
  p.records, p.bytes = there, bytes
end

-- Whether the oldest record has to go. The newest stays whatever its size.
local function is_over(p, ms, seq)
  return is_before(ms, seq, p.keep_ms, p.keep_seq)
    or (p.records_max > 0 and p.records > p.records_max)
    or (p.bytes_max > 0 and p.bytes > p.bytes_max and p.records > 1)
    or (p.age_max_ms > 0 and ms + p.age_max_ms <= now)
end

local function forget_key(p, entry)
  if not p.is_compacted then return end
  local fields = entry[2]
  for i = 5, #fields, 2 do
    if fields[i] == 'key' then
      local keys = key(':keys:') .. p.id
      if call('HGET', keys, fields[i + 1]) == entry[1] then call('HDEL', keys, fields[i + 1]) end
      return
    end
  end
end

local function has_bounds(p)
  return (p.records_max > 0 and p.records > p.records_max) or (p.bytes_max > 0 and p.bytes > p.bytes_max)
    or p.age_max_ms > 0 or p.keep_ms > 0
end

-- Lets the oldest records go that are over the bounds, at most so many.
local function let_go(p, max)
  local gone = 0
  while gone < max and p.records > 0 and has_bounds(p) do
    local over = p.records - (p.records_max > 0 and p.records_max or p.records)
    local piece = call('XRANGE', p.stream, '-', '+', 'COUNT', math.min(PIECE, math.max(over, gone > 0 and PIECE or 4)))
    local last, first_to_stay, before = nil, nil, p.bytes
    for i = 1, #piece do
      local ms, seq = parse_entry(piece[i][1])
      if not is_over(p, ms, seq) then
        first_to_stay = piece[i][1]
        break
      end
      last = piece[i]
      p.records, p.bytes = p.records - 1, math.max(p.bytes - record_bytes(last[2]), 0)
      gone = gone + 1
      count('trimmed', 1)
      forget_key(p, last)
    end
    if last then
      local ms, seq = parse_entry(last[1])
      call('XTRIM', p.stream, 'MINID', '=', first_to_stay or entry_text(ms, seq + 1))
      p.trimmed = mark_of(p, last)
      count('stream_bytes', p.bytes - before)
    end
    if first_to_stay or #piece == 0 then
      p.keep_ms, p.keep_seq = 0, 0
      break
    end
  end
  if gone > 0 then p.is_dirty = true end
  count('stream_records', -gone)
end
