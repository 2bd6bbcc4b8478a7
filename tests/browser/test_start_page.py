"""The start page: all three steps in a real Firefox; its explanations in Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.readers import run_clock, stop_clock, timers
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService

pytestmark = pytest.mark.browser

PASSWORD = "three quiet words"
LOOKS_EVERY_MS = 250
OpenPage = Callable[..., Page]


def sign_in_link(installation: Installation) -> str:
    return installation.runtime.editors.signin_link("nora@paper.example")


def sign_in(page: Page, installation: Installation) -> None:
    """Sign in for the first time, which leads to the start page."""
    page.goto(sign_in_link(installation))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("first alert")


def pretend_subscribed(page: Page, installation: Installation) -> None:
    """Make the page believe that this browser is the first pretend reader.

    Chromium reaches no push service here (it would be Google's), so it cannot subscribe.
    """
    installation.seed(1)
    subscriptions = installation.runtime.subscriptions
    id = str(installation.reader(0))
    token = subscriptions.token(subscriptions.get(id))
    kept = json.dumps({"id": id, "token": token, "endpoint": "x", "topics": [], "checked": 0})
    # Not on the page that is open, which would end a subscription without a permission.
    page.add_init_script(
        "Object.defineProperty(Notification, 'permission', { value: 'granted' });"
        f"if (location.protocol !== 'about:') localStorage['stop-press'] = {json.dumps(kept)};"
    )
    page.reload()


def test_three_steps_lead_to_an_alert_on_this_screen(
    installation: Installation, firefox: Firefox, desktop: Desktop, push_service: PushService
) -> None:
    address = installation.web()
    installation.worker()
    installation.clock()
    firefox.allow_notifications(address)
    tab = firefox.open(sign_in_link(installation))
    tab.evaluate(f"document.querySelector('#password').value = {json.dumps(PASSWORD)}")
    tab.click("main button.primary")
    tab.wait_until("location.pathname === '/' && Boolean(window.StopPress)")
    tab.click("#ask")
    tab.click("button.details")
    tab.click('input[value="world"]')
    tab.click("button.main")
    tab.wait_until("!document.querySelector('#send button').disabled")

    tab.click("#send button")

    shown = desktop.wait_for_notification(timeout=30)
    assert shown.title == "Stop the presses: it works"
    arrival = "document.querySelector('#arrival').textContent"
    tab.wait_until(f"document.querySelector('.arrived') && {arrival}", timeout=30)
    text = tab.evaluate(arrival)
    assert re.fullmatch(r"Handed over in [\d.]+ seconds?, shown by your browser\.", text)
    assert tab.evaluate("document.querySelector('#why').hidden") is True
    assert push_service.refusals == []
    # Not the test that a new reader gets.
    some = installation.runtime.publishing.all(range(1, 10))
    (sent,) = [one for one in some if one.created_by]
    assert installation.outcomes(sent.id) == {"accepted": 1}
    assert installation.runtime.publishing.latest(10) == [], "a test is in no list"


def test_after_ten_seconds_without_an_alert_the_page_explains_why(
    installation: Installation, chromium_page: OpenPage
) -> None:
    installation.web()  # and no worker
    page = chromium_page(1280, 800)
    sign_in(page, installation)
    pretend_subscribed(page, installation)
    stop_clock(page)
    page.get_by_role("button", name="Send to this browser").click()
    expect(page.locator("#arrival")).to_have_text("On its way…")
    run_clock(page, 9_000, timer=LOOKS_EVERY_MS)
    wait_until(lambda: LOOKS_EVERY_MS in timers(page))  # it has looked again, after nine seconds
    expect(page.locator("#why")).to_be_hidden()
    run_clock(page, 3_000, timer=LOOKS_EVERY_MS)
    expect(page.locator("#why")).to_be_visible()
    expect(page.locator("[data-why=worker]")).to_be_visible()
    expect(page.locator("[data-why=insecure]")).to_be_hidden()


def test_the_page_says_that_an_alert_was_not_sent(
    installation: Installation, chromium_page: OpenPage, push_service: PushService
) -> None:
    installation.web()
    installation.worker()
    installation.clock()
    page = chromium_page(1280, 800)
    sign_in(page, installation)
    pretend_subscribed(page, installation)
    push_service.answer_with(lambda _: Answer(410))
    page.get_by_role("button", name="Send to this browser").click()
    expect(page.locator("#arrival")).to_contain_text("no longer subscribed")


def test_the_page_says_first_that_notifications_are_blocked(
    installation: Installation, chromium_page: OpenPage
) -> None:
    address = installation.web()
    page = chromium_page(1280, 800)
    # To grant one permission is to deny all others (DevTools protocol, Browser.grantPermissions).
    page.context.grant_permissions(["geolocation"], origin=address)
    page.goto(address)
    assert page.evaluate("Notification.permission") == "denied"
    expect(page.locator("#subscribe #why")).to_be_visible()
    expect(page.locator("[data-browser=Chrome]")).to_be_visible()
    expect(page.locator("[data-browser=Safari]")).to_be_hidden()
    expect(page.locator("[data-why=system]")).to_be_hidden()


def test_the_page_says_why_the_service_refuses_this_browser(
    installation: Installation, chromium_page: OpenPage
) -> None:
    page = chromium_page(1280, 800)
    page.goto(installation.web())
    page.evaluate("""fetch("/api/v1/subscriptions", { method: "POST", body: "{}",
                                   headers: { "Content-Type": "application/json" } })""")
    why = "The service refused the subscription. subscription: Is required."
    expect(page.locator("#refused")).to_have_text(why)


def test_the_page_says_first_that_the_address_is_not_secure(
    installation: Installation, chromium_page: OpenPage
) -> None:
    address = installation.web()

    def fetch(route: Route) -> None:
        url = route.request.url.replace(OUTSIDE, address)
        route.fulfill(response=route.fetch(url=url, max_retries=3))

    page = chromium_page(1280, 800)
    page.route(f"{OUTSIDE}/**", fetch)
    page.goto(f"{OUTSIDE}/")
    assert page.evaluate("isSecureContext") is False
    line = f"ssh -L {installation.port}:localhost:{installation.port} you@news.example"
    expect(page.locator("#subscribe .command")).to_have_text(line)
    expect(page.get_by_role("button", name="Subscribe")).to_be_disabled()


OUTSIDE = "http://news.example"


def test_the_page_notices_a_sign_in_in_another_tab(
    installation: Installation, chromium_page: OpenPage
) -> None:
    address = installation.web()
    page = chromium_page(390, 800)
    page.goto(address)
    expect(page.get_by_text("sign-in link printed in the terminal")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    other = page.context.new_page()
    sign_in(other, installation)
    other.close()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("button", name="Send to this browser")).to_be_visible()
