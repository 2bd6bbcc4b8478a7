-- Keeps what an editor has written so far, unless it was sent, or another window was quicker.
--
-- KEYS: form; the editor's forms; response to the form's idempotency key; who changes the planned
--   alert, if the form changes one
-- ARGV: key of the form, editor, revision that the page knows, fields as JSON, id of the planned
--   alert or '', how often it had been changed, seconds for which the form is kept, seconds for which
--   others see who changes an alert, most forms of an editor
-- Returns the new revision; or 'sent', or 'changed'. The first write allocates. NOW stands in front
--   of this file.
local form, forms, response, writers = unpack(KEYS)
local key, by, revision, fields, id, changes, kept, seen, most = unpack(ARGV)

if redis.call('EXISTS', response) == 1 then return 'sent' end
local owner, known = unpack(redis.call('HMGET', form, 'by', 'revision'))
if (owner or by) ~= by or (known or '0') ~= revision then return 'changed' end

redis.call('HSET', form, 'by', by, 'revision', revision + 1, 'fields', fields, 'at', now,
  'alert', id, 'changes', changes)
redis.call('EXPIRE', form, kept)
redis.call('ZADD', forms, now, key)
redis.call('ZREMRANGEBYRANK', forms, 0, -1 - most)
redis.call('EXPIRE', forms, kept)
if id ~= '' then
  redis.call('ZADD', writers, now, by)
  redis.call('EXPIRE', writers, seen)
end
return revision + 1
