"""Rate limits: how often a caller asked within a minute, counted for all processes."""

from __future__ import annotations

import time
from typing import cast

from redis import Redis

from service.model.retention import RATE_KEPT
from service.store.scripts import COUNT

_SHARE = 10  # each process grants a tenth of a rate without asking Redis
_MOST_HERE = 50_000  # callers counted here; with more of them all begin anew


class RateCounters:
    """Counts callers by the minute, or by the day.

    Most callers call once or twice, so that each process grants a tenth of a rate without asking
    Redis. One process alone keeps a rate exactly; each further one may add a tenth.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(COUNT)
        self._here: dict[tuple[str, str], tuple[float, int]] = {}  # since when, how often

    def fits(self, call: str, caller: str, most: int, seconds: int = RATE_KEPT) -> bool:
        """Count that `caller` makes a `call`; whether it is within `most` for these seconds."""
        unasked = most // _SHARE if seconds == RATE_KEPT else 0
        if unasked and self._count_here(call, caller) <= unasked:
            return True
        times = self._script(keys=[f"stoppress:rate:{call}:{caller}"], args=[seconds])
        return cast(int, times) <= most - unasked

    def _count_here(self, call: str, caller: str) -> int:
        now = time.monotonic()
        since, times = self._here.get((call, caller), (now, 0))
        if now - since >= RATE_KEPT:
            since, times = now, 0
        if len(self._here) >= _MOST_HERE:
            self._here.clear()
        self._here[call, caller] = since, times + 1
        return times + 1
