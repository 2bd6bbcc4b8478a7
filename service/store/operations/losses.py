"""What a node of a cluster has lost that was started without its data, while others have theirs."""

from __future__ import annotations

from typing import cast

from redis import Redis

from service.store.layout.partitions import Partitions
from service.store.readers.subscriptions import made_key

_MANY = 1000  # numbers of a partition; then all have given out about as many


def numbers_made(redis: Redis, partitions: Partitions) -> list[int]:
    """Return how many numbers for readers each partition has given out."""
    with redis.pipeline(transaction=False) as pipe:
        for partition in partitions:
            pipe.get(made_key(partition))
        return [int(made or 0) for made in cast("list[bytes | None]", pipe.execute())]


def lost_partitions(redis: Redis, partitions: Partitions) -> list[int]:
    """Return the partitions that have given out less than half as many numbers as another."""
    made = numbers_made(redis, partitions)
    if max(made) < _MANY:
        return []
    return [one for one, number in zip(partitions, made, strict=True) if 2 * number < max(made)]
