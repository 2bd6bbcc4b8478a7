"""Subscriptions that ended: the readers who left, and how many ended for which reason.

  left       sorted set: digests of the endpoints of readers who left, scored with when they are
             dropped (s); no page that checks in subscribes them again
  {g}:ended  hash: how many subscriptions ended, by why

The scripts that create and remove subscriptions write `left` too (subscriptions.py, arrivals.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import cast

from redis import Redis, RedisError

from service.model.retention import LEFT_KEPT
from service.model.time import clock
from service.store.layout.partitions import Partitions

ENDED = "{g}:ended"


class Departures:
    """Readers who left, by their digests, each kept for `LEFT_KEPT`; and counts."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions

    def has_left(self, digest: bytes) -> bool:
        """Whether the reader with this digest left lately."""
        until = self._redis.zscore(left_key(self._partitions.of(digest)), digest)
        return until is not None and until > clock.time()

    def left(self) -> Iterator[tuple[bytes, int]]:
        """Yield the digests of readers who left lately, each with when that was."""
        for partition in self._partitions:
            found = self._redis.zrange(left_key(partition), 0, -1, withscores=True)
            for digest, until in cast("list[tuple[bytes, float]]", found):
                yield digest, int(until) - LEFT_KEPT

    def add_left(self, digest: bytes, at: int) -> None:
        """Note that a reader left at that time, unless that is long ago or known."""
        if at + LEFT_KEPT > clock.time():
            key = left_key(self._partitions.of(digest))
            self._redis.zadd(key, {digest: at + LEFT_KEPT}, nx=True)

    def drop_left(self, now: float) -> None:
        """Drop the digests of readers who left more than `LEFT_KEPT` seconds ago."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zremrangebyscore(left_key(partition), "-inf", now)
            pipe.execute()

    def count(self, why: str, count: int = 1) -> None:
        """Count subscriptions that ended. A Redis that is full does not count them."""
        with suppress(RedisError):
            self._redis.hincrby(ENDED, why, count)

    def counts(self) -> dict[str, int]:
        """Return how many subscriptions ended since this store began, by why."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(ENDED))
        return {why.decode(): int(count) for why, count in rows.items()}


def left_key(partition: int) -> str:
    """Return the sorted set of readers who left."""
    return f"{{{partition}}}:left"
