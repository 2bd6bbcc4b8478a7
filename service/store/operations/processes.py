"""The processes of the installation: which run, on which host, with which settings and clock.

{g}:processes  hash: name of a process -> when it last gave a sign of life, and its row as JSON
{g}:web        the settings of the web process that started last, as JSON: workers must agree
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from redis import Redis, RedisError

from service.model.time import clock
from service.store.redis_servers.commands import some_at_once

_ROWS = "{g}:processes"
_WEB = "{g}:web"
ALIVE = 20.0  # seconds without a sign of life after which a process counts as dead

# KEYS: processes. ARGV: name, row. The first write frees.
_BEAT = """
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1] .. ' ' .. ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the installation."""

    kind: str  # web, worker or clock
    host: str
    settings: dict[str, str]  # those that must be the same in all processes, by name
    queue: str = ""  # names the Redis of its queue
    ahead: float = 0.0  # seconds by which its host's clock is ahead of Redis' time
    version: str = ""  # the release of Stop Press; empty: one that did not say it yet
    pid: int = 0
    began_at: float = 0.0  # in seconds since 1970

    @classmethod
    def read(cls, row: str) -> Process:
        """Read a stored process; leave out what only a newer release says of itself."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in json.loads(row).items() if name in names})


class Processes:
    """Every process that gave a sign of life lately."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._beat = redis.register_script(_BEAT)

    def set_clock(self) -> None:
        """Set the clock of this process by Redis' time."""
        asked_at = time.monotonic()
        seconds, micros = self._redis.time()
        clock.set_by(seconds + micros / 1e6, asked_at, time.monotonic())

    def beat(self, name: str, process: Process) -> None:
        """Note that the process called `name` is alive."""
        self._beat(keys=[_ROWS], args=[name, json.dumps(asdict(process))])

    def end(self, name: str) -> None:
        """Note that a process has ended."""
        self._redis.hdel(_ROWS, name)

    def alive(self) -> list[Process]:
        """Return the processes that are alive, and forget the others."""
        since = self._redis.time()[0] - ALIVE
        found, dead = [], []
        for name, row in cast("dict[bytes, bytes]", self._redis.hgetall(_ROWS)).items():
            at, _, described = row.decode().partition(" ")
            if int(at) < since:
                dead.append(name)
            else:
                found.append(Process.read(described))
        with suppress(RedisError):  # Redis may accept no writes
            for some in some_at_once(dead):
                self._redis.hdel(_ROWS, *some)
        return sorted(found, key=lambda one: (one.kind, one.host))

    def note_web(self, settings: dict[str, str]) -> None:
        """Note the settings of a web process that starts."""
        self._redis.set(_WEB, json.dumps(settings))

    def web_settings(self) -> dict[str, str]:
        """Return the settings of the web process that started last; empty if none ever did."""
        row = cast("bytes | None", self._redis.get(_WEB))
        settings: dict[str, Any] = json.loads(row) if row else {}
        return settings
