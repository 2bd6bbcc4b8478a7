"""How the push services fare, as all workers share it: who rests until when and why.

`{g}:resting`, `{g}:doubted` and `{g}:believed` are hashes by origin; most origins are in none.
"""

from __future__ import annotations

import json
from typing import NamedTuple, cast

from redis import Redis

_RESTING = "{g}:resting"
_DOUBTED = "{g}:doubted"
_BELIEVED = "{g}:believed"

# KEYS: resting. ARGV: origin, how often it had been tried before, its state.
# Of several workers that were failed together only the first one's word counts. The first write
# frees: a send goes on under `maxmemory`.
_REST = """
redis.call('HDEL', KEYS[1], '')
local said = redis.call('HGET', KEYS[1], ARGV[1])
local attempts = said and cjson.decode(said)[1] or 0
if attempts ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class Rest(NamedTuple):
    """A push service that is left in peace `until` then, and has been `attempts` times.

    Afterwards it is tried with a few messages, until one is answered. Times are seconds since
    1970; `why` is a status, "no answer" or "credentials".
    """

    attempts: int
    since: float
    until: float
    why: str


class Services:
    """What is known of push services, by origin."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._rest = redis.register_script(_REST)

    def resting(self) -> dict[str, Rest]:
        """Return the push services that do not take messages as they should."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_RESTING))
        return {origin.decode(): Rest(*json.loads(row)) for origin, row in rows.items()}

    def rest(self, origin: str, rest: Rest) -> bool:
        """Leave a push service in peace; False if another worker has said so first."""
        return bool(self._rest(keys=[_RESTING], args=[origin, rest.attempts - 1, json.dumps(rest)]))

    def recovered(self, origin: str) -> None:
        """Note that a push service answers as it should."""
        self._redis.hdel(_RESTING, origin)

    def doubted(self) -> dict[str, float]:
        """Return whose "gone" is not believed until a person confirms it, and since when."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_DOUBTED))
        return {origin.decode(): float(since) for origin, since in rows.items()}

    def doubt(self, origin: str, since: float) -> bool:
        """Stop believing a push service's "gone"; True for the call that began it."""
        return bool(self._redis.hsetnx(_DOUBTED, origin, repr(since)))

    def believe(self, origin: str, since: float) -> None:
        """Believe it again, whatever it said before `since`."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_DOUBTED, origin)
            pipe.hset(_BELIEVED, origin, repr(since))
            pipe.execute()

    def believed_since(self, origin: str) -> float:
        """Return when a person last decided about a push service; 0 for never."""
        since = cast("bytes | None", self._redis.hget(_BELIEVED, origin))
        return float(since) if since else 0.0
