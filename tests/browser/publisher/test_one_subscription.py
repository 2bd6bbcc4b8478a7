"""A browser has one subscription, whatever the publisher does with our worker, in Firefox; and a
worker renews a lost one without a page."""

from __future__ import annotations

import pytest

from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import Publisher, mended, readers, settled, subscribe
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

NARROW = {"worker": "/alerts/sw.js", "topic": "world", "ask": "manual"}
WIDE = {"worker": "/sw.js", "topic": "world", "ask": "manual"}
ENDPOINTS = """navigator.serviceWorker.getRegistrations().then((all) =>
  Promise.all(all.map(async ({ scope, pushManager }) =>
    (await pushManager.getSubscription()) && new URL(scope).pathname)))
  .then((found) => found.filter(Boolean))"""
# Calls our handler as Chrome 138 does when a reader gives a permission back. A page cannot make an
# event of that kind that a worker would trust.
LOSES = """
const handlers = {};
const listen = self.addEventListener.bind(self);
self.addEventListener = (type, handler) => { handlers[type] = handler; listen(type, handler); };
importScripts("%s/sw.js");
listen("message", (event) => {
  if (event.data !== "lost") return;
  const nothing = { oldSubscription: null, newSubscription: null };
  handlers.pushsubscriptionchange({ ...nothing, waitUntil: (done) => event.waitUntil(done) });
});
"""
TELL = "navigator.serviceWorker.ready.then(({ active }) => active.postMessage('lost'))"
# What an earlier release did when the publisher changed the scope.
SUBSCRIBE_TWICE = """async (api) => {
  const key = (await (await fetch(`${api}site`)).json()).vapid_public_key;
  const registration = await navigator.serviceWorker.register("/alerts/sw.js");
  while (!registration.active) await new Promise((go) => setTimeout(go, 20));
  const options = { userVisibleOnly: true, applicationServerKey: key };
  const subscription = await registration.pushManager.subscribe(options);
  await fetch(`${api}subscriptions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ subscription, topics: ["world"] }),
  });
}"""
UNSUBSCRIBE = """navigator.serviceWorker.ready.then(({ pushManager }) =>
  pushManager.getSubscription()).then((one) => one?.unsubscribe()).then(() => true)"""


@pytest.fixture
def pages(address: str, publisher: Publisher) -> tuple[str, str]:
    """A page with our worker at `/` and one with it at `/alerts/`."""
    publisher.worker("/alerts/sw.js", f'importScripts("{address}/sw.js");')
    return publisher.page("/", address, **WIDE), publisher.page("/ferry", address, **NARROW)


@pytest.mark.soak
def test_a_reader_moves_with_our_worker_to_another_scope(
    installation: Installation, pages: tuple[str, str], firefox: Firefox, desktop: Desktop
) -> None:
    installation.worker()
    wide, narrow = pages
    tab = firefox.open(wide)
    first = subscribe(tab)
    tab.go(narrow)
    assert mended(tab, first)["topics"] == ["world"]
    assert settled(tab)
    assert tab.evaluate(ENDPOINTS) == ["/alerts/"]
    assert readers(installation) == 1
    installation.over(installation.publish(title="Once"))
    assert desktop.wait_for_notification(timeout=30).title == "Once"
    assert desktop.forget() == []


def test_pages_with_both_scopes_share_one_subscription_and_leaving_ends_it(
    installation: Installation, pages: tuple[str, str], firefox: Firefox
) -> None:
    wide, narrow = pages
    tab = firefox.open(wide)
    first = subscribe(tab)
    tab.go(narrow)
    moved = mended(tab, first)
    for page in (wide, narrow, wide):
        tab.go(page)
        assert settled(tab)
        assert tab.evaluate("StopPress.state()") == moved, "it moves once a day at most"
        assert tab.evaluate(ENDPOINTS) == ["/alerts/"]
    assert readers(installation) == 1
    tab.evaluate("StopPress.leave().then(() => true)")
    assert tab.evaluate(ENDPOINTS) == []
    assert readers(installation) == 0


@pytest.mark.soak
def test_a_second_subscription_at_another_scope_ends_with_the_next_page_view(
    installation: Installation, address: str, pages: tuple[str, str], firefox: Firefox
) -> None:
    wide, _ = pages
    tab = firefox.open(wide)
    first = subscribe(tab)
    tab.evaluate(f"({SUBSCRIBE_TWICE})('{address}/api/v1/').then(() => true)")
    assert readers(installation) == 2
    tab.go(wide)
    assert settled(tab)
    assert tab.evaluate(ENDPOINTS) == ["/"]
    assert tab.evaluate("StopPress.state()") == first
    assert readers(installation) == 1


def test_a_lost_subscription_is_renewed_by_the_worker_without_a_page(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    publisher.worker("/sw.js", LOSES % address)
    publisher.files["/plain"] = ("text/html", "<!doctype html><title>Without our script</title>")
    tab = firefox.open(page)
    first = subscribe(tab)
    tab.go(f"{publisher.origin}/plain")
    tab.evaluate(UNSUBSCRIBE)
    tab.evaluate(f"{TELL}.then(() => true)")
    store = installation.runtime.store
    wait_until(lambda: store.subscriptions.count() == 1 and store.departures.counts() == {})
    desktop.forget()
    tab.wait_until(f"({ENDPOINTS}).then((found) => found.length === 1)")
    tab.wait_until(
        "caches.match('/reader', { cacheName: 'stop-press' }).then((one) => one.json())"
        f".then(([kept]) => kept.id !== '{first['id']}')"
    )
    installation.over(installation.publish(title="Renewed"))
    assert desktop.wait_for_notification(timeout=30).title == "Renewed"
    # The next page view finds the reader under the new number, with the same choices.
    tab.go(page)
    assert mended(tab, first)["topics"] == first["topics"]
    assert readers(installation) == 1


def test_a_reader_who_undoes_what_the_browser_took_back_is_subscribed_again(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
) -> None:
    publisher.worker("/sw.js", LOSES % address)
    publisher.files["/plain"] = ("text/html", "<!doctype html><title>Without our script</title>")
    tab = firefox.open(page)
    first = subscribe(tab)
    firefox.allow_notifications(publisher.origin, "prompt")
    tab.go(page)
    wait_until(lambda: readers(installation) == 0)
    assert settled(tab)
    assert installation.runtime.store.departures.counts() == {"lost": 1}
    firefox.allow_notifications(publisher.origin)
    tab.go(f"{publisher.origin}/plain")
    tab.evaluate(f"{TELL}.then(() => true)")
    wait_until(lambda: readers(installation) == 1)
    tab.go(page)
    again = tab.wait_until("window.StopPress?.state().subscribed && StopPress.state()")
    assert again["topics"] == first["topics"]
