-- Takes over readers of another service, those of one partition, each if nobody knows them.
--
-- KEYS: made, left, days, moved (joined.py), gone, untried (gone.py); then the hashes of records
--   that may get one, the index bucket of each reader, the bitmaps
-- ARGV: `made` as the caller knows it, '': the readers bring their numbers; now in s; seconds for
--   which to remember that they are untried, 0: they are not; whether they subscribed elsewhere on
--   an earlier day, 1 or 0; the buckets of these hashes, packed; digests, ten bytes each; the
--   numbers that they bring, packed; then the record of each, and for each bitmap which of the
--   readers (from 1) belong there, two bytes each
-- Returns `made` if it is another one, and nothing is written then. Else for each reader: -1 taken
--   over; -2 has left; -3 the number that they bring cannot be theirs; or the index entry that is
--   there already.
--
-- They are not `young`: their push services have known them for long. The first write allocates.
-- NOW, MARK_DAY and MARK_MOVED stand in front of this file.
local made, left, days, moved, gone, untried = unpack(KEYS, 1, 6)
local expected, now_s, untried_kept, earlier, buckets, digests, brought = unpack(ARGV, 1, 7)
local keeps = expected == ''
local size, end_of_made = 256, tonumber(redis.call('GET', made) or 0)
if not keeps and end_of_made ~= tonumber(expected) then return end_of_made end

local function packed(text, at) return struct.unpack('>I4', text, at * 4 - 3) end

local records, indexes = {}, 6 + #buckets / 4
for i = 1, #buckets / 4 do records[packed(buckets, i)] = KEYS[6 + i] end
local readers = #digests / 10
local answers, given, next_number, first = {}, {}, end_of_made, nil
for i = 1, readers do
  local digest = string.sub(digests, i * 10 - 9, i * 10)
  local tail = string.sub(digest, 3)
  local entry = redis.call('HGET', KEYS[indexes + i], tail)
  local left_until = redis.call('ZSCORE', left, digest)
  local number = keeps and packed(brought, i) or next_number
  local bucket, field = records[math.floor(number / size)], number % size
  if entry then
    answers[i] = tonumber(entry)
  elseif left_until and tonumber(left_until) > tonumber(now_s) then
    answers[i] = -2
  elseif keeps and (number >= end_of_made or redis.call('HEXISTS', bucket, field) == 1) then
    answers[i] = -3
  else
    redis.call('HSET', bucket, field, ARGV[7 + i])
    redis.call('HSET', KEYS[indexes + i], tail, number)
    if left_until then redis.call('ZREM', left, digest) end
    redis.call('SETBIT', gone, number, 0)
    if untried_kept ~= '0' then redis.call('SETBIT', untried, number, 1) end
    answers[i], given[i] = -1, number
    first = first or number
    if not keeps then next_number = number + 1 end
  end
end
if not first then return answers end

for j = indexes + readers + 1, #KEYS do
  local some = ARGV[7 + j - indexes]
  for at = 1, #some, 2 do
    local number = given[struct.unpack('>I2', some, at)]
    if number then redis.call('SETBIT', KEYS[j], number, 1) end
  end
end
if untried_kept ~= '0' then redis.call('EXPIRE', untried, untried_kept) end
if not keeps then
  redis.call('SET', made, next_number)
  mark_day(days, first)
  if earlier == '1' then mark_moved(moved, first, next_number - 1) end
end
return answers
