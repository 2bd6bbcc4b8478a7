-- Stores a correction, and gives its text to the recipients that the alert has not reached yet.
--
-- Earlier corrections are cancelled, because their texts are out of date.
--
-- KEYS: alert, correction, active, idempotency record, started, log, scheduled; then the earlier
--   corrections
-- ARGV: revision of the alert so far; id of the correction; its document; its state; its text; ids
--   of all corrections; now (seconds); its final report if it is not to be sent, else ''; response
--   for the idempotency record; seconds for which that is kept, 0 without a record; entry of the
--   log; if it waited, as a draft or a scheduled one, the digest of what it was, and an entry of its
--   own or ''; the state that the alert gets, or '', and the entry of that, if it is in one of the
--   states that follow
-- Returns 1; 0 if another correction came first; -1 if it is not what waited any more; or the
--   earlier response to the same idempotency key. The first write allocates. NOTE stands in front of
--   this file.
local alert, correction, active, idempotency, started, log, scheduled = unpack(KEYS, 1, 7)
local revision, id, document, state, text, corrections, now, report = unpack(ARGV, 1, 8)
local response, seconds_kept, entry, waited, own_entry, to, moved = unpack(ARGV, 9, 15)

if seconds_kept ~= '0' then
  local before = redis.call('GET', idempotency)
  if before then return before end
end
if redis.call('HGET', correction, 'doc') == document then return 1 end -- a repeated call
if (redis.call('HGET', alert, 'revision') or '0') ~= revision then return 0 end
if waited ~= '' then
  local before, is = unpack(redis.call('HMGET', correction, 'doc', 'state'))
  if is ~= 'draft' and is ~= 'scheduled' or redis.sha1hex(before) ~= waited then return -1 end
end

if seconds_kept ~= '0' then redis.call('SET', idempotency, response, 'EX', seconds_kept) end
redis.call('HSET', correction, 'doc', document, 'state', state, 'started_at', now)
redis.call('HDEL', alert, 'sample') -- two texts are not tried any more
redis.call('ZADD', started, now * 1000 + id % 1000 / 1000, id)
redis.call('HSET', alert, 'revision', revision + 1, 'corrected', text, 'corrections', corrections)
if report == '' then
  redis.call('SADD', active, id)
else
  redis.call('HSET', correction, 'finished_at', now, 'report', report)
end
redis.call('ZREM', scheduled, id)
for i = 8, #KEYS do
  local earlier = redis.call('HGET', KEYS[i], 'state')
  if earlier == 'sending' or earlier == 'paused' then
    redis.call('HSET', KEYS[i], 'state', 'cancelled')
  end
end
local is = redis.call('HGET', alert, 'state')
for i = 16, #ARGV do
  if is == ARGV[i] then
    redis.call('HSET', alert, 'state', to)
    note(log, alert, moved)
  end
end
note(log, alert, entry)
note(log, correction, own_entry)
return 1
