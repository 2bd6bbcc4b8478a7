"""Sends: how far each has come in each partition, and the batches that workers lease.

  n:<id>               hash: recipients, planned, closed, and a count per outcome and push service
  n:<id>:audience      bitmap of the recipients, frozen when sending starts
  n:<id>:done          bitmap of recipients with an outcome
  n:<id>:accepted:<r>  bitmap of readers whose push service accepted revision r of the text
  n:<id>:batches       sorted set: unfinished batches, scored with when each is due (ms); for a
                       leased one, when its lease ends. The batch `recent` has the recipients whose
                       push services have a pace: they are left out of their own batches, and sent
                       the most recently seen first (newest_first.py)
  n:<id>:leases        hash: batch -> its worker, and after a space the push services that this
                       worker knew to have a pace; their recipients are left to `recent`
  n:<id>:retries       hash: batch -> when it was given back (ms), and as JSON for each base that
                       recipients of it wait for: of those that failed, number, attempts and in how
                       many ms to try next. The others wait until the push service rests no more

Other keys of a send are in held_alerts.py, daily_counts.py and gone.py.

`audience AND NOT done` is at every moment exactly the work left. `done` is part of `audience`, and
every recipient without an outcome is in a batch.

Redis can forget its last seconds (a power cut, a failover to a replica that lags). What a process
remembers of them is wrong then, so the scripts alone decide what is left to do.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.notifications import Batch, Outcome
from service.store.layout.bitmaps import numbers_in, without
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import NOW, Call, lua, run_each

# Defines bytes_of(batch): the first and the last byte of a bitmap that belong to a batch.
BYTES_OF = """
local function bytes_of(batch)
  local first, last = string.match(batch, '(%d+)-(%d+)')
  return math.floor(first / 8), math.floor(last / 8)
end
"""

# KEYS: state, batches. ARGV: 'final', or 'open' if the audience may still grow; as JSON, pairs of a
# batch and the ms from now until it is due; the batches beside which these are, between spaces.
# Returns 0 and writes nothing while there are others, which workers may be sending, or if the send
# is closed. 'final' stays 'final'. The first write allocates; where the send was planned before, it
# frees.
_LAY_OUT = (
    NOW
    + """
local known = redis.call('HMGET', KEYS[1], 'planned', 'closed', 'recipients')
if known[2] or not known[3] then return 0 end
for _, batch in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if not string.find(ARGV[3], ' ' .. batch .. ' ', 1, true) then return 0 end
end
if known[1] then redis.call('ZREM', KEYS[2], '') end
if known[1] ~= 'final' then redis.call('HSET', KEYS[1], 'planned', ARGV[1]) end
for _, row in ipairs(cjson.decode(ARGV[2])) do redis.call('ZADD', KEYS[2], now + row[2], row[1]) end
return 1
"""
)

# KEYS: batches, leases, retries. ARGV: bases as JSON. Makes batches that wait to try these bases
# again due now, but leaves leased batches as they are. The first write frees.
_TRY_NOW = (
    NOW
    + """
redis.call('ZREM', KEYS[1], '')
local rows, bases = redis.call('HGETALL', KEYS[3]), cjson.decode(ARGV[1])
for i = 1, #rows, 2 do
  local batch, waits = rows[i], false
  local since, text = string.match(rows[i + 1], '^(%d+) (.*)$')
  local waiting = text and cjson.decode(text) or {}
  for _, base in ipairs(bases) do
    if waiting[base] then
      waits = true
      for _, row in ipairs(waiting[base]) do row[3] = 0 end
      if #waiting[base] == 0 then waiting[base] = nil end
    end
  end
  if waits and redis.call('HEXISTS', KEYS[2], batch) == 0 then
    redis.call('HSET', KEYS[3], batch, since .. ' ' .. cjson.encode(waiting))
    redis.call('ZADD', KEYS[1], 'XX', now, batch)
  end
end
"""
)

# KEYS: state, batches. Returns how the send is planned, how many batches are due, how many are
# unfinished, and in how many ms the next is due.
_LOOK = (
    NOW
    + """
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or now
return {
  redis.call('HGET', KEYS[1], 'planned') or '',
  redis.call('ZCOUNT', KEYS[2], '-inf', now),
  redis.call('ZCARD', KEYS[2]),
  first - now,
}
"""
)

# KEYS: state, audience, done, batches, leases, retries, rest. ARGV: the outcome of recipients
# without one; '' if there may be none and the audience may not grow. Ends the send in this
# partition and frees all but the counts. Returns 0 and writes nothing if it may not end, or while a
# batch is leased, since its worker may still bring outcomes. The first write frees.
_CLOSE = (
    NOW
    + """
