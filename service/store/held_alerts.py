"""Alerts that are held for readers until their quiet hours end. A wave delivers them.

  n:<id>:held  bitmap of the readers with a held copy of the notification
  wake:<q>     bitmap of readers whose quiet hours end with quarter hour q, counted from 1970
  wakes        sorted set of these quarter hours

The script that records outcomes writes them (outcomes.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.store.batches import part_key
from service.store.bitmaps import bitmap_key, marked
from service.store.partitions import Partitions
from service.store.scripts import Call, run_each

# KEYS: scratch, readers who still wait, held, live; bitmaps of readers who do not wait; the bitmap
# of each quarter hour. ARGV: how many bitmaps of readers who do not wait. Returns for each quarter
# hour how many of the waiting readers wake in it; a reader in several counts in the first. Returns
# nothing if the alert is held for no reader. The first write frees.
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

_NEVER = 1 << 40  # a quarter hour that never comes


def held_key(partition: int, id: int) -> str:
    """Return the bitmap of the readers with a held copy of a notification."""
    return f"{{{partition}}}:n:{id}:held"


def wakes_key(partition: int) -> str:
    """Return the sorted set of quarter hours until which alerts are held in a partition."""
    return f"{{{partition}}}:wakes"


class WaveDelivery(NamedTuple):
    """What one message of a wave delivered to a reader."""

    alerts: tuple[tuple[int, int], ...] = ()  # the alerts shown, each with its revision
    held: tuple[int, ...] = ()  # the alerts that were held for the reader
    delivered: tuple[int, ...] = ()  # those of them that no newer alert replaced

    @property
    def tallies(self) -> list[str]:
        """The fields of the wave that count it: how many readers got each, alone or not."""
        return [
            f"{'together' if len(self.delivered) > 1 else 'alone'}:{id}" for id in self.delivered
        ]


NOTHING = WaveDelivery()


class HeldAlerts:
    """Which alerts are held, for which readers, until when."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._waiting = redis.register_script(_WAITING)

    def due(self, quarter: int) -> list[int]:
        """Return the quarter hours up to this one until which alerts are held."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrangebyscore(wakes_key(partition), "-inf", quarter)
            found = cast("list[list[bytes]]", pipe.execute())
        return sorted({int(row) for rows in found for row in rows})

    def pending(self) -> list[int]:
        """Return all quarter hours until which alerts are held."""
        return self.due(_NEVER)

    def waiting(
        self, id: int, quarters: Sequence[int], instead: Iterable[tuple[int, int]] = ()
    ) -> dict[int, int]:
        """Return how many readers wait for a notification, by the quarter hour in which they wake.

        Readers who have, or wait for, a notification that comes `instead` are left out; it is
        given with its last revision.
        """
        calls: list[Call] = []
        for partition in self._partitions:
            scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
            keys = [scratch, scratch + ":left", held_key(partition, id)]
            keys.append(bitmap_key(partition, "live"))
            without = [bitmap_key(partition, "gone")]
            for one, revision in instead:
                without.append(held_key(partition, one))
                without += [part_key(partition, one, f"accepted:{r}") for r in range(revision + 1)]
            wakes = [bitmap_key(partition, "wake", quarter) for quarter in quarters]
            calls.append(([*keys, *without, *wakes], [len(without)]))
        found: dict[int, int] = {}
        for counts in run_each(self._redis, self._waiting, calls):
            for quarter, count in zip(quarters, counts):  # noqa: B905 - perhaps none
                if count:
                    found[quarter] = found.get(quarter, 0) + count
        return found

    def forget(self, quarter: int) -> None:
        """Drop a quarter hour whose wave is planned; its bitmap ends by itself."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrem(wakes_key(partition), str(quarter))
            pipe.execute()

    def of(
        self, partition: int, numbers: Sequence[int], ids: Iterable[int]
    ) -> dict[int, list[int]]:
        """Return by reader which of these notifications are held for them."""
        bitmaps = {held_key(partition, id): id for id in ids}
        return marked(self._redis, bitmaps, numbers)
