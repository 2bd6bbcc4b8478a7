"""State of the push services, shared by all workers: resting, limiting us, doubted.

All are hashes by origin in the slot {g}; most origins are in none of them. All times are those of
`service.model.time.clock`, which is Redis' own: a host whose clock is wrong leaves nothing behind.

  resting        push services that get no messages for a while: a `Rest` as JSON
  limited        push services that answered 429: a `RateLimitHistory` as JSON
  paced          push services that get messages at their own pace: a `Pace` as JSON
  proof          how many messages a push service has accepted, counted up to `PROVEN`; only for
                 those that are not known to take any number of messages
  released       when a person released a push service
  doubted        since when its "gone" is not believed
  believed       when a person last confirmed that its "gone" is right
  pace:<origin>  a token bucket: what may be sent there now, as of when
  start:<origin> the same while its proof grows, with what it accepted since when
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.retention import TOKEN_BUCKET_KEPT

LIMITED = "429"  # the reason for a rest: the push service says that we send too much
# Seconds without another 429 after which its history begins anew, because limits are per minute.
GOOD_SPELL = 60.0
# Seconds' worth of messages that a bucket saves up at most, and that a worker takes at once.
_SAVED, AHEAD = 2, 1
# A push service that nobody knows starts with `_FIRST` messages a second, and gets `_GROWTH` more a
# second for each message that it accepts: ten in the first second, some 100 in the second, and all
# it takes after six seconds, when it has accepted `PROVEN`.
_FIRST, _GROWTH, PROVEN = 10.0, 1.2, 10_000
START_AHEAD = 0.2  # seconds' worth of messages that a worker takes at once meanwhile
_RUN_ENDS = 10.0  # seconds without messages after which it is measured anew

_RESTING = "{g}:resting"
_LIMITED = "{g}:limited"
_PACED = "{g}:paced"
_PROOF = "{g}:proof"
_RELEASED = "{g}:released"
_DOUBTED = "{g}:doubted"
_BELIEVED = "{g}:believed"

# KEYS: resting. ARGV: origin, attempts before, its new rest. Of several workers that failed at the
# same time only the first one counts. The first write frees.
_REST = """
redis.call('HDEL', KEYS[1], '')
local rest = redis.call('HGET', KEYS[1], ARGV[1])
local attempts = rest and cjson.decode(rest)[1] or 0
if attempts ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

# KEYS: limited. ARGV: origin, now, when its rest ends, seconds of a good spell. Returns its
# history. The first write frees.
_LIMIT = """
redis.call('HDEL', KEYS[1], '')
local now = tonumber(ARGV[2])
local times, since, till = 0, now, 0
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then times, since, till = unpack(cjson.decode(before)) end
if now > till + ARGV[4] then times, since = 0, now end
local history = cjson.encode({times + 1, since, tonumber(ARGV[3])})
redis.call('HSET', KEYS[1], ARGV[1], history)
return history
"""

# KEYS: paced. ARGV: origin, pace, messages a minute that it has now (0: no pace). Returns 0 if it
# has another pace. The first write frees.
_PACE = """
redis.call('HDEL', KEYS[1], '')
local before = redis.call('HGET', KEYS[1], ARGV[1])
if (before and cjson.decode(before)[1] or 0) ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

# KEYS: paced, limited. ARGV: origin, time. Ends a pace, unless there was a 429 since that time.
_UNPACE = """
local history = redis.call('HGET', KEYS[2], ARGV[1])
if history and cjson.decode(history)[3] > tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""

# KEYS: token bucket. ARGV: messages a second, how many are wanted, how many may be saved up, for
# how many seconds the bucket is kept. Returns how many may be sent now. The first write frees.
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

