"""How alerts do by the newsroom's promise, and how fast they are, as fields of `n:<id>`.

promise             how it does by the promise (`Measured`, JSON)
reached_<percent>   when it was handed over for that share, in seconds since 1970
interrupted         it was paused or stopped before it was handed over, so no time is counted
screen              it has been counted whether it kept the promise on screens
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from redis import Redis

from service.model.operations.promises import Measured
from service.store.alerts.notifications import alert_key

# KEYS: notification. ARGV: what was measured, and what was read before (empty: nothing). The first
# write frees. Nothing is kept of an alert that Redis has forgotten, nor over what another clock has
# measured meanwhile.
_KEEP = """
redis.call('HDEL', KEYS[1], '')
local found = redis.call('HMGET', KEYS[1], 'doc', 'promise')
if found[1] and (found[2] or '') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'promise', ARGV[1])
end
"""

# KEYS: notification. ARGV: field, value. The clock that looks first is right; returns 1 for it. The
# first write frees.
_NOTE = """
redis.call('HDEL', KEYS[1], '')
if redis.call('HEXISTS', KEYS[1], 'doc') == 1 then
  return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
return 0
"""
_INTERRUPTED = "interrupted"


class PromiseRows:
    """How each alert does by the promise, and how fast it was delivered."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keep = redis.register_script(_KEEP)
        self._note = redis.register_script(_NOTE)

    def get(self, id: int) -> Measured | None:
        """Return how an alert does by the promise; None: not measured."""
        return self.read(id)[0]

    def read(self, id: int) -> tuple[Measured | None, bytes]:
        """Return the same, and the stored text, which `keep` takes as `before`."""
        row = cast("bytes | None", self._redis.hget(alert_key(id), "promise"))
        return (Measured.from_json(json.loads(row)), row) if row else (None, b"")

    def keep(self, id: int, measured: Measured, before: bytes) -> None:
        """Store how an alert does, unless another clock has stored something since `before`."""
        self._keep(keys=[alert_key(id)], args=[json.dumps(asdict(measured)), before])

    def reached(self, id: int, share: int, at: float) -> None:
        """Note when an alert was handed over for that share of its browsers."""
        self._note(keys=[alert_key(id)], args=[f"reached_{share}", repr(at)])

    def interrupted(self, id: int) -> None:
        """Note that an alert was interrupted, so that its times say nothing."""
        self._note(keys=[alert_key(id)], args=[_INTERRUPTED, 1])

    def first_on_screens(self, id: int) -> bool:
        """Whether this is the first call for an alert, so that its screens are counted once."""
        return bool(self._note(keys=[alert_key(id)], args=["screen", 1]))

    def look(self, id: int) -> tuple[Measured | None, bool]:
        """Return how an alert does by the promise, and whether it was interrupted."""
        row = self._redis.hmget(alert_key(id), "promise", _INTERRUPTED)
        measured, interrupted = cast("list[bytes | None]", row)
        known = Measured.from_json(json.loads(measured)) if measured else None
        return known, bool(interrupted)

    def times(self, id: int, shares: Sequence[int]) -> dict[int, float | None] | None:
        """Return by share when it was reached; None if the alert was interrupted."""
        fields = [_INTERRUPTED, *(f"reached_{share}" for share in shares)]
        row = self._redis.hmget(alert_key(id), fields)
        interrupted, *times = cast("list[bytes | None]", row)
        if interrupted:
            return None
        return {s: float(at) if at else None for s, at in zip(shares, times, strict=True)}
