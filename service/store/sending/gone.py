"""Readers that a push service reported as gone (404 or 410).

They leave every audience at once, by their bit in `gone`. Their records are deleted later.

  farewell      sorted set: a `GoneRow` each, scored with when its records may be deleted (ms)
  held          set: rows of doubted push services, kept until a person decides
  answers:<t>   hash of ten seconds: base -> its responses, `<base> accepted` if a message was
  gone          bitmap of those readers
  untried       bitmap of readers who were taken over from another service (arrivals.py), until the
                first alert that a push service accepts for them is over

The script that records outcomes adds the rows and the responses (outcomes.py).
"""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from service.model.retention import GONE_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import Call, run_each
from service.store.sending.batches import part_key

# Readers for whom an alert was accepted are not untried any more. KEYS: untried, scratch; then who
# got the alert, by revision. The first write frees.
_TRIED = """
local kept = redis.call('PTTL', KEYS[1])
if kept == -2 then return end
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  redis.call('BITOP', 'AND', KEYS[2], KEYS[1], KEYS[i])
  redis.call('BITOP', 'XOR', KEYS[1], KEYS[1], KEYS[2])
end
redis.call('DEL', KEYS[2])
if redis.call('BITCOUNT', KEYS[1]) == 0 or kept < 1 then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], kept)
end
"""

_SLOT = 10  # seconds of responses that are counted together
_SLOTS = 6  # such slots make up the minute over which a push service is judged


@dataclass(frozen=True, slots=True)
class GoneRow:
    """Some subscriptions of one base that one checkpoint reported as gone."""

    partition: int
    row: bytes  # as stored: the base, a colon, the numbers packed
    base: int
    numbers: Sequence[int]

    @classmethod
    def read(cls, partition: int, row: bytes) -> GoneRow:
        """Read a row as the script that records outcomes wrote it."""
        base, _, packed = row.partition(b":")
        return cls(partition, row, int(base), struct.unpack(f">{len(packed) // 4}I", packed))

    @property
    def ids(self) -> list[SubscriptionId]:
        """The subscriptions."""
        return [SubscriptionId(self.partition, number) for number in self.numbers]


def due_key(partition: int) -> str:
    """Return the sorted set of rows by when their records may be deleted."""
    return f"{{{partition}}}:farewell"


def _doubted_key(partition: int) -> str:
    return f"{{{partition}}}:held"


def responses_key(partition: int, now: float) -> str:
    """Return the hash that counts the responses of now."""
    return f"{{{partition}}}:answers:{int(now) // _SLOT}"


class GoneRows:
    """Rows whose records are not deleted yet."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._tried = redis.register_script(_TRIED)

    def responses(self, now: float) -> dict[int, int]:
        """Return by base the responses of the last minute."""
        found: dict[int, int] = {}
        for base, what, n in self._answers(now):
            if not what:
                found[base] = found.get(base, 0) + n
        return found

    def accepting(self, now: float) -> set[int]:
        """Return the bases where a message was accepted in the last minute."""
        return {base for base, what, _ in self._answers(now) if what == "accepted"}

    def _answers(self, now: float) -> Iterator[tuple[int, str, int]]:
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                for ago in range(_SLOTS):
                    pipe.hgetall(responses_key(partition, now - ago * _SLOT))
            rows = cast("list[dict[bytes, bytes]]", pipe.execute())
        for row in rows:
            for field, value in row.items():
                base, _, what = field.decode().partition(" ")
                yield int(base), what, int(value)

    def reported(self, at: float) -> list[GoneRow]:
        """Return the rows of the minute before a time, as `responses` counts, that still wait."""
        since = (int(at) // _SLOT - _SLOTS + 1) * _SLOT
        first, end = ((one + GONE_KEPT) * 1000 for one in (since, since + _SLOTS * _SLOT))
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrangebyscore(due_key(partition), first, f"({end}")
            return self._read(pipe.execute())

    def first_reported(self, since: float) -> float:
        """Return when the first row since a time was reported that waits; infinity if none does."""
        first = (since + GONE_KEPT) * 1000
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrangebyscore(due_key(partition), first, "+inf", 0, 1, withscores=True)
            scores = [score for rows in pipe.execute() for _, score in rows]
        return min(scores, default=math.inf) / 1000 - GONE_KEPT

    def untried(self, rows: Iterable[GoneRow]) -> dict[int, int]:
        """Return by base how many readers in these rows were untried."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.get(bitmap_key(partition, "untried"))
            bits = dict(zip(self._partitions, pipe.execute(), strict=True))
        found: dict[int, int] = {}
        for one in rows:
            count = sum(_has(bits[one.partition] or b"", number) for number in one.numbers)
            found[one.base] = found.get(one.base, 0) + count
        return found

    def tried(self, id: int, revisions: Iterable[int]) -> None:
        """Note who got a text of this notification, which is over: they are not untried any more.

        Where nobody is untried this is one look in each partition.
        """
        calls: list[Call] = []
        for partition in self._partitions:
            keys = [bitmap_key(partition, "untried"), f"{{{partition}}}:scratch:{uuid.uuid4().hex}"]
            keys += [part_key(partition, id, f"accepted:{revision}") for revision in revisions]
            calls.append((keys, ()))
        run_each(self._redis, self._tried, calls)

    def due(self, now: float, most: int) -> list[GoneRow]:
        """Return some rows whose records may be deleted by now."""
        return self._rows(now * 1000, most)

    def doubted(self) -> list[GoneRow]:
        """Return the rows that are kept until a person has decided."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.smembers(_doubted_key(partition))
            return self._read(pipe.execute())

    def waiting(self) -> list[GoneRow]:
        """Return all rows, those of doubted push services first."""
        return self.doubted() + self._rows(math.inf)

    def _rows(self, until: float, most: int = -1) -> list[GoneRow]:
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.zrangebyscore(due_key(partition), "-inf", until, start=0, num=most)
            return self._read(pipe.execute())

    def _read(self, found: Iterable[Iterable[bytes]]) -> list[GoneRow]:
        """Read the rows of each partition."""
        return [
            GoneRow.read(partition, row)
            for partition, rows in zip(self._partitions, found, strict=True)
            for row in rows
        ]

    def doubt(self, one: GoneRow) -> None:
        """Keep the records of a row until a person has decided."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(due_key(one.partition), one.row)
            pipe.sadd(_doubted_key(one.partition), one.row)
            pipe.execute()

    def confirm(self, one: GoneRow) -> None:
        """Make the records of a doubted row due for deletion."""
        with self._redis.pipeline() as pipe:
            pipe.srem(_doubted_key(one.partition), one.row)
            pipe.zadd(due_key(one.partition), {one.row: int(clock.time() * 1000)})
            pipe.execute()

    def forget(self, one: GoneRow) -> None:
        """Drop a row whose records are deleted."""
        self._redis.zrem(due_key(one.partition), one.row)

    def take_back(self, one: GoneRow) -> None:
        """Return the readers of a row to all audiences, and drop the row."""
        gone = bitmap_key(one.partition, "gone")
        with self._redis.pipeline() as pipe:
            for number in one.numbers:
                pipe.setbit(gone, number, 0)
            pipe.zrem(due_key(one.partition), one.row)
            pipe.srem(_doubted_key(one.partition), one.row)
            pipe.execute()


def _has(bits: bytes, number: int) -> bool:
    return number // 8 < len(bits) and bool(bits[number // 8] & 0x80 >> number % 8)
