"""Readers of another service, or of another installation: taken over some thousands at once.

One script takes those of a partition that nobody knows. Two thousand are one round trip; one by one
they took five times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis import Redis

from service.model.retention import UNTRIED_KEPT
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.model.time import clock
from service.store.layout.bitmaps import bitmap_key, bitmaps_chosen, bitmaps_of, pack_numbers
from service.store.layout.departures import left_key
from service.store.layout.joined import MARK_DAY, MARK_MOVED, days_key, moved_key, today
from service.store.layout.names import Names
from service.store.layout.partitions import Partitions
from service.store.layout.records import (
    BUCKET,
    Records,
    digest_of,
    endpoint_of,
    record_of,
    records_key,
)
from service.store.readers.subscriptions import Added, Subscriptions, made_key
from service.store.readers.topics import Topics
from service.store.redis_servers.replicas import Replicas
from service.store.redis_servers.scripts import NOW, lua, run_each

# Of one partition. Redis does nothing else for some ms, and even readers of whom no two are alike
# fit into one command (commands.py).
_AT_ONCE = 256


class Arrival(NamedTuple):
    """A reader who is to be taken over."""

    requested: SubscriptionRequest
    id: SubscriptionId | None = None  # that of the installation from which they come
    created: int = 0  # day since 1970-01-01 UTC; 0: today
    seen: int = 0  # 0: today


@dataclass
class _Row:
    """A reader on the way into the store."""

    at: int  # the place among all of them
    arrival: Arrival
    digest: bytes
    packed: bytes
    bitmaps: Sequence[str]
    number: int | None  # that they bring

    @property
    def kind(self) -> tuple[bool, bool]:
        """Whether they bring a number, and whether they subscribed elsewhere before today."""
        return self.number is not None, 0 < self.arrival.created < today()


@dataclass
class _Batch:
    """Readers still to be stored, and the results of the others."""

    untried: bool
    waiting: dict[int, list[_Row]] = field(default_factory=lambda: defaultdict(list))
    arrived: dict[int, Added] = field(default_factory=dict)
    indexed: list[tuple[_Row, SubscriptionId]] = field(default_factory=list)


class Arrivals:
    """Takes readers over."""

    def __init__(
        self,
        redis: Redis,
        partitions: Partitions,
        names: Names,
        topics: Topics,
        records: Records,
        subscriptions: Subscriptions,
        replicas: Replicas,
    ) -> None:
        self._redis = redis
        self._partitions = partitions
        self._names = names
        self._topics = topics
        self._records = records
        self._subscriptions = subscriptions
        self._replicas = replicas
        self._made = dict.fromkeys(partitions, 0)  # numbers given out, as last seen
        self._script = redis.register_script(
            NOW + MARK_DAY + MARK_MOVED + lua(__file__, "take_over")
        )

    def take(self, arrivals: Sequence[Arrival], *, untried: bool) -> list[Added]:
        """Store the readers who are not known here; return the result of each.

        Known readers stay as they are, because they may have changed their choices here. Readers
        who have left are not stored. `untried`: no push service has accepted a message of ours for
        any of them.
        """
        batch = _Batch(untried)
        for at, arrival in enumerate(arrivals):
            row = self._row(at, arrival)
            batch.waiting[self._partitions.of(row.digest)].append(row)
        for rows in batch.waiting.values():
            rows.sort(key=lambda row: row.kind)
        while batch.waiting:
            self._one_round(batch)
        self._look_at_indexed(batch)
        return [batch.arrived[at] for at in range(len(arrivals))]

    def is_untried(self, id: SubscriptionId) -> bool:
        """Whether nothing was accepted yet for a reader who was taken over."""
        return bool(self._redis.getbit(bitmap_key(id.partition, "untried"), id.number))

    def _row(self, at: int, arrival: Arrival) -> _Row:
        requested = arrival.requested
        record = record_of(self._names, requested)
        if arrival.created:
            record = record._replace(created=arrival.created, seen=arrival.seen or record.seen)
        digest = digest_of(requested.endpoint.url)
        partition = self._partitions.of(digest)
        topics = self._topics.current(requested.topics or ())
        chosen = topics, requested.muted or (), requested.followed or ()
        bitmaps = bitmaps_of(partition, record) + bitmaps_chosen(partition, *chosen)
        id = arrival.id
        number = id.number if id is not None and id.partition == partition else None
        return _Row(at, arrival, digest, record.pack(), bitmaps, number)

    def _one_round(self, batch: _Batch) -> None:
        """Try some readers of each partition."""
        some = {partition: _alike(rows) for partition, rows in batch.waiting.items()}
        for partition in some:
            self._replicas.check(f"{{{partition}}}")
        calls = [self._call(one, rows, untried=batch.untried) for one, rows in some.items()]
        for (partition, rows), answer in zip(
            some.items(), run_each(self._redis, self._script, calls), strict=True
        ):
            if isinstance(answer, int):
                self._made[partition] = answer
                continue
            waiting = batch.waiting[partition][len(rows) :]
            taken = None
            for row, code in zip(rows, answer, strict=True):
                if code == -1:
                    batch.arrived[row.at], taken = Added.NEW, row
                    self._made[partition] += row.number is None
                elif code == -2:
                    batch.arrived[row.at] = Added.LEFT
                elif code == -3:
                    row.number = None
                    waiting.append(row)
                else:
                    batch.indexed.append((row, SubscriptionId(partition, code)))
            if taken is not None:
                number = self._made[partition] - 1 if taken.number is None else taken.number
                id = SubscriptionId(partition, number)
                self._replicas.keep(records_key(id), str(number % BUCKET))
            if waiting:
                batch.waiting[partition] = waiting
            else:
                del batch.waiting[partition]

    def _call(
        self, partition: int, rows: Sequence[_Row], *, untried: bool
    ) -> tuple[list[str], list[Any]]:
        """Return keys and arguments of the script for readers of one partition."""
        made = self._made[partition]
        brought = [row.number for row in rows if row.number is not None]
        numbers = brought or [made, made + len(rows) - 1]
        buckets = sorted({number // BUCKET for number in numbers})
        if not brought:
            buckets = list(range(buckets[0], buckets[-1] + 1))
        bits: defaultdict[str, bytearray] = defaultdict(bytearray)
        for place, row in enumerate(rows, 1):
            for key in row.bitmaps:
                bits[key] += place.to_bytes(2, "big")
        kinds = [bitmap_key(partition, kind) for kind in ("gone", "untried")]
        keys = [made_key(partition), left_key(partition), days_key(partition)]
        keys += [moved_key(partition), *kinds]
        keys += [records_key(SubscriptionId(partition, bucket * BUCKET)) for bucket in buckets]
        keys += [self._partitions.index_key(partition, row.digest) for row in rows]
        args: list[Any] = ["" if brought else made, int(clock.time())]
        args += [UNTRIED_KEPT if untried else 0, int(rows[0].kind[1]), pack_numbers(buckets)]
        args += [b"".join(row.digest for row in rows), pack_numbers(brought)]
        args += [row.packed for row in rows]
        return [*keys, *bits], [*args, *map(bytes, bits.values())]

    def _look_at_indexed(self, batch: _Batch) -> None:
        """Decide about those whose digest the index has: it may be another endpoint's."""
        records = dict(self._records.of(id for _, id in batch.indexed))
        for row, id in batch.indexed:
            record, requested = records.get(id), row.arrival.requested
            if record is not None and endpoint_of(self._names, record) == requested.endpoint:
                batch.arrived[row.at] = Added.KNOWN
            else:
                batch.arrived[row.at] = self._subscriptions.add(requested)


def _alike(rows: Sequence[_Row]) -> list[_Row]:
    """Return the first of these readers, all of one kind."""
    kind = rows[0].kind
    found: list[_Row] = []
    for row in rows[:_AT_ONCE]:
        if row.kind != kind:
            break
        found.append(row)
    return found