# KEYS: token bucket, proof. ARGV: origin, how many it has accepted since the last call, messages a
# second at first, more a second for each accepted message, the most that counts, seconds ahead,
# seconds until a run ends, for how many seconds the bucket is kept. Returns how many may be sent
# now, and the proof. The first write frees.
_START = """
redis.call('HDEL', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local accepted, ahead = tonumber(ARGV[2]), tonumber(ARGV[6])
local proof = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) + accepted
proof = math.min(proof, tonumber(ARGV[5]))
redis.call('HSET', KEYS[2], ARGV[1], proof)
local rate = ARGV[3] + ARGV[4] * proof
local left, at, since, run = unpack(redis.call('HMGET', KEYS[1], 'left', 'at', 'since', 'run'))
if not at or now - at > tonumber(ARGV[7]) then left, at, since, run = rate * ahead, now, now, 0 end
left = math.min(2 * rate * ahead, left + math.max(0, now - at) * rate)
local taken = math.min(math.ceil(rate * ahead), math.floor(left))
redis.call('HSET', KEYS[1], 'left', left - taken, 'at', string.format('%.6f', now), 'since', since,
  'run', run + accepted)
redis.call('EXPIRE', KEYS[1], ARGV[8])
return {taken, proof}
"""

# KEYS: start bucket, proof. ARGV: origin. Its proof begins anew. Returns how many messages it has
# accepted in this run, and in how many ms; nothing if there was no run. The first write frees.
_START_OVER = """
local since, run = unpack(redis.call('HMGET', KEYS[1], 'since', 'run'))
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[2], ARGV[1], 1)
if not since then return false end
local time = redis.call('TIME')
local passed = time[1] + time[2] / 1000000 - since
return {tonumber(run), math.floor(passed * 1000)}
"""


