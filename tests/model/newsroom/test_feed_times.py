"""When a feed's items are alerted, how many of them, and that none is decided twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.newsroom import feed_items
from service.model.newsroom.feed_items import LeftOut, Notice, Result, rehearse
from service.model.newsroom.feeds import MOST_ITEMS, FeedItem, FeedReading, FeedRules
from tests.support.newsroom.feed_looks import (
    DAY,
    HOUR,
    NEW,
    NO_LIMITS,
    OLD,
    PAPER,
    START,
    A,
    Watched,
    item,
)

# Time and limits ----------------------------------------------------------------------------------


def now(name: str, feed: Watched, minutes_ago: float = 0, **more: Any) -> FeedItem:
    """Return an item that is published now, or some minutes ago, when the feed is looked at."""
    return item(name, (START - feed.now) / HOUR - 5 / 60 + minutes_ago / 60, **more)


def test_an_item_that_comes_back_after_days_alerts_nobody() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    undated = replace(NEW, published=None)
    assert feed.look([undated, *OLD]) == [NEW.title]
    for _ in range(100):
        feed.look(OLD, 60)
    assert feed.look([undated, *OLD]) == []


def test_a_feed_that_was_down_sends_the_newest_of_its_backlog_only() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    feed.now += 8 * HOUR
    backlog = [now(f"after {hours}", feed, 60 * hours) for hours in range(1, 8)]
    assert feed.look([*backlog, replace(NEW, published=None), *OLD]) == [
        one.title for one in backlog[2::-1]
    ]
    # Three more are of the last six hours; a fourth has no date.
    assert feed.reasons().count(LeftOut.BACKLOG) == 4
    assert feed.decided.notices == ((Notice.AFTER_A_GAP, 4),)
    assert feed.look([*backlog, *OLD]) == []


def test_a_feed_that_is_looked_at_seldom_has_no_backlog() -> None:
    feed = Watched(replace(NO_LIMITS, minutes=240))
    feed.look(OLD, 0)
    feed.now += 4 * HOUR
    new = [now(f"after {hours}", feed, 60 * hours) for hours in range(1, 5)]
    assert len(feed.look([*new, *OLD])) == 4


def test_between_two_alerts_is_the_gap() -> None:
    feed = Watched(replace(NO_LIMITS, gap_minutes=30))
    feed.look(OLD, 0)
    both = [now("1", feed, 1), now("2", feed)]
    assert feed.look([*both, *OLD]) == [both[1].title]  # the newest
    assert feed.reasons() == [LeftOut.TOO_SOON]
    third = now("3", feed)
    assert feed.look([third, *both, *OLD]) == []
    # News that was left out is old when there is room again.
    assert feed.look([third, *both, *OLD], 60) == []
    assert feed.look([fourth := now("4", feed), third, *both, *OLD]) == [fourth.title]


@pytest.mark.parametrize(
    ("rules", "reason", "minutes"),
    [
        (replace(NO_LIMITS, most_per_hour=2), LeftOut.TOO_MANY_HOUR, 61),
        (replace(NO_LIMITS, most_per_day=2), LeftOut.TOO_MANY_DAY, 60 * 24),
    ],
)
def test_a_feed_sends_no_more_than_it_may(
    rules: FeedRules, reason: LeftOut, minutes: float
) -> None:
    feed = Watched(replace(rules, minutes=1440))
    feed.look(OLD, 0)
    three = [now(str(n), feed, n) for n in range(3)]
    assert feed.look([*three, *OLD]) == [three[1].title, three[0].title]
    assert feed.reasons() == [reason]
    assert feed.look([now("3", feed), *three, *OLD]) == []
    feed.now += 60 * minutes
    assert feed.look([last := now("4", feed), *three, *OLD]) == [last.title]


def test_only_so_many_items_are_remembered_and_those_in_the_feed_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert feed_items.MOST_KNOWN >= 5 * MOST_ITEMS
    monkeypatch.setattr(feed_items, "MOST_KNOWN", 50)
    feed = Watched()
    for n in range(5):
        feed.look([A, *(item(f"{n}-{m}", 24) for m in range(20))])
    assert len(feed.known) == 50
    feed.look([A, item("4-1", 24)])
    assert not feed.decided.decisions
    for n in range(20):
        feed.look([replace(A, title=f"Live at {n}")])
    assert max(len(one.forms) for one in feed.known) == 10


# Whatever a feed does -----------------------------------------------------------------------------

# Few values, so that items have much in common.
ITEMS = st.builds(
    FeedItem,
    guid=st.sampled_from(["", "1", "2", "3"]),
    link=st.sampled_from(["", f"{PAPER}/", f"{PAPER}/1", f"{PAPER}/1?ref=x", f"{PAPER}/2"]),
    title=st.sampled_from(["", "Ferry aground", "Ferry agroud", "Ward 1: won", "Ward 2: won"]),
    published=st.sampled_from([None, START, START + 300, START - DAY]),
)
READINGS = st.lists(ITEMS, max_size=8).flatmap(
    lambda pool: st.lists(
        st.lists(st.sampled_from(pool), max_size=10) if pool else st.just([]), max_size=8
    )
)
RULES = st.builds(
    FeedRules,
    gap_minutes=st.sampled_from([0, 7, 30]),
    most_per_hour=st.integers(0, 3),
    most_per_day=st.integers(0, 4),
)


@given(READINGS, RULES)
def test_no_item_is_decided_twice_and_no_limit_is_passed(
    readings: list[list[FeedItem]], rules: FeedRules
) -> None:
    feed = Watched(rules)
    feed.look([], 0)
    ids, items = set[str](), set[FeedItem]()
    for reading in readings:
        feed.look(reading)
        made = feed.decided.decisions
        assert len({one.id for one in made} | ids) == len(made) + len(ids)
        assert len({one.item for one in made} | items) == len(made) + len(items)
        ids |= {one.id for one in made}
        items |= {one.item for one in made}
        states = {one.id: one for one in feed.known}
        assert {one.id for one in made if one.left_out is None} == {
            one.id for one in made if states[one.id].result is Result.WAITING
        }
        before = feed.known
        feed.look(reading[::-1])
        assert feed.decided.decisions == ()
        assert {(one.id, one.forms) for one in before} == {
            (one.id, one.forms) for one in feed.known
        }
    for at in feed.alerted:
        if rules.most_per_hour:
            assert sum(at - HOUR < one <= at for one in feed.alerted) <= rules.most_per_hour
        if rules.most_per_day:
            assert sum(at - DAY < one <= at for one in feed.alerted) <= rules.most_per_day
        if rules.gap_minutes:
            assert sum(at - 60 * rules.gap_minutes < one <= at for one in feed.alerted) == 1


def test_a_decision_that_was_not_stored_is_made_again_under_the_same_id() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    known, last_read = feed.known, feed.last_read
    feed.look([NEW, *OLD])
    (first,) = feed.decided.decisions
    feed.known, feed.last_read = known, last_read  # the clock was killed
    feed.look([item("later", 0), replace(NEW, title="Mayor of Kiel steps down"), *OLD], 1)
    assert first.id in {one.id for one in feed.decided.decisions}


# The dry run --------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_the_feed_would_have_sent() -> None:
    rules = replace(NO_LIMITS, gap_minutes=60, most_per_hour=2, newest_hours=1)
    items = [
        item("future", -2),
        item("now", 0),
        item("B", 2),
        item("B2", 2.1),
        item("C", 20, link=""),
        item("C", 20, link=""),
        item("old", 25),
        item("no date", None),
    ]
    made = rehearse(FeedReading(PAPER, 200, items=tuple(items)), rules, now=START)
    assert [(one.item.title.split()[-1], one.left_out) for one in made] == [
        ("date", LeftOut.NO_DATE),
        ("coast", LeftOut.NO_LINK),
        ("B2", None),
        ("budget", LeftOut.TOO_SOON),
        ("now", LeftOut.TOO_SOON),
        ("future", None),
    ]
    assert rehearse(FeedReading(PAPER, 200, items=tuple(items)), rules, now=START, hours=1) != made
