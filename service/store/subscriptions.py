"""Subscriptions: dense ids, packed records, the endpoint index, and the bitmaps of who is who."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

from redis import Redis

from service.endpoints import Endpoint
from service.models import Record, SubscriptionId
from service.quiet import Choice
from service.store.house import House
from service.store.prepared import DROP, counter_key, keys_key
from service.store.stories import Stories, story_key

Field: TypeAlias = bytes | bytearray | memoryview | str | int | float

BUCKET = 256  # records in one hash
_EPOCH = date(1970, 1, 1).toordinal()
LEFT_MEMORY = 30 * 86_400  # seconds for which a reader who left is not mended back

# The first three scripts write one subscription: its record, its index entry, its bits.
#
# A new one, in one call. KEYS: records, index, left, how many were made, then the bitmaps to set,
# `gone` last. ARGV: the bucket of those records, expected entry (empty: none), digest, new record.
# Returns its number. Where that is of another bucket nothing is written, nor with -1: the entry
# is not as expected. The first write allocates, so that under `maxmemory` Redis refuses the whole.
_CREATE = f"""
local tail = string.sub(ARGV[3], 3)
if (redis.call('HGET', KEYS[2], tail) or '') ~= ARGV[2] then return -1 end
local number = tonumber(redis.call('GET', KEYS[4]) or 0)
if math.floor(number / {BUCKET}) ~= tonumber(ARGV[1]) then return number end
redis.call('HSET', KEYS[1], number % {BUCKET}, ARGV[4])
redis.call('HSET', KEYS[2], tail, number)
redis.call('INCR', KEYS[4])
redis.call('ZREM', KEYS[3], ARGV[3])
for i = 5, #KEYS do redis.call('SETBIT', KEYS[i], number, i < #KEYS and 1 or 0) end
return number
"""

# A known one. KEYS: records, index, left, prepared keys, their counter, then the bitmaps to set,
# then those to clear. ARGV: field, expected record, new record, number, digest, expected entry, how
# many bits to set, whether prepared keys are of no use any more.
# An expectation that no longer holds ends in 0 with nothing written: the caller looks again.
# The first write allocates, so that under `maxmemory` Redis refuses the whole.
_WRITE = (
    DROP
    + """
local expected = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local entry = redis.call('HGET', KEYS[2], string.sub(ARGV[5], 3)) or ''
if expected ~= ARGV[2] or entry ~= ARGV[6] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], string.sub(ARGV[5], 3), ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[5])
local set = 5 + tonumber(ARGV[7])
for i = 6, #KEYS do
  if i <= set then
    redis.call('SETBIT', KEYS[i], ARGV[4], 1)
  elseif redis.call('GETBIT', KEYS[i], ARGV[4]) == 1 then
    redis.call('SETBIT', KEYS[i], ARGV[4], 0)
  end
end
if ARGV[8] == '1' then drop_prepared(KEYS[4], KEYS[5]) end
return 1
"""
)

# KEYS: records, index, left, prepared keys, their counter, then the bitmaps to clear, `gone` first.
# ARGV: field, record, number, digest, now, how long to remember that this reader left (0: not),
# whether only one whose push service calls it gone.
# The first write frees, so that leaving works under `maxmemory`. Nothing is prepared for who is
# gone: those do not cost the rest of the bucket its keys.
_REMOVE = (
    DROP
    + """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local gone = redis.call('GETBIT', KEYS[6], ARGV[3]) == 1
if ARGV[7] == '1' and not gone then return 1 end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HGET', KEYS[2], string.sub(ARGV[4], 3)) == ARGV[3] then
  redis.call('HDEL', KEYS[2], string.sub(ARGV[4], 3))
