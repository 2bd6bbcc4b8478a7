"""Beside a site's own service workers, and after another provider's, in Firefox."""

from __future__ import annotations

import pytest
import pywebpush

from service.model.keys import VapidKey, b64url
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import (
    OLD_WORKER,
    POLICY,
    SUBSCRIBE_THERE,
    Publisher,
    policy,
    receipts,
    registered,
    registrations,
    subscribe,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

PANEL = "[...document.querySelectorAll('html > div')].at(-1)?.shadowRoot"
# The worker of a site's app, with push of its own.
APP = """
self.stopPress = { ignoreForeign: true };
importScripts("%s/sw.js");
self.addEventListener("push", (event) => {
  event.waitUntil(self.registration.showNotification("The app's own: " + event.data.text()));
});
"""


def test_an_app_keeps_its_worker_and_push_and_shows_nothing_twice(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    installation.worker()
    publisher.worker("/app.js", APP % address)
    tab = firefox.open(publisher.page("/", address, worker="/app.js", topic="world", ask="manual"))
    tab.evaluate("navigator.serviceWorker.register('/app.js?v=3').then(() => true)")
    subscribe(tab)
    assert registrations(tab) == {"/": "/app.js?v=3"}

    installation.over(installation.publish(title="Ours"))
    assert desktop.wait_for_notification(timeout=30).title == "Ours"
    subscription = tab.evaluate(
        "navigator.serviceWorker.ready.then((all) => all.pushManager.getSubscription())"
    )
    pywebpush.webpush(
        subscription,
        "42 new messages",
        vapid_private_key=installation.vapid.text,
        vapid_claims={"sub": "mailto:push@newsroom.example"},
        ttl=60,
    )
    assert desktop.wait_for_notification(timeout=30).title == "The app's own: 42 new messages"
    assert desktop.forget() == []
    assert push_service.nacks == []


@pytest.mark.soak
def test_a_module_worker_imports_ours(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    publisher.headers = policy({**POLICY, "worker-src": "'self' {installation}"}, address)
    publisher.worker("/app.js", f'import "{address}/sw.js";')
    tab = firefox.open(publisher.page("/", address, worker="/app.js", topic="world", ask="manual"))
    module = "navigator.serviceWorker.register('/app.js', { type: 'module' }).then(() => true)"
    tab.evaluate(module)
    subscribe(tab)
    id = installation.publish(title="By import")
    assert desktop.wait_for_notification(timeout=30).title == "By import"
    wait_until(lambda: receipts(installation, id) == {"shown": 1})
    assert tab.evaluate("violations") == []


@pytest.mark.soak
def test_a_worker_that_unregisters_itself_ends_the_subscription(
    installation: Installation,
    page: str,
    publisher: Publisher,
    firefox: Firefox,
    push_service: PushService,
) -> None:
    tab = firefox.open(page)
    subscribe(tab)
    (channel,) = registered(installation, push_service)
    unregistering = """
        self.addEventListener("install", () => self.skipWaiting());
        self.addEventListener("activate", (event) =>
          event.waitUntil(self.registration.unregister()));
    """
    publisher.worker("/sw.js", unregistering)
    publisher.files["/"] = ("text/html", "<!doctype html><title>Without us</title>")
    tab.go(f"{publisher.origin}/")
    # The visit may have updated the worker already, so that it is gone before this update ends.
    update = "navigator.serviceWorker.getRegistration().then((one) => one?.update()).catch(() => 0)"
    tab.evaluate(f"{update} ?? true")
    wait_until(lambda: channel.unsubscribed)
    wait_until(lambda: registrations(tab) == {})


def test_a_narrow_scope_leaves_the_sites_worker_alone(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    publisher.worker("/app.js", "self.addEventListener('fetch', () => {});")
    publisher.worker("/stop-press/sw.js", f'importScripts("{address}/sw.js");')
    ours = {"worker": "/stop-press/sw.js", "topic": "world", "ask": "manual"}
    story = firefox.open(publisher.page("/ferry", address, "Ferry", **ours) + "#comments")
    tab = firefox.open(publisher.page("/", address, **ours))
    tab.evaluate("navigator.serviceWorker.register('/app.js').then(() => true)")

    subscribe(tab)
    assert registrations(tab) == {"/": "/app.js", "/stop-press/": "/stop-press/sw.js"}
    id = installation.publish(url=f"{publisher.origin}/ferry")
    shown = desktop.wait_for_notification(timeout=30)
    # Both pages get the message; the browser is counted once.
    for page in (tab, story):
        page.wait_until("messages.some(({ type }) => type === 'stoppress:shown')")
    before = firefox.tabs()
    assert not story.evaluate("document.hasFocus()")
    desktop.click(shown)

    wait_until(lambda: receipts(installation, id) == {"shown": 1, "clicked": 1})
    assert firefox.tabs() == before
    story.wait_until("document.hasFocus()")


def test_fewer_alerts_opens_the_panel_and_is_not_a_click_on_the_story(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    story = publisher.page("/ferry", address, ask="manual")
    tab = firefox.open(page)
    subscribe(tab)
    id = installation.publish(url=story)
    shown = desktop.wait_for_notification(timeout=30)
    (key,) = [key for key, title in shown.actions.items() if title == "Fewer alerts"]

    desktop.act(shown, key)

    opened = firefox.wait_for_tab("/ferry")
    opened.wait_until(f"{PANEL}?.querySelector('button.tonight') && true")
    assert opened.evaluate("location.hash") == "", "a reload shows an ordinary page"
    opened.click("button.tonight")
    opened.wait_until(f"{PANEL}.querySelector('output').textContent.startsWith('No alerts until')")
    assert opened.evaluate("errors") == []
    wait_until(lambda: receipts(installation, id) == {"shown": 1})


def test_another_worker_at_our_scope_is_never_replaced(
    address: str, publisher: Publisher, firefox: Firefox
) -> None:
    publisher.worker("/app.js", "// an app")
    tab = firefox.open(publisher.page("/", address, ask="manual"))
    tab.evaluate("navigator.serviceWorker.register('/app.js').then(() => true)")
    tab.wait_until("window.StopPress && true")
    tab.evaluate("StopPress.ask().then(() => true)")
    assert registrations(tab) == {"/": "/app.js"}
    assert tab.evaluate("StopPress.state().subscribed") is False


# Another provider's readers --------------------------------------------------------------------


def subscribe_at_another_provider(
    publisher: Publisher, firefox: Firefox, scope: str
) -> tuple[Tab, str]:
    """Subscribe this browser at another provider; return the tab and the endpoint there."""
    publisher.headers = {"Service-Worker-Allowed": "/"}
    publisher.worker("/old/worker.js", OLD_WORKER)
    publisher.files["/before"] = ("text/html", "<!doctype html><title>Before</title>")
    tab = firefox.open(f"{publisher.origin}/before")
    key = b64url(VapidKey.generate().public)
    return tab, tab.evaluate(SUBSCRIBE_THERE.format(scope=scope, key=key))


@pytest.mark.parametrize("scope", ["/old/", "/"])
def test_another_providers_reader_moves_to_us_without_another_question(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    push_service: PushService,
    scope: str,
) -> None:
    installation.runtime.store.topics.change("world", default=True)
    tab, old = subscribe_at_another_provider(publisher, firefox, scope)
    # Our question came too, and could wait: a reader who has alerts sees no need to answer it.
    tab.evaluate(
        "(localStorage['stop-press-asked'] = JSON.stringify("
        "{ refusals: 1, until: Date.now() + 6e8, rest: Date.now() + 6e8 }), true)"
    )

    tab.go(publisher.page("/", address, retire="/old/worker.js"))

    state = tab.wait_until("window.StopPress?.state().subscribed && StopPress.state()")
    assert state["topics"] == ["world"]
    wait_until(lambda: registrations(tab) == {"/": "/sw.js"})
    (channel,) = [one for one in push_service.registrations if one.endpoint == old]
    wait_until(lambda: channel.unsubscribed)
    assert tab.evaluate("errors") == []


def test_another_providers_reader_moves_only_once_stop_press_is_up(
    installation: Installation, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    page = publisher.page("/", address, retire="/old/worker.js", ask="manual")
    firefox.open(page).close()  # optin.js is in the browser's cache from here on
    tab, _ = subscribe_at_another_provider(publisher, firefox, "/old/")
    installation.end(installation.processes[0])

    tab.go(page)
    tab.wait_until("window.StopPress && true")
    tab.evaluate("StopPress.refresh().catch(() => {}).then(() => true)")
    tab.evaluate(f"fetch('{address}/api/v1/site').catch(() => {{}}).then(() => true)")
    assert registrations(tab)["/old/"] == "/old/worker.js?app=77"
    assert tab.evaluate("errors") == []

    installation.web()
    tab.go(page)
    tab.wait_until("window.StopPress?.state().subscribed")
    wait_until(lambda: registrations(tab) == {"/": "/sw.js"})


def test_a_reader_who_left_the_other_provider_is_not_subscribed(
    installation: Installation, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    tab, _ = subscribe_at_another_provider(publisher, firefox, "/old/")
    tab.evaluate(
        "navigator.serviceWorker.getRegistration('/old/')"
        ".then((old) => old.pushManager.getSubscription()).then((one) => one.unsubscribe())"
    )
    tab.go(publisher.page("/", address, retire="/old/worker.js", ask="manual"))
    wait_until(lambda: registrations(tab) == {})
    assert tab.evaluate("window.StopPress.state().subscribed") is False
    assert installation.runtime.store.subscriptions.count() == 0
