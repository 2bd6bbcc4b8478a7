"""Rehearsals that are started at the desk of a real newsroom, in a shell, or directly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from service.config import Config
from service.local import rehearsal
from service.local.rehearsal import Rehearsal
from service.runtime import Runtime
from tests.support.desk.newsroom import Newsroom, Spawn, environment
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer

RUN = """
import sys
from service.local import rehearsal
rehearsal.LONGEST = float(sys.argv.pop(1))
from workers.trials.rehearsal import main
sys.exit(main())
"""


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start Python processes, each with one output stream, and end them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str, **settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *argv],
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def stoppress(spawn: Spawn) -> Spawn:
    """Run a `stoppress` command."""
    return partial(spawn, "-m", "service.cli")


@pytest.fixture
def run(spawn: Spawn, tmp_path: Path) -> Spawn:
    """Run a rehearsal in `tmp_path`, as the desk and the terminal do."""

    def start(readers: int = 100, longest: float = 600) -> subprocess.Popen[str]:
        topics = '[{"slug": "world", "name": "World"}]'
        return spawn("-c", RUN, str(longest), str(tmp_path), str(readers), "1", topics)

    return start


@pytest.fixture(scope="module")
def newsroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    """A real newsroom; no rehearsal may be left at the end."""
    folder = tmp_path_factory.mktemp("newsroom")
    with (
        RedisServer() as redis,
        PushService() as push,
        Installation(redis.url, push, folder, WORKER_CONCURRENCY="1") as installation,
    ):
        made = Newsroom(installation)
        yield made
        rehearsal.end(folder)
        assert rehearsal.find(folder) is None


@pytest.fixture
def stage(newsroom: Newsroom) -> Rehearsal:
    """A running rehearsal of that newsroom."""
    return newsroom.rehearse()


@pytest.fixture
def theirs(stage: Rehearsal) -> Runtime:
    """The rehearsal's own store."""
    return Runtime.open(Config.read(stage.environ))
