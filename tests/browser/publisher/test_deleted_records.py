"""Readers whose record the service has deleted, as for a gone browser, without their leaving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Topic
from service.model.subscriptions import SubscriptionId
from tests.support.browser.publisher_site import Publisher
from tests.support.browser.readers import BROWSER, PROBLEM, wait_for_page
from tests.support.browser.stop_press import BELL, PLAIN, StopPress, open_page
from tests.support.short_forms import cases

pytestmark = pytest.mark.browser

OLD, NEW = (f"https://fcm.googleapis.com/fcm/send/{name}" for name in ("old", "new"))
# The browser has noticed that the push service ended the endpoint, or has not.
NOTICED = pytest.mark.parametrize("noticed", cases({"noticed": True, "not noticed": False}, most=1))


@pytest.fixture
def stop_press(redis_url: str, publisher: Publisher) -> Iterator[StopPress]:
    with StopPress(redis_url, publisher) as running:
        running.store.topics.add(Topic("world", "World", default=True))
        running.store.topics.add(Topic("sport", "Sport"))
        yield running


@pytest.fixture
def page(headless_chromium: Browser, publisher: Publisher, stop_press: StopPress) -> Iterator[Page]:
    """The page of a reader who has subscribed to the topic `world`."""
    p256dh, auth = pretend_readers.keys(0)
    given = {"endpoint": OLD, "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)}}
    with headless_chromium.new_context() as context:
        context.add_init_script(BROWSER % json.dumps(given))
        # Our script waits for its worker to say that it is there, which no worker here does.
        context.add_init_script("window.testPatience = 1")
        page = open_it(context, publisher, stop_press)
        page.locator("button.bell").first.click()
        page.locator("dialog.panel button.yes").click()
        wait_for_page(page, "window.StopPress.state().subscribed")
        yield page


def open_it(context: BrowserContext, publisher: Publisher, stop_press: StopPress) -> Page:
    return open_page(context, publisher, stop_press, PLAIN, BELL)[0]


def state(page: Page) -> Any:
    return page.evaluate("StopPress.refresh().then(() => StopPress.state())")


def delete(page: Page, stop_press: StopPress, *, left: bool, noticed: bool) -> str:
    """Delete the reader's record; return its id."""
    id = page.evaluate("StopPress.state().id")
    stop_press.store.subscriptions.remove(SubscriptionId.parse(id), remember=left)
    if noticed:
        page.evaluate(f"localStorage['test-endpoint'] = '{NEW}'")
    return str(id)


@NOTICED
def test_a_reader_whose_record_was_deleted_is_subscribed_again_with_the_same_topics(
    page: Page, stop_press: StopPress, noticed: bool
) -> None:
    before = delete(page, stop_press, left=False, noticed=noticed)
    if not noticed:  # a new subscription has another endpoint
        page.evaluate(
            f"""(() => {{
              const real = PushManager.prototype.subscribe;
              PushManager.prototype.subscribe = function (options) {{
                if (!localStorage['test-push']) localStorage['test-endpoint'] = '{NEW}';
                return real.call(this, options);
              }};
            }})()"""
        )
    now = state(page)
    assert (now["subscribed"], now["topics"]) == (True, ["world"])
    assert now["id"] != before
    one = stop_press.store.subscriptions.get(SubscriptionId.parse(now["id"]))
    assert (one.endpoint.url, one.topics) == (NEW, {"world"})
    assert stop_press.store.subscriptions.count() == 1
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).refusals") is None
    page.reload()
    wait_for_page(page, "window.StopPress.state().subscribed")


@NOTICED
def test_a_reader_who_left_elsewhere_is_not_subscribed_again(
    page: Page, stop_press: StopPress, noticed: bool
) -> None:
    delete(page, stop_press, left=True, noticed=noticed)
    assert not state(page)["subscribed"]
    assert stop_press.store.subscriptions.count() == 0
    assert page.evaluate("localStorage['test-push']") is None
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).refusals") == 3


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        pytest.param(2, "offline", id="asked about the old endpoint, offline"),
        *(
            pytest.param(*case, marks=pytest.mark.soak)
            for case in ((2, "503"), (2, "429"), (3, "offline"), (3, "429"), (3, "503"))
        ),
    ],
)
def test_a_fault_on_the_way_back_is_tried_again_on_the_next_visit(
    page: Page, stop_press: StopPress, fault: str, call: int
) -> None:
    before = delete(page, stop_press, left=False, noticed=True)
    posts: list[str] = []

    def meddle(route: Route) -> None:
        posts.append(route.request.method)
        if posts.count("POST") < call or route.request.method != "POST":
            route.fallback()
        elif fault == "offline":
            route.abort()
        else:
            route.fulfill(status=int(fault), **PROBLEM)

    page.route("**/api/v1/subscriptions", meddle)
    page.evaluate("StopPress.refresh().catch(() => {})")
    assert posts.count("POST") == call
    assert page.evaluate("StopPress.state().id") == before, "it is not forgotten"
    page.unroute("**/api/v1/subscriptions")
    now = state(page)
    assert (now["subscribed"], now["topics"]) == (True, ["world"])
    assert now["id"] != before
    assert stop_press.store.subscriptions.count() == 1


@NOTICED
def test_after_a_month_the_reader_is_asked(
    page: Page, stop_press: StopPress, noticed: bool
) -> None:
    """The service no longer knows who left then."""
    delete(page, stop_press, left=False, noticed=noticed)
    page.evaluate(
        """localStorage["stop-press"] = JSON.stringify({
          ...JSON.parse(localStorage["stop-press"]), checked: Date.now() - 31 * 86_400_000 })"""
    )
    now = state(page)
    assert (now["subscribed"], now["permission"]) == (False, "granted")
    assert stop_press.store.subscriptions.count() == 0
    page.reload()
    page.locator("button.bell").first.click()
    expect(page.locator("dialog.panel button.yes")).to_be_visible()


def test_a_renewal_that_failed_while_the_clock_ran_ahead_is_tried_again(
    page: Page, stop_press: StopPress
) -> None:
    page.evaluate(
        """localStorage["stop-press"] = JSON.stringify({
          ...JSON.parse(localStorage["stop-press"]), failed: Date.now() + 7 * 86_400_000 })"""
    )
    page.evaluate("localStorage.removeItem('test-push')")  # the browser has lost it
    page.reload()
    wait_for_page(page, "localStorage['test-push']")
    assert stop_press.store.subscriptions.count() == 1
