"""Bitmaps of readers: bit n, counted from the highest, is the subscription n of a partition.

live, gone, unconfirmed        subscribed; called gone by a push service; not confirmed yet
topic:<slug>                   followers of a topic
locale:<n>, key:<n>, base:<n>  by locale, VAPID key, push service; n is a number of names.py
seen:<month>                   by the month of the last visit, `202611`
followed:<slug>, muted:<slug>  followers of a running story, and readers who muted it
asked                          did not visit for long, and was asked (retiring.py)
untried                        taken over from another service, and nothing accepted since (gone.py)
in_vain                        an unproven host was asked and did not accept (names.py)
wake:<q>                       held_alerts.py; bitmaps of one notification: batches.py
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import TypeVar, cast

from redis import Redis

from service.model.preferences import Preferences
from service.model.subscriptions import Record
from service.store.layout.partitions import Partitions

T = TypeVar("T")

_EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=4096)  # a new reader needs eight, and nearly all are those of the reader before
def bitmap_key(partition: int, kind: str, name: object = "") -> str:
    """Return the key of a bitmap; `name` is the topic, locale, month and so on."""
    return f"{{{partition}}}:{kind}:{name}" if name else f"{{{partition}}}:{kind}"


def bitmaps_of(partition: int, record: Record) -> list[str]:
    """Return the bitmaps in which a record has its bit: all but those of topics and stories."""
    keys = [
        bitmap_key(partition, "live"),
        bitmap_key(partition, "key", record.vapid_key),
        bitmap_key(partition, "base", record.base),
        bitmap_key(partition, "seen", month_of(record.seen)),
    ]
    if record.locale:
        keys.append(bitmap_key(partition, "locale", record.locale))
    if not Preferences.unpack(record.preferences).confirmed:
        keys.append(bitmap_key(partition, "unconfirmed"))
    return keys


def bitmaps_chosen(
    partition: int, topics: Iterable[str], muted: Iterable[str], followed: Iterable[str]
) -> list[str]:
    """Return the bitmaps of topics, of muted stories and of followed stories, in that order."""
    kinds = (("topic", topics), ("muted", muted), ("followed", followed))
    return [bitmap_key(partition, kind, slug) for kind, slugs in kinds for slug in slugs]


@lru_cache(maxsize=512)
def month_of(day: int) -> str:
    """Return the month of a day counted from 1970-01-01, `202611`."""
    return f"{date.fromordinal(day + _EPOCH):%Y%m}"


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Return numbers as scripts read them, four bytes each, big-endian."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def without(bits: bytes, others: bytes) -> int:
    """Return the bits of one stretch that are not in the other, as one integer."""
    size = len(bits)
    return int.from_bytes(bits, "big") & ~int.from_bytes(others[:size].ljust(size, b"\0"), "big")


def aligned(redis: Redis, keys: Sequence[str]) -> tuple[int, list[int]]:
    """Return bitmaps as integers, cut or filled up to the bytes of the first, and those bytes."""
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.get(key)
        rows = [row or b"" for row in cast("list[bytes | None]", pipe.execute())]
    size = len(rows[0])
    return size, [int.from_bytes(row[:size].ljust(size, b"\0"), "big") for row in rows]


def numbers_in(bits: int, size: int, first: int) -> list[int]:
    """Return the set bits of a stretch of `size` bits; its first bit has the number `first`."""
    return [first + at for at, bit in enumerate(f"{bits:0{size}b}") if bit == "1"]


def counts(
    redis: Redis, partitions: Partitions, bitmaps: Sequence[tuple[str, object]]
) -> list[int]:
    """Return how many readers are in each of these bitmaps, by kind and name."""
    with redis.pipeline(transaction=False) as pipe:
        for kind, name in bitmaps:
            for partition in partitions:
                pipe.bitcount(bitmap_key(partition, kind, name))
        found = iter(cast("list[int]", pipe.execute()))
    return [sum(islice(found, len(partitions))) for _ in bitmaps]


def marked(redis: Redis, bitmaps: Mapping[str, T], numbers: Sequence[int]) -> dict[int, list[T]]:
    """Return by reader in which of these bitmaps they are; readers in none are left out."""
    found: dict[int, list[T]] = {}
    if not (bitmaps and numbers):
        return found
    first, last = min(numbers) // 8, max(numbers) // 8
    with redis.pipeline(transaction=False) as pipe:
        for key in bitmaps:
            pipe.getrange(key, first, last)
        stretches = cast("list[bytes]", pipe.execute())
    for name, bits in zip(bitmaps.values(), stretches, strict=True):
        for number in numbers:
            at = number // 8 - first
            if at < len(bits) and bits[at] & 0x80 >> number % 8:
                found.setdefault(number, []).append(name)
    return found
