-- Finds the readers of an audience in one partition: leaves their bitmap in `destination`, and
-- returns how many they are.
--
-- A reader belongs to it who is live, follows any of the topics, reads in any of the locales, and
-- follows none of the exclusions. If there is a story, its followers belong to it as well, and
-- readers who muted it do not. Gone and unconfirmed readers never do.
--
-- A narrowed audience has more conditions: a reader follows each of the topics `every`; and, also one
-- who follows the story, is in any of `followers`, in any of `clicked`, in none of `none`, does not
-- wait for an alert that is `held`, and has the number `since` or a later one.
--
-- KEYS from `first`: scratch, destination, live, gone, unconfirmed; then the bitmaps of topics,
--   locales, exclusions; with a story those of followers and of readers who muted it; then those of
--   `every`, `followers`, `clicked`, `none`; for each alert that is `held` the bitmap of its readers
--   and those of the quarter hours in which they may wake
-- audience: topics, locales, exclusions: how many bitmaps of each there are
--   everyone: topics do not matter
--   only: the number of the reader, if the audience is a single one
--   story: whether there is a story
--   narrowed: whether there are more conditions; only then the following are given
--   every: for each of these topics, how many bitmaps it has, one of which is enough; so also for
--     the months in which a reader may have visited last
--   followers, clicked, none: how many bitmaps of each there are; missing if it does not matter
--   held: for each of these alerts, how many quarter hours there are; may be missing
--   since: a number; -1 for no reader at all; may be missing
--   moved: with `since`, later spans of numbers that are left out, {first, last} each, in order
--
-- AND NOT is done as XOR, because BITOP NOT reaches only as far as its operand. BITOP is ten times
-- as slow beyond the shortest of its operands, and with more than sixteen of them. So bitmaps that
-- do not exist are left out, and few are combined at once (strangers can name many locales).
local function select_audience(first, audience)
  local scratch, destination, live = unpack(KEYS, first, first + 2)
  local at = first + 3

  local function next_keys(count)
    local found = {}
    for i = at, at + count - 1 do
      if redis.call('EXISTS', KEYS[i]) == 1 then found[#found + 1] = KEYS[i] end
    end
    at = at + count
    return found
  end

  local never = next_keys(2)
  local topics = next_keys(audience.topics)
  local locales = next_keys(audience.locales)
  local exclusions = next_keys(audience.exclusions)
  local followed = next_keys(audience.story and 1 or 0)
  local muted = next_keys(audience.story and 1 or 0)
  local every = {}
  for i, count in ipairs(audience.every or {}) do every[i] = next_keys(count) end
  local followers = next_keys(audience.followers or 0)
  local clicked = next_keys(audience.clicked or 0)
  local none = next_keys(audience.none or 0)
  local held, wakes = {}, {}
  for i, count in ipairs(audience.held or {}) do
    held[i], wakes[i] = next_keys(1)[1], next_keys(count)
  end

  -- The bitmap of the readers so far: all live ones, until a change writes `destination`.
  local readers = live

  local function change(how, ...)
    redis.call('BITOP', how, destination, ...)
    readers = destination
  end

  local function keep_any_of(keys)
    if #keys == 0 then return change('XOR', live, live) end
    for i = 1, #keys, 15 do
      local some = {unpack(keys, i, math.min(i + 14, #keys))}
      if i > 1 then some[#some + 1] = scratch end
      redis.call('BITOP', 'OR', scratch, unpack(some))
    end
    change('AND', readers, scratch)
  end

  local function remove(keys)
    for _, key in ipairs(keys) do
      redis.call('BITOP', 'AND', scratch, readers, key)
      change('XOR', readers, scratch)
    end
  end

  local function remove_waiting(alert, quarters)
    if not alert then return end
    for i = 1, #quarters, 15 do
      redis.call('BITOP', 'OR', scratch, unpack(quarters, i, math.min(i + 14, #quarters)))
      redis.call('BITOP', 'AND', scratch, scratch, alert, readers)
      change('XOR', readers, scratch)
    end
  end

  local function remove_spans(spans)
    change('AND', readers, live)
    local bits, parts, at = redis.call('GETRANGE', destination, 0, -1), {}, 0
    local edges = {}
    for _, span in ipairs(spans) do
      local from, to = math.ceil(span[1] / 8), math.floor((span[2] + 1) / 8)  -- whole bytes
      if from < to then
        parts[#parts + 1] = string.sub(bits, at + 1, from) .. string.rep('\0', to - from)
        at = to
        edges[#edges + 1] = {span[1], from * 8 - 1}
        edges[#edges + 1] = {to * 8, span[2]}
      else
        edges[#edges + 1] = span
      end
    end
    redis.call('SET', destination, table.concat(parts) .. string.sub(bits, at + 1))
    for _, edge in ipairs(edges) do
      for number = edge[1], edge[2] do redis.call('SETBIT', destination, number, 0) end
    end
  end

  local function keep_since(number, moved)
    if number < 0 then return keep_any_of({}) end
    remove_spans({{0, number - 1}, unpack(moved)})
  end

  if audience.only then
    if redis.call('GETBIT', live, audience.only) == 1 then
      redis.call('SETBIT', destination, audience.only, 1)
    end
    readers = destination
  elseif not audience.everyone then
    keep_any_of(topics)
  end
  for _, keys in ipairs(every) do keep_any_of(keys) end
  if audience.locales > 0 then keep_any_of(locales) end
  remove(exclusions)
  for _, key in ipairs(followed) do
    redis.call('BITOP', 'AND', scratch, key, live)
    change('OR', readers, scratch)
  end
  remove(muted)
  if audience.narrowed then
    if audience.followers then keep_any_of(followers) end
    if audience.clicked then keep_any_of(clicked) end
    remove(none)
    for i, quarters in pairs(wakes) do remove_waiting(held[i], quarters) end
    if audience.since then keep_since(audience.since, audience.moved) end
  end
  remove(never)
  if readers == live then change('AND', live, live) end
  redis.call('DEL', scratch)
  return redis.call('BITCOUNT', destination)
end
