"""An installation with two topics, into which readers move."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.model.notifications import Topic
from service.runtime import Runtime
from tests.support.command import stoppress
from tests.support.moving import Import


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """An installation with two topics."""
    runtime.topics.add(Topic("world", "World"))
    runtime.topics.add(Topic("sport", "Sport"))
    return runtime


@pytest.fixture
def take(environment: dict[str, str], runtime: Runtime, tmp_path: Path) -> Import:
    """Import a file with this content; return how many readers were what."""
    path = tmp_path / "readers"

    def taken(content: str | bytes, *options: str, code: int = 0) -> dict[str, int]:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        named = ("--topic", "world", "--vapid-key", runtime.keys.current)
        done = stoppress(environment, "import", str(path), "--json", *named, *options)
        assert done.exit_code == code, done.output
        found = json.loads(done.stdout)
        return {kind: count for kind, count in found.items() if count}

    return taken
