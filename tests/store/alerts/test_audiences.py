"""Audiences by what readers chose, did and got: each count and each frozen bitmap is exact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis, RedisError

from service.model.notifications import Audience, Content, Notification, Progress, State, Topic
from service.model.retention import ACCEPTED_KEPT, CLICKED_KEPT, DAY
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER
from service.store import Store, connect
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.joined import days_key, moved_key, today
from service.store.sending.batches import part_key
from service.store.sending.held_alerts import wakes_key
from tests.support.redis_users import as_users
from tests.support.requested import requested

pytestmark = pytest.mark.redis

SLUGS, STORIES = ("world", "sport", "culture"), ("quake", "storm")
EVERYONE = Audience(everyone=True)


@pytest.fixture
def store(redis_url: str) -> Store:
    """A new store of two partitions."""
    return opened(connect(redis_url))


def opened(redis: Redis) -> Store:
    store = Store(redis, 2)
    store.convert()
    redis.set("{g}:clicks:since", 0)
    return store


def subscribed(store: Store, name: object, **chosen: Any) -> SubscriptionId:
    return store.subscriptions.subscribe(requested(name, **chosen))[0].id


def alert(store: Store, *, days_ago: float = 0.0, state: State = State.SENT) -> int:
    """An alert that is over, or of which nothing was sent yet."""
    at, id = time.time() - days_ago * DAY, store.notifications.new_id()
    content = Content("Late news", "https://paper.example/")
    begun = State.SENDING if state in (State.SENT, State.CANCELLED) else state
    store.notifications.publish(Notification(id, content, EVERYONE, begun, at, "a test"))
    if state is not begun:
        history = store.notifications.history()
        store.outcomes.finish(id, state, time.time(), Progress(0, {}), history)
    return id


def got(store: Store, id: int, readers: list[SubscriptionId], what: str = "accepted:0") -> None:
    for partition, number in readers:
        store.redis.setbit(part_key(partition, id, what), number, 1)


def hold(store: Store, id: int, readers: list[SubscriptionId], quarter: int) -> None:
    """Hold an alert for readers until a quarter hour, whose wave is over if it has passed."""
    got(store, id, readers, "held")
    for partition, number in readers:
        store.redis.setbit(bitmap_key(partition, "wake", quarter), number, 1)
        if quarter * QUARTER > time.time():
            store.redis.zadd(wakes_key(partition), {str(quarter): quarter})


def frozen(store: Store, audience: Audience) -> set[SubscriptionId]:
    """The readers in the bitmap that is frozen when sending starts."""
    id = store.notifications.new_id()
    sizes = store.recipients.freeze(id, audience, store.partitions, time.time())
    found = set()
    for partition in store.partitions:
        bits = store.redis.get(part_key(partition, id, "audience")) or b""
        found |= {
            SubscriptionId(partition, n)
            for n in range(8 * len(bits))
            if bits[n // 8] & 0x80 >> n % 8
        }
    assert sum(sizes.values()) == len(found)
    return found


def counted_while_full(store: Store, audience: Audience) -> int:
    """The count while Redis refuses to write."""
    before = store.redis.config_get("maxmemory")["maxmemory"]
    store.redis.config_set("maxmemory", 1)
    try:
        return store.audiences.count(audience)
    finally:
        store.redis.config_set("maxmemory", before)


# All conditions together --------------------------------------------------------------------------


@dataclass
class One:
    """A reader as the test knows them."""

    topics: frozenset[str]
    locale: str
    followed: frozenset[str]
    muted: frozenset[str]
    joined: int  # days ago
    got: frozenset[int]  # which of three alerts
    awaits: frozenset[int]
    missed: frozenset[int]  # their wave did not bring these, which are still marked as held
    clicked: frozenset[int]
    id: SubscriptionId = SubscriptionId(0, 0)


SOME = st.frozensets(st.sampled_from(SLUGS))
STORY = st.frozensets(st.sampled_from(STORIES))
ALERTS = st.frozensets(st.integers(0, 2))
READER = st.builds(
    One,
    *(SOME, st.sampled_from(["", "en-GB", "fr", "fr-CA"]), STORY, STORY),
    *(st.integers(0, 9), ALERTS, ALERTS, ALERTS, ALERTS),
)
AUDIENCE = st.builds(
    Audience,
    everyone=st.booleans(),
    topics=SOME.map(tuple),
    exclude=SOME.map(tuple),
    locales=st.sampled_from([(), ("en",), ("fr-CA", "lv")]),
    story=st.sampled_from(["", "quake", "flood"]),
    all_topics=SOME.map(tuple),
    followers_of=st.sampled_from(["", "", "quake", "storm"]),
    new_within_days=st.sampled_from([0, 0, 1, 3, 8]),
    not_reached_by=ALERTS.map(tuple),
    clicked=st.one_of(st.just(()), ALERTS.map(tuple)),
)


def belongs(one: One, audience: Audience) -> bool:
    """Whether a reader belongs to an audience: the rule in plain words."""
    chosen = (
        (audience.everyone or bool(one.topics & {*audience.topics}))
        and {*audience.all_topics} <= one.topics
        and not one.topics & {*audience.exclude}
        and (
            not audience.locales
            or any(one.locale == x or one.locale.startswith(f"{x}-") for x in audience.locales)
        )
    )
    of = audience.followers_of
    return (
        (chosen or audience.story in one.followed)
        and audience.story not in one.muted
        and (not of or (of in one.followed and of not in one.muted))
        and (not audience.new_within_days or one.joined <= audience.new_within_days)
        # The wave for which a reader awaits one alert brings all that are still held.
        and not (one.got | one.awaits | (one.missed if one.awaits else set()))
        & {*audience.not_reached_by}
        and (not audience.clicked or bool(one.clicked & {*audience.clicked}))
    )


@pytest.mark.long  # no other test can use that Redis meanwhile
def test_each_count_and_each_frozen_audience_is_exactly_its_readers(redis_url: str) -> None:
    redis = connect(redis_url)

    @settings(max_examples=settings().max_examples // 2)
    @given(st.lists(READER, max_size=7), st.lists(AUDIENCE, min_size=1, max_size=4), st.data())
    def compare(readers: list[One], audiences: list[Audience], data: st.DataObject) -> None:
        redis.flushdb()
        store = opened(redis)
        for slug in SLUGS:
            store.topics.add(Topic(slug, slug))
        ids = [alert(store) for _ in range(3)]
        soon = int(time.time() // QUARTER) + 2
        for number, one in enumerate(sorted(readers, key=lambda one: -one.joined)):
            chosen = {"topics": one.topics, "followed": one.followed, "muted": one.muted}
            one.id = subscribed(store, number, locale=one.locale, **chosen)
        redis.delete(*map(days_key, store.partitions))
        for one in sorted(readers, key=lambda one: -one.id.number):
            days, day = days_key(one.id.partition), today() - one.joined
            redis.zremrangebyscore(days, day, day)  # of a later reader of that day
            redis.zadd(days, {str(one.id.number - 1): day})
            for at, id in enumerate(ids):
                got(store, id, [one.id] if at in one.got else [])
                hold(store, id, [one.id] if at in one.awaits else [], soon + at % 2)
                hold(store, id, [one.id] if at in one.missed else [], soon - 9)
                if at in one.clicked:
                    store.clicks.mark(id, one.id)
        for drawn in audiences:
            audience = replace(
                drawn,
                topics=() if drawn.everyone else drawn.topics,
                not_reached_by=tuple(ids[at] for at in drawn.not_reached_by),
                clicked=tuple(ids[at] for at in drawn.clicked),
            )
            expected = {one.id for one in readers if belongs(one, drawn)}
            assert store.audiences.count(audience) == len(expected)
            assert counted_while_full(store, audience) == len(expected)
            assert frozen(store, audience) == expected
            size, some = store.audiences.draw(audience, 100)
            assert (size, {*some}) == (len(expected), expected)
            if not audience.of_the_past:
                assert expected == {
                    one.id
                    for one in readers
                    if audience.includes(
                        one.topics, one.locale, followed=one.followed, muted=one.muted
                    )
                }

    compare()


def test_new_readers_among_many_are_exact_at_each_number(store: Store) -> None:
    """The first number may stand at any bit of a byte."""
    ids = [subscribed(store, number) for number in range(60)]
    for partition in store.partitions:
        here = [id for id in ids if id.partition == partition]
        for first in here:
            store.redis.delete(days_key(partition))
            store.redis.zadd(days_key(partition), {str(first.number - 1): today() - 2})
            found = frozen(store, Audience(everyone=True, new_within_days=3))
            expected = {id for id in here if id.number >= first.number}
            assert {id for id in found if id.partition == partition} == expected


def test_readers_who_moved_in_are_left_out_of_new_readers_at_each_number(store: Store) -> None:
    """A span may begin and end at any bit of a byte, and before the day."""
    key = next(iter(store.partitions))
    ids = [subscribed(store, number) for number in range(100)]
    here = sorted(id.number for id in ids if id.partition == key)
    new = Audience(everyone=True, new_within_days=3)
    for size in range(1, 20):
        store.redis.delete(days_key(key), moved_key(key))
        since, first, later = here[size % 3], here[size // 4], here[22]
        store.redis.zadd(days_key(key), {str(since - 1): today() - 2})
        spans = [(first, first + size), (later, later + size % 11)]
        store.redis.zadd(moved_key(key), {f"{a}-{b}": b for a, b in spans})
        expected = {n for n in here if n >= since and not any(a <= n <= b for a, b in spans)}
        found = frozen(store, new)
        assert {id.number for id in found if id.partition == key} == expected
        assert counted_while_full(store, new) == store.audiences.count(new) == len(found)


# When readers subscribed --------------------------------------------------------------------------


def last_numbers(store: Store, partition: int) -> list[tuple[bytes, float]]:
    return list(store.redis.zrange(days_key(partition), 0, -1, withscores=True))


def test_where_the_numbers_of_a_day_begin_is_noted_once(store: Store) -> None:
    ids = [subscribed(store, number) for number in range(12)]
    partition = ids[0].partition
    assert last_numbers(store, partition) == [(b"-1", today())]
    # It was noted in these ten seconds, so that it would not be looked at again.
    store.redis.delete(days_key(partition), f"{{{partition}}}:young")
    store.redis.zadd(days_key(partition), {"0": today() - 500, "1": today() - 5})
    more = [subscribed(store, number) for number in range(100, 112)]
    first = min(id.number for id in more if id.partition == partition)
    noted = [(b"1", today() - 5), (f"{first - 1}".encode(), today())]
    assert last_numbers(store, partition) == noted, "and very old ones are dropped"


def test_all_is_known_of_a_new_store_and_from_the_next_day_on_of_an_earlier_one(
    redis_url: str,
) -> None:
    assert opened(connect(redis_url)).joined.known_since() == 0
    store = Store(connect(redis_url), 2)
    subscribed(store, "ada")
    store.redis.delete("{g}:days")  # as an earlier release leaves it
    assert frozen(store, Audience(everyone=True, new_within_days=1)) == set()
    store.convert()
    assert store.joined.known_since() == today() + 1
    store.convert()
    assert store.joined.known_since() == today() + 1
    new = Audience(everyone=True, new_within_days=1)
    assert store.audiences.count(new) == 0, "rather nobody than too many"
    store.redis.set("{g}:days", today() - 1)
    assert store.audiences.count(new) == 1


# Who got an alert ---------------------------------------------------------------------------------


def test_who_got_a_corrected_text_got_the_alert(store: Store) -> None:
    ids = [subscribed(store, number) for number in range(4)]
    one = alert(store)
    store.redis.hset(f"{{g}}:n:{one}", "revision", 1)
    got(store, one, ids[:1])
    got(store, one, ids[1:2], "accepted:1")
    assert frozen(store, Audience(everyone=True, not_reached_by=(one,))) == {*ids[2:]}


def test_an_alert_that_no_wave_sends_any_more_is_awaited_by_nobody(store: Store) -> None:
    ids = [subscribed(store, number) for number in range(2)]
    soon = int(time.time() // QUARTER) + 2
    for state, withheld, days_ago, left in (
        (State.SENT, False, 0, set()),
        (State.CANCELLED, False, 0, {*ids}),
        (State.SENT, True, 0, {*ids}),
        (State.SENT, False, 2, {*ids}),
    ):
        one = alert(store, state=state, days_ago=days_ago)
        store.redis.hset(f"{{g}}:n:{one}", "finished_at", time.time() - days_ago * DAY)
        if withheld:
            store.redis.hset(f"{{g}}:n:{one}", "withheld", 1)
        hold(store, one, ids, soon)
        assert frozen(store, Audience(everyone=True, not_reached_by=(one,))) == left


def test_an_alert_is_awaited_until_its_wave_is_over(store: Store) -> None:
    ids = [subscribed(store, number) for number in range(2)]
    one, quarter = alert(store), int(time.time() // QUARTER)
    hold(store, one, ids, quarter)
    audience = Audience(everyone=True, not_reached_by=(one,))
    assert frozen(store, audience) == {*ids}, "no clock has made a wave for hours"
    content, wave = (
        Content("While you slept", "https://paper.example/"),
        store.notifications.new_id(),
    )
    waking = Audience(waking=quarter)
    store.notifications.publish(
        Notification(wave, content, waking, State.SENDING, time.time(), "quiet hours")
    )
    assert frozen(store, audience) == set()
    history = store.notifications.history()
    store.outcomes.finish(wave, State.SENT, time.time(), Progress(0, {}), history)
    assert frozen(store, audience) == {*ids}


@pytest.mark.parametrize("condition", ["not_reached_by", "clicked"])
def test_an_alert_of_which_nothing_is_known_any_more_selects_nobody(
    store: Store, condition: str
) -> None:
    reader = subscribed(store, "ada")
    kept = ACCEPTED_KEPT / DAY
    for one, knows in (
        (alert(store, days_ago=kept - 0.01), True),
        (alert(store, days_ago=kept + 0.01), False),
        (alert(store, state=State.SENDING), False),
        (alert(store, state=State.DRAFT), False),
        (4711, False),
    ):
        store.clicks.mark(one, reader)
        audience = Audience(everyone=True, **{condition: (one,)})
        assert frozen(store, audience) == ({reader} if knows else set())
        later = store.audiences.past(audience, time.time() + DAY)
        assert not later.known


def test_who_got_an_alert_is_not_counted_once_some_partitions_may_have_forgotten_it(
    store: Store,
) -> None:
    readers = [subscribed(store, number) for number in range(8)]
    assert {one.partition for one in readers} == {*store.partitions}
    kept = ACCEPTED_KEPT / DAY
    for days_ago, counts in ((0, [8]), (kept - 0.01, [8]), (kept + 0.01, [])):
        one = store.notifications.get(alert(store, days_ago=days_ago))
        assert one
        got(store, one.id, readers)
        assert store.recipients.accepted_in(one, [[("live", "")]], []) == counts


# Who clicked --------------------------------------------------------------------------------------


@pytest.fixture
def clicked(store: Store) -> Iterator[tuple[Store, SubscriptionId, int]]:
    """A store with an alert that a reader clicked."""
    reader, one = subscribed(store, "ada"), alert(store)
    store.clicks.mark(one, reader)
    assert store.clicks.of(reader) == [one]
    yield store, reader, one


def bits(store: Store, reader: SubscriptionId, id: int) -> int:
    return int(store.redis.bitcount(part_key(reader.partition, id, "clicked")))


def test_clicks_end_a_week_after_the_first_one(
    clicked: tuple[Store, SubscriptionId, int],
) -> None:
    store, reader, one = clicked
    key = part_key(reader.partition, one, "clicked")
    assert 0 < store.redis.ttl(key) <= CLICKED_KEPT
    store.redis.expire(key, 500)
    store.clicks.mark(one, reader)
    assert store.redis.ttl(key) <= 500, "a later click does not prolong it"


def test_leaving_clears_every_click(clicked: tuple[Store, SubscriptionId, int]) -> None:
    store, reader, one = clicked
    another, other = subscribed(store, "ben"), alert(store)
    for id in (one, other):
        store.clicks.mark(id, another)
    store.clicks.mark(other, reader)
    store.subscriptions.remove(reader)
    assert store.clicks.of(reader) == []
    assert store.clicks.of(another) == [one, other]
    store.clicks.mark(one, reader)
    assert store.clicks.of(reader) == [], "who has left clicks nothing"
    assert store.subscriptions.remove_all([another]) == 1
    assert bits(store, another, one) == bits(store, another, other) == 0


def test_the_first_click_on_an_alert_while_its_reader_leaves_is_cleared_too(
    clicked: tuple[Store, SubscriptionId, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reader, one = clicked
    late = alert(store)
    slugs = store.stories.slugs
    calls: list[int] = []

    def meanwhile() -> Any:
        if not calls:
            store.clicks.mark(late, reader)
        calls.append(1)
        return slugs()

    monkeypatch.setattr(store.stories, "slugs", meanwhile)
    store.subscriptions.remove(reader)
    assert len(calls) == 2, "it looked again"
    assert bits(store, reader, one) == bits(store, reader, late) == 0


def test_a_reader_who_wants_nothing_counted_is_forgotten_as_a_clicker(
    clicked: tuple[Store, SubscriptionId, int],
) -> None:
    store, reader, one = clicked
    store.subscriptions.change(reader, requested("ada", chosen={"daily_limit": 3}))
    assert store.clicks.of(reader) == [one]
    store.subscriptions.change(reader, requested("ada", chosen={"receipts": False}))
    assert store.clicks.of(reader) == []


def test_all_clicks_are_forgotten_at_once(clicked: tuple[Store, SubscriptionId, int]) -> None:
    store, reader, _ = clicked
    store.clicks.forget()
    assert store.clicks.of(reader) == []
    assert not [key for key in store.redis.scan_iter() if b"click" in key]


@pytest.mark.long  # no other test can use that Redis meanwhile
def test_a_full_redis_takes_no_click_and_counts_no_browsers_that_got_an_alert(
    clicked: tuple[Store, SubscriptionId, int],
) -> None:
    store, reader, one = clicked
    other = alert(store)
    got(store, one, [reader])
    shown = store.notifications.get(one)
    assert shown
    before = store.redis.config_get("maxmemory")["maxmemory"]
    store.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError):
            store.clicks.mark(other, reader)
        assert store.recipients.accepted_in(shown, [[("live", "")]], []) == []
    finally:
        store.redis.config_set("maxmemory", before)
    assert store.clicks.of(reader) == [one]
    assert store.recipients.accepted_in(shown, [[("live", "")]], []) == [1]


def test_an_alert_that_began_before_clicks_were_kept_selects_nobody(
    clicked: tuple[Store, SubscriptionId, int], redis_url: str
) -> None:
    _, reader, one = clicked
    address = as_users({"REDIS_URL": redis_url}, "worker")["REDIS_URL"]
    store, audience = Store(connect(address)), Audience(everyone=True, clicked=(one,))
    assert frozen(store, audience) == {reader}
    for since, is_known in ((time.time() - 60, True), (time.time() + 1, False), (None, False)):
        store.clicks.forget()
        store.clicks.mark(one, reader)
        if since is not None:
            store.redis.set("{g}:clicks:since", since)
        assert store.audiences.past(audience, time.time()).known == is_known
        assert frozen(store, audience) == ({reader} if is_known else set())


def test_a_click_on_a_correction_is_one_on_its_alert(store: Store) -> None:
    readers = [subscribed(store, number) for number in range(3)]
    one, correction = alert(store), alert(store)
    store.redis.hset(f"{{g}}:n:{one}", "corrections", f"[{correction}]")
    store.clicks.mark(one, readers[0])
    store.clicks.mark(correction, readers[1])
    assert frozen(store, Audience(everyone=True, clicked=(one,))) == {*readers[:2]}


# Other releases -----------------------------------------------------------------------------------


def test_an_earlier_release_reads_a_narrowed_audience_as_nobody() -> None:
    """It knows `topics`, `everyone`, `exclude`, `locales` only, and would send to too many."""
    narrow = Audience(everyone=True, new_within_days=7, not_reached_by=(12,))
    stored = narrow.as_stored()
    assert (stored["topics"], "everyone" in stored) == ([], False)
    assert Audience.from_json(stored) == narrow
    plain = Audience(topics=("world",), exclude=("sport",))
    assert plain.as_stored() == plain.as_json() == {"topics": ["world"], "exclude": ["sport"]}


def test_gone_and_unconfirmed_readers_belong_to_no_narrowed_audience(store: Store) -> None:
    gone, new, there = (subscribed(store, number) for number in range(3))
    store.redis.setbit(bitmap_key(gone.partition, "gone"), gone.number, 1)
    store.redis.setbit(bitmap_key(new.partition, "unconfirmed"), new.number, 1)
    assert frozen(store, Audience(everyone=True, new_within_days=1)) == {there}
