"""Time that moves only as a test says: for Python, and for the scripts that ask Redis for it."""

from __future__ import annotations

import itertools
import time

import pytest
from redis import Redis
from redis.commands.core import Script, ScriptCommands

from service.model.time import clock

_KEY = "stopped time"
_ASKED = "redis.call('TIME')"
_TOLD = f"""
local function stopped_time()
  local now = redis.call('GET', '{_KEY}')
  return {{string.match(now, '^(%d+) (%d+)$')}}
end
"""
_TICK = 1e-6  # seconds between two looks at the monotonic clock, which are never the same


class StoppedTime:
    """The time of all processes of an installation, in seconds since 1970."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Stop the time until the patches are undone."""
        self.now = time.time()
        ticks = itertools.count()
        patch.setattr(clock, "time", lambda: self.now)
        patch.setattr(time, "monotonic", lambda: self.now + next(ticks) * _TICK)
        patch.setattr(time, "sleep", self.move_on)

        def register(client: Redis, script: str) -> Script:
            return Script(client, _TOLD + script.replace(_ASKED, "stopped_time()"))

        patch.setattr(ScriptCommands, "register_script", register)
        self._redis: Redis | None = None

    def begin(self, redis: Redis, now: float) -> None:
        """Let it be `now`, also in this Redis."""
        self._redis = redis
        self.now = now
        self.move_on(0)

    def move_on(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds
        if self._redis is not None:
            whole, part = divmod(self.now, 1)
            self._redis.set(_KEY, f"{int(whole)} {int(part * 1e6)}")
