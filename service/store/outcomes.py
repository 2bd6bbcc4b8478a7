"""What became of each recipient: written down as it comes in, read as progress.

The keys are described in sending.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.clocks import QUARTER
from service.model.notifications import Batch, Outcome, Progress
from service.model.retention import (
    ACCEPTED_KEPT,
    ANSWERS_KEPT,
    CLOSED_SEND_KEPT,
    GONE_KEPT,
    HELD_KEPT,
)
from service.store.batches import NOW, part_key
from service.store.bitmaps import bitmap_key, pack_numbers
from service.store.gone import due_key, responses_key
from service.store.held_alerts import NOTHING, WaveDelivery, held_key, wakes_key

# KEYS: batches, leases, state, done, gone, answers, farewell, wakes, audience, then further bitmaps
# to mark.
# ARGV: batch, worker, lease in ms, ms until a record may be deleted, outcomes as [field, outcome,
# base, quarter hour until which they are held or 0, [bitmap, seconds for which it is kept,
# bit]..., further fields that count them...], then the numbers of each, packed. What is held is
# marked only for those who had no outcome yet.
# Counts only bits not yet set, whoever brings them, and only of the audience: where Redis has
# forgotten a lease, another audience may have been frozen since. A send that was closed takes none,
# nor does one without an audience: Redis has forgotten it, perhaps with the alert itself.
# Returns 1 while the worker still holds its lease. Where somebody would be held until a quarter
# hour whose wave may be on its way, nothing is written: returns the next. The first write frees or
# overwrites.
_RECORD = (
    NOW
    + f"local answers_kept = {ANSWERS_KEPT}\n"
    + f"local next_quarter = math.floor(now / {QUARTER * 1000}) + 1"
    + """
local held = redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2]
redis.call('ZREM', KEYS[1], '')
local known = redis.call('HMGET', KEYS[3], 'closed', 'recipients')
if known[1] or not known[2] then return 0 end
local results = cjson.decode(ARGV[5])
for _, said in ipairs(results) do
  if said[4] > 0 and said[4] < next_quarter then return next_quarter end
end
for i, said in ipairs(results) do
  local field, outcome, base, wakes, marks, tallies = unpack(said)
  local bitmaps = outcome == 'gone' and {KEYS[5]} or {}
  for j, mark in ipairs(marks) do bitmaps[j] = KEYS[9 + mark[1]] end
  local numbers, new, fresh = ARGV[5 + i], 0, {}
  for at = 1, #numbers, 4 do
    local number = struct.unpack('>I4', numbers, at)
    local meant = held or redis.call('GETBIT', KEYS[9], number) == 1
    if meant and redis.call('SETBIT', KEYS[4], number, 1) == 0 then
      new = new + 1
      fresh[new] = string.sub(numbers, at, at + 3)
    end
    local known = wakes > 0 and (new == 0 or fresh[new] ~= string.sub(numbers, at, at + 3))
    for j, bitmap in ipairs(known and {} or bitmaps) do
      redis.call('SETBIT', bitmap, number, marks[j] and marks[j][3] or 1)
    end
  end
  if new > 0 then
    redis.call('HINCRBY', KEYS[3], field, new)
    for _, tally in ipairs(tallies) do redis.call('HINCRBY', KEYS[3], tally, new) end
    if base ~= 0 then
      redis.call('HINCRBY', KEYS[6], base, new)
      if outcome == 'gone' then
        redis.call('HINCRBY', KEYS[6], base .. ' gone', new)
        redis.call('ZADD', KEYS[7], now + ARGV[4], base .. ':' .. table.concat(fresh))
      end
    end
  end
  for j, mark in ipairs(marks) do redis.call('EXPIRE', bitmaps[j], mark[2]) end
  if wakes > 0 then redis.call('ZADD', KEYS[8], wakes, wakes) end
