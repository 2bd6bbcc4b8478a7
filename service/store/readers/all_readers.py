"""All readers one after the other, some thousands at once, as an export needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from redis import Redis

from service.model.subscriptions import Subscription, SubscriptionId
from service.store.layout.bitmaps import bitmap_key, bitmaps_chosen
from service.store.layout.names import Names
from service.store.layout.partitions import Partitions
from service.store.layout.records import BUCKET, Records, endpoint_of, subscription_of
from service.store.readers.stories import Stories
from service.store.readers.topics import Topics

_AT_ONCE = 16 * BUCKET  # readers; a multiple of eight, so that bitmaps are read by the byte


class OneOfAll(NamedTuple):
    """A reader, and whether a push service has called them gone."""

    subscription: Subscription
    gone: bool


class AllReaders:
    """Reads all readers. Those who join or leave meanwhile may or may not be among them."""

    def __init__(
        self,
        redis: Redis,
        partitions: Partitions,
        names: Names,
        records: Records,
        topics: Topics,
        stories: Stories,
    ) -> None:
        self._redis = redis
        self._partitions = partitions
        self._names = names
        self._records = records
        self._topics = topics
        self._stories = stories

    def each(self) -> Iterator[OneOfAll]:
        """Yield all readers, by partition and number."""
        for partition in self._partitions:
            end = 8 * self._redis.strlen(bitmap_key(partition, "live"))
            for first in range(0, end, _AT_ONCE):
                yield from self._some(partition, first)

    def _some(self, partition: int, first: int) -> Iterator[OneOfAll]:
        topics, stories = self._topics.followed(), list(self._stories.slugs())
        # `live` first: of a reader who joins from here on, the others may not be there yet.
        keys = [bitmap_key(partition, kind) for kind in ("live", "gone")]
        keys += bitmaps_chosen(partition, topics, stories, stories)
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.getrange(key, first // 8, (first + _AT_ONCE) // 8 - 1)
            live, gone, *chosen = (
                int.from_bytes(bits.ljust(_AT_ONCE // 8, b"\0"), "big") for bits in pipe.execute()
            )
        names = [*topics.values(), *stories, *stories]
        muted, followed = len(topics), len(topics) + len(stories)
        for number, record in self._records.read(partition, range(first, first + _AT_ONCE)):
            bit = _AT_ONCE - 1 - (number - first)
            if record is None or not live >> bit & 1:
                continue
            has = [bits >> bit & 1 for bits in chosen]
            picked = [name for name, yes in zip(names, has, strict=True) if yes]
            counts = sum(has[:muted]), sum(has[:followed])
            yield OneOfAll(
                subscription_of(
                    self._names,
                    SubscriptionId(partition, number),
                    record,
                    endpoint_of(self._names, record),
                    frozenset(picked[: counts[0]]),
                    frozenset(picked[counts[0] : counts[1]]),
                    frozenset(picked[counts[1] :]),
                ),
                bool(gone >> bit & 1),
            )
