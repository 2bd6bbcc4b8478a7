"""What all processes have counted (model/operations/measures.py), and how fast workers were.

{g}:counted      hash: what was counted, as JSON [name, values of labels, place] -> number; times in
                 microseconds. `history`: since which start of Redis. After another it begins anew,
                 because Redis may have forgotten its last second. Prometheus knows that counters
                 begin anew, while one that went back a little would count as new from 0.
                 `ENDED_BEFORE`: how many subscriptions had ended by then (departures.py), by why
{g}:speed:<day>  hash: `answers` of push services, and the microseconds that all of them together
                 `waited` for and that workers `worked`, each with one day in UTC
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from redis import Redis

from service.model.operations.capacity import Speed
from service.model.operations.measures import ENDED_BEFORE, MEASURES, Key
from service.model.retention import DAY, SPEED_KEPT
from service.model.time import clock
from service.store.layout.departures import ENDED
from service.store.redis_servers.history import HISTORY

_COUNTED: Final = "{g}:counted"
_MEANINGFUL: Final = 10_000  # answers; when so many are read, older days say nothing more

# The rows of how many subscriptions have ended by now; the last key is their hash.
_BEFORE = (
    HISTORY
    + f"""
local function ended_before()
  local rows = redis.call('HGETALL', KEYS[#KEYS])
  for i = 1, #rows, 2 do rows[i] = cjson.encode({{'{ENDED_BEFORE}', rows[i], 0}}) end
  return rows
end
"""
)

# KEYS: counted, speed of today, ended. ARGV: seconds for which speed is kept, its three numbers;
# what was counted and how often, as JSON. The first write frees.
_ADD = (
    _BEFORE
    + """
redis.call('HDEL', KEYS[1], '')
if redis.call('HGET', KEYS[1], 'history') ~= history then
  for _, one in ipairs(redis.call('HKEYS', KEYS[1])) do
    if one ~= 'history' then redis.call('HDEL', KEYS[1], one) end
  end
  redis.call('HSET', KEYS[1], 'history', history, unpack(ended_before()))
end
for _, one in ipairs(cjson.decode(ARGV[5])) do redis.call('HINCRBY', KEYS[1], one[1], one[2]) end
if ARGV[2] ~= '0' then
  for i, name in ipairs({'answers', 'waited', 'worked'}) do
    redis.call('HINCRBY', KEYS[2], name, ARGV[i + 1])
  end
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
"""
)

# KEYS: counted, ended. After a restart of Redis all counts are 0 until a process adds some.
_READ = (
    _BEFORE
    + """
local of = redis.call('HGET', KEYS[1], 'history')
if of and of ~= history then return ended_before() end
return redis.call('HGETALL', KEYS[1])
"""
)


class Counted:
    """The counts of all processes together."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._read = redis.register_script(_READ)

    def add(self, counts: Mapping[tuple[Key, int], int], speed: Speed) -> None:
        """Add what a process has counted since it did so last."""
        rows = [[json.dumps([*key, place]), number] for (key, place), number in counts.items()]
        args: list[str | int] = [
            SPEED_KEPT,
            speed.answers,
            speed.waited,
            speed.worked,
            json.dumps(rows),
        ]
        self._add(keys=[_COUNTED, _speed_key(clock.time() // DAY), ENDED], args=args)

    def read(self) -> dict[Key, list[int]]:
        """Return what was counted, with nothing that this release does not know."""
        found: dict[Key, list[int]] = {}
        rows = cast("list[bytes]", self._read(keys=[_COUNTED, ENDED]))
        for field, number in zip(rows[::2], rows[1::2], strict=True):
            if field == b"history":
                continue
            *key, place = json.loads(field)
            if key[0] == ENDED_BEFORE:
                found[tuple(key)] = [int(number)]
                continue
            measure = MEASURES.get(key[0])
            if measure is None or len(key) != len(measure.labels) + 1 or place >= measure.places:
                continue
            found.setdefault(tuple(key), [0] * measure.places)[place] = int(number)
        return found

    def speed(self) -> Speed:
        """Return how fast workers were on the last days on which they sent enough to tell."""
        today = clock.time() // DAY
        with self._redis.pipeline(transaction=False) as pipe:
            for ago in range(SPEED_KEPT // DAY):
                pipe.hmget(_speed_key(today - ago), "answers", "waited", "worked")
            days = cast("list[list[bytes | None]]", pipe.execute())
        speed = Speed(0, 0, 0)
        for row in days:
            if speed.answers < _MEANINGFUL:
                speed += Speed(*(int(one or 0) for one in row))
        return speed


def _speed_key(day: float) -> str:
    return f"{{g}}:speed:{int(day)}"
