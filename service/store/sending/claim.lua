-- Leases a batch that is due to a worker; `recent` before all others.
--
-- A worker's name ends with a space and the push services that have a pace as far as it knows:
-- their recipients are left to `recent`. So `recent` and another batch are not leased at the same
-- time to workers that know other paces, or a recipient could be in both.
--
-- KEYS: batches, leases, retries, audience, done
-- ARGV: worker; lease in ms
-- Returns the batch, its bytes of audience and of done (none for `recent`), how many ms ago it was
--   given back, and who waits in it; or nothing. The first write frees. NOW and BYTES_OF stand in
--   front of this file.
local batches, leases, retries, audience, done = unpack(KEYS)
local worker, lease_ms = ARGV[1], ARGV[2]
redis.call('ZREM', batches, '')

local function knows_the_same_paces(other)
  return string.match(other, ' .*') == string.match(worker, ' .*')
end

local function may_lease_recent()
  local rows = redis.call('HGETALL', leases)
  for i = 1, #rows, 2 do
    local till = tonumber(redis.call('ZSCORE', batches, rows[i]) or 0)
    if till > now and not knows_the_same_paces(rows[i + 1]) then return false end
  end
  return true
end

local due
local recent_due = redis.call('ZSCORE', batches, 'recent')
if recent_due and tonumber(recent_due) <= now then
  if may_lease_recent() then due = 'recent' end
elseif recent_due then
  local holder = redis.call('HGET', leases, 'recent')
  if holder and not knows_the_same_paces(holder) then return false end
end
if not due then
  for _, batch in ipairs(redis.call('ZRANGEBYSCORE', batches, '-inf', now, 'LIMIT', 0, 2)) do
    if batch ~= 'recent' then due = due or batch end
  end
end
if not due then return false end

redis.call('ZADD', batches, now + lease_ms, due)
redis.call('HSET', leases, due, worker)
local since, waiting = string.match(redis.call('HGET', retries, due) or '', '^(%d+) (.*)$')
local ago = since and now - tonumber(since) or 0
if due == 'recent' then return {due, '', '', ago, waiting or ''} end
local first, last = bytes_of(due)
return {
  due,
  redis.call('GETRANGE', audience, first, last),
  redis.call('GETRANGE', done, first, last),
  ago,
  waiting or '',
}
