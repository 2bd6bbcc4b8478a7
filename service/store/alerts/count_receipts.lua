-- Counts receipts: each browser once for each notification and event.
--
-- A HyperLogLog cannot tell whether a browser is new. But what a receipt adds to its count is added to
-- the tallies of that browser's push service, language and so on, so that these add up to the count.
--
-- KEYS: for each receipt the HyperLogLog of its notification and event, and the tallies of that
--   notification
-- ARGV: for how many seconds both are kept; then for each receipt the subscription, and the tallies
--   in which it counts, separated by line feeds
-- Returns what each receipt has added.
-- The first write allocates.
local kept, added = ARGV[1], {}
for at = 2, #KEYS, 2 do
  local seen, tallies = KEYS[at - 1], KEYS[at]
  local before = redis.call('PFCOUNT', seen)
  local more = 0
  if redis.call('PFADD', seen, ARGV[at]) == 1 then
    more = math.max(0, redis.call('PFCOUNT', seen) - before)
    if more > 0 then
      for name in string.gmatch(ARGV[at + 1], '[^\n]+') do
        redis.call('HINCRBY', tallies, name, more)
      end
    end
  end
  added[at / 2] = more
  redis.call('EXPIRE', seen, kept)
  redis.call('EXPIRE', tallies, kept)
end
return added
