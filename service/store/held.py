"""What is held for readers until their quiet hours end.

n:<id>:held  bitmap of those for whom a notification is held
wake:<q>     bitmap of those whose quiet hours end with the beginning of quarter hour q since 1970
wakes        sorted set of those quarter hours
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

from redis import Redis

T = TypeVar("T")

HELD_KEPT = 2 * 86_400  # seconds


def held_key(partition: int, id: int) -> str:
    """Return the bitmap of those for whom a notification is held."""
    return f"{{{partition}}}:n:{id}:held"


def wakes_key(partition: int) -> str:
    """Return the quarter hours until which something is held in a partition."""
    return f"{{{partition}}}:wakes"


class Held:
    """Who is to get what when their quiet hours are over; sending.py writes it down."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)

    def due(self, quarter: int) -> list[int]:
        """Return the quarter hours up to this one until which something is held."""
        found: set[int] = set()
        for partition in self._partitions:
            rows = self._redis.zrangebyscore(wakes_key(partition), "-inf", quarter)
            found |= {int(row) for row in cast("list[bytes]", rows)}
        return sorted(found)

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


def marked(redis: Redis, bitmaps: Mapping[str, T], numbers: Sequence[int]) -> dict[int, list[T]]:
    """Return in which of some bitmaps each of these readers is, those who are in none left out."""
    found: dict[int, list[T]] = {}
    if not (bitmaps and numbers):
        return found
    first, last = min(numbers) // 8, max(numbers) // 8
    with redis.pipeline(transaction=False) as pipe:
        for key in bitmaps:
            pipe.getrange(key, first, last)
        stretches = cast("list[bytes]", pipe.execute())
    for what, bits in zip(bitmaps.values(), stretches, strict=True):
        for number in numbers:
            at = number // 8 - first
            if at < len(bits) and bits[at] & 0x80 >> number % 8:
                found.setdefault(number, []).append(what)
    return found
