"""How many alerts each reader got today: four bits each, in a string for each date.

  day:<date>               the counts
  n:<id>:counted:<date>    bitmap of those for whom a notification is counted on that date
Counted before a message leaves and taken back if it was not accepted, so that nobody gets more than
they want. Whatever is asked again, after a kill or a lost answer, counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

from service.model.retention import COUNTED_KEPT, COUNTS_KEPT
from service.store.bitmaps import pack_numbers

# KEYS: counts of a date, bitmap of those counted. ARGV: numbers, packed; how many each may have, a
# byte each; seconds for which the two are kept. Counts one more for each who has fewer and is not
# counted yet; returns a byte for each, 1 for those who are counted now. The first write frees: a
# send goes on under `maxmemory`.
_COUNT = """
redis.call('EXPIRE', KEYS[1], ARGV[3])
local counts, bits, sets, marks, answers = {}, {}, {}, {}, {}
for i = 1, #ARGV[2] do
  local number = '#' .. struct.unpack('>I4', ARGV[1], i * 4 - 3)
  for j, word in ipairs({'GET', 'u4', number}) do counts[i * 3 - 3 + j] = word end
  for j, word in ipairs({'GET', 'u1', number}) do bits[i * 3 - 3 + j] = word end
end
local had = redis.call('BITFIELD', KEYS[1], unpack(counts))
local counted = redis.call('BITFIELD', KEYS[2], unpack(bits))
for i = 1, #ARGV[2] do
  local fits = counted[i] == 1 or had[i] < string.byte(ARGV[2], i)
  if fits and counted[i] == 0 then
    local number = counts[i * 3]
    for _, word in ipairs({'SET', 'u4', number, had[i] + 1}) do sets[#sets + 1] = word end
    for _, word in ipairs({'SET', 'u1', number, 1}) do marks[#marks + 1] = word end
  end
  answers[i] = fits and '\\1' or '\\0'
end
if #sets > 0 then
  redis.call('BITFIELD', KEYS[1], unpack(sets))
  redis.call('BITFIELD', KEYS[2], unpack(marks))
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return table.concat(answers)
"""

# KEYS: those of _COUNT. ARGV: numbers, packed; seconds for which counts are kept. Counts one less
# for each who was counted. The first write frees.
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


class Daily:
    """Counts alerts by reader and date, a date being a number such as 20260329."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(_COUNT)
        self._take_back = redis.register_script(_TAKE_BACK)

    def count(
        self, id: int, partition: int, date: int, numbers: Sequence[int], limits: Sequence[int]
    ) -> list[bool]:
        """Count an alert once for each reader who had fewer than their limit; for whom it is."""
        answer = self._count(
            keys=_keys(id, partition, date),
            args=[pack_numbers(numbers), bytes(limits), COUNTS_KEPT, COUNTED_KEPT],
        )
        return [bool(fits) for fits in cast(bytes, answer)]

    def had(self, partition: int, date: int, numbers: Sequence[int]) -> list[int]:
        """Return how many alerts count for each of these readers so far."""
        others: list[tuple[str, int | str]] = [("u4", f"#{number}") for number in numbers[1:]]
        key = _day_key(partition, date)
        return self._redis.bitfield_ro(key, "u4", f"#{numbers[0]}", others)

    def take_back(self, id: int, partition: int, date: int, numbers: Sequence[int]) -> None:
        """Let an alert not count for these readers."""
        if numbers:
            keys = _keys(id, partition, date)
            self._take_back(keys=keys, args=[pack_numbers(numbers), COUNTS_KEPT])


def _keys(id: int, partition: int, date: int) -> list[str]:
    return [_day_key(partition, date), f"{{{partition}}}:n:{id}:counted:{date}"]


def _day_key(partition: int, date: int) -> str:
    return f"{{{partition}}}:day:{date}"
