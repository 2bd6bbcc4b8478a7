"""Stop Press on a publisher's own site: on another origin, beside other workers, on bad days."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pywebpush
from flask import request
from playwright.sync_api import Browser
from werkzeug.serving import make_server

from service.keys import VapidKey, b64url
from service.models import Audience, Topic
from tests.browser.desktop import Desktop
from tests.browser.firefox import Firefox, Tab
from tests.browser.publisher import Publisher
from tests.client import make_app
from tests.house import House, wait_until
from tests.push_service import PushService

pytestmark = pytest.mark.browser

# The directives that docs/publishers.md names, beside what the publisher's own page needs.
POLICY = {
    "script-src": "'self' {house}",
    "connect-src": "{house}",
    "worker-src": "'self'",
}
OWN = {"default-src": "'none'", "img-src": "'self'"}
PANEL = "[...document.querySelectorAll('body > div')].at(-1)?.shadowRoot"
STRICT_DYNAMIC = {**POLICY, "script-src": "'nonce-n4711' 'strict-dynamic'"}


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def house(
    redis_url: str, push_service: PushService, publisher: Publisher, tmp_path: Path
) -> Iterator[House]:
    with House(redis_url, push_service, tmp_path, SITE_ORIGINS=publisher.origin) as house:
        yield house


@pytest.fixture
def address(house: House, publisher: Publisher, firefox: Firefox) -> str:
    """Where Stop Press is; the publisher's readers allow its alerts."""
    firefox.allow_notifications(publisher.origin)
    address = house.web()
    publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
    return address


def policy(directives: dict[str, str], address: str) -> dict[str, str]:
    said = "; ".join(f"{name} {value}" for name, value in {**OWN, **directives}.items())
    return {"Content-Security-Policy": said.format(house=address)}


def subscribe(tab: Tab) -> dict[str, Any]:
    """Say yes on the panel; return what the page remembers."""
    tab.wait_until("window.StopPress && true")
    tab.evaluate("(StopPress.ask(), true)")
    tab.click("button.main")
    state: dict[str, Any] = tab.wait_until("StopPress.state().subscribed && StopPress.state()")
    return state


def registrations(tab: Tab) -> dict[str, str]:
    """The service workers of the publisher's origin: path and query of the file, by scope."""
    found: dict[str, str] = tab.evaluate(
        "navigator.serviceWorker.getRegistrations().then((all) => Object.fromEntries(all.map("
        "({ scope, active, waiting, installing }) => [new URL(scope).pathname,"
        " (active ?? waiting ?? installing).scriptURL.replace(location.origin, '')])))"
    )
    return found


def receipts(house: House, id: int) -> dict[str, int]:
    counts = house.runtime.publishing.receipts(id)
    return {event: count for event, count in counts.items() if count}


# A strict policy -------------------------------------------------------------------------------


def test_two_lines_are_enough_on_another_origin_under_a_strict_policy(
    house: House, address: str, publisher: Publisher, firefox: Firefox, desktop: Desktop
) -> None:
    publisher.headers = policy(POLICY, address)
    house.worker()
    story = publisher.page("/ferry", address, "Ferry afloat", topic="world", ask="manual")
    tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))

    assert subscribe(tab)["topics"] == ["world"]
    id = house.publish(Audience(topics=("world",)), url=story)
    desktop.click(desktop.wait_for_notification(timeout=20))

    opened = firefox.wait_for_tab("/ferry")
    wait_until(lambda: receipts(house, id) == {"shown": 1, "clicked": 1})
    assert tab.evaluate("violations") == []
    opened.wait_until("document.readyState === 'complete'")
    assert opened.evaluate("violations") == []
    assert registrations(tab) == {"/": "/sw.js"}
    opened.close()
    tab.close()


