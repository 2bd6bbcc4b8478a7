"""Alerts that are held for readers until their quiet hours end. A wave delivers them.

  n:<id>:held  bitmap of the readers with a held copy of the notification
  wake:<q>     bitmap of readers whose quiet hours end with quarter hour q, counted from 1970
  wakes        sorted set of these quarter hours

The script that records outcomes writes them (outcomes.py). No wave sends an alert that is paused:
once it goes on, readers whose wave has passed meanwhile wake again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.model.notifications import Notification
from service.model.retention import DAY, HELD_KEPT
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.store.layout.bitmaps import bitmap_key, marked
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import NOW, Call, run_each
from service.store.sending.batches import part_key

# KEYS: scratch, readers who still wait, held, live; bitmaps of readers who do not wait; the bitmap
# of each quarter hour. ARGV: how many bitmaps of readers who do not wait. Returns for each quarter
# hour how many of the waiting readers wake in it, and then how many wake in none; a reader in
# several counts in the first. Returns nothing if the alert is held for no reader. The first write
# frees.
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
found[#KEYS - last + 1] = redis.call('BITCOUNT', left)
redis.call('DEL', scratch, left)
return found
"""

# KEYS: scratch, readers who wake, wakes, the bitmap of a quarter hour, held, live; bitmaps of
# readers who do not wake: those called gone, and who wake in another quarter hour that is to come.
# ARGV: the quarter hour; ms in one; seconds for which its bitmap is kept. Returns 0; the next
# quarter hour if the wave of this one may be planned by now. The first write frees.
_WAKE_AGAIN = (
    NOW
    + """
local scratch, left, wakes, wake, held, live = unpack(KEYS, 1, 6)
local next_quarter = math.floor(now / ARGV[2]) + 1
redis.call('DEL', scratch, left)
if redis.call('EXISTS', held) == 0 then return 0 end
if tonumber(ARGV[1]) < next_quarter then return next_quarter end
redis.call('BITOP', 'AND', left, held, live)
for i = 7, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('BITOP', 'AND', scratch, left, KEYS[i])
    redis.call('BITOP', 'XOR', left, left, scratch)
  end
end
if redis.call('BITCOUNT', left) > 0 then
  redis.call('BITOP', 'OR', wake, wake, left)
  redis.call('EXPIRE', wake, ARGV[3])
  redis.call('ZADD', wakes, ARGV[1], ARGV[1])
end
redis.call('DEL', scratch, left)
return 0
"""
)

AWAKE = -1  # instead of a quarter hour: readers whose quiet hours are over
_NEVER = 1 << 40  # a quarter hour that never comes


def held_key(partition: int, id: int) -> str:
    """Return the bitmap of the readers with a held copy of a notification."""
    return f"{{{partition}}}:n:{id}:held"


def wakes_key(partition: int) -> str:
    """Return the sorted set of quarter hours until which alerts are held in a partition."""
    return f"{{{partition}}}:wakes"


def wakes_in_time(quarter: int, notification: Notification) -> bool:
    """Whether a notification can be held until a quarter hour: quiet hours end within a day.

    If a wave ran out of time, its alerts are still marked as held. They are too old for the wave
    of the next night.
    """
    over_at = notification.finished_at
    return over_at is None or quarter * QUARTER <= over_at + DAY


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
        self._wake_again = redis.register_script(_WAKE_AGAIN)

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

        Under `AWAKE` are those for whom it is held and who wake in none of `quarters`.
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
            for quarter, count in zip([*quarters, AWAKE], counts):  # noqa: B905 - perhaps none
                if count:
                    found[quarter] = found.get(quarter, 0) + count
        return found

    def wake_again(self, id: int) -> None:
        """Put readers into the next wave if their own wave has passed without this notification.

        Readers whose wave is still to come stay in it.
        """
        quarter = int(clock.time() // QUARTER) + 1
        while (later := self._try_to_wake_again(id, quarter)) > 0:
            quarter = later

    def _try_to_wake_again(self, id: int, quarter: int) -> int:
        to_come = self.pending()
        calls: list[Call] = []
        for partition in self._partitions:
            scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
            keys = [scratch, scratch + ":left", wakes_key(partition)]
            keys += [bitmap_key(partition, "wake", quarter), held_key(partition, id)]
            keys += [bitmap_key(partition, "live"), bitmap_key(partition, "gone")]
            keys += [bitmap_key(partition, "wake", one) for one in to_come]
            calls.append((keys, [quarter, QUARTER * 1000, HELD_KEPT]))
        return max(map(int, run_each(self._redis, self._wake_again, calls)))

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