end
redis.call('EXPIRE', KEYS[6], answers_kept)
if held then redis.call('ZADD', KEYS[1], 'XX', now + ARGV[3], ARGV[1]) end
return held and 1 or 0
"""
)


class Result(NamedTuple):
    """What became of a recipient."""

    outcome: Outcome
    service: str  # the push service, or why none was asked
    base: int  # the number of the base; 0: no push service was asked
    revision: int | None = None  # of the text that was accepted; None if nobody needs to know
    wakes: int = 0  # the quarter hour in which the reader wakes
    is_held: bool = False  # the alert is held for the reader until then
    delivery: WaveDelivery = NOTHING


Results: TypeAlias = Mapping[Result, Sequence[int]]


class Outcomes:
    """The outcomes of all sends, and how many there are of each."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)
        self._record = redis.register_script(_RECORD)

    def record(self, id: int, batch: Batch, worker: str, lease_ms: int, results: Results) -> bool:
        """Write outcomes down; False if the lease was lost.

        Outcomes count even then, but only for those who had none yet.
        """
        next_quarter = 0
        # Whoever was slow to write it down must not wake readers in the past.
        while (said := self._write_down(id, batch, worker, lease_ms, results, next_quarter)) > 1:
            next_quarter = said
        return said == 1

    def _write_down(
        self,
        id: int,
        batch: Batch,
        worker: str,
        lease_ms: int,
        results: Results,
        next_quarter: int,
    ) -> int:
        part = batch.partition
        keys = [part_key(part, id, what) for what in ("batches", "leases", "", "done")]
        keys += [
            bitmap_key(part, "gone"),
            responses_key(part, time.time()),
            due_key(part),
            wakes_key(part),
            part_key(part, id, "audience"),
        ]
        bitmaps: dict[str, int] = {}

        def marks(result: Result, wakes: int) -> list[tuple[int, int, int]]:
            """Return which bits are set, and for how many seconds they are kept, or cleared."""
            alerts, held, _ = result.delivery
            accepted = alerts if held else [(id, result.revision)]
            keys = [part_key(part, one, f"accepted:{r}") for one, r in accepted if r is not None]
            found = [(key, ACCEPTED_KEPT, 1) for key in keys]
            found += [(held_key(part, one), HELD_KEPT, 0) for one in held]
            if wakes:
                found.append((bitmap_key(part, "wake", wakes), HELD_KEPT, 1))
            if result.is_held:
                found.append((held_key(part, id), HELD_KEPT, 1))
            places = [bitmaps.setdefault(key, len(bitmaps) + 1) for key, _, _ in found]
            return [(at, kept, bit) for at, (_, kept, bit) in zip(places, found, strict=True)]

        said = []
        for r in results:
            wakes = max(r.wakes, next_quarter) if r.wakes else 0
            name = f"{r.outcome.value} {r.service}"
            tallies = r.delivery.tallies
            said.append((name, r.outcome.value, r.base, wakes, marks(r, wakes), tallies))
        keys += bitmaps
        args: list[EncodableT] = [str(batch), worker, lease_ms, GONE_KEPT * 1000]
        args += [json.dumps(said), *(pack_numbers(group) for group in results.values())]
        return cast(int, self._record(keys=keys, args=args))

    def forget(self, id: int) -> None:
        """Let the counts go, once they are in the report and no answer can come late any more."""
        for partition in self._partitions:
            self._redis.expire(part_key(partition, id), CLOSED_SEND_KEPT)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        recipients = 0
        outcomes: dict[tuple[Outcome, str], int] = {}
        brought: dict[int, dict[str, int]] = {}
        for partition in self._partitions:
            row = cast(dict[bytes, bytes], self._redis.hgetall(part_key(partition, id)))
            for field, value in row.items():
                name, space, service = field.decode().partition(" ")
                if space:
                    kind = (Outcome(name), service)
                    outcomes[kind] = outcomes.get(kind, 0) + int(value)
                elif name == "recipients":
                    recipients += int(value)
                elif ":" in name:
                    how, _, alert = name.partition(":")
                    counts = brought.setdefault(int(alert), {"alone": 0, "together": 0})
                    counts[how] += int(value)
        return Progress(
            recipients,
            outcomes,
            {alert: (n["alone"], n["together"]) for alert, n in brought.items()},
        )
