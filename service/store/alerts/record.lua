-- Records the outcomes of recipients, each once, whichever worker brings them.
--
-- KEYS: batches, leases, state, done, gone, responses, due (gone.py), wakes, audience; then the
--   bitmaps in which the marks set bits
-- ARGV: batch; worker; lease in ms; ms in a quarter hour; ms until the record of a gone reader may
--   be deleted; seconds for which responses are kept; results as JSON; the numbers of their
--   recipients one after the other, packed. A result has
--     outcome, service  together the counter in `state`
--     base              the push service's base; 0: no push service was asked
--     wakes             the quarter hour until which the alert is held for them; 0: it is not held
--     marks             bits: `bitmap`, its place in KEYS; `bit`; `kept`, the lifetime in seconds
--     tallies           further counters in `state`
--     recipients        how many of the numbers are its own
-- Returns 1 while the worker still holds its lease, else 0. If an alert would be held until a
--   quarter hour whose wave may be planned by now, writes nothing and returns the next one.
--
-- Nothing is recorded for a send that was closed, or that Redis has forgotten: it has no audience.
-- Without the lease only recipients in the audience count, because Redis may have forgotten the
-- lease and another audience may have been frozen since.
-- The first write frees or overwrites. NOW stands in front of this file.
local batches, leases, state, done, gone, responses, due, wakes, audience = unpack(KEYS, 1, 9)
local batch, worker, lease_ms, quarter_ms, gone_kept_ms, responses_kept = unpack(ARGV, 1, 6)
local results = cjson.decode(ARGV[7])
local next_quarter = math.floor(now / quarter_ms) + 1

local leased = redis.call('HGET', leases, batch) == worker
redis.call('ZREM', batches, '')
local known = redis.call('HMGET', state, 'closed', 'recipients')
if known[1] or not known[2] then return 0 end
for _, result in ipairs(results) do
  if result.wakes > 0 and result.wakes < next_quarter then return next_quarter end
end

local first = 1
for _, result in ipairs(results) do
  local bits = {}
  for j, mark in ipairs(result.marks) do bits[j] = {key = KEYS[mark.bitmap], bit = mark.bit} end
  if result.outcome == 'gone' then bits[#bits + 1] = {key = gone, bit = 1} end

  local new, after = {}, first + 4 * result.recipients
  local numbers = string.sub(ARGV[8], first, after - 1)
  first = after
  for at = 1, #numbers, 4 do
    local number = struct.unpack('>I4', numbers, at)
    local counts = leased or redis.call('GETBIT', audience, number) == 1
    local is_new = counts and redis.call('SETBIT', done, number, 1) == 0
    if is_new then new[#new + 1] = string.sub(numbers, at, at + 3) end
    -- An alert is held only for recipients who had no outcome yet. Nobody else is called gone either:
    -- their records would never be deleted, as no row in `due` has them.
    if is_new or (result.wakes == 0 and result.outcome ~= 'gone') then
      for _, one in ipairs(bits) do redis.call('SETBIT', one.key, number, one.bit) end
    end
  end

  if #new > 0 then
    redis.call('HINCRBY', state, result.outcome .. ' ' .. result.service, #new)
    for _, tally in ipairs(result.tallies) do redis.call('HINCRBY', state, tally, #new) end
    if result.base ~= 0 then
      redis.call('HINCRBY', responses, result.base, #new)
      if result.outcome == 'accepted' then
        redis.call('HSET', responses, result.base .. ' accepted', 1)
      end
      if result.outcome == 'gone' then
        -- For a clock of the release before; ours counts the rows in `due`.
        redis.call('HINCRBY', responses, result.base .. ' gone', #new)
        redis.call('ZADD', due, now + gone_kept_ms, result.base .. ':' .. table.concat(new))
      end
    end
  end
  for _, mark in ipairs(result.marks) do redis.call('EXPIRE', KEYS[mark.bitmap], mark.kept) end
  if result.wakes > 0 then redis.call('ZADD', wakes, result.wakes, result.wakes) end
end
redis.call('EXPIRE', responses, responses_kept)
if leased then redis.call('ZADD', batches, 'XX', now + lease_ms, batch) end
return leased and 1 or 0
