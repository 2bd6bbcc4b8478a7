"""Readers by the host of their push service: a base has them, and accepted nothing for some.

A base is what many endpoints begin with (names.py); readers have a bit in its bitmap.
"""

from __future__ import annotations

from itertools import islice
from typing import cast

from redis import Redis

from service.model.subscriptions import SubscriptionId
from service.store.layout.bitmaps import bitmap_key, numbers_in
from service.store.layout.partitions import Partitions
from service.store.layout.records import Records
from service.store.redis_servers.scripts import Call, run_each

# KEYS: bitmap. Returns whether it is empty, and frees it then.
_DROP_EMPTY = """
if redis.call('BITCOUNT', KEYS[1]) > 0 then return 0 end
redis.call('UNLINK', KEYS[1])
return 1
"""


class HostReaders:
    """Finds the readers at hosts that strangers may have made up."""

    def __init__(self, redis: Redis, partitions: Partitions, records: Records) -> None:
        self._redis = redis
        self._partitions = partitions
        self._records = records
        self._drop_empty = redis.register_script(_DROP_EMPTY)

    def drop(self, base: int) -> bool:
        """Drop the bitmaps of a base if nobody is left there; whether that is so."""
        calls: list[Call] = [([bitmap_key(p, "base", base)], ()) for p in self._partitions]
        return all(run_each(self._redis, self._drop_empty, calls))

    def asked_in_vain(self, base: int) -> list[SubscriptionId]:
        """Return those at a base whose push service was asked lately and accepted nothing."""
        return self._at(base, "in_vain")

    def was_asked_in_vain(self, id: SubscriptionId) -> bool:
        """Whether a push service was asked for this reader lately and accepted nothing."""
        return bool(self._redis.getbit(bitmap_key(id.partition, "in_vain"), id.number))

    def unseen(self, base: int, since: int) -> list[SubscriptionId]:
        """Return those at a base whose browser has not visited since a day, counted from 1970."""
        records = self._records.of(self._at(base))
        return [id for id, record in records if record is not None and record.seen < since]

    def _at(self, base: int, *kinds: str) -> list[SubscriptionId]:
        """Return those at a base who are in these bitmaps too."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                for key in (("base", base), *((kind, "") for kind in kinds)):
                    pipe.get(bitmap_key(partition, *key))
            rows = iter([row or b"" for row in cast("list[bytes | None]", pipe.execute())])
        found = []
        for partition in self._partitions:
            of_base, *others = islice(rows, 1 + len(kinds))
            size, bits = len(of_base), int.from_bytes(of_base, "big")
            for other in others:
                bits &= int.from_bytes(other[:size].ljust(size, b"\0"), "big")
            if bits:
                found += [SubscriptionId(partition, n) for n in numbers_in(bits, 8 * size, 0)]
        return found
