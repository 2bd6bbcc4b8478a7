"""A firewall, a worker of the site or something else on the way answers in our place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Topic
from tests.support.browser.publisher_site import HTML, Publisher
from tests.support.browser.readers import BROWSER, wait_for_page
from tests.support.browser.stop_press import BELL, PLAIN, StopPress, open_page
from tests.support.short_forms import cases

pytestmark = pytest.mark.browser

JSON = "application/json"
# Status, type and text.
ANSWERS: dict[str, tuple[int, str, str]] = {
    "JSON of an app's worker that is offline": (200, JSON, '{"error":"offline"}'),
    "nothing, as blockers answer": (204, "text/plain", ""),
    "null": (200, JSON, "null"),
    "a portal's page": (200, HTML, "<!doctype html><title>Sign in</title>"),
    **{f"a firewall's {code}": (code, HTML, "<h1>Blocked</h1>") for code in (403, 404, 410)},
}
ANSWER = pytest.mark.parametrize("answer", cases(ANSWERS, most=2))
PUSH = "localStorage['test-push']"  # the key that the browser is subscribed with


@pytest.fixture
def stop_press(redis_url: str, publisher: Publisher) -> Iterator[StopPress]:
    with StopPress(redis_url, publisher) as running:
        running.store.topics.add(Topic("world", "World", default=True))
        yield running


@pytest.fixture
def context(headless_chromium: Browser) -> Iterator[BrowserContext]:
    p256dh, auth = pretend_readers.keys(0)
    given = {
        "endpoint": "https://fcm.googleapis.com/fcm/send/page",
        "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
    }
    with headless_chromium.new_context() as context:
        context.add_init_script(BROWSER % json.dumps(given))
        yield context


def subscriber(context: BrowserContext, publisher: Publisher, stop_press: StopPress) -> Page:
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    publisher.worker("/alerts.js", f'importScripts("{stop_press.address}/sw.js");')
    page.locator("button.bell").click()
    page.locator("dialog.panel button.yes").click()
    expect(page.locator("dialog.panel button.more")).to_be_visible()
    wait_for_page(page, "StopPress.state().subscribed")
    return page


def answer_all(context: BrowserContext, answer: tuple[int, str, str], calls: str = "**") -> None:
    status, kind, body = answer
    headers = {"Content-Type": kind, "Access-Control-Allow-Origin": "*"}

    def reply(route: Route) -> None:
        route.fulfill(status=status, body=body, headers=headers)

    context.route(f"**/api/v1/{calls}", reply)


def kept(page: Page) -> Any:
    """What page and worker know of this reader, without when they looked; and the browser's key."""
    return page.evaluate(
        f"""(async () => {{
          const {{ id, token, topics, endpoint }} = JSON.parse(localStorage["stop-press"]);
          const cached = await caches.match("/reader", {{ cacheName: "stop-press" }});
          const [{{ id: workers }}] = await cached.json();
          return [id, token, topics, endpoint, workers, {PUSH}];
        }})()"""
    )


@ANSWER
@pytest.mark.parametrize("calls", cases({"the calls": "subscriptions**", "all": "**"}, most=2))
def test_an_answer_that_is_not_ours_costs_no_subscriber(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    answer: tuple[int, str, str],
    calls: str,
) -> None:
    page = subscriber(context, publisher, stop_press)
    before = kept(page)
    answer_all(context, answer, calls)
    page.evaluate("localStorage['stop-press-asked'] = '{}'")
    assert page.evaluate("StopPress.refresh().then(() => 'done', ({ kind }) => kind)") == "offline"
    assert kept(page) == before
    assert page.evaluate("localStorage['stop-press-asked']") == "{}", "it is no refusal"
    assert stop_press.store.subscriptions.count() == 1


@ANSWER
def test_a_new_reader_of_whom_we_have_not_heard_is_not_thanked(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    answer: tuple[int, str, str],
) -> None:
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.locator("button.bell").click()
    yes = page.locator("dialog.panel button.yes")
    expect(yes).to_be_visible()
    answer_all(context, answer)
    yes.click()
    expect(page.locator("dialog.panel [role=alert]")).to_contain_text("Nothing was stored")
    assert page.evaluate(f"[StopPress.state().subscribed, {PUSH} ?? null]") == [False, None]


@ANSWER
def test_preferences_that_nobody_of_ours_has_stored_are_not_called_saved(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    answer: tuple[int, str, str],
) -> None:
    page = subscriber(context, publisher, stop_press)
    panel = page.locator("dialog.panel")
    panel.locator("button.more").click()
    panel.get_by_role("combobox", name="At most").select_option("3")
    answer_all(context, answer, "subscriptions/**")
    panel.locator("button.save").click()
    expect(panel.locator("[role=alert]")).to_be_visible()
    expect(panel.get_by_text("Saved.")).to_have_count(0)
    context.unroute_all()
    panel.locator("button.save").click()
    expect(panel.get_by_text("Saved.")).to_be_visible()


def test_a_page_in_place_of_our_worker_does_not_make_it_the_sites_fault(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    """The worker of an app shows its page for all that it cannot fetch, and calls fail."""
    page, said = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.locator("button.bell").click()
    yes = page.locator("dialog.panel button.yes")
    expect(yes).to_be_visible()
    context.route("**/api/v1/**", lambda route: route.abort())
    context.route(
        f"{stop_press.address}/sw.js",
        lambda route: route.fulfill(
            body="<!doctype html><title>You are offline</title>",
            headers={"Content-Type": HTML, "Access-Control-Allow-Origin": "*"},
        ),
    )
    yes.click()
    expect(page.locator("dialog.panel [role=alert]")).to_contain_text("Nothing was stored")
    assert "SITE_ORIGINS" not in " ".join(said)