def test_a_policy_of_nonces_and_strict_dynamic_is_enough_too(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    publisher.headers = policy(STRICT_DYNAMIC, address)
    page = publisher.page("/", address, topic="world", ask="manual")
    # The worker's file has a policy of its own: nonces mean nothing there.
    tab = firefox.open(page)
    tab.wait_until("window.StopPress && true")
    publisher.headers = policy(POLICY, address)
    subscribe(tab)
    assert tab.evaluate("violations") == []
    tab.close()


@pytest.mark.parametrize(
    ("directive", "without", "violated"),
    [
        ("script-src", "'self'", "script-src-elem {house}/optin.js"),
        ("connect-src", "'self'", "connect-src {house}/api/v1/site"),
        ("worker-src", "'none'", "worker-src {site}/sw.js"),
    ],
)
def test_each_directive_that_the_guide_names_is_needed(
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    directive: str,
    without: str,
    violated: str,
) -> None:
    publisher.headers = policy({**POLICY, directive: without}, address)
    tab = firefox.open(publisher.page("/", address, ask="manual"))
    tab.evaluate("(window.StopPress?.ask(), true)")
    expected = violated.format(house=address, site=publisher.origin)
    tab.wait_until(f"violations.includes({expected!r})")
    assert tab.evaluate("!window.StopPress?.state().subscribed")
    tab.close()


# Beside other workers --------------------------------------------------------------------------

# A site's app: a worker with its version in the address, and push of its own.
APP = """
self.stopPress = { ignoreForeign: true };
importScripts("%s/sw.js");
self.addEventListener("push", (event) => {
  event.waitUntil(self.registration.showNotification("The app's own: " + event.data.text()));
});
"""


def test_an_app_keeps_its_worker_and_its_own_push_and_nothing_is_shown_twice(
    house: House,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    house.worker()
    publisher.worker("/app.js", APP % address)
    tab = firefox.open(publisher.page("/", address, worker="/app.js", topic="world", ask="manual"))
    tab.evaluate("navigator.serviceWorker.register('/app.js?v=3').then(() => true)")
    subscribe(tab)
    assert registrations(tab) == {"/": "/app.js?v=3"}

    house.over(house.publish(title="Ours"))
    assert desktop.wait_for_notification(timeout=20).title == "Ours"
    subscription = tab.evaluate(
        "navigator.serviceWorker.ready.then((all) => all.pushManager.getSubscription())"
    )
    pywebpush.webpush(
        subscription,
        "42 new messages",
        vapid_private_key=house.vapid.text,
        vapid_claims={"sub": "mailto:push@newsroom.example"},
        ttl=60,
    )
    assert desktop.wait_for_notification(timeout=20).title == "The app's own: 42 new messages"
    assert desktop.forget() == []
    assert push_service.nacks == []
    tab.close()


def test_a_module_worker_takes_it_in_by_import(
    house: House, address: str, publisher: Publisher, firefox: Firefox, desktop: Desktop
) -> None:
    house.worker()
    publisher.headers = policy({**POLICY, "worker-src": "'self' {house}"}, address)
    publisher.worker("/app.js", f'import "{address}/sw.js";')
    tab = firefox.open(publisher.page("/", address, worker="/app.js", topic="world", ask="manual"))
    module = "navigator.serviceWorker.register('/app.js', { type: 'module' }).then(() => true)"
    tab.evaluate(module)
    subscribe(tab)
    id = house.publish(title="By import")
    assert desktop.wait_for_notification(timeout=20).title == "By import"
    wait_until(lambda: receipts(house, id) == {"shown": 1})
    assert tab.evaluate("violations") == []
    tab.close()


def test_a_worker_that_ends_itself_takes_the_subscription_along(
    address: str, publisher: Publisher, firefox: Firefox, push_service: PushService
) -> None:
    tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))
    subscribe(tab)
    farewell = """
        self.addEventListener("install", () => self.skipWaiting());
        self.addEventListener("activate", (event) =>
          event.waitUntil(self.registration.unregister()));
    """
    publisher.worker("/sw.js", farewell)
    publisher.files["/"] = ("text/html", "<!doctype html><title>Without us</title>")
    tab.go(f"{publisher.origin}/")
    tab.evaluate("navigator.serviceWorker.getRegistration().then((one) => one?.update()) ?? true")
    wait_until(lambda: push_service.registrations[-1].unsubscribed)
    assert registrations(tab) == {}
    tab.close()


def test_under_a_narrow_scope_the_sites_worker_is_left_alone_and_an_open_story_comes_to_the_front(
    house: House, address: str, publisher: Publisher, firefox: Firefox, desktop: Desktop
) -> None:
    house.worker()
    publisher.worker("/app.js", "self.addEventListener('fetch', () => {});")
    publisher.worker("/stop-press/sw.js", f'importScripts("{address}/sw.js");')
    ours = {"worker": "/stop-press/sw.js", "topic": "world", "ask": "manual"}
    story = firefox.open(publisher.page("/ferry", address, "Ferry", **ours) + "#comments")
    tab = firefox.open(publisher.page("/", address, **ours))
    tab.evaluate("navigator.serviceWorker.register('/app.js').then(() => true)")

    subscribe(tab)
    assert registrations(tab) == {"/": "/app.js", "/stop-press/": "/stop-press/sw.js"}
    id = house.publish(url=f"{publisher.origin}/ferry")
    shown = desktop.wait_for_notification(timeout=20)
    # Both pages hear of it; the browser is counted once.
    for page in (tab, story):
        page.wait_until("told.some(({ type }) => type === 'stoppress:shown')")
    before = firefox.tabs()
    assert not story.evaluate("document.hasFocus()")
    desktop.click(shown)

    wait_until(lambda: receipts(house, id) == {"shown": 1, "clicked": 1})
    assert firefox.tabs() == before
    story.wait_until("document.hasFocus()")
    tab.close()
    story.close()


