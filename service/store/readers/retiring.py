"""Readers who were asked whether they still want alerts, because they have not visited for long.

{g}:retiring  the latest `Round` as JSON, with its version
  asked       bitmap of the readers who got its question; ends by itself

Who has not answered is known by `seen:<month>` (bitmaps.py): a reader who visits leaves it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import cast

from redis import Redis

from service.model.inactive import Round, months_until
from service.model.retention import ASKED_KEPT
from service.model.stored import known_fields
from service.model.subscriptions import SubscriptionId
from service.store.layout.bitmaps import aligned, bitmap_key, month_of, numbers_in
from service.store.layout.partitions import Partitions
from service.store.layout.records import Records
from service.store.sending.batches import part_key

_ROUND = "{g}:retiring"
_LOOKED_AT = 1000  # readers of a partition


class RetiringRows:
    """The latest round, and who was asked in it."""

    def __init__(self, redis: Redis, partitions: Partitions, records: Records) -> None:
        self._redis = redis
        self._partitions = partitions
        self._records = records

    def round(self) -> Round:
        """Return the latest round."""
        text = cast("bytes | None", self._redis.get(_ROUND))
        return Round(**known_fields(Round, json.loads(text))) if text else Round()

    def put(self, round: Round) -> None:
        """Store how far the latest round is."""
        self._redis.set(_ROUND, round.as_json())

    def note_asked(self, alert: int, revisions: Iterable[int]) -> None:
        """Keep who got a question, because the alert itself is not remembered for so long."""
        texts = [f"accepted:{revision}" for revision in revisions]
        for partition in self._partitions:
            asked = bitmap_key(partition, "asked")
            with self._redis.pipeline() as pipe:
                pipe.bitop("OR", asked, *(part_key(partition, alert, text) for text in texts))
                pipe.expire(asked, ASKED_KEPT)
                pipe.execute()

    def unanswered(self, partition: int, until: str) -> list[SubscriptionId]:
        """Return the readers of a partition who were asked and have not visited since."""
        size, left = self._unanswered(partition, until)
        return [SubscriptionId(partition, n) for n in numbers_in(left, 8 * size, 0)] if left else []

    def count_unanswered(self, until: str) -> int:
        """Return how many readers were asked and have not visited since."""
        return sum(self._unanswered(one, until)[1].bit_count() for one in self._partitions)

    def _unanswered(self, partition: int, until: str) -> tuple[int, int]:
        kinds = [("asked", ""), ("live", ""), ("gone", "")]
        kinds += [("seen", month) for month in months_until(until)]
        keys = [bitmap_key(partition, *kind) for kind in kinds]
        size, (asked, live, gone, *seen) = aligned(self._redis, keys)
        return size, asked & live & ~gone & reduce(or_, seen)

    def any_seen_since(self, day: int, today: int) -> bool:
        """Whether a reader was seen since a day; both are counted from 1970-01-01.

        Looks at a sample of the readers seen in these months; mostly one was seen since that day.
        """
        months = sorted({month_of(day), month_of(today)})
        for partition in self._partitions:
            keys = [bitmap_key(partition, kind) for kind in ("live", "gone")]
            keys += [bitmap_key(partition, "seen", month) for month in months]
            size, (live, gone, *seen) = aligned(self._redis, keys)
            numbers = numbers_in(live & ~gone & reduce(or_, seen), 8 * size, 0) if size else []
            some = random.sample(numbers, min(len(numbers), _LOOKED_AT))
            records = self._records.of(SubscriptionId(partition, number) for number in some)
            if any(record is not None and record.seen >= day for _, record in records):
                return True
        return False

    def forget_asked(self) -> None:
        """Forget who was asked."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.unlink(bitmap_key(partition, "asked"))
            pipe.execute()
