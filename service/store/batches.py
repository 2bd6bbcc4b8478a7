"""How far each send has come in each partition: frozen audience, done bits, leases, outcomes.

  n:<id>               hash: recipients, planned, closed, and a count per outcome and push service
  n:<id>:audience      bitmap of the recipients, frozen when sending starts
  n:<id>:done          bitmap of those who have their outcome
  n:<id>:accepted:<r>  bitmap of those whose push service took revision r of the text; kept 7 days
  n:<id>:batches       sorted set: batches not yet finished, scored with when each is due (ms);
                       while a worker holds one, that is its lease's end. `recent` is one of them
                       while those wait whose push services have a pace: they are taken out of
                       their batches, and sent newest first
  n:<id>:leases        hash: batch -> the worker that holds it, and after a space the push services
                       that it knew to have a pace: those rows are `recent`'s
  n:<id>:retries       hash: batch -> for each push service, attempts and when to try next (ms)
  n:<id>:held, wake:<q>, wakes  see held.py
  farewell, answers:<t>  see farewells.py
`audience AND NOT done` is at every moment exactly the work left. `done` is part of `audience`, and
every recipient without an outcome is in a batch.

Redis can forget its last seconds (a power cut, a failover to a replica that lags). What a process
remembers of them is wrong then, so what is left to do is decided by the scripts alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.notifications import Batch, Outcome
from service.store.bitmaps import numbers_in, without

# For scripts that need the time: `now`, in ms.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# The bytes of a bitmap that hold a batch.
_BYTES = """
local function bytes_of(batch)
  local first, last = string.match(batch, '(%d+)-(%d+)')
  return math.floor(first / 8), math.floor(last / 8)
end
"""

# KEYS: state, batches. ARGV: 'final', or 'open' where the audience may still grow; then pairs of a
# batch and the ms from now until it is due. Not while there are others, which somebody may be
# sending; a send that was planned for good or closed meanwhile stays so.
_LAY_OUT = (
    NOW
    + """
local known = redis.call('HMGET', KEYS[1], 'planned', 'closed', 'recipients')
if known[2] or not known[3] then return 0 end
if redis.call('ZCARD', KEYS[2]) > 0 then return 0 end
if known[1] ~= 'final' then redis.call('HSET', KEYS[1], 'planned', ARGV[1]) end
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[2], now + ARGV[i + 1], ARGV[i]) end
return 1
"""
)

# KEYS: batches, leases, retries. ARGV: how many ms late is late, in how many ms all must be due.
# Those that no worker has held yet are put off by as much as the first of them is late, and drawn
# together where there is no time for that. The first write frees.
_PUT_OFF = (
    NOW
    + """
local begun = {recent = true}
for i = 2, 3 do
  for _, batch in ipairs(redis.call('HKEYS', KEYS[i])) do begun[batch] = true end
end
local function waiting(till)
  local found = {}
  local rows = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', till, 'WITHSCORES')
  for i = 1, #rows, 2 do
    if not begun[rows[i]] then table.insert(found, {rows[i], tonumber(rows[i + 1])}) end
  end
  return found
end
if #waiting(now - ARGV[1]) == 0 then return 0 end
local rows = waiting('+inf')
local first, last = rows[1][2], rows[#rows][2]
local share = math.min(1, math.max(0, ARGV[2]) / math.max(1, last - first))
redis.call('ZREM', KEYS[1], '')
for _, row in ipairs(rows) do
  redis.call('ZADD', KEYS[1], 'XX', now + math.floor((row[2] - first) * share), row[1])
end
return 1
"""
)

# KEYS: batches, leases, retries, audience, done. ARGV: worker, lease in ms. Returns a batch that
# is due with its bytes of audience and done and its retries, or nothing; `recent` before others.
# `recent` is held by nobody while a batch is whose worker knew other paces, nor the other way
# round: nobody is in two hands. The first write frees: a send goes on under `maxmemory`.
_CLAIM = (
    NOW
    + _BYTES
    + """
redis.call('ZREM', KEYS[1], '')
local function agrees(worker)
  return string.match(worker, ' .*') == string.match(ARGV[1], ' .*')
end
local due
local recent = redis.call('ZSCORE', KEYS[1], 'recent')
if recent and tonumber(recent) <= now then
  due = 'recent'
  local leases = redis.call('HGETALL', KEYS[2])
  for i = 1, #leases, 2 do
    local till = tonumber(redis.call('ZSCORE', KEYS[1], leases[i]) or 0)
    if till > now and not agrees(leases[i + 1]) then due = nil end
  end
elseif recent then
  local holder = redis.call('HGET', KEYS[2], 'recent')
  if holder and not agrees(holder) then return false end
end
if not due then
  for _, batch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 2)) do
    if batch ~= 'recent' then due = due or batch end
  end
