"""A reader's whole way on a publisher's site, in two languages, under a strict policy: in Firefox.

From the question to the farewell, with Stop Press on another origin; and what all of it did not
do: call anybody else, send a cookie, complain, or ask anew on an ordinary page view.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from service.reader.scripts import WEB
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import POLICY, Publisher, policy
from tests.support.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = [pytest.mark.browser, pytest.mark.alone]

# What of ours is shown, whichever shadow root it is in.
BOX = """[...document.querySelectorAll("*")].map((one) => one.shadowRoot?.querySelector("dialog"))
  .find(Boolean)"""
EVENTS = ("log.entryAdded", "network.responseCompleted", "browsingContext.downloadWillBegin")


class Reader:
    """One tab, in which everything is told in the words `t`."""

    def __init__(self, tab: Tab, language: str) -> None:
        self.tab = tab
        self.t = json.loads((WEB / "reader" / "texts" / f"{language}.json").read_text())

    def sees(self, part: str, *texts: str) -> None:
        """Wait until one of the panel's elements `part` says each of these."""
        said = f"[...({BOX})?.querySelectorAll({part!r}) ?? []].map((one) => one.textContent)"
        for text in texts:
            self.tab.wait_until(f"{said}.some((said) => said.includes({json.dumps(text)}))")

    def presses(self, name: str) -> None:
        """Press the panel's button that says what is called `name`."""
        self.sees(f"button.{name}", self.t[name])
        self.tab.click(f"button.{name}")


def downloads(events: list[dict[str, Any]]) -> list[str]:
    """Of events the names of the files that were handed over."""
    begun = [one for one in events if one["method"] == "browsingContext.downloadWillBegin"]
    return [one["params"]["suggestedFilename"] for one in begun]


def requests(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of events the requests that pages and workers made."""
    made = [event["params"] for event in events if event["method"] == "network.responseCompleted"]
    return [one for one in made if urlsplit(one["request"]["url"]).scheme in ("http", "https")]


@pytest.mark.parametrize("language", ["de", "ar"])
def test_a_reader_is_asked_chooses_catches_up_tries_and_leaves_and_nobody_else_hears_of_it(
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
    with firefox.listening(*EVENTS) as heard:
        tab = firefox.open(front)
        reader = Reader(tab, language)
        tab.wait_until("window.StopPress && true")

        # Asked.
        tab.click("h1")
        reader.sees("h2", reader.t["question"])
        reader.sees("p", reader.t["promise"])
        shown = tab.evaluate(f"[({BOX}).lang, getComputedStyle({BOX}).direction]")
        assert shown == [language, "rtl" if language == "ar" else "ltr"]
        reader.presses("yes")
        reader.sees("h2", reader.t["thanks"])
        id = SubscriptionId.parse(tab.wait_until("StopPress.state().id"))
        assert installation.runtime.store.subscriptions.get(id).topics == {"world"}

        # An alert, and a page view that asks nothing anew.
        installation.over(
            installation.publish(Audience(topics=("world",)), title="Ferry aground", url=story)
        )
        assert desktop.wait_for_notification().title == "Ferry aground"
        before = heard()
        tab.go(story)
        tab.wait_until("window.StopPress?.state().subscribed")
        tab.evaluate("StopPress.leave && navigator.locks.request('stop-press', () => 0)")
        ordinary = heard()
        asked = [one for one in requests(ordinary) if one["request"]["url"].startswith(address)]
        assert {one["request"]["url"] for one in asked} >= {f"{address}/optin.js"}
        assert [one["request"]["url"] for one in asked if not one["response"]["fromCache"]] == []

        # Chooses, catches up, and takes all of it home.
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
        # Another of the same name would be “alerts(1).json”.
        wait_until(lambda: later.extend(heard()) or "alerts" in "".join(downloads(later)))

        # Tries, and leaves.
        reader.presses("test")
        reader.sees("[role=status]", reader.t["tested"])
        assert desktop.wait_for_notification().title == "This is a test"
        reader.presses("leave")
        reader.sees("h2", reader.t["left"])
        assert installation.runtime.store.subscriptions.count() == 0
        wait_until(lambda: push_service.registrations[-1].unsubscribed)
        kept = tab.evaluate("Object.keys(localStorage).sort()")
        assert kept == ["stop-press", "stop-press-asked"]
        tab.go(front)
        tab.wait_until("window.StopPress && true")
        seen = [*before, *ordinary, *later, *heard()]

    made = requests(seen)
    addresses = [urlsplit(one["request"]["url"]) for one in made]
    assert {f"{url.scheme}://{url.netloc}" for url in addresses} == {publisher.origin, address}
    assert [one["request"]["url"] for one in made if one["request"]["cookies"]] == []
    headers = {row["name"].lower() for one in made for row in one["response"]["headers"]}
    assert "set-cookie" not in headers
    logged = [event["params"] for event in seen if event["method"] == "log.entryAdded"]
    assert [entry["text"] for entry in logged if entry["level"] in ("error", "warn")] == []
    assert tab.evaluate("[violations, errors, document.cookie]") == [[], [], ""]
