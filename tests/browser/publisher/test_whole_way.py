"""A reader's whole way on a publisher's site, in two languages, under a strict policy, in Firefox.

From the question to leaving, with Stop Press on another origin. None of it makes a request to a
third origin, sends a cookie or logs an error, and an ordinary page view makes no uncached request.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.model.language.languages import texts
from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import POLICY, Publisher, policy, registered
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = [pytest.mark.browser, pytest.mark.alone]

# The panel, whichever shadow root it is in.
BOX = """[...document.querySelectorAll("*")].map((one) => one.shadowRoot?.querySelector("dialog"))
  .find(Boolean)"""
EVENTS = ("log.entryAdded", "network.responseCompleted", "browsingContext.downloadWillBegin")


class Reader:
    """A reader in one tab; `t` are the texts of the page's language."""

    def __init__(self, tab: Tab, language: str) -> None:
        self.tab = tab
        self.t = texts(language)["panel"]

    def sees(self, part: str, *texts: str) -> None:
        """Wait until elements of the panel that match `part` show each of these texts."""
        shown = f"[...({BOX})?.querySelectorAll({part!r}) ?? []].map((one) => one.textContent)"
        for text in texts:
            self.tab.wait_until(f"{shown}.some((one) => one.includes({json.dumps(text)}))")

    def presses(self, name: str) -> None:
        """Press the panel's button with the text `name`."""
        self.sees(f"button.{name}", self.t[name])
        self.tab.click(f"button.{name}")


def downloads(events: list[dict[str, Any]]) -> list[str]:
    """Return the names of downloaded files."""
    begun = [one for one in events if one["method"] == "browsingContext.downloadWillBegin"]
    return [one["params"]["suggestedFilename"] for one in begun]


def requests(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests of pages and workers."""
    made = [event["params"] for event in events if event["method"] == "network.responseCompleted"]
    return [one for one in made if urlsplit(one["request"]["url"]).scheme in ("http", "https")]


@pytest.mark.parametrize("language", [pytest.param("de", marks=pytest.mark.soak), "ar"])
def test_a_readers_whole_way_from_the_question_to_leaving(
    installation: Installation,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
    language: str,
) -> None:
    address = installation.web()
    installation.worker()
    installation.clock()
    firefox.allow_notifications(publisher.origin)
    publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
    publisher.headers = policy(POLICY, address)
    attributes = {"lang": language, "topic": "world", "ask": "click", "ask-on": "h1", "bell": ""}
    front = publisher.page("/", address, **attributes)
    story = publisher.page("/ferry", address, "Ferry", **attributes)
    with firefox.listening(*EVENTS) as new_events:
        tab = firefox.open(front)
        reader = Reader(tab, language)
        tab.wait_until("window.StopPress && true")

        # The question.
        tab.click("h1")
        reader.sees("h2", reader.t["line"])
        shown = tab.evaluate(f"[({BOX}).lang, getComputedStyle({BOX}).direction]")
        assert shown == [language, "rtl" if language == "ar" else "ltr"]
        reader.presses("yes")
        reader.sees("h2", reader.t["thanks"])
        reader.sees("p", reader.t["promise"])
        assert desktop.wait_for_test_alert().title == "This is a test"
        id = SubscriptionId.parse(tab.wait_until("StopPress.state().id"))
        assert installation.runtime.store.subscriptions.get(id).topics == {"world"}

        # An alert, and a page view without an uncached call.
        installation.over(
            installation.publish(Audience(topics=("world",)), title="Ferry aground", url=story)
        )
        assert desktop.wait_for_notification().title == "Ferry aground"
        before = new_events()
        tab.go(story)
        tab.wait_until("window.StopPress?.state().subscribed")
        tab.evaluate("StopPress.leave && navigator.locks.request('stop-press', () => 0)")
        ordinary = new_events()
        asked = [one for one in requests(ordinary) if one["request"]["url"].startswith(address)]
        assert {one["request"]["url"] for one in asked} >= {f"{address}/optin.js"}
        assert [one["request"]["url"] for one in asked if not one["response"]["fromCache"]] == []

        # The preferences, a missed alert, and the download.
        tab.click("button.corner")
        reader.sees("h2", reader.t["yours"])
        reader.sees("h3", reader.t["missed"])
        reader.sees("li a", "Ferry aground")
        tab.click('input[value="sport"]')
        reader.presses("save")
        reader.sees("[role=status]", reader.t["saved"])
        assert installation.runtime.store.subscriptions.get(id).topics == {"sport", "world"}
        reader.presses("download")
        later: list[dict[str, Any]] = []
        # A second file of that name would be “alerts(1).json”.
        wait_until(lambda: later.extend(new_events()) or "alerts" in "".join(downloads(later)))

        # A test alert, and leaving.
        reader.presses("test")
        reader.sees("[role=status]", reader.t["tested"])
        assert desktop.wait_for_test_alert().title == "This is a test"
        reader.presses("leave")
        reader.sees("h2", reader.t["left"])
        assert installation.runtime.store.subscriptions.count() == 0
        wait_until(lambda: registered(installation, push_service)[-1].unsubscribed)
        kept = tab.evaluate("Object.keys(localStorage).sort()")
        assert kept == ["stop-press", "stop-press-asked"]
        tab.go(front)
        tab.wait_until("window.StopPress && true")
        seen = [*before, *ordinary, *later, *new_events()]

    made = requests(seen)
    addresses = [urlsplit(one["request"]["url"]) for one in made]
    assert {f"{url.scheme}://{url.netloc}" for url in addresses} == {publisher.origin, address}
    assert [one["request"]["url"] for one in made if one["request"]["cookies"]] == []
    headers = {row["name"].lower() for one in made for row in one["response"]["headers"]}
    assert "set-cookie" not in headers
    logged = [event["params"] for event in seen if event["method"] == "log.entryAdded"]
    assert [entry["text"] for entry in logged if entry["level"] in ("error", "warn")] == []
    assert tab.evaluate("[violations, errors, document.cookie]") == [[], [], ""]
