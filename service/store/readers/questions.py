"""How often pages asked whether a reader wants alerts, and how far that went. In the slot `{g}`.

{g}:questions:<date>  hash: step and page -> how often, on a day in UTC; ends by itself. The page is
                      empty for all those that have no row of their own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import QUESTIONS_KEPT

# The panel was shown, its “Yes” was pressed, the browser was allowed to show notifications, it was
# subscribed, and its reader confirmed that.
STEPS = ("shown", "yes", "granted", "subscribed", "confirmed")
OTHERS = ""  # stands for the pages without a row of their own
_MOST = 500  # pairs of a step and a page on a day; anybody can make up pages

# KEYS: counts of the day. ARGV: step, page, most pairs, seconds for which they are kept, all steps.
# A new page gets the pairs of all steps at once, so that none of its steps counts elsewhere; pages
# without room for that count together. The first write allocates.
_COUNT = """
local page = ARGV[2]
if redis.call('HEXISTS', KEYS[1], ARGV[1] .. ' ' .. page) == 0 then
  local steps = #ARGV - 4
  if redis.call('HLEN', KEYS[1]) + steps > tonumber(ARGV[3]) then page = '' end
  for i = 5, #ARGV do redis.call('HSETNX', KEYS[1], ARGV[i] .. ' ' .. page, 0) end
end
redis.call('HINCRBY', KEYS[1], ARGV[1] .. ' ' .. page, 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


class Asked(NamedTuple):
    """A step of the question on a page, or on `OTHERS`."""

    step: str
    page: str


class QuestionCounts:
    """Counts of questions."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(_COUNT)

    def count(self, date: int, asked: Asked) -> None:
        """Count a step; a date is a number such as 20260329."""
        self._count(keys=[_key(date)], args=[*asked, _MOST, QUESTIONS_KEPT, *STEPS])

    def has(self, date: int, asked: Asked) -> bool:
        """Whether the page has a row of its own on that day."""
        return bool(self._redis.hexists(_key(date), " ".join(asked)))

    def days(self, dates: Sequence[int]) -> list[dict[Asked, int]]:
        """Return the counts of each of these dates."""
        with self._redis.pipeline(transaction=False) as pipe:
            for date in dates:
                pipe.hgetall(_key(date))
            rows = cast("list[dict[bytes, bytes]]", pipe.execute())
        return [
            {Asked(*name.decode().split(" ", 1)): int(n) for name, n in row.items() if int(n)}
            for row in rows
        ]


def _key(date: int) -> str:
    return f"{{g}}:questions:{date}"
