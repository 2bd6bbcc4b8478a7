"""How many recipients of a send wait for another attempt: what pages read of `n:<id>:retries`.

The key is described in batches.py.
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

from redis import Redis

from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import Call, run_each
from service.store.sending.batches import part_key

# Bytes in each partition, some 120 recipients, after which no other batch is read: a page asks
# every second.
_ENOUGH = 2_000

# KEYS: leases, retries. ARGV: bytes after which no other batch is read. Returns as JSON, for each
# base, how many recipients of batches that no worker has wait for another attempt after a failed
# one, and when the first of them is tried (ms); then whether there may be more of them.
_WAITING = """
local found, size, more = {}, 0, false
local rows = redis.call('HGETALL', KEYS[2])
for i = 1, #rows, 2 do
  local since, text = string.match(rows[i + 1], '^(%d+) (.*)$')
  if text and text ~= '{}' and redis.call('HEXISTS', KEYS[1], rows[i]) == 0 then
    if size >= tonumber(ARGV[1]) then
      more = true
      break
    end
    size = size + #text
    for base, waiting in pairs(cjson.decode(text)) do
      local n, at = unpack(found[base] or {0, math.huge})
      for _, one in ipairs(waiting) do at = math.min(at, since + one[3]) end
      if #waiting > 0 then found[base] = {n + #waiting, at} end
    end
  end
end
return cjson.encode({found, more})
"""


class Waiting(NamedTuple):
    """Recipients of a push service that wait for another attempt."""

    recipients: int
    next_at: float  # seconds since 1970
    or_more: bool  # there may be more of them


class WaitingRetries:
    """Counts them for pages."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._waiting = redis.register_script(_WAITING)

    def waiting(self, id: int) -> dict[int, Waiting]:
        """Return the recipients of a send that wait for another attempt, by base."""
        calls: list[Call] = [
            ([part_key(one, id, "leases"), part_key(one, id, "retries")], [_ENOUGH])
            for one in self._partitions
        ]
        found: dict[int, Waiting] = {}
        for answer in run_each(self._redis, self._waiting, calls):
            rows, more = json.loads(answer)
            for base, (recipients, at_ms) in rows.items():
                before = found.get(int(base), Waiting(0, math.inf, or_more=False))
                found[int(base)] = Waiting(
                    before.recipients + recipients,
                    min(before.next_at, at_ms / 1000),
                    before.or_more or more,
                )
        return found
