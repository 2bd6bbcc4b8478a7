"""The guide for leaving another provider (docs/site.md), followed step by step, in Firefox."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.model.keys import VapidKey, b64url
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import (
    OLD_WORKER,
    SAID,
    SUBSCRIBE_THERE,
    Publisher,
    registrations,
)
from tests.support.command import stoppress
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

OURS, THEIRS = VapidKey.generate(), VapidKey.generate()
WORKER = "/old/worker.js"


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, publisher: Publisher, tmp_path: Path
) -> Iterator[Installation]:
    """Step 1: the key of the other provider stands second."""
    settings = {"SITE_ORIGINS": publisher.origin, "WEB_CONCURRENCY": "1"}
    settings["VAPID_PRIVATE_KEY"] = f"{OURS.text},{THEIRS.text}"
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        yield installation


def exported(tab: Tab, path: Path) -> None:
    """Write the other provider's export of this reader, and of one whose browser is gone."""
    one: dict[str, Any] = tab.evaluate(
        "navigator.serviceWorker.getRegistration('/old/').then((old) =>"
        " old.pushManager.getSubscription()).then((one) => one.toJSON())"
    )
    row = {"id": "77", "identifier": one["endpoint"], "language": "de", "notification_types": "1"}
    row |= {"web_auth": one["keys"]["auth"], "web_p256": one["keys"]["p256dh"]}
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, row.keys())
        rows.writeheader()
        rows.writerows([row, {**row, "identifier": one["endpoint"] + "-gone"}])


def test_reader_of_another_provider_gets_our_alert_and_is_not_asked(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    tmp_path: Path,
) -> None:
    installation.runtime.store.topics.change("world", default=True)
    publisher.worker(WORKER, OLD_WORKER)
    publisher.files["/before"] = ("text/html", "<!doctype html><title>Before</title>")
    tab = firefox.open(f"{publisher.origin}/before")
    tab.evaluate(SUBSCRIBE_THERE.format(scope="/old/", key=b64url(THEIRS.public)))

    # Step 2: the worker's file is ours from now on. A browser looks by itself within a day.
    publisher.worker(WORKER, f'importScripts("{address}/sw.js");')
    old = "navigator.serviceWorker.getRegistration('/old/')"
    tab.evaluate(f"{old}.then((one) => one.update()).then(() => true)")
    tab.wait_until(f"{old}.then(({{ waiting, installing }}) => !waiting && !installing)")

    # Step 3: the import.
    file, key = tmp_path / "players.csv", tmp_path / "theirs.pem"
    exported(tab, file)
    form = PrivateFormat.TraditionalOpenSSL
    key.write_bytes(THEIRS.signing_key.private_bytes(Encoding.PEM, form, NoEncryption()))
    options = ("--topic", "world", "--vapid-key", str(key))
    done = stoppress(installation.environment, "import", str(file), *options)
    assert done.exit_code == 0 and "2 imported" in done.output, done.output

    installation.worker()
    installation.clock()
    first = installation.publish(title="From the new sender")
    assert desktop.wait_for_notification(timeout=30).title == "From the new sender"
    installation.over(first)
    assert installation.outcomes(first) == {"accepted": 1, "gone": 1}

    # Step 4: on a later visit the reader moves to our own key, and is not asked.
    tab.go(publisher.page("/", address, retire=WORKER))
    tab.wait_until("window.StopPress?.state().subscribed")
    wait_until(lambda: registrations(tab) == {"/": "/sw.js"})
    assert tab.evaluate(SAID) == "", "no question is asked"
    installation.over(installation.publish(title="Once"))
    assert desktop.wait_for_notification(timeout=30).title == "Once"
    assert desktop.forget() == []
    assert tab.evaluate("errors") == []
