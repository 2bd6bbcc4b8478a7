"""An installation for commands that run in the test's own process."""

from __future__ import annotations

import pytest

from service.config import Config
from service.runtime import Runtime
from tests.support.client import VAPID


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    """The settings of an installation."""
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
    }


@pytest.fixture
def runtime(environment: dict[str, str]) -> Runtime:
    return Runtime.open(Config.read(environment))
