"""A single-page application with bells and preferences, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.support.browser.readers import (
    ASKED_AFTER_MS,
    Visit,
    bell,
    not_asked,
    panel,
    run_clock,
    stop_clock,
    subscribe,
    timers,
    visit_over,
    wait_for_page,
)
from tests.support.processes.installation import wait_until

pytestmark = pytest.mark.browser

# What a single-page application does: it adds and removes elements and changes the path.
ADD = """(name) => {
  const place = document.createElement("div");
  place.dataset.stopPress = name;
  const part = document.createElement("article");
  part.append(place);
  document.getElementById("news").prepend(part);
}"""
GO = "([path, topic]) => { script.dataset.topic = topic; history.pushState({}, '', path); }"
FIND = "window.script = document.querySelector('script[data-worker]')"


def views(page: Page) -> int:
    return int(page.evaluate("JSON.parse(localStorage['stop-press-asked']).views"))


def wait_for_views(page: Page, count: int) -> None:
    wait_for_page(page, f"JSON.parse(localStorage['stop-press-asked'] ?? '{{}}').views === {count}")


def test_places_that_a_page_adds_later_are_filled(visit: Visit) -> None:
    page = visit(main="<h1>News</h1>")
    expect(bell(page)).to_have_count(1)  # the page's own
    page.evaluate(ADD, "bell")
    page.evaluate(ADD, "bell")
    page.evaluate(ADD, "preferences")
    expect(bell(page)).to_have_count(3)
    expect(page.locator("section.panel").get_by_role("heading")).to_contain_text("Get the latest")
    # Each place is filled once, however much else on the page changes.
    page.evaluate("for (let i = 0; i < 20; i++) document.body.append(document.createElement('i'))")
    page.wait_for_load_state("networkidle")
    expect(bell(page)).to_have_count(3)
    expect(page.locator("section.panel")).to_have_count(1)
    page.locator("#news").locator("button.bell").first.click()
    expect(panel(page)).to_be_visible()


def test_places_that_come_back_show_the_current_state(visit: Visit) -> None:
    page = visit(main="<h1>News</h1>")
    page.evaluate(ADD, "bell")
    page.evaluate(ADD, "preferences")
    expect(page.locator("article button.bell")).to_have_text("Alerts")
    expect(page.locator("section.panel button.yes")).to_be_visible()
    page.evaluate("window.kept = [...document.querySelectorAll('article')]")
    page.evaluate("kept.forEach((one) => one.remove())")
    subscribe(page)
    page.evaluate("document.getElementById('news').append(...kept)")
    expect(page.locator("article button.bell")).to_have_text("Alerts on")
    expect(page.locator("section.panel button.save")).to_be_visible()


def test_places_that_a_page_removes_are_garbage_collected(visit_with_pictures: Visit) -> None:
    page = visit_with_pictures(main="<h1>News</h1>")
    for name, filled in (
        ("bell", "#news button.bell"),
        ("preferences", "section.panel legend"),
    ):
        page.evaluate(ADD, name)
        page.locator(filled).first.wait_for()
        page.evaluate(
            """(selector) => {
              const place = document.querySelector(selector);
              window.gone = new WeakRef(place.shadowRoot);
              place.remove();
            }""",
            f"#news [data-stop-press={name}]",
        )
        devtools = page.context.new_cdp_session(page)

        def collected(devtools: CDPSession = devtools) -> bool:
            devtools.send("HeapProfiler.collectGarbage")
            return bool(page.evaluate("gone.deref() === undefined"))

        wait_until(collected)  # drawing and calls hold it a little longer


def test_bell_and_panel_stay_when_the_body_is_replaced(visit: Visit) -> None:
    page = visit(script="data-bell")
    corner = page.locator("button.corner")
    corner.click()
    expect(panel(page)).to_be_visible()
    page.evaluate("document.body.replaceWith(document.createElement('body'))")
    expect(panel(page)).to_be_visible()
    expect(corner).to_have_count(1)
    page.keyboard.press("Escape")
    expect(panel(page)).to_have_count(0)
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).refusals") is None
    corner.click()
    expect(panel(page)).to_be_visible()


def test_another_path_is_another_page_view_with_its_own_topic(visit: Visit) -> None:
    page = visit(main="<h1>News</h1>")
    page.evaluate(FIND)
    stop_clock(page)
    wait_for_views(page, 1)
    page.evaluate("history.replaceState({}, '', '#comments')")
    page.evaluate("history.pushState({}, '', '?page=2')")
    page.evaluate(GO, ["/demo/sport/a-draw", "sport"])
    wait_for_views(page, 2)
    run_clock(page, 19_000, timer=ASKED_AFTER_MS)
    page.evaluate(GO, ["/demo/culture/a-novel", "culture"])
    wait_for_views(page, 3)
    wait_until(lambda: timers(page).count(ASKED_AFTER_MS) == 2)
    # Each page has its own twenty seconds before the panel opens.
    with not_asked(page):
        run_clock(page, 10_000, timer=ASKED_AFTER_MS)
    assert timers(page).count(ASKED_AFTER_MS) == 1, "the timer of the second page is over"
    run_clock(page, 10_000, timer=ASKED_AFTER_MS)
    expect(panel(page)).to_be_visible()
    panel(page).locator("button.details").click()
    ticked = panel(page).get_by_role("checkbox", checked=True)
    expect(ticked).to_have_count(1)
    assert ticked.evaluate_all("(boxes) => boxes.map(({ value }) => value)") == ["culture"]


def test_changing_pages_makes_no_uncached_call(visit: Visit) -> None:
    page = visit()
    page.evaluate(FIND)
    subscribe(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for number in range(5):
        page.evaluate(GO, [f"/demo/page-{number}", "world"])
    visit_over(page)
    assert {url.partition("/api/")[2] for url in asked} <= {"", "v1/site"}
