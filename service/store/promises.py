"""How alerts do by the newsroom's promise: the field `promise` of `n:<id>` (`Measured`, JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import cast

from redis import Redis

from service.model.promises import Measured
from service.store.notifications import alert_key

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


class PromiseRows:
    """What was measured of all alerts."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keep = redis.register_script(_KEEP)

    def get(self, id: int) -> Measured | None:
        """Return what was measured of an alert so far."""
        return self.read(id)[0]

    def read(self, id: int) -> tuple[Measured | None, bytes]:
        """Return what was measured of an alert so far, and how that is stored, for `keep`."""
        row = cast("bytes | None", self._redis.hget(alert_key(id), "promise"))
        return (Measured.from_json(json.loads(row)), row) if row else (None, b"")

    def keep(self, id: int, measured: Measured, before: bytes) -> None:
        """Store what was measured of an alert so far, unless it is not stored as `before`."""
        self._keep(keys=[alert_key(id)], args=[json.dumps(asdict(measured)), before])
