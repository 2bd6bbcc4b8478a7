"""Audiences: the readers that an expression selects, as bitmaps; counted, drawn or frozen."""

from __future__ import annotations

import json
import random
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate, islice
from operator import and_, or_
from typing import Any, cast

from redis import Redis

from service.model.inactive import months_until
from service.model.notifications import Audience, Notification, State
from service.model.retention import ACCEPTED_KEPT, DAY
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.alerts.notifications import Notifications
from service.store.layout.bitmaps import aligned, bitmap_key
from service.store.layout.joined import Joined
from service.store.layout.names import Names
from service.store.layout.partitions import Partitions
from service.store.readers.topics import Topics
from service.store.redis_servers.connection import WRITE_REFUSED
from service.store.redis_servers.scripts import answers, lua
from service.store.sending.batches import part_key
from service.store.sending.clicks import Clicks
from service.store.sending.held_alerts import HeldAlerts, held_key, wakes_in_time

_BLOCK = 32  # bytes of a bitmap in which one reader is found by rank

# Defines select_audience(first, audience).
SELECT = lua(__file__, "select_audience")

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


@dataclass(frozen=True, slots=True)
class Past:
    """What an audience needs to know of what readers did or got."""

    known: bool = True  # else the audience selects nobody, because it could select too many
    first: dict[int, int] | None = None  # number of the first new reader by partition; None: any
    # With `first`, by partition: spans of numbers of readers who moved in, and are not new.
    moved: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    got: list[tuple[int, str]] = field(default_factory=list)  # bitmaps: notification and kind
    # By notification that is held, the quarter hours until which readers may wait for it.
    held: dict[int, list[int]] = field(default_factory=dict)
    clicked: list[tuple[int, str]] = field(default_factory=list)


