"""Which items of a feed are alerted: each once, and the old ones never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.model.language.links import web_address
from service.model.newsroom.feed_forms import Titles, page_of, words_in_order
from service.model.newsroom.feed_items import Decided, LeftOut, Notice, decide
from service.model.newsroom.feeds import FeedFault, FeedItem, FeedReading
from tests.support.newsroom.feed_looks import (
    NEW,
    NO_LIMITS,
    OLD,
    PAPER,
    START,
    A,
    B,
    C,
    Watched,
    all_of,
    item,
    many,
)

ONE = {"guid": "paper", "link": f"{PAPER}/live"}
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
        [item("0", 2, title="Ward C: Smith wins", **ONE)],
        [
            item("1", 0, title="Ward A: Smith wins", **ONE),
            item("2", 1, title="Ward B: Smith wins", **ONE),
            item("0", 2, title="Ward C: Smith wins", **ONE),
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
    assert Titles().nearly_same(words_in_order(one), words_in_order(other)) is near


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