def test_fewer_alerts_opens_the_page_with_the_panel_and_is_no_click_on_the_story(
    house: House, address: str, publisher: Publisher, firefox: Firefox, desktop: Desktop
) -> None:
    house.worker()
    story = publisher.page("/ferry", address, ask="manual")
    tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))
    subscribe(tab)
    id = house.publish(url=story)
    shown = desktop.wait_for_notification(timeout=20)
    (key,) = [key for key, title in shown.actions.items() if title == "Fewer alerts"]

    desktop.act(shown, key)

    opened = firefox.wait_for_tab("/ferry")
    opened.wait_until(f"{PANEL}?.querySelector('button.tonight') && true")
    assert opened.evaluate("location.hash") == "", "loaded again it is an ordinary page"
    opened.click("button.tonight")
    opened.wait_until(f"{PANEL}.querySelector('output').textContent.startsWith('No alerts until')")
    assert opened.evaluate("errors") == []
    wait_until(lambda: receipts(house, id) == {"shown": 1})
    opened.close()
    tab.close()


def test_a_worker_at_our_scope_that_is_not_ours_is_never_replaced(
    address: str, publisher: Publisher, firefox: Firefox
) -> None:
    publisher.worker("/app.js", "// an app")
    tab = firefox.open(publisher.page("/", address, ask="manual"))
    tab.evaluate("navigator.serviceWorker.register('/app.js').then(() => true)")
    tab.wait_until("window.StopPress && true")
    tab.evaluate("StopPress.ask().then(() => true)")
    assert registrations(tab) == {"/": "/app.js"}
    assert tab.evaluate("StopPress.state().subscribed") is False
    tab.close()


# Another provider's readers --------------------------------------------------------------------

SUBSCRIBE_THERE = """
navigator.serviceWorker.register("/old/worker.js?app=77", {{ scope: "{scope}" }})
  .then(async (registration) => {{
    const worker = registration.installing ?? registration.active;
    while (worker.state !== "activated") await new Promise((go) => setTimeout(go, 20));
    const options = {{ userVisibleOnly: true, applicationServerKey: "{key}" }};
    return (await registration.pushManager.subscribe(options)).endpoint;
  }})
"""
OLD_WORKER = "self.addEventListener('push', () => {});"


def subscribe_at_another_provider(
    publisher: Publisher, firefox: Firefox, scope: str
) -> tuple[Tab, str]:
    """Make this browser another provider's reader; its endpoint there."""
    publisher.headers = {"Service-Worker-Allowed": "/"}
    publisher.worker("/old/worker.js", OLD_WORKER)
    publisher.files["/before"] = ("text/html", "<!doctype html><title>Before</title>")
    tab = firefox.open(f"{publisher.origin}/before")
    key = b64url(VapidKey.generate().public)
    return tab, tab.evaluate(SUBSCRIBE_THERE.format(scope=scope, key=key))


@pytest.mark.parametrize("scope", ["/old/", "/"])
def test_another_providers_reader_moves_over_without_being_asked_again(
    house: House,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    push_service: PushService,
    scope: str,
) -> None:
    house.runtime.store.house.change_topic(Topic("world", "World", default=True))
    tab, old = subscribe_at_another_provider(publisher, firefox, scope)

    tab.go(publisher.page("/", address, retire="/old/worker.js"))

    state = tab.wait_until("window.StopPress?.state().subscribed && StopPress.state()")
    assert state["topics"] == ["world"]
    assert registrations(tab) == {"/": "/sw.js"}
    (channel,) = [one for one in push_service.registrations if one.endpoint == old]
    wait_until(lambda: channel.unsubscribed)
    assert tab.evaluate("errors") == []
    tab.close()


