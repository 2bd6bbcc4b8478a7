"""When readers subscribed: the last number that was given out before each day, in each partition.

  days         sorted set: these numbers (-1: none), scored with the day, counted from 1970 in UTC
  moved        sorted set: spans of numbers, `first-last`, scored with the last, of readers who were
               imported, and who are known to have subscribed elsewhere on an earlier day
  {g}:days     the first day from whose beginning on this is known

Numbers grow, so that readers since a day are those with larger numbers, without those who moved. A
day without an entry had no new reader. A store that an earlier release filled begins with the day
after the first start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import cast

from redis import Redis

from service.model.retention import DAY, JOINED_KEPT_DAYS
from service.model.time import clock
from service.store.layout.partitions import Partitions
from service.store.redis_servers.connection import WRITE_REFUSED

DAYS_KNOWN = "{g}:days"
_NEVER = 1 << 40  # a day that does not come

# Defines mark_day(days, number), which is called with each new number and writes once a day. Needs
# `now`.
MARK_DAY = f"""
local function mark_day(days, number)
  local day = math.floor(now / {DAY * 1000})
  local last = redis.call('ZREVRANGE', days, 0, 0, 'WITHSCORES')[2]
  if last and tonumber(last) >= day then return end
  redis.call('ZADD', days, day, number - 1)
  redis.call('ZREMRANGEBYSCORE', days, '-inf', day - {JOINED_KEPT_DAYS})
end
"""


# Defines mark_moved(moved, first, last), for an import that gives out these numbers one after the
# other. A span that goes on from the latest one becomes one with it.
MARK_MOVED = f"""
local function mark_moved(moved, first, last)
  local latest = redis.call('ZREVRANGE', moved, 0, 0)[1] or ''
  local from, to = string.match(latest, '^(%d+)-(%d+)$')
  local goes_on = to and tonumber(to) == first - 1
  redis.call('ZADD', moved, last, (goes_on and from or first) .. '-' .. last)
  if goes_on then redis.call('ZREM', moved, latest) end
  redis.call('EXPIRE', moved, {JOINED_KEPT_DAYS * DAY})
end
"""


def days_key(partition: int) -> str:
    """Return the key of these numbers of a partition."""
    return f"{{{partition}}}:days"


def moved_key(partition: int) -> str:
    """Return the key of the spans of a partition."""
    return f"{{{partition}}}:moved"


def today() -> int:
    """Return the day, counted from 1970 in UTC."""
    return int(clock.time() // DAY)


class Joined:
    """Finds out from which number on readers are new."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions

    def remember(self) -> None:
        """Note from which day on this store knows when readers subscribed, if it did not yet."""
        if self._redis.exists(DAYS_KNOWN):
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.get(f"{{{partition}}}:made")
            has_readers = any(pipe.execute())
        with suppress(*WRITE_REFUSED):  # a later start notes it
            self._redis.set(DAYS_KNOWN, today() + 1 if has_readers else 0, nx=True)

    def known_since(self) -> int:
        """Return the first day of which this is known; 0: since the store began."""
        found = cast("bytes | None", self._redis.get(DAYS_KNOWN))
        return _NEVER if found is None else int(found)

    def first_since(self, day: int) -> dict[int, int]:
        """Return by partition the first number of that day or later; missing: there is none."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrangebyscore(days_key(partition), day, "+inf", start=0, num=1)
            rows: Iterator[tuple[int, list[bytes]]] = zip(
                self._partitions, pipe.execute(), strict=True
            )
            return {partition: int(row[0]) + 1 for partition, row in rows if row}

    def moved(self) -> dict[int, list[tuple[int, int]]]:
        """Return by partition the spans of readers who moved, in their order."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrange(moved_key(partition), 0, -1)
            rows: list[list[bytes]] = pipe.execute()
        return {
            partition: [span_of(one) for one in row]
            for partition, row in zip(self._partitions, rows, strict=True)
        }


def span_of(stored: bytes) -> tuple[int, int]:
    """Return the first and the last number of a span."""
    first, _, last = stored.partition(b"-")
    return int(first), int(last)
