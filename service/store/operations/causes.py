"""Which causes were reported. In the slot `{g}`.

{g}:causes  `Reported` (service/model/operations/causes.py) as JSON
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from service.model.retention import CAUSES_KEPT

_CAUSES = "{g}:causes"

# KEYS: causes. ARGV: as they were read, as they shall be, seconds for which they are kept. Returns
# 0 if they are others by now. The first write frees.
_CHANGE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class CauseRows:
    """Which causes were reported, for all clocks."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._change = redis.register_script(_CHANGE)

    def read(self) -> bytes | None:
        """Return what is stored."""
        return cast("bytes | None", self._redis.get(_CAUSES))

    def change(self, before: bytes | None, after: str) -> bool:
        """Replace what was read; False if another clock has done so meanwhile."""
        return bool(self._change(keys=[_CAUSES], args=[before or b"", after, CAUSES_KEPT]))