def test_while_stop_press_is_down_another_providers_reader_stays_there_and_moves_later(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    page = publisher.page("/", address, retire="/old/worker.js", ask="manual")
    firefox.open(page).close()  # optin.js is in the browser's cache from here on
    tab, _ = subscribe_at_another_provider(publisher, firefox, "/old/")
    house.end(house.processes[0])

    tab.go(page)
    tab.wait_until("window.StopPress && true")
    tab.evaluate("StopPress.refresh().catch(() => {}).then(() => true)")
    tab.evaluate(f"fetch('{address}/api/v1/site').catch(() => {{}}).then(() => true)")
    assert registrations(tab)["/old/"] == "/old/worker.js?app=77"
    assert tab.evaluate("errors") == []

    house.web()
    tab.go(page)
    tab.wait_until("window.StopPress?.state().subscribed")
    assert registrations(tab) == {"/": "/sw.js"}
    tab.close()


def test_who_left_the_other_provider_is_not_subscribed_by_moving(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    tab, _ = subscribe_at_another_provider(publisher, firefox, "/old/")
    tab.evaluate(
        "navigator.serviceWorker.getRegistration('/old/')"
        ".then((old) => old.pushManager.getSubscription()).then((one) => one.unsubscribe())"
    )
    tab.go(publisher.page("/", address, retire="/old/worker.js", ask="manual"))
    wait_until(lambda: registrations(tab) == {})
    assert tab.evaluate("window.StopPress.state().subscribed") is False
    assert house.runtime.store.subscriptions.count() == 0
    tab.close()


# Ordinary page views, and bad days -------------------------------------------------------------


class StopPress:
    """The web side alone, in this process, so that a test sees every request there is."""

    def __init__(self, redis_url: str, publisher: Publisher) -> None:
        self.asked: list[tuple[str, str | None]] = []  # path and cookies
        app = make_app(redis_url, SITE_ORIGINS=publisher.origin)
        app.before_request(self._note)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.address = f"http://localhost:{self._server.port}"

    def _note(self) -> None:
        self.asked.append((request.path, request.headers.get("Cookie")))

    def __enter__(self) -> StopPress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_an_ordinary_page_view_asks_stop_press_nothing_and_never_sends_a_cookie(
    redis_url: str, publisher: Publisher, chromium: Browser
) -> None:
    with StopPress(redis_url, publisher) as stop_press, chromium.new_context() as context:
        cookie = {"name": "desk", "value": "signed in", "domain": "localhost", "path": "/"}
        context.add_cookies([cookie])
        page = context.new_page()
        first = publisher.page("/", stop_press.address, topic="world")
        second = publisher.page("/ferry", stop_press.address, topic="world")
        page.goto(first)
        page.wait_for_function("window.StopPress")
        # What a page view may need is kept by the browser for five minutes.
        page.wait_for_function("localStorage['stop-press-asked']")
        page.wait_for_load_state("networkidle")
        assert {path for path, _ in stop_press.asked} <= {"/optin.js", "/api/v1/site"}
        page.goto(second)  # the second view, the one that may ask for the panel's terms
        page.wait_for_function("window.StopPress")
        page.wait_for_load_state("networkidle")
        before = len(stop_press.asked)
        for path in (first, second):
            page.goto(path)
            page.wait_for_function("window.StopPress")
            page.wait_for_load_state("networkidle")
        assert stop_press.asked[before:] == []
        assert {path for path, _ in stop_press.asked} == {"/optin.js", "/api/v1/site"}
        assert {cookies for _, cookies in stop_press.asked} == {None}
        assert page.evaluate("errors") == []


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "hangs"])
def test_with_stop_press_down_a_page_neither_waits_nor_errs(
    publisher: Publisher, chromium: Browser, answers: bool
) -> None:
    with socket.socket() as silent, chromium.new_context() as context:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen(8)  # it takes connections, and says nothing to them
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        address = publisher.page("/", f"http://127.0.0.1:{silent.getsockname()[1]}")
        # It would wait for a script without `async`, for as long as the connection is there.
        page.goto(address, wait_until="domcontentloaded")
        assert page.evaluate("document.querySelector('h1').textContent") == "Paper"
        assert page.evaluate("[errors, window.StopPress ?? null]") == [[], None]
        assert failures == []


# What changes behind our back ------------------------------------------------------------------


