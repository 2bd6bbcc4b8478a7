"""How many alerts each reader got today: four bits each, in a string for each date.

Counted before a message leaves and taken back if it was not accepted, so that nobody ever gets more
than they want; a `kill -9` may leave those that were about to leave counted, who then get fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

from service.store.subscriptions import pack_numbers

_KEPT = 3 * 86_400  # seconds

# KEYS: counts of a date. ARGV: numbers, packed; how many each may have, a byte each; seconds kept.
# Counts one more for each who has fewer; returns a byte for each, 1 for those. The first write
# frees: a send goes on under `maxmemory`.
_COUNT = """
redis.call('EXPIRE', KEYS[1], ARGV[3])
local answers = {}
for i = 1, #ARGV[2] do
  local number = '#' .. struct.unpack('>I4', ARGV[1], i * 4 - 3)
  local had = redis.call('BITFIELD', KEYS[1], 'GET', 'u4', number)[1]
  local fits = had < string.byte(ARGV[2], i)
  if fits then redis.call('BITFIELD', KEYS[1], 'SET', 'u4', number, had + 1) end
  answers[i] = fits and '\\1' or '\\0'
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return table.concat(answers)
"""

# KEYS: counts of a date. ARGV: numbers, packed. Counts one less for each. What was counted is
# there: nothing is allocated.
_TAKE_BACK = """
for i = 1, #ARGV[1], 4 do
  local number = '#' .. struct.unpack('>I4', ARGV[1], i)
  local had = redis.call('BITFIELD', KEYS[1], 'GET', 'u4', number)[1]
  if had > 0 then redis.call('BITFIELD', KEYS[1], 'SET', 'u4', number, had - 1) end
end
"""


class Daily:
    """Counts alerts by reader and date, a date being a number such as 20260329."""

    def __init__(self, redis: Redis) -> None:
        self._count = redis.register_script(_COUNT)
        self._take_back = redis.register_script(_TAKE_BACK)

    def count(
        self, partition: int, date: int, numbers: Sequence[int], limits: Sequence[int]
    ) -> list[bool]:
        """Count one more for each reader who had fewer than their limit; who that was."""
        answer = self._count(
            keys=[_key(partition, date)], args=[pack_numbers(numbers), bytes(limits), _KEPT]
        )
        return [bool(fits) for fits in cast(bytes, answer)]

    def take_back(self, partition: int, date: int, numbers: Sequence[int]) -> None:
        """Count one less for each."""
        if numbers:
            self._take_back(keys=[_key(partition, date)], args=[pack_numbers(numbers)])


def _key(partition: int, date: int) -> str:
    return f"{{{partition}}}:day:{date}"
