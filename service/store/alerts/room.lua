-- The room for alerts to one reader. Stands in front of the script that publishes one.
--
-- All alerts of a group share its room: at most `at_all` may be active, and at most `at_one` at one
-- place. No place gets more than half of the room that the others leave. Once half of the room is
-- taken, callers are counted too: a caller gets a place only while fewer alerts by that caller are
-- active than a fifth of the places that are left, or than two: a reader may send another test while
-- the first one is under way.

local CALLERS_SHARE = 5
local CALLERS_LEAST = 2

-- Returns how many alerts are active in all, at the place called `name`, and by this caller (none
-- if that is ''), and the ids of those that are over.
local function count_active(active, places, callers, name, caller)
  local is_active, by = {}, {}
  for _, id in ipairs(redis.call('SMEMBERS', active)) do is_active[id] = true end
  local codes = redis.call('HGETALL', callers)
  for i = 1, #codes, 2 do by[codes[i]] = codes[i + 1] end

  local rows, all, here, mine, over = redis.call('HGETALL', places), 0, 0, 0, {}
  for i = 1, #rows, 2 do
    local id = rows[i]
    if is_active[id] then
      all = all + 1
      if rows[i + 1] == name then here = here + 1 end
      if caller ~= '' and by[id] == caller then mine = mine + 1 end
    else
      table.insert(over, id)
    end
  end
  return all, here, mine, over
end

local function has_room(all, here, mine, at_one, at_all, share)
  at_one, at_all, share = tonumber(at_one), tonumber(at_all), tonumber(share)
  local others = all - here
  local most = math.floor(math.min(at_one, math.floor((at_all - others) / 2)) / share)
  local left = most - here
  if left <= 0 then return false end
  if here * 2 < most and all * 2 < at_all then return true end
  return mine < math.max(CALLERS_LEAST, math.floor(left / CALLERS_SHARE))
end
