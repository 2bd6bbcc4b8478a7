"""An environment for the doctor, and a Redis whose configuration its tests may spoil."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from service.model.time import clock
from tests.support.doctor.run import KEY
from tests.support.doctor.whole_newsroom import Newsroom, running_newsroom
from tests.support.redis_servers.server import RedisServer
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


@pytest.fixture(scope="package")
def one_newsroom(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newsroom]:
    with running_newsroom(server, tmp_path_factory.mktemp("newsroom")) as made:
        yield made


@pytest.fixture
def newsroom(
    one_newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Newsroom]:
    """A newsroom in which the doctor finds nothing, for a test to break."""
    monkeypatch.setenv("SSL_CERT_FILE", one_newsroom.environment["PUSH_CA_BUNDLE"])
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path),))
    (tmp_path / "UTC").touch()
    year = datetime.fromtimestamp(clock.time(), timezone.utc).year
    (tmp_path / "tzdata.zi").write_text(f"# version {year}a\n")
    one_newsroom.taken_off.clear()
    with ExitStack() as stack:
        stack.callback(setattr, one_newsroom.proxy, "to", one_newsroom.proxy.to)
        made = replace(
            one_newsroom, environment={**one_newsroom.environment}, folder=tmp_path, stack=stack
        )
        made.is_well()
        yield made
