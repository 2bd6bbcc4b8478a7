"""Which items of a feed are alerted: each once, and the old ones never."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import feed_items
from service.model.feed_forms import nearly_same, page_of, words_in_order
from service.model.feed_items import (
    Decided,
    KnownItem,
    LeftOut,
    Notice,
    Result,
    decide,
    rehearse,
)
from service.model.feeds import MOST_ITEMS, FeedFault, FeedItem, FeedReading, FeedRules
from service.model.links import web_address

HOUR, DAY = 3600.0, 86400.0
START = 1_700_000_000.0  # of the clock
PAPER = "https://paper.example"
NO_LIMITS = FeedRules(name="Paper", most_per_hour=0, most_per_day=0)


TITLES = {
    "A": "Ferry runs aground in the harbour",
    "B": "Parliament votes on the budget",
    "C": "Storm warning for the whole coast",
    "new": "Mayor of Kiel resigns",
}


def item(name: str, age: float | None = 2, **more: Any) -> FeedItem:
    """Return an item that was published so many hours before START."""
    made = FeedItem(
        guid=f"id-{name}",
        link=f"{PAPER}/{name}",
        title=TITLES.get(name) or f"All that is known of {name}",
        published=None if age is None else START - age * HOUR,
    )
    return replace(made, **more)


@dataclass
class Watched:
    """A feed that is looked at, as the clock does it."""

    rules: FeedRules = NO_LIMITS
    now: float = START
    known: tuple[KnownItem, ...] = ()
    last_read: float | None = None
    alerted: list[float] = field(default_factory=list)
    decided: Decided = field(default_factory=lambda: Decided((), ()))

    def look(self, items: Sequence[FeedItem], minutes: float = 5) -> list[str]:
        """Return the titles that are alerted some minutes after the last look."""
        self.now += 60 * minutes
        self.decided = decide(
            self.known,
            FeedReading(PAPER, 200, items=tuple(items)),
            self.rules,
            now=self.now,
            alerted=self.alerted,
            last_read=self.last_read,
        )
        # As it is stored and read.
        self.known = tuple(KnownItem.from_json(one.as_json()) for one in self.decided.known)
        self.last_read = self.now
        sent = [one for one in self.decided.decisions if one.left_out is None]
        self.alerted += [self.now] * len(sent)
        return [one.item.title for one in sent]

    def reasons(self) -> list[LeftOut]:
        return [one.left_out for one in self.decided.decisions if one.left_out]


A, B, C = item("A", 3), item("B", 2), item("C", 1)
NEW = item("new", 0)
OLD = [C, B, A]


def all_of(**more: Any) -> list[FeedItem]:
    return [replace(one, **more) for one in OLD]


def many(start: str, **more: Any) -> list[FeedItem]:
    return [item(f"{start}{n}", 24 + n, **more) for n in range(50)]


LATER = START + 60  # after the first look, before the second


# Each row: what an editor sees, the feed on the first look, on the second, and what is alerted.
ROWS: list[tuple[str, list[FeedItem], list[FeedItem], list[FeedItem]]] = [
    ("a new item is alerted", OLD, [NEW, *OLD], [NEW]),
    ("a new item without a date is alerted", OLD, [replace(NEW, published=None), *OLD], [NEW]),
    ("a feed that was empty alerts its first items", [], [B, C], [B, C]),
    ("items are alerted the oldest first", OLD, [NEW, item("D", 0.5), *OLD], [item("D"), NEW]),
    ("a feed in reverse order alerts nobody", OLD, [A, B, C], []),
    ("an item that is there twice is alerted once", OLD, [NEW, NEW, *OLD], [NEW]),
    (
        "an item that is there under two ids is alerted once",
        OLD,
        [NEW, replace(NEW, guid="other"), *OLD],
        [NEW],
    ),
    # Its id changes.
    ("a new id with the same link is the same item", OLD, all_of(guid="x"), []),
    ("no id any more is the same item", OLD, all_of(guid=""), []),
    (
        "a new id with the same time and nearly the same title is the same item",
        [A, B],
        [replace(A, guid="n", link=f"{PAPER}/1", title="Ferry runs agound in the harbor"), B],
        [],
    ),
    (
        "a new id, link and title that goes on is the same item",
        [A, B],
        [replace(A, guid="n", link=f"{PAPER}/1", title=f"{A.title} and beyond"), B],
        [],
    ),
    (
        "items of one time that differ by a number are two",
        [replace(A, title="Ward 1: Smith wins the seat"), B],
        [item("A2", 3, title="Ward 2: Smith wins the seat"), B],
        [item("A2", title="Ward 2: Smith wins the seat")],
    ),
    (
        "items of one time that are both there are two",
        OLD,
        [
            item("N", 0, title="Rain in the north of the country"),
            item("S", 0, title="Rain in the south of the country"),
            *OLD,
        ],
        [
            item("S", title="Rain in the south of the country"),
            item("N", title="Rain in the north of the country"),
        ],
    ),
    (
        "an item of the same time as one that is still there is another",
        [item("N", 3, title="Rain in the north of the country")],
        [
            item("N", 3, title="Rain in the north of the country"),
            item("S", 3, title="Rain in the south of the country"),
        ],
        [item("S", title="Rain in the south of the country")],
    ),
    (
        "an item that was deleted and posted again is the same",
        OLD,
        [item("A9", 0, title=A.title), C, B],
        [],
    ),
    (
        "an item with the title of one that is still there is another",
        OLD,
        [item("A9", 0, title=A.title), *OLD],
        [A],
    ),
    # Its link changes.
    ("a new link with the same id is the same item", OLD, all_of(link=f"{PAPER}/x"), []),
    ("no link any more is the same item", OLD, all_of(link=""), []),
    (
        "a new link and another title with the same id is the same item",
        [A, B],
        [replace(A, link=f"{PAPER}/z", title="All rescued"), B],
        [],
    ),
    (
        "an item that keeps nothing but its id, among others, is the same item",
        [A, B],
        [replace(NEW, guid=A.guid), B],
        [],
    ),
    (
        "one id for ever, and another link, title and date, is another item",
        [replace(A, guid="feed")],
        [replace(NEW, guid="feed")],
        [NEW],
    ),
    # Its title or date changes.
    (
        "a corrected title is the same item",
        [A, B],
        [replace(A, title="Ferry run aground in harbour"), B],
        [],
    ),
    ("another title with the same id and link is the same item", OLD, all_of(title="x"), []),
    ("a new date is the same item", OLD, all_of(published=LATER), []),
    ("no date any more is the same item", OLD, all_of(published=None), []),
    ("an update is the same item", OLD, all_of(updated=LATER), []),
    # All items have one id, or one link.
    (
        "items with one id are told apart by their links",
        all_of(guid="paper"),
        [replace(NEW, guid="paper"), *all_of(guid="paper")],
        [NEW],
    ),
    (
        "items with one id and one link are told apart by their titles",
        all_of(guid="paper", link=f"{PAPER}/live"),
        [
            replace(NEW, guid="paper", link=f"{PAPER}/live"),
            *all_of(guid="paper", link=f"{PAPER}/live"),
        ],
        [NEW],
    ),
    (
        "items with one id and one link differ by a letter and their dates",
        all_of(guid="paper", link=f"{PAPER}/live"),
        [
            item("1", 0, guid="paper", link=f"{PAPER}/live", title="Ward A: Smith wins"),
            item("2", 1, guid="paper", link=f"{PAPER}/live", title="Ward B: Smith wins"),
            *all_of(guid="paper", link=f"{PAPER}/live"),
        ],
        [item("2", title="Ward B: Smith wins"), item("1", title="Ward A: Smith wins")],
    ),
    (
        "an item alone that links to the first page is told by its title",
        [replace(A, guid="", link=PAPER)],
        [replace(NEW, guid="", link=PAPER)],
        [NEW],
    ),
    (
        "items with one link are told apart by their ids",
        all_of(link=f"{PAPER}/live"),
        [replace(NEW, link=f"{PAPER}/live#9"), *all_of(link=f"{PAPER}/live")],
        [NEW],
    ),
    (
        "items without ids that link to the first page are told apart by their titles",
        all_of(guid="", link=f"{PAPER}/"),
        [replace(NEW, guid="", link=PAPER), *all_of(guid="", link=PAPER)],
        [NEW],
    ),
    # What is not new.
    (
        "an item updated now and published in 2015 alerts nobody",
        OLD,
        [item("2015", 80_000, updated=LATER), *OLD],
        [],
    ),
    ("an item of yesterday alerts nobody", OLD, [item("D", 24), *OLD], []),
    ("a date in the future counts as now", OLD, [item("D", -50), *OLD], [item("D")]),
    ("fifty new ids alert nobody", many("x"), [replace(o, guid=o.link) for o in many("x")], []),
    (
        "fifty new ids and links alert nobody",
        many("x"),
        [replace(o, guid=f"n{o.guid}", link=f"{o.link}.html") for o in many("x")],
        [],
    ),
    (
        "a redesign with new ids, links and dates alerts nobody",
        many("x"),
        [replace(o, guid="", link=f"{o.link}.html", published=LATER) for o in many("x")],
        [],
    ),
    (
        "a redesign of a small feed with new ids, links and dates alerts nobody",
        many("x")[:6],
        [
            replace(o, guid="", link=f"{o.link}.html", published=LATER + n)
            for n, o in enumerate(many("x")[:6])
        ],
        [],
    ),
    (
        "a redesign with new ids and links that drops dates alerts nobody",
        many("x"),
        [replace(o, guid="", link=f"{o.link}.html", published=None) for o in many("x")],
        [],
    ),
    (
        "a small feed that becomes another without dates alerts nobody",
        OLD,
        [item(name, None) for name in "XYZ"],
        [],
    ),
    (
        "a feed that becomes another with new dates alerts nobody",
        OLD,
        [item(f"x{n}", 0) for n in range(10)],
        [],
    ),
    ("ten old items without dates alert nobody", OLD, [*many("y", published=None), *OLD], []),
    # What is no alert.
    ("an item without a title alerts nobody", OLD, [replace(NEW, title=""), *OLD], []),
    ("an item without a link alerts nobody", OLD, [replace(NEW, link=""), *OLD], []),
]


@pytest.mark.parametrize(
    ("first", "second", "alerted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_what_is_alerted_on_the_second_look(
    first: list[FeedItem], second: list[FeedItem], alerted: list[FeedItem]
) -> None:
    feed = Watched()
    assert feed.look(first, 0) == []  # on the first look, nobody is alerted
    assert feed.look(second) == [one.title for one in alerted]
    # It stays so, in whatever order, and when the first feed comes back.
    assert feed.look(second) == feed.look(second[::-1]) == feed.look(first) == []


LINK = f"{PAPER}/news/ferry"


@pytest.mark.parametrize(
    "other",
    [
        "http://paper.example/news/ferry",
        "https://www.paper.example/news/ferry",
        "https://PAPER.example:443/news/ferry",
        f"{LINK}/",
        f"{LINK}#comments",
        f"{LINK}?utm_source=rss&utm_medium=feed",
        f"{LINK}?fbclid=x#xtor=RSS-1",
        f"{LINK}?ref=rss",
        "https://m.paper.example/news/ferry",
        "https://amp.paper.example/news/ferry",
        f"{LINK}/amp/",
        f"{LINK}.amp",
        f"{LINK}?amp=1",
        f"{PAPER}/amp/news/ferry",
        "https://paper-example.cdn.ampproject.org/c/s/paper.example/news/ferry",
        "https://www.google.com/amp/s/paper.example/news/ferry",
    ],
)
def test_a_link_in_another_spelling_is_the_same_item(other: str) -> None:
    feed = Watched()
    feed.look([replace(A, link=LINK), B], 0)
    usual = web_address(other)
    assert usual
    assert feed.look([replace(A, guid="", title="All rescued", link=usual), B]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{PAPER}/?p=1", f"{PAPER}/?p=2"),
        (f"{PAPER}/a", f"{PAPER}/A"),
        (f"{PAPER}/a", f"{PAPER}/a/b"),
        (f"{PAPER}/#!/a", f"{PAPER}/#!/b"),
        (f"{PAPER}/a", "https://other.example/a"),
        ("https://sport.paper.example/a", f"{PAPER}/a"),
        (f"{PAPER}/example", f"{PAPER}/ex"),
    ],
)
def test_other_pages_are_other_items(one: str, other: str) -> None:
    assert page_of(one) != page_of(other)
    feed = Watched()
    feed.look([replace(A, guid="", link=one)], 0)
    assert feed.look([replace(NEW, guid="", link=other)]) == [NEW.title]


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("Ferry aground", "FERRY AGROUND!", True),
        ("Fery runs aground", "Ferry runs aground", True),
        ("Ferry runs aground", "Ferry runs aground, all rescued", True),
        ("Ferry", "Ferry company goes bankrupt", False),
        ("Ward 1: Smith wins", "Ward 2: Smith wins", False),
        ("Ferry runs aground", "Parliament votes", False),
        ("Nehmet Abschied", "Nehmt Abschied", True),
        ("渡轮搁浅", "渡轮搁浅了", True),
        ("渡轮搁浅", "议会投票", False),
        ("🔴🔴", "🔴🔴", True),
        ("🔴", "🟢", False),
    ],
)
def test_titles_that_are_nearly_the_same(one: str, other: str, near: bool) -> None:
    assert nearly_same(words_in_order(one), words_in_order(other)) is near


# What the desk sees -------------------------------------------------------------------------------


def test_the_desk_sees_why_an_item_was_left_out() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    assert feed.reasons() == [LeftOut.FIRST_LOOK] * 3
    feed.look([item("D", 24), replace(NEW, title=""), replace(NEW, guid="n", link=""), *OLD])
    assert set(feed.reasons()) == {LeftOut.OLD, LeftOut.NO_TITLE, LeftOut.NO_LINK}
    assert [one.left_out for one in feed.known].count(LeftOut.FIRST_LOOK) == 3
    assert all(one.in_words.endswith(".") for one in LeftOut)


def test_the_desk_is_told_of_fifty_new_ids_once() -> None:
    feed = Watched()
    feed.look(many("x"), 0)
    renewed = [replace(one, guid=f"n-{one.guid}") for one in many("x")]
    assert feed.look(renewed) == []
    assert feed.decided.notices == ((Notice.NEW_IDS, 50),)
    feed.look(renewed)
    assert feed.decided.notices == ()
    # A feed with other ids on each look is no news, nor are a few new ids.
    feed.look([replace(one, guid=f"o-{one.guid}") for one in many("x")])
    assert feed.decided.notices == ()
    small = Watched()
    small.look(OLD, 0)
    small.look([replace(one, guid=f"n-{one.guid}") for one in OLD])
    assert small.decided.notices == ()


def test_the_desk_is_told_of_many_old_items_at_once() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    feed.look([*many("y"), *OLD])
    assert feed.decided.notices == ((Notice.MANY_AT_ONCE, 50),)
    assert feed.reasons() == [LeftOut.OLD] * 50
    feed.look([*many("z", published=None), *OLD])
    assert feed.reasons() == [LeftOut.MANY_AT_ONCE] * 50


def test_a_feed_that_cannot_be_read_changes_nothing() -> None:
    feed = Watched()
    feed.look(OLD, 0)
    for reading in (
        FeedReading(PAPER, 500, fault=FeedFault.STATUS),
        FeedReading(PAPER, 304, unchanged=True),
    ):
        decided = decide(
            feed.known, reading, NO_LIMITS, now=feed.now, alerted=[], last_read=feed.last_read
        )
        assert decided == Decided((), feed.known)


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
