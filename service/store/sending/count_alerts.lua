-- Counts an alert for those readers who have had fewer than their limit on a date.
--
-- KEYS: counts of the date, bitmap of the readers with this alert in their count
-- ARGV: numbers of the readers, packed; their limits, a byte each; seconds for which the counts are
--   kept, and the bitmap
-- Returns a byte for each reader: 1 if the alert is counted for them, now or before.
-- The first write frees.
local counts_key, counted_key = KEYS[1], KEYS[2]
local numbers, limits, counts_kept, counted_kept = unpack(ARGV)
redis.call('EXPIRE', counts_key, counts_kept)

-- BITFIELD takes many subcommands at once, of three or four words each.
local function add(words, command, kind, place, value)
  local n = #words
  words[n + 1], words[n + 2], words[n + 3], words[n + 4] = command, kind, place, value
end

local places, get_counts, get_counted = {}, {}, {}
for i = 1, #limits do
  places[i] = '#' .. struct.unpack('>I4', numbers, i * 4 - 3)
  add(get_counts, 'GET', 'u4', places[i])
  add(get_counted, 'GET', 'u1', places[i])
end
local had = redis.call('BITFIELD', counts_key, unpack(get_counts))
local counted = redis.call('BITFIELD', counted_key, unpack(get_counted))

local set_counts, set_counted, answers = {}, {}, {}
for i, place in ipairs(places) do
  local fits = counted[i] == 1 or had[i] < string.byte(limits, i)
  if fits and counted[i] == 0 then
    add(set_counts, 'SET', 'u4', place, had[i] + 1)
    add(set_counted, 'SET', 'u1', place, 1)
  end
  answers[i] = fits and '\1' or '\0'
end
if #set_counts > 0 then
  redis.call('BITFIELD', counts_key, unpack(set_counts))
  redis.call('BITFIELD', counted_key, unpack(set_counted))
  redis.call('EXPIRE', counts_key, counts_kept)
  redis.call('EXPIRE', counted_key, counted_kept)
end
return table.concat(answers)
