"""Whom a push service called gone: out of every audience at once, their records deleted later.

`farewell` is a sorted set by when records may be deleted (ms), `held` a set of those that wait for
a person's word. A row of either is a base's number and some subscriptions' numbers, packed: what
one checkpoint brought.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from service.models import SubscriptionId
from service.store.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Farewell:
    """Some subscriptions of one partition that the push service of one base called gone."""

    partition: int
    row: bytes
    base: int
    numbers: Sequence[int]

    @classmethod
    def read(cls, partition: int, row: bytes) -> Farewell:
        """Read a row as the script that records outcomes wrote it."""
        base, _, packed = row.partition(b":")
        return cls(partition, row, int(base), struct.unpack(f">{len(packed) // 4}I", packed))

    @property
    def ids(self) -> list[SubscriptionId]:
        """The subscriptions."""
        return [SubscriptionId(self.partition, number) for number in self.numbers]


class Farewells:
    """Those whose records are still there although they are gone."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)

    @staticmethod
    def _key(partition: int, kind: str) -> str:
        return f"{{{partition}}}:{kind}"

    def due(self, now: float, most: int) -> list[Farewell]:
        """Return some of those whose records may be deleted by now."""
        return self._rows("farewell", now * 1000, most)

    def waiting(self) -> list[Farewell]:
        """Return those whose records are still there, in doubt or not."""
        held = [
            Farewell.read(partition, row)
            for partition in self._partitions
            for row in cast("set[bytes]", self._redis.smembers(self._key(partition, "held")))
        ]
        return held + self._rows("farewell", math.inf)

    def _rows(self, kind: str, until: float, most: int = -1) -> list[Farewell]:
        return [
            Farewell.read(partition, row)
            for partition in self._partitions
            for row in cast(
                "list[bytes]",
                self._redis.zrangebyscore(
                    self._key(partition, kind), "-inf", until, start=0, num=most
                ),
            )
        ]

    def hold(self, one: Farewell) -> None:
        """Keep the records until a person has decided."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(self._key(one.partition, "farewell"), one.row)
            pipe.sadd(self._key(one.partition, "held"), one.row)
            pipe.execute()

    def let_go(self, one: Farewell) -> None:
        """Delete the records after all, as soon as the clock comes to it."""
        with self._redis.pipeline() as pipe:
            pipe.srem(self._key(one.partition, "held"), one.row)
            pipe.zadd(self._key(one.partition, "farewell"), {one.row: int(time.time() * 1000)})
            pipe.execute()

    def forget(self, one: Farewell) -> None:
        """Note that their records are deleted."""
        self._redis.zrem(self._key(one.partition, "farewell"), one.row)

    def take_back(self, one: Farewell) -> None:
        """Count them in again."""
        gone = Subscriptions.bitmap_key(one.partition, "gone")
        with self._redis.pipeline() as pipe:
            for number in one.numbers:
                pipe.setbit(gone, number, 0)
            pipe.zrem(self._key(one.partition, "farewell"), one.row)
            pipe.srem(self._key(one.partition, "held"), one.row)
            pipe.execute()
