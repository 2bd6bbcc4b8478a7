"""Two texts of an alert, tried on a sample of its audience (decision 101).

  n:<id>           hash, in the slot `{g}`: `sample`, the percent of the audience that get either
                   text while that goes on, and `decision`, the text for all others
  n:<id>:clicked:<text>  HyperLogLog, in the slot `{g}`: browsers that reported a click on a text
  n:<id>:rest      bitmap of the recipients outside of the sample, until it is decided

As long as only the sample gets the alert, `audience` (batches.py) is the sample alone. It grows by
the rest, so that everything else, such as batches and outcomes, is as with any other alert. The
count `recipients` is that of the whole audience from the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from redis import Redis

from service.model.alert_log import LogEntry
from service.model.two_texts import TEXTS, Decision
from service.store.alerts.alert_log import LOG, NOTE, packed
from service.store.alerts.notifications import alert_key
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import NOW, Call, run_each
from service.store.sending.batches import part_key

# KEYS: state, audience, rest. ARGV: bitmap of the recipients outside of the sample. Takes them out
# of the audience. Does nothing once it is done, or batches are laid out. The first write allocates.
_KEEP_SAMPLE = """
if redis.call('EXISTS', KEYS[3]) == 1 then return end
local known = redis.call('HMGET', KEYS[1], 'planned', 'closed')
if known[1] or known[2] then return end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('BITOP', 'XOR', KEYS[2], KEYS[2], KEYS[3])
"""

# KEYS: audience, rest, batches, leases. Adds the rest to the audience, and makes batches due that
# nobody leases: a batch has all recipients within its bounds, so that some of the rest are in it.
# Returns all batches. The first write frees.
_ADD_REST = (
    NOW
    + """
local batches = redis.call('ZRANGE', KEYS[3], 0, -1)
if redis.call('EXISTS', KEYS[2]) == 0 then return batches end
redis.call('ZREM', KEYS[3], '')
redis.call('BITOP', 'OR', KEYS[1], KEYS[1], KEYS[2])
redis.call('DEL', KEYS[2])
for _, batch in ipairs(batches) do
  if redis.call('HEXISTS', KEYS[4], batch) == 0 then
    redis.call('ZADD', KEYS[3], 'XX', now, batch)
  end
end
return batches
"""
)

# KEYS: notification. ARGV: percent. Notes that the sample gets it, unless it was decided or the
# text corrected. The first write allocates.
_BEGIN = """
local known = redis.call('HMGET', KEYS[1], 'decision', 'revision')
if known[1] or (known[2] or '0') ~= '0' then return end
redis.call('HSET', KEYS[1], 'sample', ARGV[1])
"""

# KEYS: notification, log. ARGV: decision, entry of the log, then the states in which to decide.
# Returns 0 and writes nothing if it is in another state, was decided, or if the text was corrected.
# The first write frees.
_DECIDE = (
    NOTE
    + """
redis.call('HDEL', KEYS[1], '')
local state, decision, revision =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'decision', 'revision'))
if decision or (revision or '0') ~= '0' then return 0 end
for i = 3, #ARGV do
  if state == ARGV[i] then
    redis.call('HDEL', KEYS[1], 'sample')
    redis.call('HSET', KEYS[1], 'decision', ARGV[1])
    note(KEYS[2], KEYS[1], ARGV[2])
    return 1
  end
end
return 0
"""
)


class TwoTextRows:
    """What the store keeps of alerts with two texts."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._keep_sample = redis.register_script(_KEEP_SAMPLE)
        self._add_rest = redis.register_script(_ADD_REST)
        self._begin = redis.register_script(_BEGIN)
        self._decide = redis.register_script(_DECIDE)

    # -- the audience ----------------------------------------------------------------------------

    def frozen(self, id: int) -> dict[int, bytes]:
        """Return by partition the bitmap of the audience as it is now."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.get(part_key(partition, id, "audience"))
            rows = cast("list[bytes | None]", pipe.execute())
        return {part: row or b"" for part, row in zip(self._partitions, rows, strict=True)}

    def keep_sample(self, id: int, percent: int, rest: Mapping[int, bytes]) -> None:
        """Take the rest, a bitmap by partition, out of a frozen audience, once only."""
        self._begin(keys=[alert_key(id)], args=[percent])
        kinds = ("", "audience", "rest")
        calls: list[Call] = [
            ([part_key(partition, id, kind) for kind in kinds], [bits])
            for partition, bits in rest.items()
        ]
        run_each(self._redis, self._keep_sample, calls)

    def rest_waits(self, id: int) -> bool:
        """Whether recipients outside of the sample are still to be added in any partition."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.exists(part_key(partition, id, "rest"))
            return any(cast("list[int]", pipe.execute()))

    def add_rest(self, id: int) -> dict[int, list[str]]:
        """Add the rest to the audience; return by partition the unfinished batches."""
        kinds = ("audience", "rest", "batches", "leases")
        calls: list[Call] = [
            ([part_key(partition, id, kind) for kind in kinds], ())
            for partition in self._partitions
        ]
        found = run_each(self._redis, self._add_rest, calls)
        return {
            partition: [name.decode() for name in names]
            for partition, names in zip(self._partitions, found, strict=True)
        }

    # -- the decision ----------------------------------------------------------------------------

    def sample(self, id: int) -> int:
        """Return the percent of the audience that get either text; 0 once that is over."""
        found = cast("bytes | None", self._redis.hget(alert_key(id), "sample"))
        return int(found or 0)

    def clicked(self, id: int) -> list[int]:
        """Return how many browsers reported a click on text A, and on text B."""
        with self._redis.pipeline(transaction=False) as pipe:
            for text in TEXTS:
                pipe.pfcount(f"{alert_key(id)}:clicked:{text}")
            return cast("list[int]", pipe.execute())

    def decide(
        self, id: int, decision: Decision, entry: LogEntry, possible_from: tuple[str, ...]
    ) -> bool:
        """Store which text all others get; False if that is decided, or the alert is over."""
        args = [json.dumps(decision.as_json()), packed(entry), *possible_from]
        return bool(self._decide(keys=[alert_key(id), LOG], args=args))
