"""Audiences: the readers that an expression selects, as bitmaps; counted, drawn or frozen."""

from __future__ import annotations

import json
import random
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, islice
from operator import or_
from typing import cast

from redis import Redis

from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from service.store.bitmaps import aligned, bitmap_key
from service.store.connection import WRITE_REFUSED
from service.store.names import Names
from service.store.partitions import Partitions
from service.store.scripts import answers, lua

_BLOCK = 32  # bytes of a bitmap in which one reader is found by rank

# Defines select_audience(first, audience).
SELECT = lua("select_audience")

# KEYS: those of select_audience. ARGV: audience. Returns how many readers belong to it.
_COUNT = (
    SELECT
    + """
local count = select_audience(1, cjson.decode(ARGV[1]))
redis.call('DEL', KEYS[2])
return count
"""
)

# KEYS: those of select_audience. ARGV: audience. Returns the bitmap of its readers.
_SELECTED = (
    SELECT
    + """
select_audience(1, cjson.decode(ARGV[1]))
local bits = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[2])
return bits or ''
"""
)


class Audiences:
    """Counts audiences, and draws readers from them."""

    def __init__(self, redis: Redis, partitions: Partitions, names: Names) -> None:
        self._redis = redis
        self._names = names
        self._partitions = partitions
        self._count = redis.register_script(_COUNT)
        self._selected = redis.register_script(_SELECTED)

    def count(self, audience: Audience) -> int:
        """Return how many readers belong to an audience now."""
        calls = self._scratch_selections(audience)
        total = 0
        for call, answer in zip(calls, answers(self._redis, self._count, calls), strict=True):
            if isinstance(answer, WRITE_REFUSED):
                total += int.from_bytes(self._read(*call), "big").bit_count()
            else:
                total += cast(int, answer)
        return total

    def draw(self, audience: Audience, most: int) -> tuple[int, list[SubscriptionId]]:
        """Return how many readers belong to an audience now, and up to `most` of them at random."""
        blocks: list[tuple[int, int, bytes]] = []
        calls = self._scratch_selections(audience)
        found = answers(self._redis, self._selected, calls)
        for partition, call, answer in zip(self._partitions, calls, found, strict=True):
            refused = isinstance(answer, WRITE_REFUSED)
            bits = self._read(*call) if refused else cast(bytes, answer)
            starts = range(0, len(bits), _BLOCK)
            blocks += [(partition, start, bits[start : start + _BLOCK]) for start in starts]
        sizes = (int.from_bytes(bits, "big").bit_count() for _, _, bits in blocks)
        upto = [0, *accumulate(sizes)]
        drawn = []
        for rank in random.sample(range(upto[-1]), min(most, upto[-1])):
            at = bisect_right(upto, rank) - 1
            partition, start, bits = blocks[at]
            ones = [bit for bit in range(8 * len(bits)) if bits[bit // 8] & 0x80 >> bit % 8]
            drawn.append(SubscriptionId(partition, 8 * start + ones[rank - upto[at]]))
        return upto[-1], drawn

    def follows(self, asked: Sequence[tuple[SubscriptionId, str]]) -> list[bool]:
        """Return for each reader and topic whether that reader follows it."""
        with self._redis.pipeline(transaction=False) as pipe:
            for reader, slug in asked:
                pipe.getbit(bitmap_key(reader.partition, "topic", slug), reader.number)
            return [bool(bit) for bit in pipe.execute()]

    def _read(self, keys: list[str], args: list[str]) -> bytes:
        """Select as `SELECT` does, but only by reading, because Redis refuses to write."""
        given = json.loads(args[0])
        size, (live, *others) = aligned(self._redis, keys[2:])
        rest = iter(others)

        def any_of(count: int) -> int:
            return reduce(or_, islice(rest, count), 0)

        never, topics, locales, exclusions, followed, muted = map(
            any_of,
            (2, *(given[name] for name in ("topics", "locales", "exclusions", "story", "story"))),
        )
        readers = live
        if "only" in given:
            readers &= 1 << 8 * size - 1 - given["only"] if given["only"] < 8 * size else 0
        elif not given["everyone"]:
            readers &= topics
        if given["locales"]:
            readers &= locales
        readers = (readers & ~exclusions | live & followed) & ~muted & ~never
        return readers.to_bytes(size, "big")

    def _scratch_selections(self, audience: Audience) -> list[tuple[list[str], list[str]]]:
        """Return keys and arguments of `SELECT` for each partition, all of this call alone."""
        name = f"scratch:{uuid.uuid4().hex}"
        scratch = {partition: f"{{{partition}}}:{name}" for partition in self._partitions}
        return [self.selection(one, audience, f"{key}:to", key) for one, key in scratch.items()]

    def selection(
        self, partition: int, audience: Audience, destination: str, scratch: str
    ) -> tuple[list[str], list[str]]:
        """Return keys and arguments with which `SELECT` puts an audience into `destination`."""
        one = audience.subscription
        if one is not None and one.partition != partition:
            audience = Audience()
        nobody = bitmap_key(partition, "locale", "nobody")  # does not exist
        topics = [bitmap_key(partition, "topic", slug) for slug in audience.topics]
        if audience.waking is not None:
            topics = [bitmap_key(partition, "wake", audience.waking)]
        locales = [
            bitmap_key(partition, "locale", number)
            for name, number in (self._names.locales.all().items() if audience.locales else ())
            if any(name == asked or name.startswith(asked + "-") for asked in audience.locales)
        ]
        if audience.locales and not locales:
            locales = [nobody]  # no reader has that language yet
        exclude = [bitmap_key(partition, "topic", slug) for slug in audience.exclude]
        keys = [scratch, destination, bitmap_key(partition, "live"), bitmap_key(partition, "gone")]
        # A test or a welcome reaches its reader before the subscription is confirmed.
        keys.append(nobody if one is not None else bitmap_key(partition, "unconfirmed"))
        args = {
            "everyone": audience.everyone,
            "topics": len(topics),
            "locales": len(locales),
            "exclusions": len(exclude),
            "story": bool(audience.story),
        }
        if audience.subscription is not None:
            args["only"] = audience.subscription.number
        story = [
            bitmap_key(partition, kind, audience.story)
            for kind in (("followed", "muted") if audience.story else ())
        ]
        return [*keys, *topics, *locales, *exclude, *story], [json.dumps(args)]
