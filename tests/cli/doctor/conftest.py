"""An environment for the doctor, and a Redis whose configuration its tests may spoil."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doctor import KEY
from tests.support.redis_server import RedisServer
from workers.trials.processes import free_port


@pytest.fixture(scope="package")
def server() -> Iterator[RedisServer]:
    """A Redis whose configuration the tests may spoil."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def environment(server: RedisServer, tmp_path: Path) -> dict[str, str]:
    server.flush()
    return {
        "REDIS_URL": server.url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": KEY.text,
        "DATA_DIR": str(tmp_path),
        "PORT": str(free_port()),
        # No test goes out to real push services.
        "PUSH_PROXY": f"http://127.0.0.1:{free_port()}",
        "NO_PROXY": "127.0.0.1",
    }
