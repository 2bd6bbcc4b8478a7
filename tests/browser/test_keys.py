"""The VAPID key changes while a browser or a page still has the old one, in a real Firefox."""

from __future__ import annotations

from typing import Any

import pytest

from service.model.keys import VapidKey, b64url
from tests.support.browser.demo import subscribe
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import mended
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


def change_key(installation: Installation) -> tuple[VapidKey, VapidKey]:
    """Restart the web processes with a new first key; return the old key and the new one."""
    installation.end(installation.processes[0])
    old, new = installation.vapid, VapidKey.generate()
    installation.environment["VAPID_PRIVATE_KEY"] = f"{new.text},{old.text}"
    installation.web()
    return old, new


def visit_again(tab: Tab, installation: Installation, before: dict[str, Any]) -> dict[str, Any]:
    """Come back after a while; return the page's state once it has another subscription."""
    # A page may use its copy of the site's facts for five minutes. Act as if they were over.
    tab.evaluate("fetch('/api/v1/site', {cache: 'reload', credentials: 'omit'}).then(() => 0)")
    tab.go(f"http://localhost:{installation.port}/demo/swifts-keep-watches")
    return mended(tab, before)


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """An installation with running web processes."""
    installation.web()
    return installation


@pytest.fixture
def tab(installation: Installation, firefox: Firefox) -> Tab:
    address = f"http://localhost:{installation.port}"
    firefox.allow_notifications(address)
    return firefox.open(f"{address}/demo/")


def reached(installation: Installation, desktop: Desktop, push_service: PushService) -> None:
    """Publish an alert; the reader sees it."""
    id = installation.publish(title="Ferry aground")
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 1}
    assert desktop.wait_for_notification().title == "Ferry aground"
    assert push_service.refusals == []


def test_the_next_visit_moves_a_reader_to_the_new_key_unasked(
    installation: Installation, tab: Tab, desktop: Desktop, push_service: PushService
) -> None:
    first = subscribe(tab)
    old, new = change_key(installation)
    installation.worker()
    assert visit_again(tab, installation, first)["topics"] == first["topics"]
    readers = installation.runtime.store.subscriptions.count_by_vapid_key()
    assert readers == {b64url(old.public): 0, b64url(new.public): 1}
    reached(installation, desktop, push_service)


@pytest.mark.soak
def test_a_reader_who_subscribes_during_a_key_change_is_reached_and_moves(
    installation: Installation, tab: Tab, desktop: Desktop, push_service: PushService
) -> None:
    tab.click("button.bell")
    tab.click("button.details")
    tab.click('input[value="world"]')  # the panel holds the old key by now
    old, new = change_key(installation)
    tab.click("button.main")
    first = tab.wait_until("StopPress.state().subscribed && StopPress.state()")

    count = installation.runtime.store.subscriptions.count_by_vapid_key
    assert count() == {b64url(old.public): 1}
    installation.worker()
    installation.clock()
    reached(installation, desktop, push_service)

    visit_again(tab, installation, first)
    assert count() == {b64url(old.public): 0, b64url(new.public): 1}
