"""How the push services fare, as all workers share it: who rests until when, who limits us.

resting, limited, paced, released, doubted, believed   hashes by origin; most origins are in none
pace:<origin>                                          hash: what may be sent there now, as of when
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import TOKEN_BUCKET_KEPT

LIMITED = "429"  # why a push service rests that says that we send too much
# Seconds. Not to be within a minute of its limit again is a good spell: limits are per minute.
GOOD_SPELL = 60.0
# Seconds' worth of messages that are saved up at most, and for which one worker asks at once.
_SAVED, AHEAD = 2, 1

_RESTING = "{g}:resting"
_LIMITED = "{g}:limited"
_PACED = "{g}:paced"
_RELEASED = "{g}:released"
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

# KEYS: limited. ARGV: origin, now, until when it rests now, seconds of a good spell. Returns since
# when, and how often, it has limited us without one. The first write frees.
_LIMIT = """
redis.call('HDEL', KEYS[1], '')
local now = tonumber(ARGV[2])
local times, since, till = 0, now, 0
local said = redis.call('HGET', KEYS[1], ARGV[1])
if said then times, since, till = unpack(cjson.decode(said)) end
if now > till + ARGV[4] then times, since = 0, now end
said = cjson.encode({times + 1, since, tonumber(ARGV[3])})
redis.call('HSET', KEYS[1], ARGV[1], said)
return said
"""

# KEYS: paced. ARGV: origin, pace. One that has a pace keeps it. The first write frees.
_PACE = """
redis.call('HDEL', KEYS[1], '')
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
"""

# KEYS: paced, limited. ARGV: origin, time. Ends a pace that was not exceeded since then.
_UNPACE = """
local said = redis.call('HGET', KEYS[2], ARGV[1])
if said and cjson.decode(said)[3] > tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""

# KEYS: pace. ARGV: messages a second, how many at most now, how many may be saved up, seconds for
# which that is kept. A token bucket: returns how many may be sent now. The first write frees.
_TAKE = """
redis.call('HDEL', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local before = redis.call('HMGET', KEYS[1], 'left', 'at')
local passed = math.max(0, now - (before[2] or now))
local left = math.min(tonumber(ARGV[3]), (before[1] or 1) + passed * ARGV[1])
local taken = math.min(tonumber(ARGV[2]), math.floor(left))
redis.call('HSET', KEYS[1], 'left', left - taken, 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return taken
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


class Limit(NamedTuple):
    """That a push service has told us to send less, `times` since then without a good spell.

    Times are seconds since 1970; `until`: how long it was last left in peace for it.
    """

    times: int
    since: float
    until: float


class Pace(NamedTuple):
    """The messages a minute that a push service allows us, since then (seconds since 1970)."""

    per_minute: int
    since: float

    @property
    def per_second(self) -> float:
        """How fast we go for it: no minute, however it is cut, has more than the service allows.

        What was saved up before it and what a worker asked for ahead is within the minute too.
        """
        return self.per_minute / (60 + _SAVED + AHEAD)


class Services:
    """What is known of push services, by origin."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._rest = redis.register_script(_REST)
        self._limit = redis.register_script(_LIMIT)
        self._pace = redis.register_script(_PACE)
        self._unpace = redis.register_script(_UNPACE)
        self._take = redis.register_script(_TAKE)

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

    def limited(self, origin: str, now: float, until: float) -> Limit:
        """Note that a push service limits us and rests for it; return since when it has."""
        said = self._limit(keys=[_LIMITED], args=[origin, now, until, GOOD_SPELL])
        return Limit(*json.loads(cast(bytes, said)))

    def paced(self) -> dict[str, Pace]:
        """Return the push services to which we send at the pace that they allow."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_PACED))
        return {origin.decode(): Pace(*json.loads(row)) for origin, row in rows.items()}

    def pace(self, origin: str, pace: Pace) -> bool:
        """Send to a push service at a pace from now on; False where it has one already."""
        return bool(self._pace(keys=[_PACED], args=[origin, json.dumps(pace)]))

    def unpace(self, origin: str, since: float) -> bool:
        """End a pace, unless the push service has limited us `since` then."""
        return bool(self._unpace(keys=[_PACED, _LIMITED], args=[origin, since]))

    def release(self, origin: str, now: float) -> bool:
        """Let a push service neither rest nor have a pace any more; False where it does neither."""
        if origin not in self.resting() and origin not in self.paced():
            return False
        with self._redis.pipeline() as pipe:
            for key in (_RESTING, _LIMITED, _PACED):
                pipe.hdel(key, origin)
            pipe.hset(_RELEASED, origin, repr(now))
            pipe.execute()
        return True

    def released(self) -> dict[str, float]:
        """Return whom a person has released of late, and when."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_RELEASED))
        return {origin.decode(): float(at) for origin, at in rows.items()}

    def forget_release(self, origin: str) -> None:
        """Note that nobody waits for a push service any more because of what was before."""
        self._redis.hdel(_RELEASED, origin)

    def take(self, origin: str, pace: Pace) -> int:
        """Return how many messages may be sent within the next `AHEAD` seconds; those are ours."""
        rate = pace.per_second
        most, saved = math.ceil(AHEAD * rate), max(1.0, _SAVED * rate)
        args = [rate, most, saved, TOKEN_BUCKET_KEPT]
        return int(cast(int, self._take(keys=[f"{{g}}:pace:{origin}"], args=args)))

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
