"""A page that still holds the old VAPID key, and a real browser that subscribes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.keys import VapidKey, b64url
from tests.browser.firefox import Firefox
from tests.house import House
from tests.push_service import PushService

pytestmark = pytest.mark.browser

DECRYPTED = 100


def test_a_reader_who_says_yes_while_the_key_changes_is_reached_and_moves_on_the_next_visit(
    redis_url: str, push_service: PushService, firefox: Firefox, tmp_path: Path
) -> None:
    with House(redis_url, push_service, tmp_path) as house:
        address = house.web()
        firefox.allow_notifications(address)
        tab = firefox.open(f"{address}/demo/")
        tab.click("button.bell")
        tab.click('input[value="world"]')  # the panel holds the old key by now
        house.end(house.processes[0])
        old, new = house.vapid, VapidKey.generate()
        house.environment["VAPID_PRIVATE_KEY"] = f"{new.text},{old.text}"
        house.web()
        tab.click("button.main")
        first = tab.wait_until("StopPress.state().subscribed && StopPress.state()")

        count = house.runtime.store.subscriptions.count_by_vapid_key
        assert count() == {b64url(old.public): 1}
        house.worker()
        house.clock()
        id = house.publish()
        house.over(id)
        assert house.outcomes(id) == {"accepted": 1}
        assert push_service.wait_for_ack(timeout=30).code == DECRYPTED
        assert push_service.refusals == []

        # A page may keep what it knows of the site for five minutes; as if they were over.
        tab.evaluate("fetch('/api/v1/site', {cache: 'reload', credentials: 'omit'}).then(() => 0)")
        tab.go(f"{address}/demo/swifts-keep-watches")
        tab.wait_until(f"window.StopPress?.state().id && StopPress.state().id !== {first['id']!r}")
        assert count() == {b64url(old.public): 0, b64url(new.public): 1}
