"""A panel that nobody saw is not a question, and only an answer is an answer; in real browsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import HTML, Publisher
from tests.support.browser.readers import (
    ASKED_AFTER_MS,
    Visit,
    bell,
    not_asked,
    panel,
    run_clock,
    stop_clock,
    timers,
    wait_for_page,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

FOLLOW = 'data-ask="click" data-ask-on=".kicker"'
SHOWN = """[...document.querySelectorAll("*")]
  .some((one) => one.shadowRoot?.querySelector("dialog"))"""
ASKED = 'JSON.parse(localStorage["stop-press-asked"] ?? "{}")'
# Counts how often a page looks at what has the focus.
COUNT_LOOKS = """(() => {
  const own = Object.getOwnPropertyDescriptor(Document.prototype, "activeElement");
  const get = function () { window.testLooks += 1; return own.get.call(this); };
  Object.defineProperty(Document.prototype, "activeElement", { ...own, get });
})()"""
COUNTED = """performance.getEntriesByType("resource")
  .some(({ name }) => name.endsWith("/api/v1/questions"))"""
FORGET = "localStorage.removeItem('stop-press-asked')"
SEE = """(() => {
  window.testHidden = %s;
  document.dispatchEvent(new Event("visibilitychange"));
})()"""
FIELD = '<h1>News</h1><p class="kicker">World</p>%s'


@pytest.fixture
def quick(
    redis_url: str, push_service: PushService, tmp_path: Path, publisher: Publisher
) -> Iterator[str]:
    """An installation that asks on the first page view, after a second; its address."""
    settings = {"ASK_PAGE_VIEWS": "1", "ASK_SECONDS": "1", "SITE_ORIGINS": publisher.origin}
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        address = installation.web()
        publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
        yield address


def asked(page: Page) -> Any:
    return page.evaluate(ASKED)


def ask(page: Page) -> None:
    """Ask by a click on what the publisher named, which is not the bell."""
    page.evaluate("document.querySelector('.kicker').click()")
    expect(panel(page)).to_be_visible()


def visible_in(tabs: list[Tab]) -> list[int]:
    return [number for number, tab in enumerate(tabs) if tab.evaluate(SHOWN)]


def test_of_five_tabs_only_the_one_in_view_asks_and_one_answer_is_for_all(
    firefox: Firefox, publisher: Publisher, quick: str
) -> None:
    firefox.allow_notifications(publisher.origin)
    page = publisher.page("/", quick)
    # A tab that is in front for its time asks, so that only the last one ever is.
    tabs = [firefox.open(page, behind=number < 4) for number in range(5)]
    tabs[4].wait_until(SHOWN)
    assert visible_in(tabs) == [4]
    # The reader goes to another tab: now that one asks, and no other.
    firefox.command("browsingContext.activate", context=tabs[1].context)
    tabs[1].wait_until(SHOWN)
    wait_until(lambda: visible_in(tabs) == [1])

    tabs[1].click("button.later")

    wait_until(lambda: visible_in(tabs) == [])
    assert tabs[0].evaluate(f"{ASKED}.refusals") == 1
    for tab in tabs:
        firefox.command("browsingContext.activate", context=tab.context)
    assert visible_in(tabs) == []
    assert tabs[0].evaluate(f"{ASKED}.refusals") == 1, "one answer, one refusal"


def test_a_page_that_is_opened_in_the_background_asks_when_it_has_been_seen_for_its_time(
    visit: Visit,
) -> None:
    page = visit()
    page.add_init_script(
        "Object.defineProperty(Document.prototype, 'hidden', { get() {"
        " window.testLooks = true; return window.testHidden ?? true; } })"
    )
    wait_for_page(page, "localStorage['stop-press-asked']")
    stop_clock(page)
    page.reload()
    wait_for_page(page, f"{ASKED}.views === 2")
    wait_for_page(page, "window.testLooks")  # whether it is in view
    assert ASKED_AFTER_MS not in timers(page), "its time has not begun"
    page.evaluate(SEE % "false")
    run_clock(page, 19_000, timer=ASKED_AFTER_MS)
    page.evaluate(SEE % "true")
    run_clock(page, 2_000, timer=ASKED_AFTER_MS)
    expect(panel(page)).to_have_count(0)
    page.evaluate(SEE % "false")
    run_clock(page, 21_000, timer=ASKED_AFTER_MS)
    expect(panel(page)).to_be_visible()


def test_escape_in_a_search_box_is_no_answer_and_escape_in_the_panel_no_refusal(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW, main=FIELD % '<input type="search">')
    ask(page)
    page.locator("input[type=search]").focus()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    expect(panel(page)).to_be_visible()
    assert "refusals" not in asked(page)
    panel(page).get_by_role("button", name="Not now").focus()
    page.keyboard.press("Escape")
    expect(panel(page)).to_have_count(0)
    assert "refusals" not in asked(page)
    with not_asked(page, "closed with Escape, it rests for a day"):
        page.locator(".kicker").first.click()
    page.clock.install()
    page.clock.fast_forward(25 * 60 * 60 * 1000)
    ask(page)


def test_the_panel_gives_way_to_a_field_in_which_the_reader_types(visit: Visit) -> None:
    fields = [
        '<input type="search">',
        "<textarea></textarea>",
        '<div contenteditable="true">Comment</div>',
        '<div role="textbox" tabindex="0">Comment</div>',
        '<iframe srcdoc="<input autofocus>"></iframe>',
    ]
    page = visit(390, 844, script=FOLLOW, main=FIELD % "".join(fields))
    page.evaluate(COUNT_LOOKS)
    for number in range(len(fields)):
        field = page.locator("#news > :nth-child(n + 3)").nth(number)
        field.focus()
        with not_asked(page, f"asked while {fields[number]} has the focus"):
            page.evaluate("testLooks = 0; document.querySelector('.kicker').click()")
            wait_for_page(page, "testLooks")
        page.evaluate("document.activeElement.blur()")
    ask(page)
    page.locator("textarea").focus()
    expect(panel(page)).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    expect(panel(page)).to_be_visible()
    page.locator("textarea").focus()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    expect(panel(page)).to_be_visible()


@pytest.mark.parametrize(
    ("meanwhile", "over"),
    [
        ("document.querySelector('textarea').focus()", "document.activeElement.blur()"),
        ("document.querySelector('dialog').show()", "document.querySelector('dialog').close()"),
        (f"({SEE % 'true'})", f"({SEE % 'false'})"),
    ],
    ids=["types", "has a dialog open", "is in another tab"],
)
def test_a_question_that_loads_slowly_does_not_appear_where_the_reader_now(
    visit: Visit, meanwhile: str, over: str
) -> None:
    page = visit(script=FOLLOW, main=FIELD % "<textarea></textarea><dialog>Cookies?</dialog>")
    page.evaluate(
        "void Object.defineProperty(Document.prototype, 'hidden',"
        " { get: () => window.testHidden ?? false })"
    )
    slow: list[Route] = []
    page.route("**/panel.js", lambda route: slow.append(route))
    page.evaluate("document.querySelector('.kicker').click()")
    wait_until(lambda: page.evaluate("1") and slow)
    page.evaluate(f"void {meanwhile}")
    page.unroute("**/panel.js")
    slow[0].continue_()
    wait_for_page(page, f"{ASKED}.open === 0")
    expect(panel(page)).to_have_count(0)
    assert "ignored" not in asked(page)
    page.evaluate(f"void {over}")
    ask(page)


def test_a_question_that_gave_way_while_it_loaded_comes_later_on_the_same_page(
    visit: Visit,
) -> None:
    page = visit(main=FIELD % "<textarea></textarea>")
    wait_for_page(page, "localStorage['stop-press-asked']")
    stop_clock(page)
    page.reload()
    slow: list[Route] = []
    page.route("**/panel.js", lambda route: slow.append(route))
    run_clock(page, 21_000, timer=ASKED_AFTER_MS)
    wait_until(lambda: page.evaluate("1") and slow)
    page.locator("textarea").focus()
    page.unroute("**/panel.js")
    slow[0].continue_()
    wait_for_page(page, f"{ASKED}.open === 0")
    expect(panel(page)).to_have_count(0)
    page.evaluate("document.activeElement.blur()")
    run_clock(page, 21_000, timer=ASKED_AFTER_MS)
    expect(panel(page)).to_be_visible()


def test_a_page_that_is_left_while_its_question_loads_lets_the_next_page_ask(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW)
    slow: list[Route] = []
    page.route("**/panel.js", lambda route: slow.append(route))
    page.evaluate("document.querySelector('.kicker').click()")
    wait_until(lambda: page.evaluate("1") and slow)
    page.unroute("**/panel.js")
    page.reload()
    wait_for_page(page, "window.StopPress")
    ask(page)


def test_a_page_whose_panel_gives_way_to_another_pages_keeps_a_third_from_asking(
    visit: Visit,
) -> None:
    first = visit(script=FOLLOW)
    first.evaluate(
        "void Object.defineProperty(Document.prototype, 'hidden', { get: () => testHidden })"
    )
    first.evaluate(SEE % "false")
    ask(first)
    first.evaluate(SEE % "true")
    second = visit(script=FOLLOW, context=first.context)
    ask(second)
    first.evaluate(SEE % "false")
    expect(panel(first)).to_have_count(0)
    third = visit(script=FOLLOW, context=first.context)
    with not_asked(third, "another page has the question"):
        third.evaluate("document.querySelector('.kicker').click()")


@pytest.mark.parametrize("origin", ["same", "other"])
def test_a_page_in_a_frame_asks_nothing(
    firefox: Firefox, publisher: Publisher, quick: str, origin: str
) -> None:
    publisher.page("/framed", quick)
    host = publisher.origin
    if origin == "other":
        host = host.replace("127.0.0.1", "localhost")
    for name in (host, publisher.origin):
        firefox.allow_notifications(name)
    publisher.files["/frame"] = (HTML, f'<iframe src="{publisher.origin}/framed"></iframe>')
    tab = firefox.open(f"{host}/frame")
    (frame,) = firefox.command("browsingContext.getTree", root=tab.context)["contexts"]
    framed = Tab(firefox, frame["children"][0]["context"])
    framed.wait_until("window.StopPress && true")
    framed.evaluate("navigator.locks.request('stop-press', () => 0)")  # its visit is over
    assert framed.evaluate(f"{ASKED}.views ?? 0") == 0, "it is not a page view"
    assert not framed.evaluate(SHOWN)


def test_back_to_a_page_from_the_cache_shows_no_panel(
    firefox: Firefox, publisher: Publisher, quick: str
) -> None:
    firefox.allow_notifications(publisher.origin)
    first, second = publisher.page("/", quick), publisher.page("/second", quick)
    came_back = "location.pathname === '/' && document.readyState === 'complete'"
    for _ in range(3):  # a busy Firefox may have no room for a page
        tab = firefox.open(first)
        tab.evaluate(f"({FORGET}, 0)")
        tab.go(first)
        tab.wait_until(SHOWN)
        tab.evaluate("(window.kept = true, 0)")
        # Firefox keeps no page that has a lock or waits for a response.
        tab.evaluate("navigator.locks.request('stop-press', () => 0)")
        tab.wait_until(COUNTED)
        tab.go(second)
        tab.wait_until(SHOWN)
        tab.click("button.later")
        tab.evaluate("(setTimeout(() => history.back()), 0)")
        tab.wait_until(came_back)
        if tab.evaluate("window.kept ?? false"):
            break
        firefox.close_tabs()
    else:
        raise AssertionError("the page never came from the cache")
    assert not tab.evaluate(SHOWN)
    tab.evaluate("new Promise((done) => setTimeout(done, 1500))")
    assert not tab.evaluate(SHOWN)


def test_an_ignored_panel_rests_after_three_page_views(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    for _ in range(3):
        ask(page)
        page.reload()
        wait_for_page(page, "window.StopPress")
    assert "refusals" not in asked(page)
    with not_asked(page, "ignored three times"):
        page.evaluate("document.querySelector('.kicker').click()")
    page.clock.install()
    page.clock.fast_forward(7.1 * 24 * 60 * 60 * 1000)
    ask(page)


def test_the_panel_is_not_printed(visit: Visit) -> None:
    page = visit(script=f"{FOLLOW} data-bell")
    ask(page)
    page.emulate_media(media="print")
    expect(panel(page)).to_be_hidden()
    for one in bell(page).all():
        expect(one).to_be_hidden()
    page.emulate_media(media="screen")
    expect(panel(page)).to_be_visible()


@pytest.mark.soak
def test_not_now_in_one_tab_closes_the_question_in_the_others(visit: Visit) -> None:
    first = visit(script=FOLLOW)
    second = visit(context=first.context)
    bell(second).click()
    expect(panel(second)).to_be_visible()
    ask(first)
    panel(first).get_by_role("button", name="Not now").click()
    expect(panel(second)).to_have_count(0)
    assert asked(first)["refusals"] == 1
    # Pressed again at the bell while we rest, it is the same answer.
    bell(second).click()
    panel(second).get_by_role("button", name="Not now").click()
    expect(panel(second)).to_have_count(0)
    assert asked(second)["refusals"] == 1


def test_the_browsers_own_no_is_an_answer_in_every_tab(visit: Visit) -> None:
    first = visit(script=FOLLOW, main=FIELD % "")
    second = visit(context=first.context)
    bell(second).click()
    expect(panel(second)).to_be_visible()
    first.evaluate(
        """() => {
          PushManager.prototype.subscribe = async () => {
            Object.defineProperty(Notification, "permission", { value: "denied" });
            throw new DOMException("no", "NotAllowedError");
          };
        }"""
    )
    bell(first).click()
    panel(first).locator("button.details").click()
    panel(first).get_by_label("World").check()
    panel(first).locator("button.yes").click()
    expect(panel(first)).to_contain_text("Alerts are blocked for this site.")
    expect(panel(second)).to_have_count(0)
    # Whatever other tabs store, the words stay until the reader has read them.
    first.evaluate("void (heard = new Promise((go) => addEventListener('storage', go)))")
    second.evaluate("localStorage['analytics'] = 'beat'")
    first.evaluate("heard.then(() => 0)")
    expect(panel(first)).to_contain_text("Alerts are blocked for this site.")
    assert json.loads(first.evaluate("localStorage['stop-press-asked']"))["refusals"] == 1
