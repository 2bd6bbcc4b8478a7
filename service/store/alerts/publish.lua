-- Stores an alert in the lists of its state, unless the request for it came before.
--
-- KEYS: those of `enter` (alert, active, started or waves, scheduled, stories); idempotency record,
--   log, claim to a link; for an alert to one reader, for which there must be room: the active ones
--   of its group, and who called for them (reader_alerts.py)
-- ARGV: those of `enter` (id, state, ms when to send it, or now, story or ''); document; whether it
--   is to one browser, 1 or 0; response for the idempotency record, '' without one; seconds for
--   which that is kept; entry of the log or ''; seconds for which the link is claimed, 0 if it is
--   not; alert that has the claim by now, or 0. For an alert to one reader also the name of its
--   place; code of the caller; the most at one place; the most in all; share; seconds for which
--   callers are kept
-- Returns nothing; 0 if there is no room; 1 if another alert has the claim; or the earlier response
--   to the same idempotency key. The first write allocates. `enter`, NOTE and room.lua stand in
--   front of this file.
local alert, active, started = KEYS[1], KEYS[2], KEYS[3]
local idempotency, log, claim, places, callers = unpack(KEYS, 6, 10)
local id, document, to_one, response, response_kept, entry = ARGV[1], unpack(ARGV, 5, 9)
local claim_kept, holder = ARGV[10], ARGV[11]
local place, caller, at_one, at_all, share, callers_kept = unpack(ARGV, 12, 17)

local before = redis.call('GET', idempotency)
if before then return before end
if redis.call('HEXISTS', alert, 'doc') == 1 then return end -- a repeated call
local claims = claim_kept ~= '0'
if claims and (redis.call('GET', claim) or '0') ~= holder then return 1 end
local over
if places then
  local all, here, mine
  all, here, mine, over = count_active(active, places, callers, place, caller)
  if not has_room(all, here, mine, at_one, at_all, share) then return 0 end
end

if response ~= '' then redis.call('SET', idempotency, response, 'EX', response_kept) end
redis.call('HSET', alert, 'doc', document)
if claims then redis.call('SET', claim, id, 'EX', claim_kept) end
enter()
if to_one == '1' then
  redis.call('HSET', alert, 'by_reader', 1)
  redis.call('ZREM', started, id)
end
if places then
  redis.call('HSET', places, id, place)
  redis.call('HSET', callers, id, caller)
  for _, one in ipairs(over) do
    redis.call('HDEL', places, one)
    redis.call('HDEL', callers, one)
  end
  redis.call('EXPIRE', callers, callers_kept)
end
note(log, alert, entry)
