-- Gives a batch back; only the worker that leases it can.
--
-- Whether the batch is finished is counted here: if more recipients are without an outcome than the
-- worker knows, Redis has forgotten outcomes, and the batch is due at once. Only for `recent` the
-- worker decides, because each recipient left in it is in another batch too, which brings it back.
-- When `recent` is finished, all batches that were given back are due: either no recipient with a
-- paced push service is left in them, or no push service has a pace any more.
--
-- KEYS: batches, leases, retries, audience, done
-- ARGV: batch; worker; wait in ms, or 'done'; who waits in it, as JSON; whether recipients in it are
--   left to `recent`, 1 or 0; how many recipients in it have no outcome as far as the worker knows
-- Returns 1; 0 if the worker does not lease the batch. The first write frees. NOW and BYTES_OF
--   stand in front of this file.
local batches, leases, retries, audience, done = unpack(KEYS)
local batch, worker, wait, waiting, left_to_recent, known_undone = unpack(ARGV)
if redis.call('HGET', leases, batch) ~= worker then return 0 end
redis.call('HDEL', leases, batch)

local finished, wait_ms = wait == 'done', tonumber(wait) or 0
if batch ~= 'recent' then
  local first, last = bytes_of(batch)
  local undone = redis.call('BITCOUNT', audience, first, last)
  undone = undone - redis.call('BITCOUNT', done, first, last)
  finished = undone <= 0
  if undone > tonumber(known_undone) then wait_ms = 0 end
end

if finished then
  redis.call('ZREM', batches, batch)
  redis.call('HDEL', retries, batch)
else
  redis.call('ZADD', batches, 'XX', now + wait_ms, batch)
  redis.call('HSET', retries, batch, string.format('%.0f', now) .. ' ' .. waiting)
end
if left_to_recent == '1' then redis.call('ZADD', batches, 'NX', now, 'recent') end
if batch == 'recent' and finished then
  for _, other in ipairs(redis.call('HKEYS', retries)) do
    if redis.call('HEXISTS', leases, other) == 0 then
      redis.call('ZADD', batches, 'XX', now, other)
    end
  end
end
return 1
