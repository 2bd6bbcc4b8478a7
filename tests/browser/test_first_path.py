"""The whole path in a real Firefox: from a click in the panel to an alert on the screen."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from service.model.notifications import State
from tests.support.browser.demo import subscribe
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import receipts
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

TITLE = "Zażółć gęślą jaźń — عاجل 🗞️ “quotes” & <b>no markup</b>"
TEXT = "Последние новости: 東京, naïveté, 👩🏽‍🚀"


def call(address: str, token: str, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
    """POST a notification as a CMS would."""
    request = urllib.request.Request(
        f"{address}/api/v1/notifications",
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": key,
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, json.load(response)


def open_demo(installation: Installation, firefox: Firefox) -> Tab:
    """Start all processes; open the demo newspaper as a reader who allows its notifications."""
    installation.worker()
    installation.clock()
    firefox.allow_notifications(installation.web())
    return firefox.open(f"{installation.address}/demo/")


def test_a_subscriber_sees_the_alert_and_a_click_opens_the_story(
    installation: Installation, firefox: Firefox, desktop: Desktop, push_service: PushService
) -> None:
    installation.environment["CONVERSIONS"] = "subscription"
    tab = open_demo(installation, firefox)
    state = subscribe(tab)
    assert "world" in state["topics"]
    assert installation.runtime.store.subscriptions.count() == 1
    address = installation.address
    story = f"{address}/demo/night-ferry"
    body = {"title": TITLE, "body": TEXT, "url": story, "audience": {"topics": ["world"]}}
    token = installation.api_token()

    status, published = call(address, token, body, "night-ferry")

    assert status == 202
    assert published["recipients"] == 1
    shown = desktop.wait_for_notification(timeout=30)
    assert (shown.title, shown.body) == (TITLE, TEXT)
    assert push_service.refusals == []
    id = int(published["id"])
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 1}
    # The same key again gets the same response and shows nothing more.
    assert call(address, token, body, "night-ferry") == (status, published)

    bought = "window.StopPress.converted('subscription')"
    assert tab.evaluate(bought) is False, "no alert has brought the reader here"
    desktop.click(shown)

    article = firefox.wait_for_tab("/demo/night-ferry")
    assert article.wait_until("document.readyState === 'complete' && document.title")
    wait_until(lambda: receipts(installation, id) == {"shown": 1, "clicked": 1})
    screens = installation.runtime.screens.of(installation.over(id))
    assert screens
    assert [*screens.up_to.values()] == [1], "the worker has said how long ago that was"
    wait_until(lambda: article.evaluate(bought))
    assert article.evaluate("window.StopPress.converted('lottery')") is False
    counts = installation.runtime.store.receipt_counts
    assert counts.events(id, ["converted:subscription"]) == {"converted:subscription": 1}
    assert desktop.forget() == []


def test_leaving_takes_one_click_and_no_alert_comes_after_it(
    installation: Installation, firefox: Firefox, desktop: Desktop, push_service: PushService
) -> None:
    tab = open_demo(installation, firefox)
    subscribe(tab)
    desktop.wait_for_test_alert()  # or it would be received below
    tab.go(f"{installation.address}/demo/")
    tab.click("button.bell")
    tab.click("button.leave")
    tab.wait_until("!window.StopPress.state().subscribed")
    assert installation.runtime.store.subscriptions.count() == 0
    before = len(push_service.received)
    id = installation.publish()
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {}
    assert len(push_service.received) == before
    assert desktop.forget() == []


def test_coming_back_keeps_the_same_subscription(
    installation: Installation, firefox: Firefox, push_service: PushService
) -> None:
    address = installation.web()
    firefox.allow_notifications(address)
    tab = firefox.open(f"{address}/demo/")
    first = subscribe(tab)
    tab.go(f"{address}/demo/swifts-keep-watches")
    again = tab.wait_until("window.StopPress && StopPress.state()")
    assert (again["id"], again["subscribed"]) == (first["id"], True)
    refreshed = tab.evaluate("window.StopPress.refresh().then(() => StopPress.state())")
    assert refreshed["id"] == first["id"]
    assert installation.runtime.store.subscriptions.count() == 1
