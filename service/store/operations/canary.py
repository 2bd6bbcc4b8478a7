"""The canary: the number that it has instead of a reader's, and how it does (decision 119).

{g}:canary  hash: `reader`, the subscription id that no reader has; `sent`, when the last one was
            published; `published`, `arrived` and `seconds` of the latest that arrived
"""

from __future__ import annotations

from typing import cast

from redis import Redis
from redis.typing import EncodableT

from service.model.operations.canary import Arrival
from service.model.subscriptions import SubscriptionId
from service.store.layout.partitions import Partitions
from service.store.readers.subscriptions import made_key

_CANARY = "{g}:canary"


class CanaryRows:
    """What is stored of the canary. It has neither a record nor a bit in any list of readers."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions

    def reader(self) -> SubscriptionId:
        """Return the canary's id; the first call takes a number, which no reader gets then."""
        known = self._redis.hget(_CANARY, "reader")
        if known is None:
            partition = min(self._partitions)
            number = self._redis.incr(made_key(partition)) - 1
            self._redis.hsetnx(_CANARY, "reader", str(SubscriptionId(partition, number)))
            known = self._redis.hget(_CANARY, "reader")
        return SubscriptionId.parse(cast(bytes, known).decode())

    def sent_at(self) -> float:
        """Return when the last one was published, in seconds since 1970; 0 if none was."""
        return float(cast("bytes | None", self._redis.hget(_CANARY, "sent")) or 0)

    def note_sent(self, at: float) -> None:
        """Note that one is published."""
        self._redis.hset(_CANARY, "sent", repr(at))

    def arrived(self) -> Arrival | None:
        """Return the latest one that arrived."""
        names = ("published", "arrived", "seconds")
        row = cast("list[bytes | None]", self._redis.hmget(_CANARY, *names))
        return None if None in row else Arrival(*(float(value or 0) for value in row))

    def note_arrived(self, arrival: Arrival) -> None:
        """Note one that arrived."""
        row: dict[EncodableT, EncodableT] = {
            name: repr(value) for name, value in arrival._asdict().items()
        }
        self._redis.hset(_CANARY, mapping=row)
