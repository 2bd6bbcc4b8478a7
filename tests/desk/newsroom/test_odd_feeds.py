"""Each hostile or odd feed beside all others: what is alerted, and what the desk's page says."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from datetime import datetime, timezone
from typing import NamedTuple

import pytest
from flask.testing import FlaskClient

from service.domain.newsroom.feeds import NOBODY, Feed
from service.model.newsroom.feeds import FeedRules
from service.runtime import Runtime
from tests.support.desk.pages import words
from tests.support.network.newspaper import Newspaper, Page, redirect, response
from tests.support.newsroom.feeds import (
    BACKLOG_LEFT_OUT,
    LINK,
    NIGHT,
    OF_THE_NIGHT,
    POSTED_AT_NIGHT,
    Watched,
    feed_of,
    item,
    posted_at_night,
    pretend_a_fetch_process,
    rss,
)
from workers.fetching import feed_jobs

HOUR, DAY = 3600, 86_400
FERRY = ("The ferry",)
NOTHING_NEW = "It had no new item yet."
BOMB = '<!ENTITY a "haha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


class Odd(NamedTuple):
    """A feed as it is when it is added and five minutes later, and what comes of that."""

    name: str
    first: str
    then: str | Page  # a text is served as a feed
    alerted: tuple[str, ...]
    says: str  # on the feed's page


@pytest.fixture
def watched(runtime: Runtime, paper: Newspaper, monkeypatch: pytest.MonkeyPatch) -> Watched:
    # However busy the machine is, an endless feed is cut off by its size.
    monkeypatch.setattr(feed_jobs, "_LIMITS", replace(feed_jobs._LIMITS, seconds=600.0))
    return Watched(runtime, paper, monkeypatch)


def said(editor: FlaskClient, feed: Feed) -> str:
    """Return what the page of a feed says."""
    return words(editor.get(f"/desk/feeds/{feed.id}").text)


def entitled(title: str, now: float, doctype: str = "") -> str:
    """A feed with a new item, whose title stands in it as it is here."""
    feed = feed_of(item("ferry", now, title="Ours"), item("harbour", now - HOUR))
    return feed.replace("Ours", title).replace("<rss", f"{doctype}<rss", 1)


def endless(beginning: str, again: str) -> Page:
    """A response that goes on until nobody reads it any more."""

    def page(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n" + beginning.encode())
        while True:
            client.sendall(again.encode() * 100)

    return page


def known_again(now: float) -> list[Odd]:
    """Return feeds that change what tells an item from others."""
    old = item("harbour", now - HOUR, title="Ferry runs aground in the harbour")
    usual, tide = feed_of(old), item("tide", now - 2 * HOUR)
    changed = {"guid": "n", "link": f"{LINK}n", "title": "Ferry runs agound in the harbor"}
    many = [item(f"story {n}", now - DAY - n, link=f"{LINK}{n}") for n in range(50)]
    one_id = {"guid": "paper"}
    one_link = {**one_id, "link": f"{LINK}live"}
    undated = feed_of(item("ferry", now, pubDate=""), old)
    updated = datetime.fromtimestamp(now, timezone.utc).isoformat()
    of_2015 = item("ferry", 1_420_113_600, **{"atom:updated": updated})
    sent = "The ferry an alert"
    return [
        Odd("a feed as others are", usual, feed_of(item("ferry", now), old), FERRY, sent),
        Odd(
            "another guid, the same time and nearly the same title",
            usual,
            feed_of(item("harbour", now - HOUR, **changed)),
            (),
            NOTHING_NEW,
        ),
        Odd("another order", feed_of(old, tide), feed_of(tide, old), (), NOTHING_NEW),
        Odd(
            "one guid, other links",
            feed_of(item("tide", now - HOUR, **one_id)),
            feed_of(item("ferry", now, **one_id), item("tide", now - HOUR, **one_id)),
            FERRY,
            sent,
        ),
        Odd(
            "one guid and one link, other titles and dates",
            feed_of(item("tide", now - HOUR, **one_link)),
            feed_of(item("ferry", now, **one_link), item("tide", now - HOUR, **one_link)),
            FERRY,
            sent,
        ),
        Odd(
            "fifty old items with new ids",
            feed_of(*many),
            re.sub("<guid>", "<guid>new ", feed_of(*many)),
            (),
            "Items that were known got new ids at once: 50 items. Nobody was alerted again.",
        ),
        Odd(
            "ids that are numbers", usual, feed_of(item("ferry", now, guid="17"), old), FERRY, sent
        ),
        Odd(
            "updated now, published in 2015",
            usual,
            feed_of(of_2015, old),
            (),
            "The ferry left out: It was published too long ago.",
        ),
        Odd("a date to come", usual, feed_of(item("ferry", now + 2 * DAY), old), FERRY, sent),
        Odd("no date", usual, undated, FERRY, sent),
    ]


def texts(now: float) -> list[Odd]:
    """Return feeds whose texts few parsers read."""
    usual = feed_of(item("harbour", now - HOUR))
    untitled = item("ferry", now, title="")
    silent = item("ferry", now, title="", description="")
    doctype = r'<!DOCTYPE rss [<!ENTITY a "\1\g">]>'
    sent = "an alert"
    return [
        Odd("no title", usual, feed_of(untitled), ("All about the ferry.",), sent),
        Odd(
            "neither title nor text",
            usual,
            feed_of(silent),
            (),
            "left out: It has neither a title nor a text.",
        ),
        Odd(
            "raw line ends", usual, entitled("\r\nThe\n ferry\r", now), FERRY, "The ferry an alert"
        ),
        Odd("&nbsp;", usual, entitled("The&nbsp;ferry", now), ("The\xa0ferry",), sent),
        Odd(
            "an entity nobody knows", usual, entitled("A &foo; B", now), ("A &foo; B",), "an alert"
        ),
        Odd(
            "a backslash", usual, entitled("A &a;", now, doctype), (r"A \1\g",), r"A \1\g an alert"
        ),
    ]


def no_feeds(now: float) -> list[Odd]:
    """Return what is no feed, or meant to harm."""
    usual = feed_of(item("harbour", now - HOUR))
    page = response(b"<!DOCTYPE html><title>Error</title><p>Not now<item></item>")
    whole = item("ferry", now)
    items = feed_of(whole).partition("</channel>")[0]
    filler = item("old", now - 9 * DAY, description="Long ago. " * 500)
    bomb = entitled("&i;", now, f"<!DOCTYPE rss [{BOMB}]>")
    return [
        Odd("an HTML page of an error", usual, page, (), "What 127.0.0.1 gives is no feed."),
        Odd("an error", usual, response(status=503), (), "not give the feed (it answers 503)."),
        Odd("an end that never comes", usual, endless(items, filler), FERRY, "The ferry an alert"),
        Odd(
            "an item without an end",
            usual,
            endless(items.removesuffix("</item>"), "x" * 99),
            (),
            "The feed is too large: it was cut off, and no item of it is whole.",
        ),
        Odd("an entity bomb", usual, bomb, (), "declares entities that contain one another"),
        Odd(
            "a redirect inward",
            usual,
            redirect("http://169.254.169.254/latest/"),
            (),
            "169.254.169.254 is at a private address.",
        ),
    ]


def test_each_odd_feed_is_alerted_once_or_says_why_not_and_the_others_go_on(
    editor: FlaskClient, watched: Watched, paper: Newspaper
) -> None:
    odd = [*known_again(watched.now), *texts(watched.now), *no_feeds(watched.now)]
    inward = FeedRules(url="http://10.0.0.1/feed", everyone=True)
    private = watched.runtime.feeds.add(inward, by="nora@paper.example")

    def own(number: int, page: str | Page) -> Page:
        """Return a feed with links of its own, because no link is alerted twice."""
        if not isinstance(page, str):
            return page
        return response(page.replace(LINK, f"{LINK}{number}/").encode(), kind="text/xml")

    feeds = []
    for number, one in enumerate(odd):
        paper.pages[f"/{number}"] = own(number, one.first)
        feeds.append(watched.add(f"/{number}", name=one.name))
    assert watched.titles() == []
    for number, one in enumerate(odd):
        paper.pages[f"/{number}"] = own(number, one.then)
    watched.look(5)

    for one, feed in zip(odd, feeds, strict=True):
        alerted = tuple(line.title for line in watched.log(feed) if line.alert)
        assert alerted == one.alerted, one.name
        assert one.says in said(editor, feed), one.name
    assert "10.0.0.1 is at a private address." in said(editor, private)
    assert sorted(watched.titles()) == sorted(title for one in odd for title in one.alerted)

    # Each goes on once it is as others are, and alerts nothing again.
    for number in range(len(odd)):
        paper.pages[f"/{number}"] = own(number, feed_of(item("pier", watched.now)))
    before = len(watched.titles())
    watched.look(10)
    assert watched.titles()[before:] == ["The pier"] * len(odd)


@pytest.mark.parametrize("whose", ["the newspaper's", "ours"])
def test_of_a_night_without_a_feed_the_newest_are_alerted_and_the_page_says_why_not_the_others(
    editor: FlaskClient, watched: Watched, paper: Newspaper, whose: str
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - HOUR))
    feed = watched.add()
    if whose == "ours":  # a fetch process ended
        watched.redis.delete("stoppress:alive:rq:worker:fetch.test")
        down = NOBODY
    else:
        paper.pages["/feed"] = response(status=503)
        down = "127.0.0.1 does not give the feed (it answers 503)."
    for _ in range(round(NIGHT / HOUR)):
        watched.look(60)
    assert down in said(editor, feed)

    paper.pages["/feed"] = rss(
        *posted_at_night(watched.now), item("harbour", watched.now - 2 * DAY)
    )
    pretend_a_fetch_process(watched.redis)
    watched.look(60 if whose != "ours" else 0)
    assert set(watched.titles()) == OF_THE_NIGHT
    page = said(editor, feed)
    assert BACKLOG_LEFT_OUT in page
    for name, (_, why) in POSTED_AT_NIGHT.items():
        assert f"The {name} {f'left out: {why}' if why else 'an alert'}" in page
    assert "3 items used, 6 left out" in words(editor.get("/desk/feeds").text)

    watched.look(60)
    assert len(watched.titles()) == len(OF_THE_NIGHT), "the rest does not follow later"
