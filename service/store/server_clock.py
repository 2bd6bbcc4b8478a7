"""Redis' clock, which all hosts share: a host whose own clock is wrong leaves no wrong times."""

from __future__ import annotations

import time

from redis import Redis

_CHECK = 10.0  # seconds after which the difference of the clocks is measured again
_JITTER = 0.05  # seconds; a smaller change of the difference is the network's, not a clock's


class ServerClock:
    """Translates between this host's clock and Redis', both in seconds since 1970.

    What is stored by it means the same moment on every host, and callers go on using `time.time()`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ahead = 0.0  # how far Redis' clock is ahead of ours
        self._asked_at = float("-inf")  # by the monotonic clock
        self._asked_by = 0.0  # our clock then

    def to_redis(self, at: float) -> float:
        """Return a moment of our clock by Redis' clock, to a thousandth of a second."""
        return round(at + self._difference(), 3)

    def from_redis(self, at: float) -> float:
        """Return a moment of Redis' clock by ours."""
        return round(at - self._difference(), 3)

    def _difference(self) -> float:
        passed = time.monotonic() - self._asked_at
        # If our clock was set meanwhile, the two clocks of this host disagree about what passed.
        if passed < _CHECK and abs(time.time() - self._asked_by - passed) < _JITTER:
            return self._ahead
        began = time.monotonic()
        seconds, micros = self._redis.time()
        self._asked_at, self._asked_by = time.monotonic(), time.time()
        ahead = seconds + micros / 1e6 - (self._asked_by - (self._asked_at - began) / 2)
        if abs(ahead - self._ahead) > _JITTER:
            self._ahead = ahead
        return self._ahead
