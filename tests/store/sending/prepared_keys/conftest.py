"""Installations with two full buckets of readers, and a filler that hardly rests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.prepared_keys import READERS
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer
from workers.sending import prepared_keys
from workers.sending.prepared_keys import Pool


@pytest.fixture(autouse=True)
def _hardly_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_keys, "_REST", 0.02)
    monkeypatch.setattr(prepared_keys, "_LEAST_REST", 0)


@pytest.fixture(autouse=True)
def _two_buckets(one_partition: None) -> None:
    """With one partition the readers fill two buckets, and their numbers are known."""


@pytest.fixture
def pool(installation: Installation) -> Pool:
    """The pool of an installation with two full buckets of readers."""
    installation.seed(READERS)
    return Pool(installation.runtime)


@pytest.fixture
def apart(
    own_redis: RedisServer, push: PushService, tmp_path: Path
) -> Iterator[tuple[RedisServer, Installation]]:
    """An installation with two full buckets of readers and a Redis of its own."""
    with Installation(own_redis.url, push, tmp_path, STORE_PARTITIONS="1") as installation:
        installation.seed(READERS)
        yield own_redis, installation