end
if not due then return false end
redis.call('ZADD', KEYS[1], now + ARGV[2], due)
redis.call('HSET', KEYS[2], due, ARGV[1])
if due == 'recent' then return {due, '', '', redis.call('HGET', KEYS[3], due)} end
local first, last = bytes_of(due)
return {
  due,
  redis.call('GETRANGE', KEYS[4], first, last),
  redis.call('GETRANGE', KEYS[5], first, last),
  redis.call('HGET', KEYS[3], due),
}
"""
)

# KEYS: batches, leases, retries, audience, done. ARGV: batch, worker, wait in ms or 'done',
# retries, whether some of it are left to `recent`, and how many of it have no outcome as far as the
# worker knows. Gives a batch back; only the worker that holds it can. Whether it is finished is
# counted here: where more are left than the worker knows, Redis has lost outcomes, and the batch is
# due at once. Of `recent` the worker decides, since each recipient left in it is in another batch
# too, which brings it back. After `recent` all batches that were given back are due: nobody at a
# push service with a pace is left in them, or none has a pace any more.
_RELEASE = (
    NOW
    + _BYTES
    + """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
local finished, wait = ARGV[3] == 'done', tonumber(ARGV[3]) or 0
if ARGV[1] ~= 'recent' then
  local first, last = bytes_of(ARGV[1])
  local left = redis.call('BITCOUNT', KEYS[4], first, last)
  left = left - redis.call('BITCOUNT', KEYS[5], first, last)
  finished = left <= 0
  if left > tonumber(ARGV[6]) then wait = 0 end
end
if finished then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now + wait, ARGV[1])
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
end
if ARGV[5] == '1' then redis.call('ZADD', KEYS[1], 'NX', now, 'recent') end
if ARGV[1] == 'recent' and finished then
  for _, batch in ipairs(redis.call('HKEYS', KEYS[3])) do
    if redis.call('HEXISTS', KEYS[2], batch) == 0 then
      redis.call('ZADD', KEYS[1], 'XX', now, batch)
    end
  end
end
return 1
"""
)

# KEYS: batches, leases, retries. ARGV: bases. What waits for them to be tried again is due now, but
# what a worker holds stays as it is. The first write frees.
_TRYNOW = (
    NOW
    + """
redis.call('ZREM', KEYS[1], '')
local rows = redis.call('HGETALL', KEYS[3])
for i = 1, #rows, 2 do
  local batch, retries, waits = rows[i], cjson.decode(rows[i + 1]), false
  for _, base in ipairs(ARGV) do
    if retries[base] and retries[base][2] > now then
      retries[base][2] = now
      waits = true
    end
  end
  if waits and redis.call('HEXISTS', KEYS[2], batch) == 0 then
    redis.call('HSET', KEYS[3], batch, cjson.encode(retries))
    redis.call('ZADD', KEYS[1], 'XX', now, batch)
  end
end
"""
)

# KEYS: state, batches. Returns how it is planned, how many batches are due, how many are not
# finished, and in how many ms the next is due.
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

# KEYS: state, audience, done, batches, leases, retries. ARGV: outcome of those still undone, or ''
# where none may be and the audience may not grow. Ends the send in this partition and frees all but
# the counts; returns 0 while it may not: a live lease may still bring outcomes in.
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
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HSET', KEYS[1], 'closed', 1, 'recipients', recipients)
if undone > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], undone) end
return 1
"""
)


class Retry(NamedTuple):
    """When a push service is tried again for the rest of a batch; `at` is ms since 1970."""

    attempts: int
    at: int


class Recent(Batch):
    """The batch of all whose push services have a pace: `audience AND NOT done`, newest first."""

    def __str__(self) -> str:
        return "recent"


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased batch: who of it has no outcome yet, in order, and its retries by base.

    Of `Recent` nobody is named: `NewestFirst` finds them.
    """

    batch: Batch
    pending: list[int]
    retries: dict[int, Retry]


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to do for a notification in one partition; `next_due` in ms from now.

    `open`: it is planned, but its audience may still grow.
    """

    planned: bool
    open: bool
    due: int
    batches: int
    next_due: int


def part_key(partition: int, id: int, what: str = "") -> str:
    """Return a key of a send in one partition."""
    return f"{{{partition}}}:n:{id}{what and ':' + what}"