# KEYS: proof. ARGV: origin, how many messages it has accepted. The first write frees.
_PROVE = """
redis.call('HDEL', KEYS[1], '')
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if before < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""


class Rest(NamedTuple):
    """A push service that gets no messages for a while, then a few until it answers one."""

    attempts: int  # how often it has rested in a row
    since: float  # seconds since 1970
    until: float  # seconds since 1970
    why: str  # a status, "no answer" or "credentials"
    # Whether other push services answered meanwhile, so that the fault is not our network's.
    others_answer: bool = False


class RateLimitHistory(NamedTuple):
    """How often a push service has answered 429 without a good spell in between."""

    times: int
    since: float  # seconds since 1970
    until: float  # when its last rest for it ends, seconds since 1970


class Pace(NamedTuple):
    """The messages that a push service allows us."""

    per_minute: int
    since: float  # seconds since 1970
    slowed: int = 0  # how often it was slowed down, soon after the last time

    @property
    def per_second(self) -> float:
        """The rate at which we send, so that no minute at all has more than is allowed.

        Messages that were saved up before, or taken ahead by a worker, fall into that minute too.
        """
        return self.per_minute / (60 + _SAVED + AHEAD)


class PushServices:
    """What all workers know of the push services, by origin."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._rest = redis.register_script(_REST)
        self._limit = redis.register_script(_LIMIT)
        self._pace = redis.register_script(_PACE)
        self._unpace = redis.register_script(_UNPACE)
        self._take = redis.register_script(_TAKE)
        self._start = redis.register_script(_START)
        self._prove = redis.register_script(_PROVE)
        self._start_over = redis.register_script(_START_OVER)

    def resting(self) -> dict[str, Rest]:
        """Return the push services that rest."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_RESTING))
        return {origin.decode(): Rest(*json.loads(row)) for origin, row in rows.items()}

    def rest(self, origin: str, rest: Rest) -> bool:
        """Let a push service rest; False if another worker did so first."""
        return bool(self._rest(keys=[_RESTING], args=[origin, rest.attempts - 1, json.dumps(rest)]))

    def recovered(self, origin: str) -> None:
        """End a rest, because the push service answers as it should."""
        self._redis.hdel(_RESTING, origin)

    def limited(self, origin: str, now: float, until: float) -> RateLimitHistory:
        """Note a 429, for which the push service rests `until` then; return its history."""
        row = self._limit(keys=[_LIMITED], args=[origin, now, until, GOOD_SPELL])
        return RateLimitHistory(*json.loads(cast(bytes, row)))

    def paced(self) -> dict[str, Pace]:
        """Return the push services that get messages at the pace that they allow."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_PACED))
        return {origin.decode(): Pace(*json.loads(row)) for origin, row in rows.items()}

    def pace(self, origin: str, pace: Pace, before: Pace | None = None) -> bool:
        """Give a push service another pace than `before`; False if it has a third one already."""
        args: list[EncodableT] = [origin, json.dumps(pace), before.per_minute if before else 0]
        return bool(self._pace(keys=[_PACED], args=args))

    def unpace(self, origin: str, since: float) -> bool:
        """End a pace, unless the push service has answered 429 `since` then."""
        return bool(self._unpace(keys=[_PACED, _LIMITED], args=[origin, since]))

    def release(self, origin: str, now: float) -> bool:
        """End rest and pace of a push service; False if it had neither."""
        if origin not in self.resting() and origin not in self.paced():
            return False
        with self._redis.pipeline() as pipe:
            for key in (_RESTING, _LIMITED, _PACED):
                pipe.hdel(key, origin)
            pipe.hset(_RELEASED, origin, repr(now))
            pipe.execute()
        return True

    def released(self) -> dict[str, float]:
        """Return the push services that a person released lately, and when."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_RELEASED))
        return {origin.decode(): float(at) for origin, at in rows.items()}

    def forget_release(self, origin: str) -> None:
        """Drop a release, since no recipient waits any more because of the rest before it."""
        self._redis.hdel(_RELEASED, origin)

    def take(self, origin: str, pace: Pace) -> int:
        """Take as many messages as may be sent within the next `AHEAD` seconds; return how many."""
        rate = pace.per_second
        most, saved = math.ceil(AHEAD * rate), max(1.0, _SAVED * rate)
        args = [rate, most, saved, TOKEN_BUCKET_KEPT]
        return int(cast(int, self._take(keys=[f"{{g}}:pace:{origin}"], args=args)))

    def proof(self, origin: str) -> int:
        """Return how many messages a push service has accepted, as far as that was counted."""
        return int(cast("bytes | None", self._redis.hget(_PROOF, origin)) or 0)

    def prove(self, origin: str, accepted: int = PROVEN) -> None:
        """Note that a push service has accepted messages, if that is more than was known."""
        self._prove(keys=[_PROOF], args=[origin, accepted])

    def take_at_start(self, origin: str, accepted: int) -> tuple[int, int]:
        """Count what an unknown push service accepted; return what may be sent now, and its proof.

        That is for about the next `START_AHEAD` seconds.
        """
        args: list[EncodableT] = [origin, accepted, _FIRST, _GROWTH, PROVEN, START_AHEAD, _RUN_ENDS]
        keys = [f"{{g}}:start:{origin}", _PROOF]
        taken, proof = cast("list[int]", self._start(keys=keys, args=[*args, TOKEN_BUCKET_KEPT]))
        return taken, proof

    def start_over(self, origin: str) -> float | None:
        """Let the proof of a push service begin anew.

        Returns the messages a second that it accepted until now; None if it was proven long ago.
        """
        found = self._start_over(keys=[f"{{g}}:start:{origin}", _PROOF], args=[origin])
        if found is None:
            return None
        accepted, ms = cast("list[int]", found)
        return accepted * 1000 / max(ms, 1000)

    def doubted(self) -> dict[str, float]:
        """Return the push services whose "gone" is not believed, and since when."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_DOUBTED))
        return {origin.decode(): float(since) for origin, since in rows.items()}

    def doubt(self, origin: str, since: float) -> bool:
        """Stop believing a push service's "gone"; True for the first call."""
        return bool(self._redis.hsetnx(_DOUBTED, origin, repr(since)))

    def end_doubt(self, origin: str) -> None:
        """Stop doubting a push service, whose "gone" may be doubted again at once."""
        self._redis.hdel(_DOUBTED, origin)

    def believe(self, origin: str, since: float) -> None:
        """Believe a push service again; `since` is when a person confirmed that it is right."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_DOUBTED, origin)
            pipe.hset(_BELIEVED, origin, repr(since))
            pipe.execute()

    def believed_since(self, origin: str) -> float:
        """Return when a person last confirmed what a push service says; 0 for never."""
        since = cast("bytes | None", self._redis.hget(_BELIEVED, origin))
        return float(since) if since else 0.0
