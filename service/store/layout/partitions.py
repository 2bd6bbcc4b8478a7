"""Partitions: the parts into which subscriptions are divided, and where Redis Cluster keeps them.

A partition has a number, which is the hash tag of its keys (`{10}:live`), so they share a slot.

**Which numbers.** A cluster of 2, 3, 4, 6 or 12 masters gives each an equal range of the 16,384
slots. The slot of a tag is a checksum: those of `{0}`…`{11}` leave masters without any reader. So
the slots are cut into as many ranges as there are partitions, and each range gets the lowest
number with a slot in it. A tenth of the range at both ends is avoided, because tools that create a
cluster round differently. Twelve partitions are 10, 3, 43, 11, 2, 42, 12, 1, 41, 13, 0 and 40.

**What is kept.** The store remembers version and numbers, and keeps them. Version 1 numbered its
partitions from 0, and had 65,536 buckets of the endpoint index in each; now a partition has fewer,
the more partitions there are. An index bucket of a few entries costs more than its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

VERSION = 2  # of the layout of keys that a new store gets
MOST = 256  # partitions: a receipt has a byte for the number


@dataclass(frozen=True)
class Partitions:
    """The partitions of a store, by number."""

    version: int
    numbers: tuple[int, ...]

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, digest: bytes) -> int:
        """Return the partition of a new endpoint."""
        # One byte divided by twelve would give four partitions 5 % more readers than the others.
        part = digest[9] if self.version == 1 else int.from_bytes(digest[8:], "big")
        return self.numbers[part % len(self.numbers)]

    def index_key(self, partition: int, digest: bytes) -> str:
        """Return a bucket of the endpoint index, one of 65,536 to 131,072 in all partitions."""
        bits = 16 if self.version == 1 else 17 - len(self.numbers).bit_length()
        bucket = int.from_bytes(digest[:2], "big") >> 16 - bits
        return f"{{{partition}}}:e:{bucket:04x}"


@cache
def spread(count: int) -> Partitions:
    """Return so many new partitions, evenly spread over the slots of a cluster."""
    slots = {number: key_slot(b"%d" % number) for number in range(MOST)}
    size = REDIS_CLUSTER_HASH_SLOTS / count
    numbers = []
    for part in range(count):
        first, last = (part + 0.1) * size, (part + 0.9) * size
        # With very many partitions a range may have none: then it gets the lowest number left.
        number = min(slots, key=lambda n: (not first <= slots[n] <= last, n))
        numbers.append(number)
        del slots[number]
    return Partitions(VERSION, tuple(numbers))
