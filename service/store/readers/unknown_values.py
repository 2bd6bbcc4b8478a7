"""What readers' browsers named and this installation does not know, counted.

{g}:unknown:<kind>  sorted set: value -> how often; begins anew after `UNKNOWN_KEPT`
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from service.model.retention import UNKNOWN_KEPT

_MOST = 100  # values of a kind

# KEYS: values of a kind. ARGV: value, most values, seconds for which they are kept. Returns 1 for a
# new value for which there was room. If there is none, it takes the place of the rarest one, so
# that values that strangers make up push out one another before one that many readers name.
_COUNT = """
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local full = redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2])
if full and not known then redis.call('ZPOPMIN', KEYS[1]) end
redis.call('ZINCRBY', KEYS[1], 1, ARGV[1])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return (known or full) and 0 or 1
"""


class UnknownValues:
    """Counts of unknown values, by kind."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(_COUNT)

    def count(self, kind: str, value: str) -> bool:
        """Count a value; True if it is new, and there was room for it."""
        return bool(self._count(keys=[_key(kind)], args=[value, _MOST, UNKNOWN_KEPT]))

    def counts(self, kind: str) -> dict[str, int]:
        """Return how often each value was named, the most frequent first."""
        rows = self._redis.zrevrange(_key(kind), 0, -1, withscores=True)
        return {value.decode(): int(n) for value, n in cast("list[tuple[bytes, float]]", rows)}


def _key(kind: str) -> str:
    return f"{{g}}:unknown:{kind}"