if redis.call('HEXISTS', KEYS[1], 'closed') == 1 then return 1 end
for _, batch in ipairs(redis.call('HKEYS', KEYS[5])) do
  local till = redis.call('ZSCORE', KEYS[4], batch)
  if till and tonumber(till) > now then return 0 end
end
local recipients = redis.call('HGET', KEYS[1], 'recipients') or 0
local undone = recipients - redis.call('BITCOUNT', KEYS[3])
if ARGV[1] == '' and (undone > 0 or redis.call('HGET', KEYS[1], 'planned') ~= 'final') then
  return 0
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
redis.call('HSET', KEYS[1], 'closed', 1, 'recipients', recipients)
if undone > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], undone) end
return 1
"""
)


NO_BATCHES: Mapping[int, Iterable[str]] = MappingProxyType({})


class Retry(NamedTuple):
    """When a recipient is tried again after a failed attempt."""

    base: int
    attempts: int  # that failed so far
    in_ms: int  # from now


class Recent(Batch):
    """The batch of recipients whose push services have a pace, the most recently seen first."""

    def __str__(self) -> str:
        return "recent"


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased batch."""

    batch: Batch
    pending: list[int]  # recipients without an outcome, in order; none for `Recent`
    retries: dict[int, Retry]  # by recipient


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be done for a notification in one partition."""

    planned: bool
    open: bool  # planned, but its audience may still grow
    due: int  # batches that are due
    batches: int  # unfinished batches
    next_due: int  # ms from now


def part_key(partition: int, id: int, what: str = "") -> str:
    """Return a key of a send in one partition."""
    return f"{{{partition}}}:n:{id}{what and ':' + what}"


class Batches:
    """The batches of all sends: laid out, leased, given back, closed."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self.partitions = partitions
        self._lay_out = redis.register_script(_LAY_OUT)
        self._put_off = redis.register_script(NOW + lua(__file__, "put_off"))
        self._claim = redis.register_script(NOW + BYTES_OF + lua(__file__, "claim"))
        self._release = redis.register_script(NOW + BYTES_OF + lua(__file__, "release"))
        self._try_now = redis.register_script(_TRY_NOW)
        self._look = redis.register_script(_LOOK)
        self._close = redis.register_script(_CLOSE)

    # -- planning --------------------------------------------------------------------------------

    def lay_out(
        self,
        id: int,
        batches: Mapping[int, Iterable[tuple[Batch, int]]],
        *,
        final: bool = True,
        beside: Mapping[int, Iterable[str]] = NO_BATCHES,
    ) -> None:
        """Store the batches of each of these partitions, each with the ms until it is due.

        Only where there are none: at first, when the audience has grown, or when Redis has
        forgotten outcomes or batches. `beside`: by partition, batches that may be there, because
        none of the new ones overlaps with them.
        """
        word = "final" if final else "open"
        calls: list[Call] = []
        for partition, some in batches.items():
            rows = [(str(batch), wait_ms) for batch, wait_ms in some]
            keys = [part_key(partition, id), part_key(partition, id, "batches")]
            known = f" {' '.join(beside.get(partition, ()))} "
            calls.append((keys, [word, json.dumps(rows), known]))
        run_each(self._redis, self._lay_out, calls)

    def put_off(self, id: int, *, late_ms: int, within_ms: int) -> bool:
        """Let the batches that no worker has begun keep their distances from now on.

        Only in partitions where the first should have begun `late_ms` ago; whether there was one.
        The last is due in `within_ms` at the latest.
        """
        calls = self._calls(id, ("batches", "leases", "retries"), (late_ms, within_ms))
        return any(run_each(self._redis, self._put_off, calls))

    # -- batches and leases ----------------------------------------------------------------------

    def claim_any(self, id: int, worker: str, lease_ms: int) -> Claim | None:
        """Lease a batch that is due in any partition; None if none is due.

        Workers begin at random, so that they share the partitions.
        """
        due = [partition for partition, look in self.looks(id).items() if look.due]
        for partition in random.sample(due, len(due)):
            if claim := self.claim(id, partition, worker, lease_ms):
                return claim
        return None

    def claim(self, id: int, partition: int, worker: str, lease_ms: int) -> Claim | None:
        """Lease a batch that is due to `worker`; None if none is due.

        The name of a worker ends with a space and the push services that have a pace as far as it
        knows.
        """
        kinds = ("batches", "leases", "retries", "audience", "done")
        found = self._claim(
            keys=[part_key(partition, id, what) for what in kinds], args=[worker, lease_ms]
        )
        if found is None:
            return None
        name, audience, done, ago_ms, retries = cast(
            "tuple[bytes, bytes, bytes, int, bytes]", found
        )
        if name == b"recent":
            batch: Batch = Recent(partition, 0, 0)
        else:
            batch = Batch.parse(partition, name.decode())
        return Claim(batch, _pending(batch, audience, done), _retries(retries, ago_ms))

    def release(
        self,
        id: int,
        batch: Batch,
        worker: str,
        *,
        wait_ms: int | None,
        retries: Mapping[int, Retry] | None = None,
        resting: Iterable[int] = (),
        left: bool = False,
        undone: int = 0,
    ) -> bool:
        """Give a batch back, due in `wait_ms`, or finished (None); False without the lease.

        `retries`: by recipient, when each is tried again after a failed attempt. `resting`:
        bases whose other recipients wait. `left`: recipients in it are left to `Recent`. `undone`:
        how many recipients in it have no outcome as far as the caller knows; if the store has more,
        the batch is due at once.
        """
        kinds = ("batches", "leases", "retries", "audience", "done")
        keys = [part_key(batch.partition, id, what) for what in kinds]
        wait = "done" if wait_ms is None else wait_ms
        waiting: dict[int, list[tuple[int, int, int]]] = {base: [] for base in resting}
        for number, (base, attempts, in_ms) in (retries or {}).items():
            waiting.setdefault(base, []).append((number, attempts, in_ms))
        args: list[EncodableT] = [str(batch), worker, wait, json.dumps(waiting), int(left)]
        return bool(self._release(keys=keys, args=[*args, undone]))

    def try_now(self, id: int, bases: Sequence[int]) -> None:
        """End the wait of recipients at these bases, except in leased batches."""
        args = [json.dumps([str(base) for base in bases])]
        calls = self._calls(id, ("batches", "leases", "retries"), args)
        run_each(self._redis, self._try_now, calls)

    def looks(self, id: int) -> dict[int, Look]:
        """Return by partition what is to be done."""
        found = run_each(self._redis, self._look, self._calls(id, ("", "batches")))
        return {
            partition: Look(bool(planned), planned == b"open", *rest)
            for partition, (planned, *rest) in zip(self.partitions, found, strict=True)
        }

    def held_by(self, ids: Sequence[int]) -> dict[str, set[int]]:
        """Return by worker of which of these notifications it has batches, or had as it died.

        A worker leases each batch under its name, a colon and a number.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                for partition in self.partitions:
                    pipe.hvals(part_key(partition, id, "leases"))
            rows = iter(cast("list[list[bytes]]", pipe.execute()))
        found: dict[str, set[int]] = {}
        for id in ids:
            for _ in self.partitions:
                for worker in next(rows):
                    found.setdefault(
                        worker.decode().partition(" ")[0].rpartition(":")[0], set()
                    ).add(id)
        return found

    def _calls(self, id: int, kinds: Sequence[str], args: Sequence[Any] = ()) -> list[Call]:
        """Return keys and arguments of a script for each partition."""
        return [([part_key(p, id, kind) for kind in kinds], args) for p in self.partitions]

    # -- the end ---------------------------------------------------------------------------------

    def close(self, id: int, partitions: Iterable[int], undone: Outcome | None) -> set[int]:
        """End a send in these partitions, and return those where it has ended.

        Recipients without an outcome get the outcome `undone`; with None it does not end where
        there are any. Nor does it end, and nothing changes, while a batch is leased.
        """
        kinds = ("", "audience", "done", "batches", "leases", "retries", "rest")
        args = [f"{undone.value} " if undone else ""]
        partitions = list(partitions)
        calls = [([part_key(p, id, what) for what in kinds], args) for p in partitions]
        ended = run_each(self._redis, self._close, calls)
        return {partition for partition, done in zip(partitions, ended, strict=True) if done}


def _retries(waiting: bytes, ago_ms: int) -> dict[int, Retry]:
    """Return by recipient when they are tried again, as was stored `ago_ms` ago."""
    found: dict[int, Retry] = {}
    for base, rows in json.loads(waiting or b"{}").items():
        for number, attempts, in_ms in rows:
            found[number] = Retry(int(base), attempts, in_ms - ago_ms)
    return found


def _pending(batch: Batch, audience: bytes, done: bytes) -> list[int]:
    """Return the recipients in a batch without an outcome, in order."""
    start = batch.start // 8 * 8
    undone = numbers_in(without(audience, done), 8 * len(audience), start)
    return [number for number in undone if batch.start <= number <= batch.end]