end
if not gone then drop_prepared(KEYS[4], KEYS[5]) end
for i = 6, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('SETBIT', KEYS[i], ARGV[3], 0) end
end
if ARGV[6] ~= '0' then redis.call('ZADD', KEYS[3], ARGV[5] + ARGV[6], ARGV[4]) end
return 1
"""
)


class KnownWithOtherKeys(Exception):
    """The endpoint is known with other keys, and nothing proves that its owner asks."""


class HasLeft(Exception):
    """A page checks in for a reader who left: nothing is created."""


class NotSubscribed(Exception):
    """There is no such subscription."""


class StoreFull(Exception):
    """A table of the store has no room for another name."""


class Wish(NamedTuple):
    """What a browser asks for; None leaves a preference as it is.

    `chosen` are fields of `Choice` with their new values, `wording` the version of the words with
    which the reader was asked. `muted` and `followed` are running stories. One that is new
    `must_confirm` before anything but tests is sent to it.
    """

    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str
    topics: frozenset[str] | None = None
    locale: str | None = None
    zone: str | None = None
    chosen: Mapping[str, Any] | None = None
    wording: int | None = None
    muted: frozenset[str] | None = None
    followed: frozenset[str] | None = None
    must_confirm: bool = False


class Subscription(NamedTuple):
    """A stored subscription with its names; dates are days since 1970-01-01."""

    id: SubscriptionId
    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str
    topics: frozenset[str]
    locale: str
    zone: str
    created: int
    seen: int
    choice: Choice = Choice()
    wording: int = 0
    muted: frozenset[str] = frozenset()
    followed: frozenset[str] = frozenset()


def digest_of(url: str) -> bytes:
    """Return the ten bytes under which an endpoint is found again."""
    return hashlib.sha256(url.encode()).digest()[:10]


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Return the numbers as a script reads them, four bytes each, big-endian."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def _of_stories(wish: Wish) -> tuple[tuple[str, frozenset[str] | None], ...]:
    return ("muted", wish.muted), ("followed", wish.followed)


def _keys(record: Record) -> tuple[bytes, bytes]:
    return record.p256dh, record.auth


def today() -> int:
    """Return the day, counted from 1970-01-01 UTC."""
    return int(time.time() // 86_400)


@lru_cache(maxsize=512)
def month_of(day: int) -> str:
    """Return the month of a day counted from 1970-01-01, `202611`."""
    return f"{date.fromordinal(day + _EPOCH):%Y%m}"


class Subscriptions:
    """All subscriptions. Every method that writes is one script, or nothing."""

    def __init__(self, redis: Redis, partitions: int, house: House, stories: Stories) -> None:
        self._redis = redis
        self.partitions = partitions
        self._house = house
        self._stories = stories
        self._next_bucket = [0] * partitions  # where the next number was when last seen
        self._create_one = redis.register_script(_CREATE)
        self._write = redis.register_script(_WRITE)
        self._remove = redis.register_script(_REMOVE)

    # -- keys ------------------------------------------------------------------------------------

    def partition_of(self, digest: bytes) -> int:
        """Return the partition in which a new endpoint is kept."""
        return digest[9] % self.partitions

    @staticmethod
    def records_key(id: SubscriptionId) -> str:
        """Return the hash of the 256 records among which this one is."""
        return f"{{{id.partition}}}:r:{id.number // BUCKET}"

    @staticmethod
    def index_key(partition: int, digest: bytes) -> str:
        """Return the bucket of the endpoint index, one of 65,536."""
        return f"{{{partition}}}:e:{digest[:2].hex()}"

    @staticmethod
    def _prepared_keys(id: SubscriptionId) -> tuple[str, str]:
        return keys_key(id.partition, id.number // BUCKET), counter_key(id.partition)

    @staticmethod
    def bitmap_key(partition: int, kind: str, name: object = "") -> str:
        """Return a bitmap: `live`, `gone`, `unconfirmed`; `topic`, `locale`, `key`, `base`, `seen`.

        The last five are of one of them each: `key` and `base` go by numbers of tables, `seen` by
        the month of the last visit, `202611`.
        """
        return f"{{{partition}}}:{kind}:{name}" if name else f"{{{partition}}}:{kind}"

    def bitmaps_of(self, partition: int, record: Record) -> list[str]:
        """Return the bitmaps that follow from a record (all but the topics)."""
        keys = [
            self.bitmap_key(partition, "live"),
            self.bitmap_key(partition, "key", record.vapid_key),
            self.bitmap_key(partition, "base", record.base),
            self.bitmap_key(partition, "seen", month_of(record.seen)),
        ]
        if record.locale:
            keys.append(self.bitmap_key(partition, "locale", record.locale))
        if not Choice.unpack(record.choice).confirmed:
            keys.append(self.bitmap_key(partition, "unconfirmed"))
        return keys

    # -- writing ---------------------------------------------------------------------------------

    def subscribe(
        self,
        wish: Wish,
        *,
        refresh: bool = False,
        is_owner: Callable[[SubscriptionId, bytes], bool] = lambda _id, _auth: False,
    ) -> tuple[Subscription, bool]:
        """Store a browser's consent; the second value says whether it is new.

        `is_owner` is asked, with the id and the auth secret on record, before other keys replace
        those of a known endpoint. Raises KnownWithOtherKeys; with `refresh`, which never creates,
        HasLeft or NotSubscribed.
        """
        digest = digest_of(wish.endpoint.url)
        entry, known = b"", None  # until it is looked up: most are new
        while True:
            if known is None and not refresh:
                created = self._create(wish, digest, entry)
                if created is not None:
                    return created, True
            entry, known = self._find(digest, wish.endpoint)
            if known is not None:
                id, packed = known
                record = Record.unpack(packed)
                same_keys = _keys(record) == (wish.p256dh, wish.auth)
                if not same_keys and not is_owner(id, record.auth):
                    raise KnownWithOtherKeys
                if self._put(id, wish, packed):
                    return self.get(id), False
            elif refresh:
                left = self._redis.zscore(f"{{{self.partition_of(digest)}}}:left", digest)
                raise HasLeft if left is not None and left > time.time() else NotSubscribed

    def change(self, id: SubscriptionId, wish: Wish) -> Subscription:
        """Give a subscription other preferences, keys or endpoint; NotSubscribed.

        Another endpoint is another subscription (docs/decisions.md, 3): it gets an id of its own,
        with what was chosen before, and the old one ends.
        """
        while True:
            before = self.get(id)
            if wish.endpoint != before.endpoint:
                topics = before.topics if wish.topics is None else wish.topics
                locale = before.locale if wish.locale is None else wish.locale
                zone = before.zone if wish.zone is None else wish.zone
                chosen = asdict(before.choice) | dict(wish.chosen or {})
                wording = before.wording if wish.wording is None else wish.wording
                moved = wish._replace(
                    topics=topics,
                    locale=locale,
                    zone=zone,
                    chosen=chosen,
                    wording=wording,
                    muted=before.muted if wish.muted is None else wish.muted,
                    followed=before.followed if wish.followed is None else wish.followed,
                )
                after, _ = self.subscribe(moved)
                self.remove(id, remember=False)
                return after
            packed = self._packed(id)
            if packed is not None and self._put(id, wish, packed):
                return self.get(id)

    def confirm(self, id: SubscriptionId) -> None:
        """Count a reader who has confirmed in all audiences from now on; NotSubscribed."""
        while (packed := self._packed(id)) is not None:
            record = Record.unpack(packed)
            key = self._house.vapid_keys.name(record.vapid_key)
            kept = self._endpoint(record), record.p256dh, record.auth, key
            if self._put(id, Wish(*kept, chosen={"confirmed": True}), packed):
                return
        raise NotSubscribed

    def remove(self, id: SubscriptionId, *, remember: bool = True, only_gone: bool = False) -> None:
        """Take a reader out of every audience and forget the record; NotSubscribed.

        With `remember` the endpoint's digest is kept for 30 days, so that mending never
        subscribes somebody again who left. With `only_gone` one that came back is left alone.
        """
        while True:
            packed = self._packed(id)
            if packed is None:
                raise NotSubscribed
            record = Record.unpack(packed)
            digest = digest_of(self._endpoint(record).url)
            clear = [self.bitmap_key(id.partition, "gone"), *self.bitmaps_of(id.partition, record)]
            clear += [self.bitmap_key(id.partition, "topic", slug) for slug in self._house.topics()]
            for slug in self._stories.slugs():
                clear += [story_key(id.partition, kind, slug) for kind in ("muted", "followed")]
            removed = self._remove(
                keys=[
                    self.records_key(id),
                    self.index_key(id.partition, digest),
                    f"{{{id.partition}}}:left",
                    *self._prepared_keys(id),
                    *clear,
                ],
                args=[
                    id.number % BUCKET,
                    packed,
                    id.number,
                    digest,
                    int(time.time()),
                    LEFT_MEMORY if remember else 0,
                    int(only_gone),
                ],
            )
            if removed:
                return

    def forget_left(self, now: float) -> None:
        """Forget that readers left, `LEFT_MEMORY` seconds after they did."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in range(self.partitions):
                pipe.zremrangebyscore(f"{{{partition}}}:left", "-inf", now)
            pipe.execute()

    def _create(self, wish: Wish, digest: bytes, entry: bytes) -> Subscription | None:
        """Store a new subscription; None where the index has another than this entry by now."""
        partition = self.partition_of(digest)
        record, topics = self.record_of(wish), wish.topics or frozenset()
        set_keys = self.bitmaps_of(partition, record)
        set_keys += [self.bitmap_key(partition, "topic", slug) for slug in topics]
        for kind, slugs in _of_stories(wish):
            set_keys += [story_key(partition, kind, slug) for slug in slugs or ()]
        packed = record.pack()
        while True:
            bucket = self._next_bucket[partition]
            number = int(
                self._create_one(
                    keys=[
                        self.records_key(SubscriptionId(partition, bucket * BUCKET)),
                        self.index_key(partition, digest),
                        f"{{{partition}}}:left",
                        f"{{{partition}}}:made",
                        *set_keys,
                        self.bitmap_key(partition, "gone"),
                    ],
                    args=[bucket, entry, digest, packed],
                )
            )
            if number < 0:
                return None
            self._next_bucket[partition] = number // BUCKET
            if number // BUCKET == bucket:
                id = SubscriptionId(partition, number)
                stories = (wish.muted or frozenset(), wish.followed or frozenset())
                return self._subscription(id, record, topics, *stories)

    def _put(self, id: SubscriptionId, wish: Wish, packed: bytes) -> bool:
        """Write what is wished over `packed`; False: somebody was first."""
        before = Record.unpack(packed)
        record = self.record_of(wish, before)
        set_keys = self.bitmaps_of(id.partition, record)
        earlier = self.bitmaps_of(id.partition, before)
        clear_keys = [self.bitmap_key(id.partition, "gone")]
        clear_keys += [key for key in earlier if key not in set_keys]
        if wish.topics is not None:
            set_keys += [self.bitmap_key(id.partition, "topic", slug) for slug in wish.topics]
            others = set(self._house.topics()) - wish.topics
            clear_keys += [self.bitmap_key(id.partition, "topic", slug) for slug in others]
        for kind, slugs in _of_stories(wish):
            if slugs is not None:
                set_keys += [story_key(id.partition, kind, slug) for slug in slugs]
                others = self._stories.slugs() - slugs
                clear_keys += [story_key(id.partition, kind, slug) for slug in others]
        digest = digest_of(wish.endpoint.url)
        index_key = self.index_key(id.partition, digest)
        entry = self._redis.hget(index_key, digest[2:])
        return bool(
            self._write(
                keys=[
                    self.records_key(id),
                    index_key,
                    f"{{{id.partition}}}:left",
                    *self._prepared_keys(id),
                    *set_keys,
                    *clear_keys,
                ],
                args=[
                    id.number % BUCKET,
                    packed,
                    record.pack(),
                    id.number,
                    digest,
                    entry or b"",
                    len(set_keys),
                    int(_keys(before) != _keys(record)),
                ],
            )
        )

    def record_of(self, wish: Wish, before: Record | None = None) -> Record:
        """Return the record of a wish, over what was stored before."""
        house = self._house
        kept_zone, kept_locale = (before.zone, before.locale) if before else (0, 0)
        # A browser that still has the keys it had was not subscribed anew, whichever VAPID key is
        # today's: the push service goes on to take the one it was made with.
        if before is not None and _keys(before) == (wish.p256dh, wish.auth):
            vapid_key = before.vapid_key
        else:
            vapid_key = house.vapid_keys.number(wish.vapid_key)
        choice = Choice.unpack(before.choice) if before else Choice(confirmed=not wish.must_confirm)
        if wish.chosen:
            choice = replace(choice, **wish.chosen)
        wording = before.wording if before else 0
        base = house.bases.number(wish.endpoint.base)
        if not base:
            raise StoreFull("the table of push services is full")
        return Record(
            base=base,
            rest=wish.endpoint.rest,
            p256dh=wish.p256dh,
            auth=wish.auth,
            vapid_key=vapid_key,
            zone=kept_zone if wish.zone is None else house.zones.number(wish.zone),
            locale=kept_locale if wish.locale is None else house.locales.number(wish.locale),
            created=before.created if before else today(),
            seen=today(),
            choice=choice.pack(),
            wording=wording if wish.wording is None else wish.wording,
        )

    def forget_topic(self, slug: str) -> None:
        """Drop who followed a topic that is no more."""
        for partition in range(self.partitions):
            self._redis.unlink(self.bitmap_key(partition, "topic", slug))

    # -- reading ---------------------------------------------------------------------------------

    def get(self, id: SubscriptionId) -> Subscription:
        """Return a subscription with its topics; NotSubscribed."""
        packed = self._packed(id)
        if packed is None:
            raise NotSubscribed
        record = Record.unpack(packed)
        slugs, stories = list(self._house.topics()), list(self._stories.slugs())
        keys = [self.bitmap_key(id.partition, "topic", slug) for slug in slugs]
        for kind in ("muted", "followed"):
            keys += [story_key(id.partition, kind, slug) for slug in stories]
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.getbit(key, id.number)
            bits = iter(pipe.execute() if keys else [])
        # Whichever are set of the topics, then of the stories muted, then of those followed.
        chosen = [frozenset(s for s in names if next(bits)) for names in (slugs, stories, stories)]
        return self._subscription(id, record, *chosen)

    def _subscription(
        self,
        id: SubscriptionId,
        record: Record,
        topics: frozenset[str],
        muted: frozenset[str],
        followed: frozenset[str],
    ) -> Subscription:
        return Subscription(
            id=id,
            endpoint=self._endpoint(record),
            p256dh=record.p256dh,
            auth=record.auth,
            vapid_key=self._house.vapid_keys.name(record.vapid_key),
            topics=topics,
            locale=self._house.locales.name(record.locale),
            zone=self._house.zones.name(record.zone),
            created=record.created,
            seen=record.seen,
            choice=Choice.unpack(record.choice),
            wording=record.wording,
            muted=muted,
            followed=followed,
        )

    def auth(self, id: SubscriptionId) -> bytes | None:
        """Return the auth secret on record, from which the reader's token follows."""
        packed = self._packed(id)
        return Record.unpack(packed).auth if packed is not None else None

    def is_gone(self, id: SubscriptionId) -> bool:
        """Whether its push service called a subscription gone."""
        return bool(self._redis.getbit(self.bitmap_key(id.partition, "gone"), id.number))

    def choices(self, ids: Collection[SubscriptionId]) -> dict[SubscriptionId, Choice]:
        """Return what these readers chose; those who left are not among them."""
        found = {}
        for partition in range(self.partitions):
            numbers = [id.number for id in ids if id.partition == partition]
            for number, record in self.records(partition, numbers):
                if record is not None:
                    found[SubscriptionId(partition, number)] = Choice.unpack(record.choice)
        return found

    def records(
        self, partition: int, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Record | None]]:
        """Return the records of these numbers, in order; those who left are passed over.

        None stands for one that this code cannot read.
        """
        buckets: dict[int, list[int]] = {}
        for number in numbers:
            buckets.setdefault(number // BUCKET, []).append(number)
        with self._redis.pipeline(transaction=False) as pipe:
            for bucket, wanted in buckets.items():
                key = self.records_key(SubscriptionId(partition, bucket * BUCKET))
                pipe.hmget(key, [str(number % BUCKET) for number in wanted])
            rows = pipe.execute() if buckets else []
        for wanted, packed_rows in zip(buckets.values(), rows, strict=True):
            for number, packed in zip(wanted, packed_rows, strict=True):
                if packed is None:
                    continue
                try:
                    yield number, Record.unpack(packed)
                except ValueError:
                    yield number, None

    def reachable(self, partition: int, buckets: range) -> list[int]:
        """Return who is live and not gone: for each bucket a bitmap, the first its highest bit."""
        size = BUCKET // 8
        with self._redis.pipeline(transaction=False) as pipe:
            for kind in ("live", "gone"):
                key = self.bitmap_key(partition, kind)
                pipe.getrange(key, buckets.start * size, buckets.stop * size - 1)
            live, gone = (stretch.ljust(len(buckets) * size, b"\0") for stretch in pipe.execute())
        return [
            int.from_bytes(live[at : at + size], "big")
            & ~int.from_bytes(gone[at : at + size], "big")
            for at in range(0, len(buckets) * size, size)
        ]

    def count(self, kind: str = "live") -> int:
        """Return how many browsers are subscribed now, or are `gone`, or `unconfirmed`."""
        return sum(
            self._redis.bitcount(self.bitmap_key(partition, kind))
            for partition in range(self.partitions)
        )

    def count_by_vapid_key(self) -> dict[str, int]:
        """Return how many subscriptions were made with each VAPID public key."""
        return {
            name: sum(
                self._redis.bitcount(self.bitmap_key(partition, "key", number))
                for partition in range(self.partitions)
            )
            for name, number in self._house.vapid_keys.all().items()
        }

    def _find(
        self, digest: bytes, endpoint: Endpoint
    ) -> tuple[bytes, tuple[SubscriptionId, bytes] | None]:
        """Return the index entry (empty: none), and id and record if it leads to this endpoint."""
        partition = self.partition_of(digest)
        entry = cast(
            "bytes | None", self._redis.hget(self.index_key(partition, digest), digest[2:])
        )
        if entry is None:
            return b"", None
        id = SubscriptionId(partition, int(entry))
        packed = self._packed(id)
        if packed is None or self._endpoint(Record.unpack(packed)) != endpoint:
            return entry, None
        return entry, (id, packed)

    def _packed(self, id: SubscriptionId) -> bytes | None:
        field = str(id.number % BUCKET)
        return cast("bytes | None", self._redis.hget(self.records_key(id), field))

    def _endpoint(self, record: Record) -> Endpoint:
        return Endpoint(self._house.bases.name(record.base), record.rest)
