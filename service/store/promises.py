"""How alerts do by the newsroom's promise: the field `promise` of `n:<id>` (`Measured`, JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import cast

from redis import Redis

from service.model.promises import Measured
from service.store.notifications import alert_key

# KEYS: notification. ARGV: what was measured. The first write frees. Nothing is kept of an alert
# that Redis has forgotten.
_KEEP = """
redis.call('HDEL', KEYS[1], '')
if redis.call('HEXISTS', KEYS[1], 'doc') == 1 then
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
        row = cast("bytes | None", self._redis.hget(alert_key(id), "promise"))
        return None if row is None else Measured.from_json(json.loads(row))

    def keep(self, id: int, measured: Measured) -> None:
        """Store what was measured of an alert so far."""
        self._keep(keys=[alert_key(id)], args=[json.dumps(asdict(measured))])
