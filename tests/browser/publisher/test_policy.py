"""What Stop Press needs of a publisher's Content-Security-Policy, in Firefox."""

from __future__ import annotations

import pytest

from service.model.notifications import Audience
from service.reader.scripts import version
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import (
    POLICY,
    STRICT_DYNAMIC,
    Publisher,
    policy,
    receipts,
    registrations,
    subscribe,
)
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser


def test_two_lines_are_enough_on_another_origin_under_a_strict_policy(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    publisher.headers = policy(POLICY, address)
    installation.worker()
    story = publisher.page("/ferry", address, "Ferry afloat", topic="world", ask="manual")
    tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))

    assert subscribe(tab)["topics"] == ["world"]
    id = installation.publish(Audience(topics=("world",)), url=story)
    desktop.click(desktop.wait_for_notification(timeout=30))

    opened = firefox.wait_for_tab("/ferry")
    wait_until(lambda: receipts(installation, id) == {"shown": 1, "clicked": 1})
    assert tab.evaluate("violations") == []
    opened.wait_until("document.readyState === 'complete'")
    assert opened.evaluate("violations") == []
    assert registrations(tab) == {"/": "/sw.js"}


def test_nonces_and_strict_dynamic_are_enough_too(
    installation: Installation, address: str, publisher: Publisher, firefox: Firefox
) -> None:
    publisher.headers = policy(STRICT_DYNAMIC, address)
    page = publisher.page("/", address, topic="world", ask="manual")
    # The worker's file needs a policy of its own, because nonces mean nothing there.
    tab = firefox.open(page)
    tab.wait_until("window.StopPress && true")
    publisher.headers = policy(POLICY, address)
    subscribe(tab)
    assert tab.evaluate("violations") == []


@pytest.mark.parametrize(
    ("directive", "without", "violated"),
    [
        ("script-src", "'self'", "script-src-elem {installation}/optin.js"),
        ("connect-src", "'self'", f"connect-src {{installation}}/parts/{version()}/reader.js"),
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
    expected = violated.format(installation=address, site=publisher.origin)
    tab.wait_until(f"violations.includes({expected!r})")
    assert tab.evaluate("!window.StopPress?.state().subscribed")
