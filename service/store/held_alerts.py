"""What is held for readers until their quiet hours end.

n:<id>:held  bitmap of those for whom a notification is held
wake:<q>     bitmap of those whose quiet hours end with the beginning of quarter hour q since 1970
wakes        sorted set of those quarter hours
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.store.batches import part_key
from service.store.bitmaps import bitmap_key, marked

# KEYS: scratch, who still waits, held, live, then bitmaps of those who do not wait for it, then
# that of each quarter hour. ARGV: how many the former are. Returns how many of those for whom it is
# held wake in each; who is in several counts in the first. Nothing where it is held for nobody. The
# first write frees: what is held can be withdrawn under `maxmemory`.
_WAITING = """
local scratch, left, held, live = unpack(KEYS, 1, 4)
local last = 4 + ARGV[1]
redis.call('DEL', scratch, left)
if redis.call('EXISTS', held) == 0 then return {} end
redis.call('BITOP', 'AND', left, held, live)
local found = {}
for i = 5, #KEYS do
  local count = 0
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('BITOP', 'AND', scratch, left, KEYS[i])
    redis.call('BITOP', 'XOR', left, left, scratch)
    count = redis.call('BITCOUNT', scratch)
  end
  if i > last then found[i - last] = count end
end
redis.call('DEL', scratch, left)
return found
"""

_NEVER = 1 << 40  # a quarter hour that nobody will see


def held_key(partition: int, id: int) -> str:
    """Return the bitmap of those for whom a notification is held."""
    return f"{{{partition}}}:n:{id}:held"


def wakes_key(partition: int) -> str:
    """Return the quarter hours until which something is held in a partition."""
    return f"{{{partition}}}:wakes"


class Brought(NamedTuple):
    """Which alerts a wave brought a reader, and in which revision; and what was `held` for them.

    `told` are those held that came by it: not what a newer one has replaced.
    """

    alerts: tuple[tuple[int, int], ...] = ()
    held: tuple[int, ...] = ()
    told: tuple[int, ...] = ()

    @property
    def tallies(self) -> list[str]:
        """The fields of the wave that count it: how many were told of each, alone or not."""
        return [f"{'together' if len(self.told) > 1 else 'alone'}:{id}" for id in self.told]


NOTHING = Brought()


class HeldAlerts:
    """Who is to get what when their quiet hours are over; outcomes.py writes it down."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)
        self._waiting = redis.register_script(_WAITING)

    def due(self, quarter: int) -> list[int]:
        """Return the quarter hours up to this one until which something is held."""
        found: set[int] = set()
        for partition in self._partitions:
            rows = self._redis.zrangebyscore(wakes_key(partition), "-inf", quarter)
            found |= {int(row) for row in cast("list[bytes]", rows)}
        return sorted(found)

    def pending(self) -> list[int]:
        """Return all quarter hours until which something is held, also those to come."""
        return self.due(_NEVER)

    def waiting(
        self, id: int, quarters: Sequence[int], instead: Iterable[tuple[int, int]] = ()
    ) -> dict[int, int]:
        """Return how many wait for a notification, by those of these quarter hours they wake in.

        Not those who have, or wait for, one that comes `instead`: ids and their last revisions.
        """
        found: dict[int, int] = {}
        for partition in self._partitions:
            scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
            keys = [scratch, scratch + ":left", held_key(partition, id)]
            keys.append(bitmap_key(partition, "live"))
            without = [bitmap_key(partition, "gone")]
            for one, revision in instead:
                without.append(held_key(partition, one))
                without += [part_key(partition, one, f"accepted:{r}") for r in range(revision + 1)]
            wakes = [bitmap_key(partition, "wake", quarter) for quarter in quarters]
            counts = cast(
                "list[int]", self._waiting(keys=[*keys, *without, *wakes], args=[len(without)])
            )
            for quarter, count in zip(quarters, counts):  # noqa: B905 - perhaps none
                if count:
                    found[quarter] = found.get(quarter, 0) + count
        return found

    def forget(self, quarter: int) -> None:
        """Take a quarter hour as done; its bitmap ends by itself, after it was frozen."""
        for partition in self._partitions:
            self._redis.zrem(wakes_key(partition), str(quarter))

    def of(
        self, partition: int, numbers: Sequence[int], ids: Iterable[int]
    ) -> dict[int, list[int]]:
        """Return which of these notifications are held for each of these readers, if any is."""
        bitmaps = {held_key(partition, id): id for id in ids}
        return marked(self._redis, bitmaps, numbers)
