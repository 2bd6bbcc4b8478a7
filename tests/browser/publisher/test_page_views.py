"""Ordinary page views, a service that is down, and lost subscriptions, on a publisher's site."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from service.reader.scripts import version
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import Publisher, mended, receipts, subscribe
from tests.support.browser.stop_press import StopPress
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


def test_an_ordinary_page_view_makes_no_call_and_sends_no_cookie(
    redis_url: str, publisher: Publisher, chromium: Browser
) -> None:
    with StopPress(redis_url, publisher) as stop_press, chromium.new_context() as context:
        cookie = {"name": "desk", "value": "signed in", "domain": "localhost", "path": "/"}
        context.add_cookies([cookie])
        page = context.new_page()
        first = publisher.page("/", stop_press.address, topic="world")
        second = publisher.page("/ferry", stop_press.address, topic="world")

        def view(url: str) -> None:
            """Open a page and wait for its last request, which is for the terms of the panel."""
            with page.expect_event("requestfinished", lambda one: one.url.endswith("/site")):
                page.goto(url)

        # The browser keeps for five minutes what a page view needs.
        view(first)
        needed = {"/optin.js", f"/parts/{version()}/asking.js", "/api/v1/site"}
        assert {path for path, _ in stop_press.asked} <= needed
        view(second)  # the second view may ask the reader, and needs the terms
        before = len(stop_press.asked)
        for url in (first, second):
            view(url)
        assert stop_press.asked[before:] == []
        assert {path for path, _ in stop_press.asked} == needed
        assert {cookies for _, cookies in stop_press.asked} == {None}
        assert page.evaluate("errors") == []


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "hangs"])
def test_a_page_neither_waits_nor_fails_while_stop_press_is_down(
    publisher: Publisher, chromium: Browser, answers: bool
) -> None:
    with socket.socket() as silent, chromium.new_context() as context:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen(8)  # it accepts connections and never answers
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        address = publisher.page("/", f"http://127.0.0.1:{silent.getsockname()[1]}")
        # The page would wait for a script without `async` as long as the connection is open.
        page.goto(address, wait_until="domcontentloaded")
        assert page.evaluate("document.querySelector('h1').textContent") == "Paper"
        assert page.evaluate("[errors, window.StopPress ?? null]") == [[], None]
        assert failures == []


# Subscriptions that change by themselves -------------------------------------------------------


@pytest.mark.soak
def test_the_next_visit_renews_a_subscription_the_push_service_lost(
    installation: Installation,
    page: str,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    installation.worker()
    tab = firefox.open(page)
    first = subscribe(tab)
    known = len(push_service.registrations)

    push_service.forget_browsers()
    # The worker gets `pushsubscriptionchange` and subscribes again by itself, as the workers of
    # other tests' sites do.
    new = push_service.registrations
    wait_until(lambda: installation.vapid.public in {one.vapid_public_key for one in new[known:]})
    tab.go(page)

    assert mended(tab, first)["topics"] == first["topics"]
    assert installation.runtime.store.subscriptions.count() == 1
    installation.publish(title="Mended")
    assert desktop.wait_for_notification(timeout=30).title == "Mended"


def test_the_next_visit_renews_a_subscription_lost_without_an_event(
    installation: Installation, page: str, firefox: Firefox
) -> None:
    tab = firefox.open(page)
    first = subscribe(tab)
    tab.evaluate(
        "navigator.serviceWorker.ready.then((all) => all.pushManager.getSubscription())"
        ".then((one) => one.unsubscribe())"
    )
    tab.go(page)
    assert mended(tab, first)["topics"] == first["topics"]
    assert installation.runtime.store.subscriptions.count() == 1


def test_a_reader_who_clears_the_sites_storage_keeps_the_same_subscription(
    installation: Installation, page: str, firefox: Firefox
) -> None:
    tab = firefox.open(page)
    first = subscribe(tab)
    tab.evaluate("localStorage.clear() ?? true")
    tab.go(page)
    assert tab.wait_until("window.StopPress?.state().subscribed && StopPress.state()") == first
    assert installation.runtime.store.subscriptions.count() == 1


def test_the_next_visit_after_a_withdrawn_permission_unsubscribes(
    installation: Installation, page: str, publisher: Publisher, firefox: Firefox
) -> None:
    tab = firefox.open(page)
    subscribe(tab)
    firefox.allow_notifications(publisher.origin, "denied")
    tab.go(page)
    wait_until(lambda: installation.runtime.store.subscriptions.count() == 0)
    state = tab.wait_until("window.StopPress && !StopPress.state().id && StopPress.state()")
    assert (state["subscribed"], state["permission"]) == (False, "denied")


@pytest.mark.soak
def test_receipts_from_while_the_service_was_down_come_later(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    installation.clock()
    tab = firefox.open(page)
    subscribe(tab)
    web = installation.processes[0]
    installation.end(web)
    first = installation.publish(title="First", url=publisher.page("/first", address, ask="manual"))
    desktop.click(desktop.wait_for_notification(timeout=30))
    firefox.wait_for_tab("/first").close()
    tab.wait_until(
        "caches.open('stop-press-receipts').then((all) => all.keys())"
        ".then((all) => all.length >= 2)"  # and perhaps that of the test alert
    )
    assert receipts(installation, first) == {}

    installation.web()
    second = installation.publish(title="Second")
    desktop.dismiss(desktop.wait_for_notification(timeout=30))

    wait_until(lambda: receipts(installation, first) == {"shown": 1, "clicked": 1})
    wait_until(lambda: receipts(installation, second) == {"shown": 1, "dismissed": 1})


# It starts a Firefox of its own. Short forms of it, in Chromium, are in worker/ (the worker)
# and test_asking.py (the page).
@pytest.mark.soak
def test_a_reader_whose_browser_asks_not_to_be_tracked_is_not_counted(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    desktop: Desktop,
    push_service: PushService,
    tmp_path: Path,
) -> None:
    installation.worker()
    installation.clock()
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
        first = installation.publish(title="First", url=f"{page}?first")
        desktop.click(desktop.wait_for_notification(timeout=30))
        private.wait_for_tab("?first")
        # When the next alert is shown, a click on the first would have been reported.
        second = installation.publish(title="Second")
        desktop.wait_for_notification(timeout=30)
        assert (receipts(installation, first), receipts(installation, second)) == ({}, {})
        assert "stop-press-receipts" not in tab.evaluate("caches.keys()")
