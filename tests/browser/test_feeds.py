"""From posting an item to a real Firefox showing it, through a hub, by processes of each kind."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest

from service.model import clock
from service.model.feeds import FeedRules
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.feeds import LINK, item, rss
from tests.support.installation import Installation, wait_until
from tests.support.newspaper import Newspaper, response
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


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


def test_a_posted_item_is_shown_at_once_where_the_feed_has_a_hub(
    installation: Installation, paper: Newspaper, firefox: Firefox, desktop: Desktop
) -> None:
    hub, now = Hub(paper), clock.time()
    rels = {"hub": f"{paper.origin}/hub", "self": f"{paper.origin}/feed"}
    head = "".join(f'<atom:link rel="{rel}" href="{at}"/>' for rel, at in rels.items())
    paper.pages["/feed"] = rss(item("harbour", now - 600), head=head)
    address = installation.web()
    for start in (installation.worker, installation.clock, installation.fetcher):
        start()
    firefox.allow_notifications(address)
    tab = firefox.open(f"{address}/demo/night-ferry")
    tab.click("button.bell")
    tab.click("button.yes")
    desktop.wait_for_test_alert()

    feeds = installation.runtime.feeds
    rules = FeedRules(url=f"{paper.origin}/feed", makes_drafts=False, everyone=True, minutes=60)
    feed = feeds.add(rules, by="nora@paper.example")

    def instant() -> bool:
        known = feeds.get(feed.id).hub
        return known is not None and known.holds(clock.time())

    wait_until(instant)
    before = feeds.get(feed.id)
    assert (before.state.sent, before.due is not None and before.due > now + 3000) == (0, True)
    paper.pages["/feed"] = rss(item("ferry", clock.time()), head=head)
    wait_until(lambda: hub.callback)
    hub.calls()
    shown = desktop.wait_for_notification()
    assert (shown.title, "All about the ferry." in shown.body) == ("The ferry", True)
    wait_until(lambda: feeds.get(feed.id).state.sent == 1)
    (line,) = feeds.log(feed.id)
    assert (line.link, line.result) == (f"{LINK}ferry", "alerted")