class Sending:
    """Everything about the recipients of notifications; every write of more keys is one script."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self.partitions = range(partitions)
        self._lay_out = redis.register_script(_LAY_OUT)
        self._put_off = redis.register_script(_PUT_OFF)
        self._claim = redis.register_script(_CLAIM)
        self._release = redis.register_script(_RELEASE)
        self._try_now = redis.register_script(_TRYNOW)
        self._look = redis.register_script(_LOOK)
        self._close = redis.register_script(_CLOSE)

    # -- planning --------------------------------------------------------------------------------

    def lay_out(
        self, id: int, partition: int, batches: Iterable[tuple[Batch, int]], *, final: bool = True
    ) -> bool:
        """Put down the batches of a partition, each with the ms until it is due.

        Only where there are no others: at first, where the audience has grown, or where recipients
        have lost their outcomes or their batch. False otherwise.
        """
        args: list[EncodableT] = ["final" if final else "open"]
        args += [word for batch, wait_ms in batches for word in (str(batch), wait_ms)]
        keys = [part_key(partition, id), part_key(partition, id, "batches")]
        return bool(self._lay_out(keys=keys, args=args))

    def put_off(self, id: int, partition: int, *, late_ms: int, within_ms: int) -> bool:
        """Let the batches that none has begun with keep their distances, from now on.

        Only where the first should have begun `late_ms` ago; False otherwise. The last is due
        `within_ms` at the latest.
        """
        keys = [part_key(partition, id, what) for what in ("batches", "leases", "retries")]
        return bool(self._put_off(keys=keys, args=[late_ms, within_ms]))

    # -- batches and leases ----------------------------------------------------------------------

    def claim(self, id: int, partition: int, worker: str, lease_ms: int) -> Claim | None:
        """Lease a batch that is due to `worker`; None where none is.

        Its name ends with a space and the push services that have a pace, as far as it knows.
        """
        kinds = ("batches", "leases", "retries", "audience", "done")
        found = self._claim(
            keys=[part_key(partition, id, what) for what in kinds], args=[worker, lease_ms]
        )
        if found is None:
            return None
        name, audience, done, retries = cast("list[bytes]", found)
        if name == b"recent":
            batch: Batch = Recent(partition, 0, 0)
        else:
            batch = Batch.parse(partition, name.decode())
        rows = json.loads(retries) if retries else {}
        return Claim(
            batch,
            _pending(batch, audience, done),
            {int(base): Retry(*row) for base, row in rows.items()},
        )

    def release(
        self,
        id: int,
        batch: Batch,
        worker: str,
        *,
        wait_ms: int | None,
        retries: Mapping[int, Retry] | None = None,
        left: bool = False,
        undone: int = 0,
    ) -> bool:
        """Give a batch back, due in `wait_ms`, or finished (None); False if it was not ours.

        `left`: some in it are left to `Recent`. `undone`: how many in it have no outcome as far as
        the caller knows. Where there are more in the store, the batch is due at once.
        """
        kinds = ("batches", "leases", "retries", "audience", "done")
        keys = [part_key(batch.partition, id, what) for what in kinds]
        wait = "done" if wait_ms is None else wait_ms
        args: list[EncodableT] = [str(batch), worker, wait, json.dumps(retries or {}), int(left)]
        return bool(self._release(keys=keys, args=[*args, undone]))

    def try_now(self, id: int, partition: int, bases: Sequence[int]) -> None:
        """Let those at these bases wait no longer, except where a worker holds their batch."""
        keys = [part_key(partition, id, what) for what in ("batches", "leases", "retries")]
        self._try_now(keys=keys, args=bases)

    def look(self, id: int, partition: int) -> Look:
        """Return what there is to do in a partition."""
        keys = [part_key(partition, id), part_key(partition, id, "batches")]
        planned, *rest = cast("list[Any]", self._look(keys=keys))
        return Look(bool(planned), planned == b"open", *rest)

    # -- the end ---------------------------------------------------------------------------------

    def close(self, id: int, partition: int, undone: Outcome | None) -> bool:
        """End a send in this partition; `undone` is what became of those without an outcome.

        False, and nothing changes, while a batch is under a live lease; and with None where
        somebody has no outcome yet.
        """
        kinds = ("", "audience", "done", "batches", "leases", "retries")
        keys = [part_key(partition, id, what) for what in kinds]
        name = f"{undone.value} " if undone else ""
        return bool(self._close(keys=keys, args=[name]))


def _pending(batch: Batch, audience: bytes, done: bytes) -> list[int]:
    """Return the numbers in a batch that have no outcome yet, in order."""
    start = batch.start // 8 * 8
    undone = numbers_in(without(audience, done), 8 * len(audience), start)
    return [number for number in undone if batch.start <= number <= batch.end]
