"""When the panel opens by itself and when not, in a real Chromium against the real service."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from service.domain.operations.daily_totals import today
from service.domain.readers.questions import STEPS
from tests.support.browser.readers import (
    ASKED_AFTER_MS,
    FOLLOW,
    IPHONE,
    Visit,
    answer_changed,
    bell,
    choose_topics,
    not_asked,
    panel,
    run_clock,
    stop_clock,
    subscribe,
    timers,
    visit_over,
    wait_for_page,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.short_forms import some

pytestmark = pytest.mark.browser

DAY_MS = 24 * 60 * 60 * 1000
# An iPad says that it is a Mac; a real Mac has no touch screen.
IPAD = """Object.defineProperties(navigator, {
  platform: { value: "MacIntel" }, maxTouchPoints: { value: 5 },
})"""
# Consent managers as they appear on pages, and other elements that wait for an answer.
IN_THE_WAY = {
    "OneTrust": '<div id="onetrust-banner-sdk" role="region" class="edge">Cookies?</div>',
    "Cookiebot": '<div id="CybotCookiebotDialog" class="edge">Cookies?</div>',
    "Sourcepoint": '<div id="sp_message_container_7" class="edge"><p>Privacy</p></div>',
    "Didomi": '<div id="didomi-host"><div class="edge">Privacy</div></div>',
    "Usercentrics": '<div id="usercentrics-root" class="edge">Privacy</div>',
    "Funding Choices": '<div class="fc-consent-root"><p class="edge">Consent?</p></div>',
    "CookieYes": '<div class="cky-consent-container edge">Cookies?</div>',
    "TrustArc": '<div id="truste-consent-track"><p class="edge">Cookies?</p></div>',
    "Quantcast": '<div id="qc-cmp2-container"><p class="edge">Privacy</p></div>',
    "consentmanager": '<div id="cmpwrapper" class="edge">Privacy</div>',
    "iubenda": '<div id="iubenda-cs-banner" class="edge">Privacy</div>',
    "Osano": '<div class="osano-cm-window"><p class="edge">Privacy</p></div>',
    "a bar of the paper's own": '<div class="cookie-bar edge">Cookies?</div>',
    "a dialog": '<div role="dialog" aria-label="Sign in">Sign in</div>',
    "an overlay": '<div class="whole">Subscribe to our paper</div>',
}
OUT_OF_THE_WAY = {
    "a hidden dialog": '<div role="dialog" hidden>Sign in</div>',
    "a settled consent manager": '<div id="didomi-host"></div>',
    "a bar at the top": '<div class="bar">The Daily Example</div>',
    "a page that notes consent": '<div class="cookie-consent-given">The Daily Example</div>',
    "a story about cookies": "<p>Cookies, and how to bake them.</p>",
}
STYLE = """
.edge { position: fixed; inset: auto 0 0 0; height: 20%; z-index: 9; background: white; }
.whole { position: fixed; inset: 0; z-index: 9; background: white; }
.bar { position: fixed; inset: 0 0 auto 0; height: 3rem; z-index: 9; background: white; }
"""

VIEWS = "JSON.parse(localStorage['stop-press-asked'] ?? '{}').views"


def view(page: Page, number: int) -> None:
    """Load the page and wait until it knows whether to ask on this page view."""
    address = page.url
    page.goto("about:blank")  # what the page before still asks for is not this one's
    with page.expect_event("requestfinished", lambda one: one.url.endswith("/api/v1/site")):
        page.goto(address)
    wait_for_page(page, f"{VIEWS} === {number}")


# A page that a browser has prepared; `testOpen` is a reader who opens it.
PRERENDERED = """(() => {
  let prerendering = true;
  Object.defineProperty(Document.prototype, "prerendering", { get: () => prerendering });
  window.testOpen = () => {
    prerendering = false;
    document.dispatchEvent(new Event("prerenderingchange"));
  };
})()"""


def test_a_prerendered_page_counts_as_a_page_view_once_a_reader_opens_it(visit: Visit) -> None:
    page = visit()
    wait_for_page(page, "localStorage['stop-press-asked']")
    page.evaluate("localStorage.clear()")
    page.add_init_script(PRERENDERED)
    address, fetched = page.url, list[str]()
    page.goto("about:blank")  # else it may still fetch what the page before has asked for
    page.on("request", lambda one: fetched.append(one.url))
    page.goto(address)
    wait_for_page(page, "window.StopPress")
    visit_over(page)
    # Preferences would wait for a worker, which a browser registers only then, and give up.
    assert [url for url in fetched if "/parts/" in url] == []
    assert page.evaluate("localStorage['stop-press-asked']") is None
    page.evaluate("testOpen()")
    wait_for_page(page, f"{VIEWS} === 1")
    expect(bell(page)).to_be_visible()


def test_the_panel_opens_on_the_second_page_view_after_twenty_seconds(visit: Visit) -> None:
    page = visit()
    stop_clock(page)
    wait_for_page(page, "localStorage['stop-press-asked']")
    page.evaluate("localStorage.clear()")
    view(page, 1)
    assert ASKED_AFTER_MS not in timers(page), "nothing could open the panel"
    view(page, 2)
    run_clock(page, 10_000, timer=ASKED_AFTER_MS)
    assert ASKED_AFTER_MS in timers(page), "half of the time is left"
    expect(panel(page)).to_have_count(0)
    run_clock(page, 10_000, timer=ASKED_AFTER_MS)
    expect(panel(page)).to_be_visible()
    # The reader may be reading, so the focus stays where it is.
    assert page.evaluate("document.activeElement === document.body")


def test_screen_readers_announce_the_panel_and_its_buttons_do_not_move(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    stop_clock(page)
    page.locator(".kicker").first.click()
    button = panel(page).get_by_role("button", name="Not now")
    expect(panel(page).get_by_role("status")).to_be_empty()
    before = button.bounding_box()
    run_clock(page, 100, timer=100)
    expect(panel(page).get_by_role("status")).to_contain_text("Get the latest")
    # A button that moves while it is pressed is not clicked.
    assert button.bounding_box() == before


def test_after_not_now_we_ask_again_in_a_week_then_a_month_then_never(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    for days in (7, 30):
        page.locator(".kicker").first.click()
        panel(page).get_by_role("button", name="Not now").click()
        expect(panel(page)).to_have_count(0)
        rest = page.evaluate(
            "JSON.parse(localStorage.getItem('stop-press-asked')).until - Date.now()"
        )
        assert (days - 0.01) * DAY_MS < rest <= days * DAY_MS
        with not_asked(page):
            page.locator(".kicker").first.click()
        page.evaluate(
            """() => {
              const asked = JSON.parse(localStorage.getItem("stop-press-asked"));
              localStorage.setItem("stop-press-asked", JSON.stringify({...asked, until: 0}));
            }"""
        )
    page.locator(".kicker").first.click()
    panel(page).get_by_role("button", name="Not now").click()
    expect(panel(page)).to_have_count(0)
    page.clock.install()
    page.clock.fast_forward(400 * DAY_MS)
    with not_asked(page):
        page.locator(".kicker").first.click()
    bell(page).click()
    expect(panel(page).get_by_role("button", name="Yes, alert me")).to_be_visible()


def test_only_a_click_on_what_the_publisher_named_opens_the_panel(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    with not_asked(page):
        page.locator(".standfirst").first.click()
    page.locator(".kicker").first.click()
    expect(panel(page)).to_be_visible()


def test_a_click_does_not_ask_a_subscriber(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    subscribe(page)
    with not_asked(page):
        page.locator(".kicker").first.click()


def test_the_panel_never_opens_over_a_dialog_or_a_consent_banner(visit: Visit) -> None:
    page = visit(script=FOLLOW)
    page.evaluate(
        """(css) => {
          document.adoptedStyleSheets = [new CSSStyleSheet()];
          document.adoptedStyleSheets[0].replaceSync(css);
        }""",
        STYLE,
    )
    page.evaluate("document.body.insertAdjacentHTML('afterbegin', '<div id=other></div>')")
    click = "document.querySelector('.kicker').click()"
    put = "html => { document.getElementById('other').innerHTML = html; }"
    for name, html in IN_THE_WAY.items():
        page.evaluate(put, html)
        with not_asked(page, why=f"asked over {name}"):
            page.evaluate(click)
    for name, html in OUT_OF_THE_WAY.items():
        page.evaluate(put, html)
        page.evaluate(click)
        expect(panel(page), f"not asked because of {name}").to_be_visible()
        page.keyboard.press("Escape")
        page.evaluate("localStorage.removeItem('stop-press-asked')")


def test_on_an_iphone_only_the_bell_opens_the_home_screen_help(visit: Visit) -> None:
    page = visit(390, 844, script=FOLLOW, user_agent=IPHONE, push=False)
    with not_asked(page):
        page.locator(".kicker").first.click()
    bell(page).click()
    expect(panel(page).get_by_role("heading")).to_have_text("First add us to your Home Screen")
    assert panel(page).get_by_role("listitem").count() == 3
    tablet = visit(push=False)
    bell(tablet).click()
    expect(panel(tablet)).to_contain_text("This browser cannot show alerts")
    tablet.add_init_script(IPAD)
    tablet.reload()
    bell(tablet).click()
    expect(panel(tablet).get_by_role("heading")).to_have_text("First add us to your Home Screen")


def test_after_the_browsers_own_no_only_the_bell_says_how_to_undo_it(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW)
    page.add_init_script("Object.defineProperty(Notification, 'permission', {value: 'denied'})")
    page.reload()
    assert page.evaluate("StopPress.state().permission") == "denied"
    with not_asked(page):
        page.locator(".kicker").first.click()
    bell(page).click()
    expect(panel(page)).to_contain_text("Alerts are blocked for this site.")
    expect(panel(page).get_by_role("button", name="Yes, alert me")).to_have_count(0)


def test_a_browser_without_push_says_so_only_when_the_bell_is_pressed(visit: Visit) -> None:
    page = visit(script=FOLLOW, push=False)
    with not_asked(page):
        page.locator(".kicker").first.click()
    bell(page).click()
    expect(panel(page)).to_contain_text("This browser cannot show alerts")


@pytest.mark.parametrize(
    "requested",
    some(
        ["globalPrivacyControl: {value: true}", "doNotTrack: {value: '1'}"],
        ["globalPrivacyControl: {value: true}"],
    ),
)
def test_a_reader_who_asks_not_to_be_tracked_is_not_counted_from_then_on(
    paper: Installation, visit: Visit, requested: str
) -> None:
    page = visit()
    id = subscribe(page)
    store = paper.runtime.store.subscriptions
    assert store.get(id).preferences.receipts
    page.add_init_script(f"Object.defineProperties(navigator, {{ {requested} }})")
    page.reload()
    wait_until(lambda: not store.get(id).preferences.receipts)
    visit_over(page)  # the page has stored it too
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait_for_page(page, "window.StopPress")
    visit_over(page)
    assert not [url for url in asked if "/subscriptions" in url], "the page reports it once"
    page.evaluate("StopPress.leave()")
    assert not store.get(subscribe(page)).preferences.receipts


def test_a_publisher_replaces_texts_with_a_file(visit: Visit) -> None:
    page = visit(script='data-texts="/alerts.json" data-bell')
    page.route("**/alerts.json", lambda route: route.fulfill(json={"question": "Shall we ring?"}))
    page.reload()
    page.locator("button.corner").click()
    expect(panel(page).get_by_role("heading")).to_have_text("Shall we ring?")
    expect(panel(page).get_by_role("button", name="Not now")).to_be_visible()


def counted(paper: Installation) -> dict[str, int]:
    found = paper.runtime.questions.between(today(), 2)
    return dict(found.get("/demo", {}))


def test_each_step_of_the_question_is_counted_once_and_nothing_of_who_is_not_to_be_tracked(
    paper: Installation, visit: Visit
) -> None:
    before = counted(paper)
    page = visit(script=FOLLOW)
    page.add_init_script("Object.defineProperties(navigator, { doNotTrack: { value: '1' } })")
    page.reload()
    page.locator(".kicker").first.click()
    panel(page).get_by_role("button", name="Not now").click()
    expect(panel(page)).to_have_count(0)

    page = visit(script=FOLLOW)
    page.locator(".kicker").first.click()
    wait_until(lambda: counted(paper).get("shown", 0) > before.get("shown", 0))
    assert counted(paper) == before | {"shown": before.get("shown", 0) + 1}
    choose_topics(page, "world")
    panel(page).get_by_role("button", name="Yes").click()
    expected = {step: before.get(step, 0) + 1 for step in STEPS}
    wait_until(lambda: counted(paper) == expected)
    page.evaluate("StopPress.leave()")


def test_a_subscription_that_is_confirmed_later_counts_for_the_page_of_the_question(
    paper: Installation, visit: Visit
) -> None:
    def unconfirmed(text: str) -> str:
        return json.dumps({**json.loads(text), "confirmed": False})

    before = counted(paper)
    page = visit(script=FOLLOW)
    page.route("**/api/v1/subscriptions", lambda route: answer_changed(route, unconfirmed))
    page.locator(".kicker").first.click()
    choose_topics(page, "world")
    panel(page).get_by_role("button", name="Yes").click()
    expect(panel(page)).to_contain_text("Thank you")
    wait_until(lambda: counted(paper).get("subscribed", 0) > before.get("subscribed", 0))
    assert counted(paper).get("confirmed") == before.get("confirmed")
    page.unroute("**/api/v1/subscriptions")
    page.goto(f"{page.url}night-ferry")
    expected = {step: before.get(step, 0) + 1 for step in STEPS}
    wait_until(lambda: counted(paper) == expected)
    wait_for_page(page, "!('page' in JSON.parse(localStorage['stop-press-asked']))")
    page.evaluate("StopPress.leave()")
