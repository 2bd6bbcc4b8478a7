"""Subscriptions: stored, changed, found and removed.

Each is a record and an entry of the endpoint index (records.py), and bits (bitmaps.py).

  made  how many ids were given out; ids are dense and never given twice
  young sorted set: of each ten seconds in which a reader subscribed, the last number given out
        before, scored with when they began (s); of the last minutes
  days  joined.py
  left  departures.py
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.network.endpoints import Endpoint
from service.model.preferences import Preferences
from service.model.retention import DAY, LEFT_KEPT, YOUNG_KEPT
from service.model.subscriptions import Record, Subscription, SubscriptionId, SubscriptionRequest
from service.model.time import clock
from service.store.layout.bitmaps import bitmap_key, bitmaps_chosen, bitmaps_of, counts
from service.store.layout.departures import Departures, left_key
from service.store.layout.joined import MARK_DAY, days_key
from service.store.layout.names import Names
from service.store.layout.partitions import Partitions
from service.store.layout.records import (
    BUCKET,
    digest_of,
    endpoint_of,
    keys_of,
    record_of,
    records_key,
    subscription_of,
)
from service.store.readers.stories import Stories
from service.store.readers.topics import Topics
from service.store.redis_servers.replicas import Replicas
from service.store.redis_servers.scripts import NOW, lua
from service.store.redis_servers.shared_exchanges import SharedExchanges
from service.store.sending.batches import part_key
from service.store.sending.clicks import clicked_in, clicked_key
from service.store.sending.prepared_keys import DROP, counter_key, keys_key

_STEP = 10  # seconds

# Stores a new subscription: its record, its index entry, its bits.
#
# KEYS: records, index, left, made, young, days; then the bitmaps to set, and `gone`. ARGV: the
# bucket of those records, expected index entry (empty: none), digest, new record. Returns its
# number. Nothing is written if that number belongs to another bucket, nor if the index entry is not
# as expected, which returns -1. The first write allocates.
_CREATE = f"""{NOW}{MARK_DAY}
local tail = string.sub(ARGV[3], 3)
if (redis.call('HGET', KEYS[2], tail) or '') ~= ARGV[2] then return -1 end
local number = tonumber(redis.call('GET', KEYS[4]) or 0)
if math.floor(number / {BUCKET}) ~= tonumber(ARGV[1]) then return number end
redis.call('HSET', KEYS[1], number % {BUCKET}, ARGV[4])
redis.call('HSET', KEYS[2], tail, number)
redis.call('INCR', KEYS[4])
redis.call('ZREM', KEYS[3], ARGV[3])
local step = math.floor(now / {_STEP * 1000}) * {_STEP}
if tonumber(redis.call('ZREVRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]) ~= step then
  redis.call('ZADD', KEYS[5], step, number - 1)
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now / 1000 - {YOUNG_KEPT})
  redis.call('EXPIRE', KEYS[5], {YOUNG_KEPT})
  mark_day(KEYS[6], number)  -- a day begins with such a step
end
for i = 7, #KEYS do redis.call('SETBIT', KEYS[i], number, i < #KEYS and 1 or 0) end
return number
"""


def _any(_: Record) -> bool:
    return True


class Added(Enum):
    """What became of a reader of another service."""

    NEW = "new"
    KNOWN = "known"
    LEFT = "left"


class _Known(NamedTuple):
    """What a reader may have chosen or clicked."""

    clicked: Mapping[int, Sequence[int]]  # by partition, alerts of which it is known
    topics: Collection[str]  # also those that are being merged
    stories: Collection[str]  # open ones


class KnownWithOtherKeys(Exception):
    """The endpoint is known with other keys, and the caller did not prove to own it."""


class HasLeft(Exception):
    """A page checks in for a reader who left; nothing is created."""


class NotSubscribed(Exception):
    """There is no such subscription."""


class Subscriptions:
    """All subscriptions. Each is written by one script, as a whole or not at all."""

    def __init__(
        self,
        redis: Redis,
        partitions: Partitions,
        names: Names,
        topics: Topics,
        stories: Stories,
        departures: Departures,
        replicas: Replicas,
    ) -> None:
        self._redis = redis
        self._replicas = replicas
        self.partitions = partitions
        self._names = names
        self._topics = topics
        self._stories = stories
        self._departures = departures
        self._next_bucket = dict.fromkeys(partitions, 0)  # bucket of the next number, as last seen
        self._create_one = SharedExchanges(redis.register_script(_CREATE))
        self._write = redis.register_script(DROP + lua(__file__, "write_subscription"))
        self._remove = redis.register_script(DROP + lua(__file__, "remove_subscription"))

    # -- writing ---------------------------------------------------------------------------------

    def subscribe(
        self,
        requested: SubscriptionRequest,
        *,
        refresh: bool = False,
        is_owner: Callable[[SubscriptionId, bytes], bool] = lambda _id, _auth: False,
    ) -> tuple[Subscription, bool]:
        """Store a subscription; the second value says whether it is new.

        `is_owner` is asked, with the id and the stored auth secret, before other keys replace those
        of a known endpoint. Raises KnownWithOtherKeys; with `refresh`, which never creates, HasLeft
        or NotSubscribed.
        """
        digest = digest_of(requested.endpoint.url)
        partition = self.partitions.of(digest)
        self._replicas.check(f"{{{partition}}}")
        entry, known = b"", None  # not looked up at first, because most are new
        while True:
            if known is None and not refresh:
                created = self._create(requested, partition, digest, entry)
                if created is not None:
                    return created, True
            entry, known = self._find(digest, requested.endpoint)
            if known is not None:
                id, packed = known
                record = Record.unpack(packed)
                same_keys = keys_of(record) == (requested.p256dh, requested.auth)
                if not same_keys and not is_owner(id, record.auth):
                    raise KnownWithOtherKeys
                if self._put(id, requested, packed):
                    self._replicas.keep(records_key(id), str(id.number % BUCKET))
                    return self.get(id), False
            elif refresh:
                raise HasLeft if self._departures.has_left(digest) else NotSubscribed

    def add(self, requested: SubscriptionRequest) -> Added:
        """Store a reader of another service who is new; what is known stays as it is.

        A reader who is known may have chosen since, and one who has left stays away. For many at
        once see arrivals.py.
        """
        digest = digest_of(requested.endpoint.url)
        partition = self.partitions.of(digest)
        self._replicas.check(f"{{{partition}}}")
        while True:
            entry, known = self._find(digest, requested.endpoint)
            if known is not None:
                return Added.KNOWN
            if self._departures.has_left(digest):
                return Added.LEFT
            if self._create(requested, partition, digest, entry) is not None:
                return Added.NEW

    def change(self, id: SubscriptionId, requested: SubscriptionRequest) -> Subscription:
        """Change preferences, keys or endpoint of a subscription; NotSubscribed.

        With another endpoint it becomes another subscription (decision 3): it gets a new id, takes
        over the preferences, and the old one is removed.
        """
        while True:
            before = self.get(id)
            if requested.endpoint != before.endpoint:
                after, _ = self.subscribe(requested.over(before))
                try:
                    self.remove(id, remember=False)
                except NotSubscribed:
                    # Another call moved it too, or its reader left. In the second case undo this.
                    if self._departures.has_left(digest_of(before.endpoint.url)):
                        self.remove(after.id)
                        raise
                return after
            packed = self._packed(id)
            if packed is not None and self._put(id, requested, packed):
                return self.get(id)

    def confirm(self, id: SubscriptionId) -> None:
        """Include a reader, who has confirmed now, in all audiences; NotSubscribed."""
        self._renew(id, {"confirmed": True})

    def note_visit(self, id: SubscriptionId) -> None:
        """Note that a reader came today; NotSubscribed."""
        self._renew(id, None)

    def _renew(self, id: SubscriptionId, chosen: Mapping[str, Any] | None) -> None:
        while (packed := self._packed(id)) is not None:
            record = Record.unpack(packed)
            key = self._names.vapid_keys.name(record.vapid_key)
            kept = endpoint_of(self._names, record), record.p256dh, record.auth, key
            if self._put(id, SubscriptionRequest(*kept, chosen=chosen), packed):
                return
        raise NotSubscribed

    def remove(
        self,
        id: SubscriptionId,
        *,
        remember: bool = True,
        only_gone: bool = False,
        only_if: Callable[[Record], bool] = _any,
    ) -> None:
        """Remove a reader from every audience and delete the record; NotSubscribed.

        With `remember` the endpoint's digest is kept for `LEFT_KEPT`, so that no page that checks
        in subscribes this reader again. With `only_gone` a reader who came back is left alone,
        and so is one whose record is not as `only_if` says.
        """
        while True:
            packed = self._packed(id)
            if packed is None or not only_if(Record.unpack(packed)):
                raise NotSubscribed
            known = self._known([id.partition])
            if self._remove(*self._removal(id, packed, remember, only_gone, known)):
                return

    def remove_all(
        self,
        ids: Sequence[SubscriptionId],
        *,
        only_gone: bool = False,
        only_if: Callable[[Record], bool] = _any,
    ) -> int:
        """Remove readers without remembering them; return how many had not left already."""
        known = self._known({id.partition for id in ids})
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(records_key(id), str(id.number % BUCKET))
            found = zip(ids, pipe.execute(), strict=True)
            rows = [(id, row) for id, row in found if row and only_if(Record.unpack(row))]
            for id, packed in rows:
                self._remove(*self._removal(id, packed, False, only_gone, known), client=pipe)
            removed = pipe.execute()
        count = sum(map(int, removed))
        for (id, _), done in zip(rows, removed, strict=True):
            if not done:  # the record changed meanwhile, or which alerts were clicked
                with suppress(NotSubscribed):
                    self.remove(id, remember=False, only_gone=only_gone, only_if=only_if)
                    count += 1
        return count

    def _known(self, partitions: Collection[int]) -> _Known:
        clicked = clicked_in(self._redis, partitions)
        return _Known(clicked, self._topics.followed(), self._stories.slugs())

    def _removal(
        self,
        id: SubscriptionId,
        packed: bytes,
        remember: bool,
        only_gone: bool,
        known: _Known,
    ) -> tuple[list[str], list[Any]]:
        """Return keys and arguments of the script that removes the record `packed`."""
        alerts = known.clicked[id.partition]
        record = Record.unpack(packed)
        digest = digest_of(endpoint_of(self._names, record).url)
        keys = [
            records_key(id),
            self.partitions.index_key(id.partition, digest),
            left_key(id.partition),
            *_prepared_keys(id),
            clicked_key(id.partition),
            bitmap_key(id.partition, "gone"),
            *bitmaps_of(id.partition, record),
            *bitmaps_chosen(id.partition, known.topics, known.stories, known.stories),
            *(part_key(id.partition, alert, "clicked") for alert in alerts),
        ]
        until = LEFT_KEPT if remember else 0
        args = [id.number % BUCKET, packed, id.number, digest, int(clock.time()), until]
        return keys, [*args, int(only_gone), " ".join(map(str, alerts))]

    def forget_again(self, digest: bytes, at: int) -> bool:
        """Note that a reader left at that time, and remove them if they are here since before.

        One who came back on a later day stays; that they left is not noted then.
        """
        partition = self.partitions.of(digest)
        entry = self._entry(digest)
        id = SubscriptionId(partition, int(entry or 0))
        packed = self._packed(id) if entry else None
        if packed is not None and Record.unpack(packed).created > at // DAY:
            return False
        self._departures.add_left(digest, at)
        if packed is None:
            return False
        with suppress(NotSubscribed):
            self.remove(id)
            return True
        return False

    def _create(
        self, requested: SubscriptionRequest, partition: int, digest: bytes, entry: bytes
    ) -> Subscription | None:
        """Store a new subscription; None if the index entry is not `entry` any more."""
        record = record_of(self._names, requested)
        topics = self._topics.current(requested.topics or ())
        chosen = [frozenset(slugs or ()) for slugs in (topics, requested.muted, requested.followed)]
        set_keys = [*bitmaps_of(partition, record), *bitmaps_chosen(partition, *chosen)]
        packed = record.pack()
        while True:
            bucket = self._next_bucket[partition]
            records = records_key(SubscriptionId(partition, bucket * BUCKET))
            number = int(
                self._create_one.run(
                    [
                        records,
                        self.partitions.index_key(partition, digest),
                        *_keys_of(partition),
                        *set_keys,
                        bitmap_key(partition, "gone"),
                    ],
                    [bucket, entry, digest, packed],
                )
            )
            if number < 0:
                return None
            self._next_bucket[partition] = number // BUCKET
            if number // BUCKET == bucket:
                self._replicas.keep(records, str(number % BUCKET))
                id = SubscriptionId(partition, number)
                return subscription_of(self._names, id, record, requested.endpoint, *chosen)

    def _put(self, id: SubscriptionId, requested: SubscriptionRequest, packed: bytes) -> bool:
        """Write a request over the record `packed`; False if it changed meanwhile."""
        before = Record.unpack(packed)
        record = record_of(self._names, requested, before)
        set_keys = bitmaps_of(id.partition, record)
        clear_keys = [bitmap_key(id.partition, "gone")]
        clear_keys += [key for key in bitmaps_of(id.partition, before) if key not in set_keys]
        topics = requested.topics
        if topics is not None:
            topics = frozenset(self._topics.current(topics))
        for kind, chosen, known in (
            ("topic", topics, self._topics.followed),
            ("muted", requested.muted, self._stories.slugs),
            ("followed", requested.followed, self._stories.slugs),
        ):
            if chosen is not None:
                set_keys += [bitmap_key(id.partition, kind, slug) for slug in chosen]
                others = set(known()) - chosen
                clear_keys += [bitmap_key(id.partition, kind, slug) for slug in others]
        if not Preferences.unpack(record.preferences).receipts:
            alerts = clicked_in(self._redis, [id.partition])[id.partition]
            clear_keys += [part_key(id.partition, alert, "clicked") for alert in alerts]
        digest = digest_of(requested.endpoint.url)
        return bool(
            self._write(
                keys=[
                    records_key(id),
                    self.partitions.index_key(id.partition, digest),
                    left_key(id.partition),
                    *_prepared_keys(id),
                    *set_keys,
                    *clear_keys,
                ],
                args=[
                    id.number % BUCKET,
                    packed,
                    record.pack(),
                    id.number,
                    digest,
                    self._entry(digest),
                    len(set_keys),
                    int(keys_of(before) != keys_of(record)),
                ],
            )
        )

    # -- reading ---------------------------------------------------------------------------------

    def get(self, id: SubscriptionId) -> Subscription:
        """Return a subscription; NotSubscribed."""
        packed = self._packed(id)
        if packed is None:
            raise NotSubscribed
        record = Record.unpack(packed)
        topics, stories = self._topics.followed(), list(self._stories.slugs())
        keys = bitmaps_chosen(id.partition, topics, stories, stories)
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.getbit(key, id.number)
            bits = iter(pipe.execute() if keys else [])
        # The bits of the topics, then of muted stories, then of followed stories.
        follows = frozenset(topic for topic in topics.values() if next(bits))
        muted, followed = (frozenset(s for s in stories if next(bits)) for _ in range(2))
        endpoint = endpoint_of(self._names, record)
        return subscription_of(self._names, id, record, endpoint, follows, muted, followed)

    def find(self, endpoint: Endpoint) -> SubscriptionId | None:
        """Return the id of the subscription with this endpoint."""
        _, found = self._find(digest_of(endpoint.url), endpoint)
        return found[0] if found else None

    def is_gone(self, id: SubscriptionId) -> bool:
        """Whether its push service called this browser gone."""
        return bool(self._redis.getbit(bitmap_key(id.partition, "gone"), id.number))

    def first_young(self, partition: int) -> int:
        """Return the number from which on all subscriptions were made within the last minutes.

        Those of the first seconds of that time may be left out.
        """
        since = clock.time() - YOUNG_KEPT
        with self._redis.pipeline() as pipe:
            pipe.zrangebyscore(_young_key(partition), since, "+inf", start=0, num=1)
            pipe.get(made_key(partition))
            young, made = pipe.execute()
        return int(young[0]) + 1 if young else int(made or 0)

    def count(self, kind: str = "live") -> int:
        """Return how many browsers are subscribed; or, by `kind`, are `gone` or `unconfirmed`."""
        return counts(self._redis, self.partitions, [(kind, "")])[0]

    def count_by_vapid_key(self) -> dict[str, int]:
        """Return how many subscriptions need each VAPID key, by its public half."""
        keys = self._names.vapid_keys.all()
        bitmaps = [("key", number) for number in keys.values()]
        return dict(zip(keys, counts(self._redis, self.partitions, bitmaps), strict=True))

    def count_at(self, bases: Sequence[int]) -> int:
        """Return how many browsers are subscribed whose endpoints have these bases."""
        return sum(counts(self._redis, self.partitions, [("base", number) for number in bases]))

    def _find(
        self, digest: bytes, endpoint: Endpoint
    ) -> tuple[bytes, tuple[SubscriptionId, bytes] | None]:
        """Return the index entry (empty: none), and id and record if it is of this endpoint."""
        entry = self._entry(digest)
        if not entry:
            return b"", None
        id = SubscriptionId(self.partitions.of(digest), int(entry))
        packed = self._packed(id)
        if packed is None or endpoint_of(self._names, Record.unpack(packed)) != endpoint:
            return entry, None
        return entry, (id, packed)

    def _entry(self, digest: bytes) -> bytes:
        """Return what the endpoint index says of a digest: a number; empty: nothing."""
        key = self.partitions.index_key(self.partitions.of(digest), digest)
        return cast("bytes | None", self._redis.hget(key, digest[2:])) or b""

    def _packed(self, id: SubscriptionId) -> bytes | None:
        field = str(id.number % BUCKET)
        return cast("bytes | None", self._redis.hget(records_key(id), field))


def made_key(partition: int) -> str:
    """Return the counter of the numbers that were given out."""
    return f"{{{partition}}}:made"


def _young_key(partition: int) -> str:
    return f"{{{partition}}}:young"


@cache
def _keys_of(partition: int) -> tuple[str, ...]:
    """Return the keys of a partition that each new subscription needs."""
    return left_key(partition), made_key(partition), _young_key(partition), days_key(partition)


def _prepared_keys(id: SubscriptionId) -> tuple[str, str]:
    return keys_key(id.partition, id.number // BUCKET), counter_key(id.partition)
