"""Whom a push service called gone: out of every audience at once, their records deleted later.

`farewell` is a sorted set by when records may be deleted (ms), `held` a set of those that wait for
a person's word. A row of either is a base's number and some subscriptions' numbers, packed: what
one checkpoint brought. `answers:<t>` is a hash: answers within ten seconds by base, and how many of
them said gone.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from service.model.notifications import SubscriptionId
from service.store.bitmaps import bitmap_key

_SLOT = 10  # seconds of answers that are counted together
_SLOTS = 6  # such slots make up the minute over which a push service is judged


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


def answers_key(partition: int, now: float) -> str:
    """Return where answers are counted that come now."""
    return f"{{{partition}}}:answers:{int(now) // _SLOT}"


class Farewells:
    """Those whose records are still there although they are gone."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)

    @staticmethod
    def _key(partition: int, kind: str) -> str:
        return f"{{{partition}}}:{kind}"

    def answers(self, now: float) -> dict[int, tuple[int, int]]:
        """Return how many answers the last minute brought by base, and how many said gone."""
        found: dict[int, tuple[int, int]] = {}
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                for ago in range(_SLOTS):
                    pipe.hgetall(answers_key(partition, now - ago * _SLOT))
            rows = cast("list[dict[bytes, bytes]]", pipe.execute())
        for row in rows:
            for field, value in row.items():
                name, _, gone = field.decode().partition(" ")
                all_, left = found.get(int(name), (0, 0))
                n = int(value)
                found[int(name)] = (all_, left + n) if gone else (all_ + n, left)
        return found

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
        gone = bitmap_key(one.partition, "gone")
        with self._redis.pipeline() as pipe:
            for number in one.numbers:
                pipe.setbit(gone, number, 0)
            pipe.zrem(self._key(one.partition, "farewell"), one.row)
            pipe.srem(self._key(one.partition, "held"), one.row)
            pipe.execute()
