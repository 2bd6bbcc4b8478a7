"""Feeds of a newspaper on loopback, and what clock and fetch process do with them, step by step."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from service.domain.newsroom.feeds import Feed, LogLine
from service.domain.operations.processes import RELEASE
from service.domain.sending.job_queue import FETCH_QUEUE, note_alive
from service.model.newsroom.feed_items import LeftOut
from service.model.newsroom.feeds import FeedReading, FeedRules
from service.model.notifications import Notification
from service.model.time import clock
from service.runtime import Runtime
from tests.support.network.newspaper import Newspaper, response
from workers.fetching.feed_jobs import FeedReader
from workers.fetching.fetch import Fetcher

ID = "feedfeedfeed"
LINK = "https://paper.example/"


def item(name: str, at: float, **more: str) -> str:
    """An item of a feed, whose link and id follow from its name."""
    fields = {
        "title": f"The {name}",
        "link": f"{LINK}{name}",
        "guid": name,
        "description": f"All about the {name}.",
        "pubDate": format_datetime(datetime.fromtimestamp(at, timezone.utc)),
        **more,
    }
    inner = "".join(f"<{field}>{escape(text)}</{field}>" for field, text in fields.items() if text)
    return f"<item>{inner}</item>"


def feed_of(*items: str, head: str = "") -> str:
    """A feed as a server has it."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>'
        f"<title>The Daily Example</title><link>{LINK}</link>{head}{''.join(items)}"
        "</channel></rss>"
    )


def rss(*items: str, head: str = "", **fields: str) -> bytes:
    """A response with a feed."""
    return response(feed_of(*items, head=head).encode(), kind="application/rss+xml", **fields)


# What is posted in a night of eight hours: hours before the morning (None: an item without a date),
# and what becomes of it then (decision 106).
NIGHT = 8 * 3600.0
TOO_OLD, BACKLOG = LeftOut.OLD.in_words, LeftOut.BACKLOG.in_words
POSTED_AT_NIGHT: dict[str, tuple[float | None, str]] = {
    "council": (7.5, TOO_OLD),
    "fire": (6.5, TOO_OLD),
    "strike": (5, BACKLOG),
    "storm": (4, BACKLOG),
    "verdict": (3, BACKLOG),
    "tide": (None, BACKLOG),
    "ferry": (2, ""),
    "pier": (1, ""),
    "mayor": (0.5, ""),
}
OF_THE_NIGHT = {f"The {name}" for name, (_, why) in POSTED_AT_NIGHT.items() if not why}
BACKLOG_LEFT_OUT = "The feed was not read for a while, and its backlog left out: 4 items."


def posted_at_night(morning: float) -> list[str]:
    """Return the items of a night, the newest first."""
    return [
        item(name, morning, pubDate="") if hours is None else item(name, morning - hours * 3600)
        for name, (hours, _) in reversed(POSTED_AT_NIGHT.items())
    ]


def store_feed(runtime: Runtime) -> None:
    """Store a feed with a known id, as if it had been read."""
    made = json.dumps({"version": 1, "by": "nora@paper.example", "at": 0.0})
    rules = FeedRules(url="https://paper.example/known", everyone=True)
    runtime.store.feeds.add(ID, made, rules.as_json(), 0.0, runtime.store.feeds.ids())
    reading = FeedReading(rules.url, 200)
    runtime.store.redis.hset(f"{{g}}:feed:{ID}", "reading", reading.as_json())


def pretend_a_fetch_process(redis: Redis) -> None:
    """Let a fetch process seem to run."""
    redis.sadd(f"rq:workers:{FETCH_QUEUE}", "rq:worker:fetch.test")
    note_alive(redis, "rq:worker:fetch.test", RELEASE)


class Watched:
    """An installation that watches a newspaper's feeds. The test is its clock and fetch process."""

    def __init__(self, runtime: Runtime, paper: Newspaper, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime, self.paper = runtime, paper
        self.now = float(int(clock.time()))
        monkeypatch.setattr(clock, "time", lambda: self.now)
        self.redis = runtime.store.redis
        pretend_a_fetch_process(self.redis)
        self.reader = FeedReader(runtime.store.feeds.requests, Fetcher([paper.origin]))

    def add(self, path: str = "/feed", **rules: Any) -> Feed:
        """Add a feed that is sent to everyone, and read it."""
        given = {"name": path, "makes_drafts": False, "everyone": True, **rules}
        url = f"{self.paper.origin}{path}"
        feed = self.runtime.feeds.add(FeedRules(url=url, **given), by="nora@paper.example")
        self.look()
        return feed

    def fetch(self) -> None:
        """Do what waits for a fetch process."""
        queue = Queue(FETCH_QUEUE, connection=self.redis, serializer=JSONSerializer)
        for job in queue.jobs:
            self.reader.do(job.args[0])
            job.delete()

    def look(self, minutes: float = 0) -> None:
        """Let so much time pass, and then clock and fetch process do what is due."""
        self.now += 60 * minutes
        self.tick()
        self.fetch()
        self.tick()

    def tick(self) -> None:
        """Do what the clock does once."""
        self.runtime.feed_clock.look_after(self.now)

    def alerts(self) -> list[Notification]:
        """Return what was sent or planned, the oldest first."""
        return self.runtime.publishing.latest(100)[::-1]

    def titles(self) -> list[str]:
        """Return the titles of all alerts and drafts, the oldest first."""
        return [one.text.title for one in self.alerts()]

    def log(self, feed: Feed) -> list[LogLine]:
        """Return what became of the items of a feed, the oldest first."""
        return self.runtime.feeds.log(feed.id)[::-1]

    def state(self, feed: Feed) -> Feed:
        """Return a feed as it is now."""
        return self.runtime.feeds.get(feed.id)
