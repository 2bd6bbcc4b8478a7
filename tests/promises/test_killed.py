"""Real processes that are killed in the middle: what they were doing is done once all the same."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.model.newsroom.feeds import FeedRules
from service.model.notifications import Audience
from service.model.time import clock
from service.runtime import Runtime
from tests.support.client import browser
from tests.support.command import stoppress
from tests.support.network.newspaper import Newspaper
from tests.support.newsroom.feeds import item, rss
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.short_forms import some

pytestmark = pytest.mark.processes
KILLED = -signal.SIGKILL

# Feeds --------------------------------------------------------------------------------------------

# A clock that looks often, takes over soon, and asks again after three seconds instead of a minute.
CLOCK = """
import service.store.newsroom.feeds
import workers.clock
workers.clock.TICK, workers.clock.LEAD, service.store.newsroom.feeds.LOST = 0.2, 1.0, 3
workers.clock.main()
"""
# Such a clock, killed while it takes the reading that has the ferry.
DYING = (
    """
from service.domain.newsroom.feed_clock import FeedClock
from tests.support.processes.killed import die_in
take = FeedClock._take
def taking(self, one, result, now):
    if "ferry" in result: die_in({sending})
    take(self, one, result, now)
FeedClock._take = taking
"""
    + CLOCK
)
NEW = ("ferry", "pier", "weather")


@pytest.fixture
def installation(
    redis_url: str, push: PushService, paper: Newspaper, tmp_path: Path
) -> Iterator[Installation]:
    with Installation(redis_url, push, tmp_path, FETCH_ORIGINS=paper.origin) as installation:
        yield installation


class Half:
    """A page of which half comes, and the rest never does."""

    def __init__(self, whole: bytes) -> None:
        self._whole = whole
        self.asked, self._over = threading.Event(), threading.Event()

    def __call__(self, client: socket.socket) -> None:
        client.sendall(self._whole[: len(self._whole) // 2])
        self.asked.set()
        self._over.wait(60)

    def close(self) -> None:
        self._over.set()


def is_due(installation: Installation, feed: str) -> None:
    """Let a feed be read now."""
    rows = installation.runtime.store.feeds
    row = rows.get(feed)
    assert row is not None
    assert rows.change(feed, row.rules, row.rules, due=clock.time())


@pytest.mark.parametrize("sending", some(map(str, range(4, 38, 4)), ["24"]))
def test_items_are_alerted_once_though_fetch_process_and_clock_are_killed(
    installation: Installation, paper: Newspaper, sending: str
) -> None:
    feeds, now = installation.runtime.feeds, clock.time()
    old = item("harbour", now - 600)
    whole = rss(old, *(item(name, now) for name in NEW))
    paper.pages["/feed"] = rss(old)
    dying = installation.start("-c", DYING.format(sending=sending))
    fetcher = installation.fetcher()
    rules = FeedRules(url=f"{paper.origin}/feed", makes_drafts=False, everyone=True, minutes=60)
    feed = feeds.add(rules, by="nora@paper.example")
    wait_until(lambda: feeds.get(feed.id).state.read_at)

    paper.pages["/feed"] = half = Half(whole)
    is_due(installation, feed.id)
    assert half.asked.wait(30)
    assert installation.end(fetcher, signal.SIGKILL) == KILLED
    half.close()
    paper.pages["/feed"] = whole
    installation.fetcher()
    wait_until(lambda: dying.poll() is not None)
    assert dying.poll() == KILLED
    installation.processes.remove(dying)
    assert feeds.get(feed.id).state.sent == 0, "killed before it could store what it did"

    installation.start("-c", CLOCK)
    wait_until(lambda: feeds.get(feed.id).state.sent == len(NEW))
    before = feeds.get(feed.id).state.read_at
    is_due(installation, feed.id)
    wait_until(lambda: feeds.get(feed.id).state.read_at > before)
    titles = [one.text.title for one in installation.runtime.publishing.latest(100)]
    assert sorted(titles) == [f"The {name}" for name in NEW]


# Import -------------------------------------------------------------------------------------------

# An import of twenty at a time, which is killed in the middle.
IMPORT = """
import sys
from service.cli import main, moving
from tests.support.processes.killed import die_in
moving._AT_ONCE = 20
take = moving._Import.store
def storing(self):
    if self.counts["new"] == 40: die_in({sending})
    take(self)
moving._Import.store = storing
main(sys.argv[1:])
"""
READERS = 90
REFUSED = {30: "auth", 70: "p256dh"}  # by row


def lines() -> list[dict[str, Any]]:
    """Readers of two topics and languages, and rows that are refused."""
    rows: list[dict[str, Any]] = []
    for number in range(READERS):
        if len(rows) + 1 in REFUSED:
            broken = browser(1000)
            broken["keys"][REFUSED[len(rows) + 1]] = "c2hvcnQ"
            rows.append(broken)
        topics = ["world", "sport"] if number % 2 else ["world"]
        rows.append({**browser(number), "topics": topics, "locale": "lv" if number % 3 else "de"})
    return rows


def stored(runtime: Runtime) -> list[tuple[object, ...]]:
    """What is stored of each reader, but for the id."""
    return sorted(
        (one.endpoint.url, one.p256dh, one.auth, one.locale, sorted(one.topics), is_gone)
        for one, is_gone in runtime.subscriptions.all()
    )


@pytest.mark.parametrize("sending", some(["1", "2", "3"], ["2"]))
def test_an_import_that_is_killed_and_run_again_has_each_reader_once(
    redis_url: str, installation: Installation, tmp_path: Path, sending: str
) -> None:
    runtime, file, refused = installation.runtime, tmp_path / "readers", tmp_path / "refused"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines()))
    named = ("--topic", "world", "--vapid-key", runtime.keys.current)
    command = ("import", str(file), *named, "--refused", str(refused), "--json")
    killed = installation.start("-c", IMPORT.format(sending=sending), *command)
    wait_until(lambda: killed.poll() is not None)
    assert killed.poll() == KILLED
    installation.processes.remove(killed)
    first = runtime.subscriptions.count()
    assert 40 <= first < READERS, "killed in the middle"

    done = stoppress(installation.environment, *command)
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert (counts["known"], counts["new"], counts["refused"]) == (first, READERS - first, 2)
    after = stored(runtime)
    assert len({row[0] for row in after}) == len(after) == runtime.subscriptions.count() == READERS
    followers = runtime.topics.followers()
    assert (followers["world"], followers["sport"]) == (READERS, READERS // 2)
    assert runtime.publishing.reach(Audience(everyone=True)) == READERS
    (use,) = runtime.keys.uses()
    assert use.readers == READERS

    again = stoppress(installation.environment, *command)
    assert json.loads(again.stdout)["known"] == READERS
    assert stored(runtime) == after
    assert [json.loads(line)["row"] for line in refused.read_text().splitlines()] == [*REFUSED]
