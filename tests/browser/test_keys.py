"""Another VAPID key, and a real browser that still has the old one."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.keys import VapidKey, b64url
from tests.browser.firefox import Firefox
from tests.browser.test_first_path import subscribe
from tests.house import House
from tests.push_service import PushService

pytestmark = pytest.mark.browser

DECRYPTED = 100


def test_a_reader_moves_to_the_new_key_on_the_next_visit_without_being_asked(
    redis_url: str, push_service: PushService, firefox: Firefox, tmp_path: Path
) -> None:
    with House(redis_url, push_service, tmp_path) as house:
        address = house.web()
        firefox.allow_notifications(address)
        tab = firefox.open(f"{address}/demo/")
        first = subscribe(tab)
        house.end(house.processes[0])

        old, new = house.vapid, VapidKey.generate()
        house.environment["VAPID_PRIVATE_KEY"] = f"{new.text},{old.text}"
        house.web()
        house.worker()
        # A page may keep what it knows of the site for five minutes; as if they were over.
        tab.evaluate("fetch('/api/v1/site', {cache: 'reload', credentials: 'omit'}).then(() => 0)")
        tab.go(f"{address}/demo/swifts-keep-watches")
        moved = tab.wait_until(
            f"window.StopPress?.state().id && StopPress.state().id !== {first['id']!r}"
            " && StopPress.state()"
        )

        assert moved["topics"] == first["topics"]
        readers = house.runtime.store.subscriptions.count_by_vapid_key()
        assert readers == {b64url(old.public): 0, b64url(new.public): 1}
        id = house.publish()
        house.over(id)
        assert house.outcomes(id) == {"accepted": 1}
        assert push_service.wait_for_ack(timeout=30).code == DECRYPTED
        assert push_service.refusals == []
