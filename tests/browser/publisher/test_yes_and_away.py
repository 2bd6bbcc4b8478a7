"""Readers who say yes and leave the page before the service has answered."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser

from service.local import pretend_readers
from service.model.keys import b64url
from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import HTML, Publisher
from tests.support.browser.readers import BROWSER, wait_for_page
from tests.support.browser.stop_press import StopPress
from tests.support.processes.installation import wait_until
from tests.support.push_service import PushService
from tests.support.short_forms import cases

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("closes", cases({"closes it": True, "goes on": False}, most=1)),
]


def pages(publisher: Publisher, stop_press: StopPress) -> tuple[str, str]:
    """Return the addresses of a page with our script and of one without."""
    publisher.worker("/sw.js", f'importScripts("{stop_press.address}/sw.js");')
    publisher.files["/away"] = (HTML, "<!doctype html><title>Away</title>")
    return publisher.page("/", stop_press.address, ask="manual"), f"{publisher.origin}/away"


def wait_for_the_call(stop_press: StopPress) -> None:
    """Wait until the browser asks whether the page may subscribe its reader."""
    wait_until(lambda: "/api/v1/subscriptions" in [path for path, _ in stop_press.asked])


def wait_for_the_reader(stop_press: StopPress) -> None:
    wait_until(lambda: stop_press.store.subscriptions.count() == 1)


def test_a_reader_who_says_yes_and_leaves_in_firefox_is_subscribed(
    redis_url: str,
    publisher: Publisher,
    firefox: Firefox,
    push_service: PushService,
    closes: bool,
) -> None:
    firefox.allow_notifications(publisher.origin)
    with StopPress(redis_url, publisher, PUSH_SERVICES=push_service.plain_origin) as stop_press:
        address, away = pages(publisher, stop_press)
        tab = firefox.open(address)
        tab.wait_until("window.StopPress && true")
        tab.evaluate("(StopPress.ask(), true)")
        with stop_press.slow_to_let_calls_come():
            tab.click("button.yes")
            wait_for_the_call(stop_press)
            if closes:
                tab.close()
            else:
                tab.go(away)
        wait_for_the_reader(stop_press)

        # Nothing is stored in the browser yet: the next page view finds its subscription.
        next = firefox.open(address)
        next.wait_until("window.StopPress?.state().subscribed")


@pytest.mark.soak
def test_a_reader_who_says_yes_and_leaves_in_chromium_is_subscribed(
    redis_url: str, publisher: Publisher, chromium: Browser, closes: bool
) -> None:
    p256dh, auth = pretend_readers.keys(0)
    given = {
        "endpoint": "https://fcm.googleapis.com/fcm/send/page",
        "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
    }
    with StopPress(redis_url, publisher) as stop_press, chromium.new_context() as context:
        context.grant_permissions(["notifications"], origin=publisher.origin)
        context.add_init_script(BROWSER % json.dumps(given))
        address, away = pages(publisher, stop_press)
        page = context.new_page()
        page.goto(address)
        wait_for_page(page, "window.StopPress")
        page.evaluate("void StopPress.ask()")
        with stop_press.slow_to_let_calls_come():
            page.locator("dialog.panel button.yes").click()
            wait_for_the_call(stop_press)
            if closes:
                page.close()
            else:
                page.goto(away)
        wait_for_the_reader(stop_press)

        next = context.new_page()
        next.goto(address)
        wait_for_page(next, "window.StopPress?.state().subscribed")
