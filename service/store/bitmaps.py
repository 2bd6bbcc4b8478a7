"""Who is what: bitmaps over the numbers of a partition's subscriptions, the first bit the highest.

live, gone, unconfirmed        who is subscribed, called gone by a push service, yet to confirm
topic:<slug>, locale:<n>       who follows a topic, reads in a language
key:<n>, base:<n>              by VAPID key, by push service; like locales by numbers of tables
seen:<month>                   by the month of the last visit, `202611`
followed:<slug>, muted:<slug>  who follows a running story, who does not want to hear of it
wake:<q>                       see held.py; those of one notification: sending.py
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import TypeVar, cast

from redis import Redis

from service.model.preferences import Preferences
from service.model.subscriptions import Record

T = TypeVar("T")

_EPOCH = date(1970, 1, 1).toordinal()


def bitmap_key(partition: int, kind: str, name: object = "") -> str:
    """Return the key of a bitmap; `name` is which topic, locale or whatever it is of."""
    return f"{{{partition}}}:{kind}:{name}" if name else f"{{{partition}}}:{kind}"


def bitmaps_of(partition: int, record: Record) -> list[str]:
    """Return the bitmaps that follow from a record: all but those of topics and stories."""
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
    """Return the bitmaps of some topics, and of stories muted and followed, in that order."""
    kinds = (("topic", topics), ("muted", muted), ("followed", followed))
    return [bitmap_key(partition, kind, slug) for kind, slugs in kinds for slug in slugs]


@lru_cache(maxsize=512)
def month_of(day: int) -> str:
    """Return the month of a day counted from 1970-01-01, `202611`."""
    return f"{date.fromordinal(day + _EPOCH):%Y%m}"


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Return the numbers as a script reads them, four bytes each, big-endian."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def without(bits: bytes, others: bytes) -> int:
    """Return who is in one stretch of bitmap and not in the other, as one number."""
    size = len(bits)
    return int.from_bytes(bits, "big") & ~int.from_bytes(others[:size].ljust(size, b"\0"), "big")


def numbers_in(bits: int, size: int, first: int) -> list[int]:
    """Return whose bits are set in a stretch of `size` bits that begins with the number `first`."""
    return [first + at for at, bit in enumerate(f"{bits:0{size}b}") if bit == "1"]


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
