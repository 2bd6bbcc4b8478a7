"""Sites and installations for tests in browsers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser.publisher_site import Publisher
from tests.support.browser.worker_harness import Site
from tests.support.installation import Installation
from tests.support.push_service import PushService


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, tmp_path: Path
) -> Iterator[Installation]:
    """An installation that sends to the browsers' push service."""
    with Installation(redis_url, push_service, tmp_path) as installation:
        yield installation


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A publisher's site."""
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that has the service worker under test."""
    with Site() as site:
        yield site
