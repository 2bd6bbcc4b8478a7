"""Stop Press on another origin than a publisher's site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import Publisher
from tests.support.browser.stop_press import StopPress
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService


@pytest.fixture
def stop_press(redis_url: str, publisher: Publisher) -> Iterator[StopPress]:
    with StopPress(redis_url, publisher) as running:
        yield running


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, publisher: Publisher, tmp_path: Path
) -> Iterator[Installation]:
    settings = {"SITE_ORIGINS": publisher.origin, "WEB_CONCURRENCY": "1"}
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        yield installation


@pytest.fixture
def address(installation: Installation, publisher: Publisher, firefox: Firefox) -> str:
    """The address of a running Stop Press; readers have allowed the publisher's notifications."""
    firefox.allow_notifications(publisher.origin)
    address = installation.web()
    publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
    return address


@pytest.fixture
def page(address: str, publisher: Publisher) -> str:
    """A publisher's page that offers world news and opens the panel only when it is called."""
    return publisher.page("/", address, topic="world", ask="manual")
