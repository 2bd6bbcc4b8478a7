"""How many alerts each reader got on a date: four bits each, in a string for each date.

  day:<date>             the counts
  n:<id>:counted:<date>  bitmap of the readers with this alert in their count of the date

An alert is counted before its message leaves, and taken back if the push service does not accept
it, so that no reader gets more alerts than their limit. Asking again, after a kill or a lost
answer, counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from redis import Redis

from service.model.retention import COUNTED_KEPT, COUNTS_KEPT
from service.store.layout.bitmaps import pack_numbers
from service.store.redis_servers.commands import some_at_once
from service.store.redis_servers.scripts import lua

# KEYS: those of count_alerts. ARGV: numbers, packed; seconds for which the counts are kept. Counts
# one less for each reader with this alert in their count. The first write frees.
_TAKE_BACK = """
redis.call('EXPIRE', KEYS[1], ARGV[2])
for i = 1, #ARGV[1], 4 do
  local number = struct.unpack('>I4', ARGV[1], i)
  if redis.call('SETBIT', KEYS[2], number, 0) == 1 then
    local had = redis.call('BITFIELD', KEYS[1], 'GET', 'u4', '#' .. number)[1]
    if had > 0 then redis.call('BITFIELD', KEYS[1], 'SET', 'u4', '#' .. number, had - 1) end
  end
end
"""


class DailyCounts:
    """Counts alerts by reader and date, a date being a number such as 20260329."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(lua(__file__, "count_alerts"))
        self._take_back = redis.register_script(_TAKE_BACK)

    def count(
        self, id: int, partition: int, date: int, numbers: Sequence[int], limits: Sequence[int]
    ) -> list[bool]:
        """Count an alert once for each reader below their limit; return for which it is counted."""
        answer = self._count(
            keys=_keys(id, partition, date),
            args=[pack_numbers(numbers), bytes(limits), COUNTS_KEPT, COUNTED_KEPT],
        )
        return [bool(fits) for fits in cast(bytes, answer)]

    def had(
        self, wanted: Mapping[tuple[int, int], Sequence[int]]
    ) -> dict[tuple[int, int], list[int]]:
        """Return how many alerts are counted so far, for the readers by partition and date."""
        found: dict[tuple[int, int], list[int]] = {day: [] for day in wanted}
        asked: list[tuple[int, int]] = []
        with self._redis.pipeline(transaction=False) as pipe:
            for (partition, date), numbers in wanted.items():
                for first, *rest in some_at_once(numbers, arguments=3):
                    others: list[tuple[str, int | str]] = [("u4", f"#{number}") for number in rest]
                    pipe.bitfield_ro(_day_key(partition, date), "u4", f"#{first}", others)
                    asked.append((partition, date))
            for day, counts in zip(asked, pipe.execute(), strict=True):
                found[day] += counts
        return found

    def take_back(self, id: int, partition: int, date: int, numbers: Sequence[int]) -> None:
        """Stop counting an alert for these readers."""
        if numbers:
            keys = _keys(id, partition, date)
            self._take_back(keys=keys, args=[pack_numbers(numbers), COUNTS_KEPT])


def _keys(id: int, partition: int, date: int) -> list[str]:
    return [_day_key(partition, date), f"{{{partition}}}:n:{id}:counted:{date}"]


def _day_key(partition: int, date: int) -> str:
    return f"{{{partition}}}:day:{date}"
