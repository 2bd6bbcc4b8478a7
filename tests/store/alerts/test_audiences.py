"""Audiences by what readers chose, did and got: each count and each frozen bitmap is exact."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.notifications import Audience, Content, Notification, Progress, State, Topic
from service.model.retention import ACCEPTED_KEPT, DAY
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER
from service.store import Store, connect
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.joined import days_key, today
from tests.support.audiences import alert, counted_while_full, frozen, got, hold, opened, subscribed
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.redis

SLUGS, STORIES = ("world", "sport", "culture"), ("quake", "storm")


@pytest.fixture
def store(redis_url: str) -> Store:
    """A new store of two partitions."""
    return opened(connect(redis_url))


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


def test_each_count_and_each_frozen_audience_is_exactly_its_readers(
    redis_url: str, whole_redis: RedisServer
) -> None:
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
            assert counted_while_full(whole_redis, store, audience) == len(expected)
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
