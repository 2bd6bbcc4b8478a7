-- Lets the batches that no worker has begun keep their distances from now on, if they are late.
--
-- All are put off by as much as the first of them is late. If the rest of the time is too short for
-- that, they are drawn together.
--
-- KEYS: batches, leases, retries
-- ARGV: how many ms late counts as late; within how many ms all must be due
-- Returns 1 if they were late, else 0. The first write frees. NOW stands in front of this file.
local batches, leases, retries = unpack(KEYS)
local late_ms, within_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local begun = {recent = true}
for _, key in ipairs({leases, retries}) do
  for _, batch in ipairs(redis.call('HKEYS', key)) do begun[batch] = true end
end

local function waiting(till)
  local found = {}
  local rows = redis.call('ZRANGEBYSCORE', batches, '-inf', till, 'WITHSCORES')
  for i = 1, #rows, 2 do
    local batch, due = rows[i], tonumber(rows[i + 1])
    if not begun[batch] then found[#found + 1] = {batch = batch, due = due} end
  end
  return found
end

if #waiting(now - late_ms) == 0 then return 0 end
local rows = waiting('+inf')
local first, last = rows[1].due, rows[#rows].due
local share = math.min(1, math.max(0, within_ms) / math.max(1, last - first))
redis.call('ZREM', batches, '')
for _, row in ipairs(rows) do
  redis.call('ZADD', batches, 'XX', now + math.floor((row.due - first) * share), row.batch)
end
return 1