def test_a_subscription_that_the_push_service_lost_is_mended_by_the_next_visit(
    house: House,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    house.worker()
    page = publisher.page("/", address, topic="world", ask="manual")
    tab = firefox.open(page)
    first = subscribe(tab)
    known = len(push_service.registrations)

    push_service.forget_browsers()
    # The worker is told (`pushsubscriptionchange`) and subscribes again by itself.
    wait_until(lambda: len(push_service.registrations) > known)
    tab.go(page)
    mended = tab.wait_until(
        f"window.StopPress?.state().id && StopPress.state().id !== {first['id']!r}"
        " && StopPress.state()"
    )

    assert mended["topics"] == first["topics"]
    assert house.runtime.store.subscriptions.count() == 1
    house.publish(title="Mended")
    assert desktop.wait_for_notification(timeout=20).title == "Mended"
    tab.close()


def test_a_subscription_that_is_lost_without_a_word_is_mended_too(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    page = publisher.page("/", address, topic="world", ask="manual")
    tab = firefox.open(page)
    first = subscribe(tab)
    tab.evaluate(
        "navigator.serviceWorker.ready.then((all) => all.pushManager.getSubscription())"
        ".then((one) => one.unsubscribe())"
    )
    tab.go(page)
    mended = tab.wait_until(
        f"window.StopPress?.state().id && StopPress.state().id !== {first['id']!r}"
        " && StopPress.state()"
    )
    assert mended["topics"] == first["topics"]
    assert house.runtime.store.subscriptions.count() == 1
    tab.close()


def test_a_reader_who_clears_the_sites_storage_keeps_the_same_subscription(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    page = publisher.page("/", address, topic="world", ask="manual")
    tab = firefox.open(page)
    first = subscribe(tab)
    tab.evaluate("localStorage.clear() ?? true")
    tab.go(page)
    assert tab.wait_until("window.StopPress?.state().subscribed && StopPress.state()") == first
    assert house.runtime.store.subscriptions.count() == 1
    tab.close()


def test_a_reader_who_withdraws_the_permission_is_gone_with_the_next_visit(
    house: House, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    page = publisher.page("/", address, topic="world", ask="manual")
    tab = firefox.open(page)
    subscribe(tab)
    firefox.allow_notifications(publisher.origin, "denied")
    tab.go(page)
    wait_until(lambda: house.runtime.store.subscriptions.count() == 0)
    state = tab.wait_until("window.StopPress && !StopPress.state().id && StopPress.state()")
    assert (state["subscribed"], state["permission"]) == (False, "denied")
    tab.close()


def test_what_is_shown_and_clicked_while_the_service_is_away_is_reported_with_the_next_alert(
    house: House, address: str, publisher: Publisher, firefox: Firefox, desktop: Desktop
) -> None:
    house.worker()
    house.clock()
    tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))
    subscribe(tab)
    web = house.processes[0]
    house.end(web)
    first = house.publish(title="First", url=publisher.page("/first", address, ask="manual"))
    desktop.click(desktop.wait_for_notification(timeout=20))
    firefox.wait_for_tab("/first").close()
    tab.wait_until(
        "caches.open('stop-press-receipts').then((all) => all.keys())"
        ".then((all) => all.length === 2)"
    )
    assert receipts(house, first) == {}

    house.web()
    second = house.publish(title="Second")
    desktop.dismiss(desktop.wait_for_notification(timeout=20))

    wait_until(lambda: receipts(house, first) == {"shown": 1, "clicked": 1})
    wait_until(lambda: receipts(house, second) == {"shown": 1, "dismissed": 1})
    tab.close()


def test_a_reader_whose_browser_asks_not_to_be_tracked_is_not_counted(
    house: House,
    address: str,
    publisher: Publisher,
    desktop: Desktop,
    push_service: PushService,
    tmp_path: Path,
) -> None:
    house.worker()
    house.clock()
    page = publisher.page("/", address, topic="world", ask="manual")
    profile = tmp_path / "profile"
    profile.mkdir()
    asks = 'user_pref("privacy.globalprivacycontrol.enabled", true);'
    (profile / "prefs.js").write_text(asks)
    where = {"push_url": push_service.websocket_url, "bus_address": desktop.address}
    with Firefox(**where, profile_dir=profile) as private:
        private.allow_notifications(publisher.origin)
        tab = private.open(page)
        assert tab.evaluate("navigator.globalPrivacyControl")
        subscribe(tab)
        first = house.publish(title="First", url=f"{page}?first")
        desktop.click(desktop.wait_for_notification(timeout=20))
        private.wait_for_tab("?first")
        # By the time the next is on the screen a click on the first would have been reported.
        second = house.publish(title="Second")
        desktop.wait_for_notification(timeout=20)
        assert (receipts(house, first), receipts(house, second)) == ({}, {})
        assert tab.evaluate("caches.keys()") == []
