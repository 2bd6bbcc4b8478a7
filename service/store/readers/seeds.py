"""Pretend subscriptions, stored thousands at once under the same keys as real ones.

{g}:layout:pretend  set: the bases of their endpoints, which no real reader has
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.typing import EncodableT

from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.store.layout.bitmaps import bitmap_key, bitmaps_of
from service.store.layout.joined import MARK_DAY, days_key
from service.store.layout.names import Names
from service.store.layout.partitions import Partitions
from service.store.layout.records import BUCKET, digest_of, record_of, records_key
from service.store.readers.subscriptions import Subscriptions
from service.store.redis_servers.commands import some_at_once
from service.store.redis_servers.scripts import NOW, run_each

# KEYS: the index bucket of each subscription. ARGV: the last eight bytes of each digest; the first
# number. Almost each has a bucket of its own: as single commands they take redis-py twice as long
# as the rest of seeding (measured).
_INDEX_ALL = """
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, string.sub(ARGV[1], i * 8 - 7, i * 8), ARGV[2] + i - 1)
end
"""


# KEYS: made, days. ARGV: how many. Gives out so many numbers and returns the last one plus one.
_GIVE_OUT = f"""{NOW}{MARK_DAY}
local last = redis.call('INCRBY', KEYS[1], ARGV[1])
mark_day(KEYS[2], last - ARGV[1])
return last
"""
_BASES = "{g}:layout:pretend"


class Seeds:
    """Stores pretend subscriptions, much faster than one at a time."""

    def __init__(
        self, redis: Redis, partitions: Partitions, names: Names, subscriptions: Subscriptions
    ) -> None:
        self._redis = redis
        self._partitions = partitions
        self._names = names
        self._subscriptions = subscriptions
        self._index_all = redis.register_script(_INDEX_ALL)
        self._give_out = redis.register_script(_GIVE_OUT)

    def mark(self, bases: Iterable[str]) -> None:
        """Note that subscriptions with these bases are pretended."""
        self._redis.sadd(_BASES, *bases)

    def unmark(self) -> None:
        """Note that no pretend subscription is left."""
        self._redis.unlink(_BASES)

    def count(self) -> int | None:
        """Return how many are subscribed; None if an earlier release has stored them."""
        bases = cast("set[bytes]", self._redis.smembers(_BASES))
        known = self._names.bases.all()
        numbers = [known[base.decode()] for base in bases if base.decode() in known]
        return self._subscriptions.count_at(numbers) if bases else None

    def store(self, chunks: Mapping[int, Sequence[SubscriptionRequest]]) -> None:
        """Store some thousands of new pretend subscriptions of each of these partitions."""
        calls = [
            ((f"{{{partition}}}:made", days_key(partition)), (len(requests),))
            for partition, requests in chunks.items()
        ]
        made = run_each(self._redis, self._give_out, calls)
        with self._redis.pipeline(transaction=False) as pipe:
            for (partition, requests), last in zip(chunks.items(), made, strict=True):
                self._write(pipe, partition, requests, last - len(requests))
            pipe.execute()

    def _write(
        self, pipe: Pipeline, partition: int, requests: Sequence[SubscriptionRequest], first: int
    ) -> None:
        """Write the subscriptions of a partition, whose numbers begin with `first`."""
        last = first + len(requests)
        buckets: defaultdict[int, dict[EncodableT, EncodableT]] = defaultdict(dict)
        index: list[str] = []
        tails: list[bytes] = []
        bits: defaultdict[str, list[int]] = defaultdict(list)
        for number, requested in enumerate(requests, first):
            record = record_of(self._names, requested)
            digest = digest_of(requested.endpoint.url)
            buckets[number // BUCKET][number % BUCKET] = record.pack()
            index.append(self._partitions.index_key(partition, digest))
            tails.append(digest[2:])
            for key in bitmaps_of(partition, record):
                bits[key].append(number)
            for slug in requested.topics or ():
                bits[bitmap_key(partition, "topic", slug)].append(number)
        for bucket, rows in buckets.items():
            pipe.hset(records_key(SubscriptionId(partition, bucket * BUCKET)), mapping=rows)
        at = first
        for some in some_at_once(zip(index, tails, strict=True)):
            keys, ends = zip(*some, strict=True)
            self._index_all(keys=keys, args=[b"".join(ends), at], client=pipe)
            at += len(some)
        # A whole stretch of bits at once; bit by bit took Redis longer than all the rest.
        scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
        for key, numbers in bits.items():
            pipe.setrange(scratch, first // 8, _stretch(first, last, numbers))
            pipe.bitop("OR", key, key, scratch)
            pipe.unlink(scratch)


def _stretch(first: int, last: int, numbers: Iterable[int]) -> bytes:
    """Return the bytes of a bitmap from `first` to before `last`, with the bits of `numbers`."""
    start = first // 8
    stretch = bytearray(-(-last // 8) - start)
    for number in numbers:
        stretch[number // 8 - start] |= 0x80 >> number % 8
    return bytes(stretch)
