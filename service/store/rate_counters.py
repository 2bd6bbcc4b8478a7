"""How often somebody asked, counted for all processes."""

from __future__ import annotations

import time
from typing import cast

from redis import Redis

from service.model.retention import RATE_KEPT

_SHARE = 10  # one part in so many of a rate is given by each process without asking Redis

_MOST_HERE = 50_000  # callers remembered; more of them begin anew

# KEYS: who asks for what. ARGV: s. Returns how often, in the minute that began with the first time.
_COUNT = """
local times = redis.call('INCR', KEYS[1])
if times == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return times
"""


class Rates:
    """Counts callers by the minute.

    Most call once or twice: each process gives a tenth of a rate without asking Redis. So one
    process keeps a rate exactly, and each further one may add a tenth.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(_COUNT)
        self._here: dict[tuple[str, str], tuple[float, int]] = {}  # since when, how often

    def fits(self, what: str, who: str, most: int) -> bool:
        """Count that `who` asks for `what`; whether that is one of the `most` of this minute."""
        unasked = most // _SHARE
        if self._count_here(what, who) <= unasked:
            return True
        times = self._script(keys=[f"stoppress:rate:{what}:{who}"], args=[RATE_KEPT])
        return cast(int, times) <= most - unasked

    def _count_here(self, what: str, who: str) -> int:
        now = time.monotonic()
        since, times = self._here.get((what, who), (now, 0))
        if now - since >= RATE_KEPT:
            since, times = now, 0
        if len(self._here) >= _MOST_HERE:
            self._here.clear()
        self._here[what, who] = since, times + 1
        return times + 1