class Audiences:
    """Counts audiences, and draws readers from them."""

    def __init__(
        self,
        redis: Redis,
        partitions: Partitions,
        names: Names,
        topics: Topics,
        notifications: Notifications,
        held_alerts: HeldAlerts,
        joined: Joined,
        clicks: Clicks,
    ) -> None:
        self._redis = redis
        self._names = names
        self._topics = topics
        self._partitions = partitions
        self._notifications = notifications
        self._held_alerts = held_alerts
        self._joined = joined
        self._clicks = clicks
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
            number = 8 * start + _place(bits, rank - upto[at])
            drawn.append(SubscriptionId(partition, number))
        return upto[-1], drawn

    def follows(self, asked: Sequence[tuple[SubscriptionId, str]]) -> list[bool]:
        """Return for each reader and topic whether that reader follows it."""
        bitmaps = {slug: self._topics.bitmaps(slug) for _, slug in asked}
        with self._redis.pipeline(transaction=False) as pipe:
            for reader, slug in asked:
                for one in bitmaps[slug]:
                    pipe.getbit(bitmap_key(reader.partition, "topic", one), reader.number)
            bits = iter(pipe.execute())
        return [sum(next(bits) for _ in bitmaps[slug]) > 0 for _, slug in asked]

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
        every = reduce(and_, map(any_of, given.get("every", ())), live)
        followers, clicked, none = (
            any_of(given[name]) if name in given else otherwise
            for name, otherwise in (("followers", live), ("clicked", live), ("none", 0))
        )
        readers = live
        if "only" in given:
            readers &= 1 << 8 * size - 1 - given["only"] if given["only"] < 8 * size else 0
        elif not given["everyone"]:
            readers &= topics
        if given["locales"]:
            readers &= locales
        readers = (readers & every & ~exclusions | live & followed) & ~muted & ~never
        readers &= followers & clicked & ~none
        for count in given.get("held", ()):
            held = any_of(1)
            readers &= ~(held & any_of(count))
        since = given.get("since", 0)
        readers &= (1 << max(0, 8 * size - since)) - 1 if since >= 0 else 0
        for first, last in given.get("moved", ()):
            upto = max(0, 8 * size - 1 - last)
            readers &= ~((1 << max(0, 8 * size - first)) - (1 << upto))
        return readers.to_bytes(size, "big")

    def _scratch_selections(self, audience: Audience) -> list[tuple[list[str], list[str]]]:
        """Return keys and arguments of `SELECT` for each partition, all of this call alone."""
        name = f"scratch:{uuid.uuid4().hex}"
        scratch = {partition: f"{{{partition}}}:{name}" for partition in self._partitions}
        past = self.past(audience, clock.time())
        return [
            self.selection(one, audience, past, f"{key}:to", key) for one, key in scratch.items()
        ]

    def past(self, audience: Audience, at: float) -> Past:
        """Return what an audience needs to know of the past, if it is sent to at that time."""
        if not audience.of_the_past:
            return Past()
        alerts = {
            one.id: one
            for one in self._notifications.all({*audience.not_reached_by, *audience.clicked})
            if is_remembered(one, max(at, clock.time()))
        }
        first, moved = None, dict[int, list[tuple[int, int]]]()
        known = alerts.keys() >= {*audience.not_reached_by, *audience.clicked}
        if audience.clicked and known:
            since = self._clicks.known_since()
            known = all((alerts[id].started_at or 0.0) >= since for id in audience.clicked)
        if audience.new_within_days:
            day = int(at // DAY) - audience.new_within_days
            known = known and day >= self._joined.known_since()
            first, moved = self._joined.first_since(day), self._joined.moved()
        if not known:
            return Past(known=False)
        got = [part for id in audience.not_reached_by for part in _got(alerts[id])]
        held = self._held([alerts[id] for id in audience.not_reached_by])
        clicked = [
            (id, "clicked")
            for one in audience.clicked
            for id in (one, *alerts[one].corrections)  # a correction has clicks of its own
        ]
        return Past(first=first, moved=moved, got=got, held=held, clicked=clicked)

    def _held(self, alerts: Sequence[Notification]) -> dict[int, list[int]]:
        """Return until which quarter hours readers may wait for each of these alerts.

        A held copy alone says nothing: it stays when a wave did not deliver it.
        """
        alerts = [one for one in alerts if one.state is not State.CANCELLED and not one.withheld]
        if not alerts:
            return {}
        # In this order, so that a quarter hour whose wave begins in between is among them.
        quarters = {*self._held_alerts.pending()}
        for wave in self._notifications.all(self._notifications.active()):
            if wave.audience.waking is not None and wave.state is not State.CANCELLED:
                quarters.add(wave.audience.waking)
        waits = {
            one.id: [quarter for quarter in sorted(quarters) if wakes_in_time(quarter, one)]
            for one in alerts
        }
        return {id: some for id, some in waits.items() if some}

    def selection(
        self, partition: int, audience: Audience, past: Past, destination: str, scratch: str
    ) -> tuple[list[str], list[str]]:
        """Return keys and arguments with which `SELECT` puts an audience into `destination`."""
        one = audience.subscription
        if (one is not None and one.partition != partition) or not past.known:
            audience, past = Audience(), Past()
        audience = self._topics.current_audience(audience)
        nobody = bitmap_key(partition, "locale", "nobody")  # does not exist
        topics = self._followers(partition, audience.topics)
        if audience.waking is not None:
            topics = [bitmap_key(partition, "wake", audience.waking)]
        locales = [
            bitmap_key(partition, "locale", number)
            for name, number in (self._names.locales.all().items() if audience.locales else ())
            if any(name == asked or name.startswith(asked + "-") for asked in audience.locales)
        ]
        if audience.locales and not locales:
            locales = [nobody]  # no reader has that language yet
        exclude = self._followers(partition, audience.exclude)
        keys = [scratch, destination, bitmap_key(partition, "live"), bitmap_key(partition, "gone")]
        # A test or a welcome reaches its reader before the subscription is confirmed.
        keys.append(nobody if one is not None else bitmap_key(partition, "unconfirmed"))
        args: dict[str, Any] = {
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
        more: list[str] = []
        if audience.narrowed:
            every = [self._followers(partition, [slug]) for slug in audience.all_topics]
            if audience.last_seen_until:
                months = months_until(audience.last_seen_until)
                every.append([bitmap_key(partition, "seen", month) for month in months])
            narrowing = _narrowing(partition, audience, past)
            more = [key for some in (*every, *narrowing.values()) for key in some]
            args |= {"narrowed": True, "every": [len(some) for some in every]}
            args |= {name: len(some) for name, some in narrowing.items()}
            for id, quarters in past.held.items():
                more.append(held_key(partition, id))
                more += [bitmap_key(partition, "wake", quarter) for quarter in quarters]
            if past.held:
                args["held"] = [len(quarters) for quarters in past.held.values()]
            if past.first is not None:
                since = args["since"] = past.first.get(partition, -1)
                spans = past.moved.get(partition, ())
                args["moved"] = [(max(a, since), b) for a, b in spans if b >= since]
        return [*keys, *topics, *locales, *exclude, *story, *more], [json.dumps(args)]

    def _followers(self, partition: int, slugs: Sequence[str]) -> list[str]:
        bitmaps = (self._topics.bitmaps(slug) for slug in slugs)
        return [bitmap_key(partition, "topic", one) for some in bitmaps for one in some]


def _place(bits: bytes, rank: int) -> int:
    """Return the place of the bit before which `rank` bits are set."""
    for at, byte in enumerate(bits):
        if rank < byte.bit_count():
            return 8 * at + [bit for bit in range(8) if byte & 0x80 >> bit][rank]
        rank -= byte.bit_count()
    raise IndexError


def is_remembered(one: Notification, at: float) -> bool:
    """Whether it will be known at that time who got or clicked a notification.

    Nothing more may come of it, and all that was noted since it began must still be kept.
    """
    return one.over and one.finished_at is not None and is_kept(one, at)


def is_kept(one: Notification, at: float) -> bool:
    """Whether all that was noted of its readers since a notification began is kept at that time.

    Each bitmap ends some days after its last bit, in each partition at another time.
    """
    return (one.started_at or 0.0) + ACCEPTED_KEPT > at


def _got(one: Notification) -> list[tuple[int, str]]:
    """Return the bitmaps of the readers who got a notification."""
    return [(one.id, f"accepted:{revision}") for revision in range(one.revision + 1)]


def _narrowing(partition: int, audience: Audience, past: Past) -> dict[str, list[str]]:
    """Return the bitmaps of the conditions beside topics, by what `SELECT` calls them."""
    narrowing: dict[str, list[str]] = {}  # in the order in which `SELECT` reads them
    none = [part_key(partition, *part) for part in past.got]
    if audience.followers_of:
        narrowing["followers"] = [bitmap_key(partition, "followed", audience.followers_of)]
        none.append(bitmap_key(partition, "muted", audience.followers_of))
    if audience.clicked:
        narrowing["clicked"] = [part_key(partition, *part) for part in past.clicked]
    return narrowing | {"none": none}
