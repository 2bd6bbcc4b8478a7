"""Records of subscriptions: made from a request, read back, and where they are stored.

r:<bucket>   hash of 256 records: number % 256 -> a packed `Record`
e:<bits>     hash, a bucket of the endpoint index (partitions.py): end of a digest -> number
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from redis import Redis

from service.model.network.endpoints import Endpoint
from service.model.preferences import Preferences
from service.model.subscriptions import Record, Subscription, SubscriptionId, SubscriptionRequest
from service.model.time import clock
from service.store.layout.names import Names

BUCKET = 256  # records in one hash
# Preferences of a new reader who chose nothing, by whether the reader must confirm.
_NEW = tuple(Preferences(confirmed=not must).pack() for must in (False, True))


class StoreFull(Exception):
    """A table of the store has no room for another name."""


def records_key(id: SubscriptionId) -> str:
    """Return the hash of 256 records that has this one."""
    return f"{{{id.partition}}}:r:{id.number // BUCKET}"


def digest_of(url: str) -> bytes:
    """Return the ten bytes by which the index finds an endpoint."""
    return hashlib.sha256(url.encode()).digest()[:10]


def keys_of(record: Record) -> tuple[bytes, bytes]:
    """Return the two keys of the browser."""
    return record.p256dh, record.auth


def record_of(names: Names, requested: SubscriptionRequest, before: Record | None = None) -> Record:
    """Return the record for a request, with what it leaves open taken from `before`."""
    today = int(clock.time() // 86_400)
    kept_zone, kept_locale = (before.zone, before.locale) if before else (0, 0)
    # The same browser keys mean the same subscription, even if our VAPID key is another by now: the
    # push service goes on to take the one with which the subscription was made.
    if before is not None and keys_of(before) == (requested.p256dh, requested.auth):
        vapid_key = before.vapid_key
    else:
        vapid_key = names.vapid_keys.number(requested.vapid_key)
    preferences = before.preferences if before else _NEW[requested.must_confirm]
    if requested.chosen:
        chosen = replace(Preferences.unpack(preferences), **requested.chosen)
        preferences = chosen.pack()
    wording = before.wording if before else 0
    base = names.bases.of(requested.endpoint)
    if not base:
        raise StoreFull("too many new push services were named lately; try again later")
    return Record(
        base=base,
        rest=requested.endpoint.rest,
        p256dh=requested.p256dh,
        auth=requested.auth,
        vapid_key=vapid_key,
        zone=kept_zone if requested.zone is None else names.zones.number(requested.zone),
        locale=kept_locale if requested.locale is None else names.locale(requested.locale),
        created=before.created if before else today,
        seen=today,
        preferences=preferences,
        wording=wording if requested.wording is None else requested.wording,
    )


def endpoint_of(names: Names, record: Record) -> Endpoint:
    """Return the endpoint of a record."""
    return Endpoint(names.bases.name(record.base), record.rest)


def subscription_of(
    names: Names,
    id: SubscriptionId,
    record: Record,
    endpoint: Endpoint,
    topics: frozenset[str],
    muted: frozenset[str],
    followed: frozenset[str],
) -> Subscription:
    """Return a record with its names and its endpoint.

    Only bitmaps know its topics and stories.
    """
    return Subscription(
        id=id,
        endpoint=endpoint,
        p256dh=record.p256dh,
        auth=record.auth,
        vapid_key=names.vapid_keys.name(record.vapid_key),
        topics=topics,
        locale=names.locales.name(record.locale),
        zone=names.zones.name(record.zone),
        created=record.created,
        seen=record.seen,
        preferences=Preferences.unpack(record.preferences),
        wording=record.wording,
        muted=muted,
        followed=followed,
    )


class Records:
    """The records of many readers, read at once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def read(self, partition: int, numbers: Sequence[int]) -> Iterator[tuple[int, Record | None]]:
        """Return the records of these numbers, in order; those of readers who left are missing.

        None stands for a record that this code cannot read.
        """
        for _, number, record in self._found({partition: numbers}):
            yield number, record

    def of(self, ids: Iterable[SubscriptionId]) -> Iterator[tuple[SubscriptionId, Record | None]]:
        """Return the records of readers in any partitions, as `read` does; the order is free."""
        numbers: dict[int, list[int]] = {}
        for id in ids:
            numbers.setdefault(id.partition, []).append(id.number)
        for partition, number, record in self._found(numbers):
            yield SubscriptionId(partition, number), record

    def _found(
        self, numbers: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[int, int, Record | None]]:
        buckets: dict[tuple[int, int], list[int]] = {}
        for partition, some in numbers.items():
            for number in some:
                buckets.setdefault((partition, number // BUCKET), []).append(number)
        with self._redis.pipeline(transaction=False) as pipe:
            for (partition, bucket), members in buckets.items():
                key = records_key(SubscriptionId(partition, bucket * BUCKET))
                pipe.hmget(key, [str(number % BUCKET) for number in members])
            rows = pipe.execute() if buckets else []
        for ((partition, _), members), packed_rows in zip(buckets.items(), rows, strict=True):
            for number, packed in zip(members, packed_rows, strict=True):
                if packed is None:
                    continue
                try:
                    yield partition, number, Record.unpack(packed)
                except ValueError:
                    yield partition, number, None
