"""A second Redis beside the tests' own: reached over TCP, and configured as it comes.

`python -m tests.support.redis_servers.second COMMAND…` runs the tests with it: each of their
processes starts one, on which its tests marked `redis` run too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from service.local.redis_server import find_servers
from service.local.supervisor import spawn
from service.store import Store
from service.store.operations.rate_counters import RateCounters
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.strict_scripts import strict
from tests.support.redis_servers.users import USERS
from workers.trials.processes import free_port

# The setting that asks for second servers. It names the folder where each notes what it never ran.
SECOND_REDIS = "SECOND_REDIS"


class SecondRedis(RedisServer):
    """The least preferred server that is installed, over TCP, in its default configuration."""

    def __init__(self) -> None:
        super().__init__(find_servers()[-1])
        self._port = str(free_port())
        self.url = f"redis://127.0.0.1:{self._port}"

    def _spawn(self, *options: str) -> subprocess.Popen[bytes]:
        self.directory.mkdir(exist_ok=True)
        address = ("--port", self._port, "--bind", "127.0.0.1")
        files = ("--dir", str(self.directory), "--logfile", "redis.log", "--appendonly", "yes")
        self._process = spawn([self.server.binary, *address, *files, *USERS, *options])
        return self._process


@contextmanager
def second_redis() -> Iterator[SecondRedis]:
    """A second Redis for one process of a run, which notes at the end what it never ran."""
    with SecondRedis() as server:
        yield server
        process = os.environ.get("PYTEST_XDIST_WORKER", "the only one")
        (Path(os.environ[SECOND_REDIS]) / process).write_text(json.dumps(_never_run(server.url)))


class _Recording(redis.Redis):
    """Remembers every script that the store registers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scripts: list[Script] = []

    def register_script(self, script: Any) -> Script:
        self.scripts.append(super().register_script(script))
        return self.scripts[-1]


def _never_run(url: str) -> list[str]:
    """Our scripts that this Redis has not run since its start, as they are or as strict ones."""
    with _Recording.from_url(url) as client:
        Store(client)
        RateCounters(client)
        texts = [str(script.script) for script in client.scripts]
        run = [
            client.script_exists(*(sha1(form(text).encode()).hexdigest() for text in texts))
            for form in (str, strict)
        ]
        return [text for text, *known in zip(texts, *run, strict=True) if not any(known)]


def main(command: list[str]) -> int:
    """Run the tests; fail if some script of ours ran on none of their second servers."""
    with tempfile.TemporaryDirectory(prefix="stoppress-test-") as folder:
        code = subprocess.run(command, env={**os.environ, SECOND_REDIS: folder}, check=False)
        if code.returncode:
            return code.returncode
        noted = [{*json.loads(file.read_text())} for file in Path(folder).iterdir()]
    if not noted:
        print("No test ran on a second Redis")
        return 1
    if missing := reduce(set.intersection, noted):
        print("Mark tests that run these scripts as `redis`:", *missing, sep="\n")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
