"""How often pages asked whether a reader wants alerts, and how far that went. In the slot `{g}`.

{g}:questions:<date>  hash: step and page -> how often, on a day in UTC; ends by itself
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import QUESTIONS_KEPT

_MOST = 300  # pairs of a step and a page on a day; anybody can make up pages

# KEYS: counts of the day. ARGV: step, page, most pairs, seconds for which they are kept. Further
# pages count together. The first write allocates.
_COUNT = """
local field = ARGV[1] .. ' ' .. ARGV[2]
if redis.call('HEXISTS', KEYS[1], field) == 0
  and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  field = ARGV[1] .. ' '
end
redis.call('HINCRBY', KEYS[1], field, 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


class Asked(NamedTuple):
    """A step of the question on a page, which is empty for those that were too many."""

    step: str
    page: str


class QuestionCounts:
    """Counts of questions."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(_COUNT)

    def count(self, date: int, asked: Asked) -> None:
        """Count a step; a date is a number such as 20260329."""
        self._count(keys=[_key(date)], args=[*asked, _MOST, QUESTIONS_KEPT])

    def days(self, dates: Sequence[int]) -> list[dict[Asked, int]]:
        """Return the counts of each of these dates."""
        with self._redis.pipeline(transaction=False) as pipe:
            for date in dates:
                pipe.hgetall(_key(date))
            rows = cast("list[dict[bytes, bytes]]", pipe.execute())
        return [
            {Asked(*name.decode().split(" ", 1)): int(n) for name, n in row.items()} for row in rows
        ]


def _key(date: int) -> str:
    return f"{{g}}:questions:{date}"
