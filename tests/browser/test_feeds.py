"""From posting an item to a real Firefox showing it, with a hub and without, by real processes."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest

from service.domain.newsroom.feeds import Feed
from service.model.newsroom.feeds import FeedRules
from service.model.time import clock
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.network.newspaper import Newspaper, response
from tests.support.newsroom.feeds import (
    BACKLOG_LEFT_OUT,
    LINK,
    NIGHT,
    OF_THE_NIGHT,
    POSTED_AT_NIGHT,
    item,
    posted_at_night,
    rss,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.short_forms import some
from workers.trials.processes import Process

pytestmark = pytest.mark.browser
PATIENT = 180.0  # seconds: more than a minute until a feed's turn, and processes start again


class Hub:
    """A hub of a newspaper: it asks whether a subscription is meant, and then calls."""

    def __init__(self, paper: Newspaper) -> None:
        self._paper = paper
        self.callback = ""
        paper.pages["/hub"] = self._asked

    def _asked(self, client: socket.socket) -> None:
        client.sendall(response(status=202))
        asked = {
            name: values[0] for name, values in parse_qs(self._paper.bodies[-1].decode()).items()
        }
        threading.Thread(target=self._verify, args=(asked,)).start()

    def _verify(self, asked: dict[str, str]) -> None:
        query = {**asked, "hub.challenge": "meant", "hub.lease_seconds": "86400"}
        del query["hub.callback"]
        with urllib.request.urlopen(f"{asked['hub.callback']}?{urlencode(query)}") as answer:
            assert answer.read() == b"meant"
        self.callback = asked["hub.callback"]

    def calls(self) -> None:
        """Say that there is something new; what it sends along is not believed."""
        urllib.request.urlopen(self.callback, data=b"<rss>news of a bomb</rss>").close()


@pytest.fixture
def paper() -> Iterator[Newspaper]:
    with Newspaper() as paper:
        yield paper


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, paper: Newspaper, tmp_path: Path
) -> Iterator[Installation]:
    more = {"FETCH_ORIGINS": paper.origin}
    with Installation(redis_url, push_service, tmp_path, **more) as installation:
        # Hubs know us by it.
        installation.environment["SITE_URL"] = installation.address
        yield installation


def started(installation: Installation, firefox: Firefox, desktop: Desktop) -> list[Process]:
    """Start all processes, and let Firefox subscribe; return the clock and the fetch process."""
    address = installation.web()
    installation.worker()
    watching = [installation.clock(), installation.fetcher()]
    firefox.allow_notifications(address)
    tab = firefox.open(f"{address}/demo/night-ferry")
    tab.click("button.bell")
    tab.click("button.yes")
    desktop.wait_for_test_alert()
    return watching


def test_a_posted_item_is_shown_at_once_where_the_feed_has_a_hub(
    installation: Installation, paper: Newspaper, firefox: Firefox, desktop: Desktop
) -> None:
    hub, now = Hub(paper), clock.time()
    rels = {"hub": f"{paper.origin}/hub", "self": f"{paper.origin}/feed"}
    head = "".join(f'<atom:link rel="{rel}" href="{at}"/>' for rel, at in rels.items())
    paper.pages["/feed"] = rss(item("harbour", now - 600), head=head)
    started(installation, firefox, desktop)
    feeds = installation.runtime.feeds
    rules = FeedRules(url=f"{paper.origin}/feed", makes_drafts=False, everyone=True, minutes=60)
    feed = feeds.add(rules, by="nora@paper.example")

    def is_instant() -> bool:
        one = feeds.get(feed.id)
        holds = one.hub is not None and one.hub.holds(clock.time())
        return holds and one.due is not None and one.due > now + 3000

    wait_until(is_instant)
    assert feeds.get(feed.id).state.sent == 0
    paper.pages["/feed"] = rss(item("ferry", clock.time()), head=head)
    wait_until(lambda: hub.callback)
    hub.calls()
    shown = desktop.wait_for_notification()
    assert (shown.title, "All about the ferry." in shown.body) == ("The ferry", True)
    wait_until(lambda: feeds.get(feed.id).state.sent == 1)
    (line,) = feeds.log(feed.id)
    assert (line.link, line.result) == (f"{LINK}ferry", "alerted")


class Watching:
    """Feeds without a hub of a newspaper, whose items go to everyone at once."""

    def __init__(self, installation: Installation, paper: Newspaper) -> None:
        self._installation, self._paper = installation, paper
        self._feeds, self._store = installation.runtime.feeds, installation.runtime.store.feeds

    def add(self, path: str, minutes: int) -> str:
        """Watch a feed with one item, once it was read; return its id."""
        self._paper.pages[path] = rss(item("harbour", clock.time() - 600))
        url = f"{self._paper.origin}{path}"
        rules = FeedRules(url=url, makes_drafts=False, everyone=True, minutes=minutes)
        id = self._feeds.add(rules, by="nora@paper.example").id
        wait_until(lambda: self.get(id).state.read_at, PATIENT)
        return id

    def get(self, id: str) -> Feed:
        """Return a feed as it is now."""
        return self._feeds.get(id)

    def turn_comes(self, id: str) -> None:
        """Let a feed be due as if it had waited for its turn."""
        rules = self.get(id).stored
        assert self._store.change(id, rules, rules, due=clock.time())

    def night_passes(self, id: str) -> None:
        """Let a night have passed since a feed was read, while no process touches it."""
        redis, feed = self._installation.runtime.store.redis, self.get(id)
        assert feed.state.read_at is not None
        assert feed.due is not None
        state = replace(feed.state, read_at=feed.state.read_at - NIGHT)
        redis.hset(f"{{g}}:feed:{id}", "state", state.as_json())
        redis.zadd("{g}:feeds:due", {id: feed.due - NIGHT})


@pytest.mark.parametrize("its_turn", some(["is brought forward", "comes"], {"is brought forward"}))
def test_without_a_hub_the_next_look_shows_an_item_and_after_a_night_only_the_newest_are_shown(
    its_turn: str,
    installation: Installation,
    paper: Newspaper,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    processes = started(installation, firefox, desktop)
    feeds, log = Watching(installation, paper), installation.runtime.feeds.log
    polled, nightly = feeds.add("/polled", minutes=1), feeds.add("/nightly", minutes=60)

    # The item is there on one look alone: what is shown was seen on the next look.
    before, looks = feeds.get(polled), iter([rss(item("lighthouse", clock.time()))])
    nothing = rss()
    paper.pages["/polled"] = lambda client: client.sendall(next(looks, nothing))
    if its_turn == "is brought forward":
        feeds.turn_comes(polled)
    assert desktop.wait_for_notification(PATIENT).title == "The lighthouse"
    wait_until(lambda: feeds.get(polled).state.sent, PATIENT)
    (line,) = log(polled)
    read_at = feeds.get(polled).state.read_at
    assert before.state.read_at and read_at
    assert before.state.read_at < line.at <= read_at
    if its_turn == "comes":
        assert before.due is not None
        assert line.at >= before.due, "it was not read out of turn"

    for process in processes:
        installation.end(process)
    feeds.night_passes(nightly)
    paper.pages["/nightly"] = rss(*posted_at_night(clock.time()))
    installation.clock()
    installation.fetcher()
    shown = {desktop.wait_for_notification(PATIENT).title for _ in OF_THE_NIGHT}
    assert shown == OF_THE_NIGHT
    wait_until(lambda: feeds.get(nightly).state.sent == len(OF_THE_NIGHT), PATIENT)
    assert {one.title: one.why for one in log(nightly)} == {
        f"The {name}": why for name, (_, why) in POSTED_AT_NIGHT.items()
    }
    assert feeds.get(nightly).state.notices == (BACKLOG_LEFT_OUT,)

    # It goes on as usual, and nothing of the night was behind.
    paper.pages["/nightly"] = rss(item("breakfast", clock.time()))
    feeds.turn_comes(nightly)
    assert desktop.wait_for_notification(PATIENT).title == "The breakfast"
    assert desktop.forget() == []
    sent = [one.text.title for one in installation.runtime.publishing.latest(100)]
    assert sorted(sent) == sorted({"The lighthouse", "The breakfast"} | OF_THE_NIGHT)
