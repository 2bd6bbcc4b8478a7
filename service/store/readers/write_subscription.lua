-- Writes a known subscription: its record, its index entry, its bits.
--
-- KEYS: records, index, left, prepared keys, their counter; then the bitmaps to set, and those to
--   clear
-- ARGV: field; expected record; new record; number; digest; expected index entry; how many bits to
--   set; whether to drop prepared keys, 1 or 0
-- Returns 1; 0 if record or entry is not as expected, and then nothing is written and the caller
--   looks again. The first write allocates. DROP stands in front of this file.
local records, index, left, prepared, counter = unpack(KEYS, 1, 5)
local field, expected, record, number, digest, expected_entry = unpack(ARGV, 1, 6)
local last_to_set, drops_keys = 5 + tonumber(ARGV[7]), ARGV[8] == '1'
local tail = string.sub(digest, 3)
if (redis.call('HGET', records, field) or '') ~= expected then return 0 end
if (redis.call('HGET', index, tail) or '') ~= expected_entry then return 0 end

redis.call('HSET', records, field, record)
redis.call('HSET', index, tail, number)
redis.call('ZREM', left, digest)
for i = 6, #KEYS do
  if i <= last_to_set then
    redis.call('SETBIT', KEYS[i], number, 1)
  elseif redis.call('GETBIT', KEYS[i], number) == 1 then
    redis.call('SETBIT', KEYS[i], number, 0)
  end
end
if drops_keys then drop_prepared(prepared, counter) end
return 1
