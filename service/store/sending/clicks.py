"""Which readers clicked which alert. Kept only with the setting CLICK_AUDIENCES.

  n:<id>:clicked  bitmap of the readers who clicked the notification
  clicked         sorted set: notifications with such a bitmap, scored with when that ends (s)
  {g}:clicks:since  since when every click is kept, in seconds since 1970; missing: it is not

A script that removes a reader clears the bits of all these notifications.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import cast

from redis import Redis

from service.model.retention import CLICKED_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import NOW
from service.store.sending.batches import part_key

_SINCE = "{g}:clicks:since"

# KEYS: clicked, bitmap, live. ARGV: number, notification. Notes that a reader who has not left
# clicked a notification. The bitmap ends a fixed time after its first bit. The first write
# allocates.
_MARK = f"""{NOW}
if redis.call('GETBIT', KEYS[3], ARGV[1]) == 0 then return end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZADD', KEYS[1], now / 1000 + {CLICKED_KEPT}, ARGV[2])
  redis.call('EXPIRE', KEYS[1], {CLICKED_KEPT})
  redis.call('SETBIT', KEYS[2], ARGV[1], 1)
  redis.call('EXPIRE', KEYS[2], {CLICKED_KEPT})
else
  redis.call('SETBIT', KEYS[2], ARGV[1], 1)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now / 1000)
"""


class Clicks:
    """Notes clicks, and forgets them."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._mark = redis.register_script(_MARK)

    def mark(self, id: int, reader: SubscriptionId) -> None:
        """Note that a reader clicked a notification."""
        keys = [clicked_key(reader.partition), part_key(reader.partition, id, "clicked")]
        self._mark(keys=[*keys, bitmap_key(reader.partition, "live")], args=[reader.number, id])

    def of(self, reader: SubscriptionId) -> list[int]:
        """Return the notifications that a reader is known to have clicked."""
        ids = clicked_in(self._redis, [reader.partition])[reader.partition]
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.getbit(part_key(reader.partition, id, "clicked"), reader.number)
            bits = pipe.execute() if ids else []
        return [id for id, bit in zip(ids, bits, strict=True) if bit]

    def remember(self) -> None:
        """Note that clicks are kept from now on, if they were not yet."""
        self._redis.set(_SINCE, f"{clock.time():.3f}", nx=True)

    def known_since(self) -> float:
        """Return since when every click is kept, in seconds since 1970; infinity: it is not."""
        found = cast("bytes | None", self._redis.get(_SINCE))
        return math.inf if found is None else float(found)

    def forget(self) -> None:
        """Drop all clicks."""
        self._redis.delete(_SINCE)
        found = clicked_in(self._redis, [*self._partitions])
        with self._redis.pipeline(transaction=False) as pipe:
            for partition, ids in found.items():
                if ids:
                    pipe.unlink(*(part_key(partition, id, "clicked") for id in ids))
                    pipe.unlink(clicked_key(partition))
            pipe.execute()


def clicked_key(partition: int) -> str:
    """Return the key of the notifications of which clicks are known in a partition."""
    return f"{{{partition}}}:clicked"


def clicked_in(redis: Redis, partitions: Collection[int]) -> dict[int, list[int]]:
    """Return by partition the notifications of which clicks are known."""
    with redis.pipeline(transaction=False) as pipe:
        for partition in partitions:
            pipe.zrange(clicked_key(partition), 0, -1)
        rows = cast("list[list[bytes]]", pipe.execute() if partitions else [])
    return {partition: [*map(int, row)] for partition, row in zip(partitions, rows, strict=True)}
