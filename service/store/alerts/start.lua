-- Starts a scheduled alert that is due by Redis' own time, once, however many processes ask.
--
-- An alert that is later than it may be becomes a draft, unless it is to be sent however late. So
-- does one whose audience is no longer known.
--
-- KEYS: alert, active, started, scheduled, stories, log
-- ARGV: id; ms by which it may be late; ms from the first clock on Earth to the last; whether its
--   audience is no longer known, 1 or 0
-- Returns 1 if this call started it, else 0. The first write allocates: an alert that a full Redis
--   would keep from being sent is not started, and may be late by the time that there is room. NOW
--   and NOTE stand in front of this file.
local alert, active, started, scheduled, stories, log = unpack(KEYS)
local id, most_late_ms, round_the_world_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local due = tonumber(redis.call('ZSCORE', scheduled, id) or 'inf')
if due > now then return 0 end
local state, text = unpack(redis.call('HMGET', alert, 'state', 'doc'))
if state ~= 'scheduled' then
  redis.call('ZREM', scheduled, id)
  return 0
end
local document = cjson.decode(text)
local function did(action)
  local entry = {alert = tonumber(id), title = document.content.title, action = action}
  note(log, alert, cjson.encode(entry))
end
-- At a local time it is due where the first clock shows it. For other readers it is still to come;
-- a worker leaves out each reader whose own clock shows a later time.
if (document.send_at.wall or '') ~= '' then most_late_ms = most_late_ms + round_the_world_ms end
local outdated = ARGV[4] == '1'
if outdated or (now - due > most_late_ms and not document.send_at.however_late) then
  redis.call('HSET', alert, 'state', 'draft', 'missed', 1)
  redis.call('ZADD', scheduled, 'inf', id)
  did(outdated and 'outdated' or 'missed')
  return 0
end

redis.call('SADD', active, id)
redis.call('HSET', alert, 'state', 'sending', 'started_at', string.format('%.3f', now / 1000))
redis.call('ZADD', started, now + id % 1000 / 1000, id)
if document.story ~= '' then
  redis.call('HSET', stories, document.story, string.format('%s %.0f', id, now))
end
redis.call('ZREM', scheduled, id)
did('started')
return 1
