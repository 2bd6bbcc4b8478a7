"""What browsers do by themselves or wrongly, on the demo newspaper in Chromium.

Chrome, Brave, Edge, Safari and phones are not to be had here. Functions in place of Chromium's own
(`pushManager.subscribe`, `Notification.permission`, `navigator.brave`, `localStorage`) behave as
these browsers do. What the page then says and sends to the real service is real.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support.browser.readers import (
    FOLLOW,
    Visit,
    bell,
    come_back,
    not_asked,
    panel,
    permission,
    subscribe,
)
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

WITHIN_AN_APP = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Version/4.0 Chrome/138.0.0.0 Mobile Safari/537.36 Instagram 389.0.0.49.86 Android"
)


# A permission that goes ------------------------------------------------------------------------


def test_a_permission_that_chrome_took_back_by_itself_is_lost_and_no_refusal(
    paper: Installation, visit: Visit
) -> None:
    page = visit(script=FOLLOW)
    subscribe(page)
    page.evaluate("localStorage.removeItem('test-push')")  # Chrome ends the subscription as well
    permission(page, "default")
    come_back(page)
    assert paper.runtime.store.subscriptions.count() == 0
    assert paper.runtime.store.departures.counts() == {"lost": 1}
    assert not page.evaluate("StopPress.state().subscribed")
    with not_asked(page, "we rest first"):
        page.locator(".kicker").first.click()
    # The worker would subscribe again once the browser allows it, but for a “Not now”.
    assert page.evaluate("caches.has('stop-press')")
    bell(page).click()
    panel(page).locator("button.later").click()
    expect(panel(page)).to_have_count(0)
    wait_until(lambda: not page.evaluate("caches.has('stop-press')"))
    kept = page.evaluate("JSON.parse(localStorage['stop-press-asked'])")
    assert kept.get("refusals", 0) == 0
    kept["until"] = 0
    page.evaluate("(kept) => localStorage['stop-press-asked'] = JSON.stringify(kept)", kept)
    page.locator(".kicker").first.click()
    expect(panel(page)).to_be_visible()


def test_a_permission_that_the_reader_took_back_is_a_no(paper: Installation, visit: Visit) -> None:
    page = visit(script=FOLLOW)
    subscribe(page)
    permission(page, "denied")
    come_back(page)
    assert paper.runtime.store.departures.counts() == {"left": 1}
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).refusals") == 3


# What browsers say by themselves ----------------------------------------------------------------


SHAPES = {
    "without toJSON": "({ endpoint: all.endpoint, keys: all.keys })",
    "with getKey alone": ("({ endpoint: all.endpoint, getKey: (name) => bytes(all.keys[name]) })"),
    "keys as bytes": (
        "({ endpoint: all.endpoint, keys: { p256dh: bytes(all.keys.p256dh),"
        " auth: new Uint8Array(bytes(all.keys.auth)) } })"
    ),
    "empty keys (Safari on Ventura)": (
        "({ toJSON: () => ({ endpoint: all.endpoint, keys: {} }),"
        " getKey: (name) => bytes(all.keys[name]), endpoint: all.endpoint })"
    ),
}


@pytest.mark.soak
def test_a_subscription_in_another_shape_is_stored_too(paper: Installation, visit: Visit) -> None:
    """Also where the browser does not say which languages its reader knows."""
    page = visit()
    page.add_init_script(NO_LANGUAGES)
    store = paper.runtime.store.subscriptions
    locales = []
    for name, shape in SHAPES.items():
        page.evaluate(GIVE_SHAPE.replace("PLAIN", shape))
        id = subscribe(page)
        assert store.get(id).topics == {"world"}, name
        locales.append(store.get(id).locale)
        page.evaluate("StopPress.leave()")
        assert store.count() == 0
        come_back(page)
    assert locales == ["en-US", "", "", ""]


NO_LANGUAGES = """for (const name of ["language", "languages"]) {
  Object.defineProperty(Navigator.prototype, name, { get: () => undefined });
}"""
GIVE_SHAPE = """() => {
          const bytes = (text) => Uint8Array.from(
            atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
          const change = (one) => {
            if (!one) return one;
            const all = one.toJSON();
            // Without `options` too, which old browsers do not have.
            return Object.assign(PLAIN, { unsubscribe: () => one.unsubscribe() });
          };
          for (const name of ["subscribe", "getSubscription"]) {
            const real = PushManager.prototype[name];
            PushManager.prototype[name] = async function (given) {
              return change(await real.call(this, given));
            };
          }
        }"""


# Storage, addresses, browsers within apps --------------------------------------------------------


@pytest.mark.parametrize(
    "blocked",
    [
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } })",
        "Storage.prototype.setItem = () => { throw new DOMException('full') }",
    ],
    ids=["blocked", "full"],
)
def test_a_browser_that_stores_nothing_is_not_asked_and_says_why(
    visit: Visit, blocked: str
) -> None:
    page = visit(script=FOLLOW)
    page.add_init_script(blocked)
    page.reload()
    with not_asked(page, "it could not remember a refusal"):
        page.locator(".kicker").first.click()
    bell(page).click()
    expect(panel(page)).to_contain_text("stores nothing for this site")
    expect(panel(page).get_by_role("button", name="Try again")).to_be_visible()


def test_a_browser_within_an_app_shows_no_bell_that_leads_nowhere(visit: Visit) -> None:
    page = visit(script="data-bell", user_agent=WITHIN_AN_APP, push=False)
    page.wait_for_load_state("networkidle")
    expect(bell(page)).to_have_count(0)
    expect(page.locator("[data-stop-press=corner]")).to_have_count(0)  # nor an empty element
