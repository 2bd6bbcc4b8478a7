"""iPhones and iPads, on the demo newspaper in Chromium.

Safari is not to be had here: Chromium gives the names and says what iOS' browsers do
(`navigator.userAgent`, `navigator.standalone`, no `PushManager`).
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.readers import (
    IPHONE,
    Visit,
    bell,
    come_back_with,
    panel,
    wait_for_page,
)

pytestmark = pytest.mark.browser

MOBILE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko)"
)
SAFARI_26 = f"{MOBILE} Version/26.1 Mobile/15E148 Safari/604.1"
CHROME = f"{MOBILE} CriOS/138.0.7204.119 Mobile/15E148 Safari/604.1"
FACEBOOK = f"{MOBILE} Mobile/15E148 [FBAN/FBIOS;FBAV/520.0.0.38.101;FBBV/756351453]"
IPAD = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.0 Safari/605.1.15"
)
TOUCH = """Object.defineProperties(navigator, {
  platform: { value: "MacIntel" }, maxTouchPoints: { value: 5 },
})"""
APP = "navigator.standalone = true"
VIEWS = "JSON.parse(localStorage['stop-press-asked'] ?? '{}').views"
ADD, OPEN = "Choose “Add to Home Screen”", "Open the site from there and choose your alerts"


def test_the_way_to_the_home_screen_fits_the_browser(visit: Visit) -> None:
    page = visit(390, 844, push=False)
    for agent, steps in {
        IPHONE: ["Tap Share", ADD, OPEN],
        SAFARI_26: ["Tap the three dots", "Tap Share", ADD, OPEN],
        CHROME: ["Tap Share, beside the address or in the menu", ADD, OPEN],
        FACEBOOK: ["Open this page in Safari first", "Tap Share", ADD, OPEN],
        IPAD: ["Tap Share", ADD, OPEN],
    }.items():
        if agent == IPAD:
            page.add_init_script(TOUCH)
        come_back_with(page, agent)
        bell(page).click()
        expect(panel(page).get_by_role("listitem"), agent).to_have_text(steps)


def clicked(page: Page, url: str, seconds_ago: int) -> None:
    """Leave the mark that our worker leaves of a click."""
    page.evaluate(
        """async ([url, ago]) => {
          const cache = await caches.open("stop-press");
          const mark = JSON.stringify([url, Date.now() - ago * 1000]);
          await cache.put("/clicked", new Response(mark));
        }""",
        [url, seconds_ago],
    )


def test_a_start_page_goes_on_to_the_story_whose_alert_was_pressed(visit: Visit) -> None:
    page = visit(390, 844, user_agent=IPHONE)
    page.add_init_script(APP)
    start = page.url
    story = f"{start}swifts-keep-watches"
    wait_for_page(page, f"{VIEWS} === 1")
    clicked(page, story, 2)
    page.goto(start)
    page.wait_for_url(story)
    wait_for_page(page, f"{VIEWS} === 2")
    page.goto(start)  # once only
    wait_for_page(page, f"{VIEWS} === 3")  # it has decided to stay
    assert page.url == start


def test_a_start_page_that_is_opened_later_stays(visit: Visit) -> None:
    page = visit(390, 844, user_agent=IPHONE)
    page.add_init_script(APP)
    start = page.url
    wait_for_page(page, f"{VIEWS} === 1")
    clicked(page, f"{start}swifts-keep-watches", 31)
    page.goto(start)
    wait_for_page(page, f"{VIEWS} === 2")
    assert page.url == start


def test_a_browser_whose_storage_never_answers_keeps_no_page_waiting(visit: Visit) -> None:
    page = visit(390, 844, user_agent=IPHONE)
    page.add_init_script(APP)
    page.add_init_script(
        "window.testPatience = 0.2; CacheStorage.prototype.open = () => new Promise(() => {});"
    )
    wait_for_page(page, f"{VIEWS} === 1")
    page.reload()
    wait_for_page(page, f"{VIEWS} === 2")  # it goes on to mend and to ask
    assert page.evaluate("StopPress.converted('subscription')") is False
