"""Rate limits: how often a caller asked within a minute, counted for all processes."""

from __future__ import annotations

import math
import time
from typing import cast

from redis import Redis

from service.model.network.rates import Counted
from service.model.retention import RATE_KEPT

# KEYS: counter. ARGV: seconds. Returns how often it was counted since the first of them, and the
# seconds until it begins anew. The first write allocates.
_COUNT = """
local times = redis.call('INCR', KEYS[1])
if times == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return {times, redis.call('TTL', KEYS[1])}
"""
_SHARE = 10  # each process grants a tenth of a rate without asking Redis
_MOST_HERE = 50_000  # callers counted here; with more of them all begin anew


class RateCounters:
    """Counts callers by the minute, or by the day.

    Most callers call once or twice, so that each process grants a tenth of a rate without asking
    Redis. One process alone keeps a rate exactly; each further one may add a tenth.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(_COUNT)
        self._here: dict[tuple[str, str], tuple[float, int]] = {}  # since when, how often

    def count(self, call: str, caller: str, most: int, seconds: int = RATE_KEPT) -> Counted:
        """Count that `caller` makes a `call`, of which `most` may come in these seconds."""
        unasked = most // _SHARE if seconds == RATE_KEPT else 0
        if unasked:
            times, resets_in = self._count_here(call, caller)
            if times <= unasked:
                return Counted(most - times, resets_in)
        counted = self._script(keys=[f"stoppress:rate:{call}:{caller}"], args=[seconds])
        times, resets_in = cast("list[int]", counted)
        return Counted(most - unasked - times, max(1, resets_in))

    def _count_here(self, call: str, caller: str) -> tuple[int, int]:
        now = time.monotonic()
        since, times = self._here.get((call, caller), (now, 0))
        if now - since >= RATE_KEPT:
            since, times = now, 0
        if len(self._here) >= _MOST_HERE:
            self._here.clear()
        self._here[call, caller] = since, times + 1
        return times + 1, RATE_KEPT - math.floor(now - since)
