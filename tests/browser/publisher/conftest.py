"""A publisher's site, a Stop Press on another origin, and a reader who allows its alerts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import Publisher
from tests.support.installation import Installation
from tests.support.push_service import PushService


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, publisher: Publisher, tmp_path: Path
) -> Iterator[Installation]:
    settings = {"SITE_ORIGINS": publisher.origin, "WEB_CONCURRENCY": "1"}
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        yield installation


@pytest.fixture
def address(installation: Installation, publisher: Publisher, firefox: Firefox) -> str:
    """Where Stop Press is; the publisher's readers allow its alerts."""
    firefox.allow_notifications(publisher.origin)
    address = installation.web()
    publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
    return address


@pytest.fixture
def page(address: str, publisher: Publisher) -> str:
    """A page of the publisher's that offers world news, and asks only when it is told to."""
    return publisher.page("/", address, topic="world", ask="manual")
