-- Removes a subscription: its record, its index entry, its bits.
--
-- The prepared keys of a bucket stay if a gone reader is removed, because no keys are prepared for
-- gone readers.
--
-- KEYS: records, index, left, prepared keys, their counter, clicked (clicks.py); then the bitmaps
--   to clear, `gone` first
-- ARGV: field; expected record; number; digest; now in s; for how many seconds to remember that
--   this reader left, 0: not at all; whether to remove only a reader who is gone, 1 or 0; the
--   notifications whose clicks are cleared, with spaces
-- Returns 1; 0 if the record is not as expected, or there are clicks of other notifications. The
--   first write frees. DROP stands in front of this file.
local records, index, left, prepared, counter, clicked, gone_bits = unpack(KEYS, 1, 7)
local field, expected, number, digest, now, remembered, only_gone, alerts = unpack(ARGV)
if redis.call('HGET', records, field) ~= expected then return 0 end
if table.concat(redis.call('ZRANGE', clicked, 0, -1), ' ') ~= alerts then return 0 end
local gone = redis.call('GETBIT', gone_bits, number) == 1
if only_gone == '1' and not gone then return 1 end

redis.call('HDEL', records, field)
local tail = string.sub(digest, 3)
if redis.call('HGET', index, tail) == number then redis.call('HDEL', index, tail) end
if not gone then drop_prepared(prepared, counter) end
for i = 7, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('SETBIT', KEYS[i], number, 0) end
end
if remembered ~= '0' then redis.call('ZADD', left, now + remembered, digest) end
return 1
