"""Notifications and how far each has come: frozen audience, done bits, leases, outcomes.

In the slot `{g}` a notification has its content and state. In each partition's slot it has
  n:<id>          hash: recipients, planned, closed, and a count per outcome and push service
  n:<id>:audience bitmap of the recipients, frozen when sending starts
  n:<id>:done     bitmap of those who have their outcome
  n:<id>:batches  sorted set: batches not yet finished, scored with when each is due (ms);
                  while a worker holds one, that is its lease's end
  n:<id>:leases   hash: batch -> the worker that holds it
  n:<id>:retries  hash: batch and push service -> attempts and when to try next (ms)
`audience AND NOT done` is at every moment exactly the work left.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from service.models import Audience, Batch, Content, Notification, Outcome, Progress, State
from service.store.house import House
from service.store.subscriptions import Subscriptions, pack_numbers

_ACTIVE = "{g}:active"
RECEIPTS_KEPT = 30 * 86_400  # seconds after the last one; each event takes up to 12 KB
REPORT_KEPT = 7 * 86_400  # seconds for which a late answer still finds the send closed

# KEYS: notification, active, idempotency record or nothing. ARGV: id, doc, answer, seconds kept.
# Returns nothing, or what was answered to the same key before. The first write allocates.
_PUBLISH = """
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before then return before end
  redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[4])
end
redis.call('HSET', KEYS[1], 'doc', ARGV[2], 'state', 'sending')
redis.call('SADD', KEYS[2], ARGV[1])
"""

# KEYS: notification. ARGV: new state, then the states in which that is possible.
# The first write frees, so that an alert can be stopped under `maxmemory`.
_MOVE = """
redis.call('HDEL', KEYS[1], '')
local state = redis.call('HGET', KEYS[1], 'state')
for i = 2, #ARGV do
  if state == ARGV[i] then
    redis.call('HSET', KEYS[1], 'state', ARGV[1])
    return 1
  end
end
return 0
"""

# KEYS: notification, active. ARGV: id, state, finished_at, report. Cancelled stays cancelled.
_FINISH = """
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'report') == 1 then return 0 end
local state = ARGV[2]
if redis.call('HGET', KEYS[1], 'state') == 'cancelled' then state = 'cancelled' end
redis.call('HSET', KEYS[1], 'state', state, 'finished_at', ARGV[3], 'report', ARGV[4])
return 1
"""

# Leaves in KEYS[first + 1] who is meant: live, in any of the topics, in any of the locales, not
# gone and in none of the exclusions. KEYS from `first`: scratch, destination, live, gone, topics,
# locales, exclusions. ARGV from `arg`: everyone or not, how many of each, one number or ''.
# AND with NOT is done as XOR: BITOP NOT reaches only as far as its operand.
_SELECT = """
local function select_audience(first, arg)
  local scratch, destination, live, gone = unpack(KEYS, first, first + 3)
  local counts = {tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])}
  local at = first + 4
  redis.call('BITOP', 'AND', destination, live, live)
  if ARGV[arg + 4] ~= '' then
    local there = redis.call('GETBIT', destination, ARGV[arg + 4])
    redis.call('DEL', destination)
    if there == 1 then redis.call('SETBIT', destination, ARGV[arg + 4], 1) end
  elseif ARGV[arg] ~= '1' then
    redis.call('BITOP', 'OR', scratch, scratch, unpack(KEYS, at, at + counts[1] - 1))
    redis.call('BITOP', 'AND', destination, destination, scratch)
  end
  at = at + counts[1]
  if counts[2] > 0 then
    redis.call('BITOP', 'OR', scratch, unpack(KEYS, at, at + counts[2] - 1))
    redis.call('BITOP', 'AND', destination, destination, scratch)
  end
  at = at + counts[2]
  redis.call('BITOP', 'OR', scratch, gone, unpack(KEYS, at, at + counts[3] - 1))
  redis.call('BITOP', 'AND', scratch, scratch, destination)
  redis.call('BITOP', 'XOR', destination, destination, scratch)
  redis.call('DEL', scratch)
  return redis.call('BITCOUNT', destination)
end
"""

# KEYS, ARGV: those of select_audience. Returns how many browsers that is.
_COUNT = (
    _SELECT
    + """
local count = select_audience(1, 1)
redis.call('DEL', KEYS[2])
return count
"""
)

# KEYS: state, then those of select_audience. ARGV: those of select_audience. Only once.
_FREEZE = (
    _SELECT
    + """
local recipients = redis.call('HGET', KEYS[1], 'recipients')
if recipients then return tonumber(recipients) end
redis.call('HSET', KEYS[1], 'recipients', 0)
recipients = select_audience(2, 1)
redis.call('HSET', KEYS[1], 'recipients', recipients)
return recipients
"""
)

# KEYS: state, batches. ARGV: batches. Only once; a send that was closed meanwhile stays so.
_LAY_OUT = """
local known = redis.call('HMGET', KEYS[1], 'planned', 'closed', 'recipients')
if known[1] or known[2] or not known[3] then return 0 end
redis.call('HSET', KEYS[1], 'planned', 1)
for i = 1, #ARGV do redis.call('ZADD', KEYS[2], 0, ARGV[i]) end
return 1
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: batches, leases. ARGV: worker, lease in ms. Returns a batch, or nothing that is due.
# The first write frees: a send goes on under `maxmemory`.
_CLAIM = (
    _NOW
    + """
redis.call('ZREM', KEYS[1], '')
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if #due == 0 then return false end
redis.call('ZADD', KEYS[1], now + ARGV[2], due[1])
redis.call('HSET', KEYS[2], due[1], ARGV[1])
return due[1]
"""
)

# KEYS: batches, leases, state, done, gone.
# ARGV: batch, worker, lease in ms, names of counts, then for each name: its numbers, packed.
# Counts only bits not yet set, whoever brings them; a send that was closed takes none.
# Returns 1 while the worker still holds its lease. The first write frees or overwrites.
_RECORD = (
    _NOW
    + """
local held = redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2]
redis.call('ZREM', KEYS[1], '')
if redis.call('HEXISTS', KEYS[3], 'closed') == 1 then return 0 end
local names = cjson.decode(ARGV[4])
for i, name in ipairs(names) do
  local numbers, new = ARGV[4 + i], 0
  for at = 1, #numbers, 4 do
    local number = struct.unpack('>I4', numbers, at)
    if redis.call('SETBIT', KEYS[4], number, 1) == 0 then new = new + 1 end
    if string.sub(name, 1, 4) == 'gone' then redis.call('SETBIT', KEYS[5], number, 1) end
  end
  if new > 0 then redis.call('HINCRBY', KEYS[3], name, new) end
end
if held then redis.call('ZADD', KEYS[1], 'XX', now + ARGV[3], ARGV[1]) end
return held and 1 or 0
"""
)

# KEYS: batches, leases, retries. ARGV: batch, worker, wait in ms or 'done', then pairs of push
# service and its retry state. Gives a batch back; only the worker that holds it can.
_RELEASE = (
    _NOW
    + """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[3] == 'done' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now + ARGV[3], ARGV[1])
end
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[1] .. ' ' .. ARGV[i], ARGV[i + 1]) end
return 1
"""
)

# KEYS: state, batches. Returns whether it is planned, how many batches are due, and how many are
# not finished.
_LOOK = (
    _NOW
    + """
return {
  redis.call('HEXISTS', KEYS[1], 'planned'),
  redis.call('ZCOUNT', KEYS[2], '-inf', now),
  redis.call('ZCARD', KEYS[2]),
}
"""
)

# KEYS: state, audience, done, batches, leases, retries. ARGV: outcome of those still undone, or ''
# where none may be. Ends the send in this partition and frees all but
# the counts; returns 0 while it may not: a live lease may still bring outcomes in.
_CLOSE = (
    _NOW
    + """
if redis.call('HEXISTS', KEYS[1], 'closed') == 1 then return 1 end
for _, batch in ipairs(redis.call('HKEYS', KEYS[5])) do
  local till = redis.call('ZSCORE', KEYS[4], batch)
  if till and tonumber(till) > now then return 0 end
end
local recipients = redis.call('HGET', KEYS[1], 'recipients') or 0
local undone = recipients - redis.call('BITCOUNT', KEYS[3])
if undone > 0 and ARGV[1] == '' then return 0 end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HSET', KEYS[1], 'closed', 1, 'recipients', recipients)
if undone > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], undone) end
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a push service is tried again for the rest of a batch; `at` is ms since 1970."""

    attempts: int
    at: int


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to do for a notification in one partition."""

    planned: bool
    due: int
    batches: int


class Sending:
    """Everything about notifications; one script for every write of more than one key."""

    def __init__(self, redis: Redis, partitions: int, house: House) -> None:
        self._redis = redis
        self._house = house
        self.partitions = range(partitions)
        self._publish = redis.register_script(_PUBLISH)
        self._move = redis.register_script(_MOVE)
        self._finish = redis.register_script(_FINISH)
        self._count = redis.register_script(_COUNT)
        self._freeze = redis.register_script(_FREEZE)
        self._lay_out = redis.register_script(_LAY_OUT)
        self._claim = redis.register_script(_CLAIM)
        self._record = redis.register_script(_RECORD)
        self._release = redis.register_script(_RELEASE)
        self._look = redis.register_script(_LOOK)
        self._close = redis.register_script(_CLOSE)

    @staticmethod
    def _key(id: int) -> str:
        return f"{{g}}:n:{id}"

    @staticmethod
    def _part(partition: int, id: int, what: str = "") -> str:
        return f"{{{partition}}}:n:{id}{what and ':' + what}"

    # -- the notification itself -----------------------------------------------------------------

    def new_id(self) -> int:
        """Return the next notification's id; one that is not used in the end is no loss."""
        return self._redis.incr("{g}:n")

    def publish(
        self,
        notification: Notification,
        idempotency: tuple[str, dict[str, Any], int] | None = None,
    ) -> dict[str, Any] | None:
        """Store a notification that is to be sent; returns None.

        `idempotency` is a digest, what to remember under it, and for how many seconds. Where
        something is remembered already, nothing is stored and that is returned.
        """
        doc = {
            "content": notification.content.as_json(),
            "audience": notification.audience.as_json(),
            "created_at": notification.created_at,
            "created_by": notification.created_by,
        }
        keys = [self._key(notification.id), _ACTIVE]
        args: list[Any] = [notification.id, json.dumps(doc)]
        if idempotency is not None:
            digest, remembered, seconds = idempotency
            keys.append(f"{{g}}:idempotency:{digest}")
            args += [json.dumps(remembered), seconds]
        before = cast("bytes | None", self._publish(keys=keys, args=args))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def remembered(self, digest: str) -> dict[str, Any] | None:
        """Return what is remembered under an idempotency key."""
        before = cast("bytes | None", self._redis.get(f"{{g}}:idempotency:{digest}"))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def get(self, id: int) -> Notification | None:
        """Return a notification as it stands."""
        row = cast(
            "list[bytes | None]", self._redis.hmget(self._key(id), "doc", "state", "finished_at")
        )
        return None if row[0] is None else _notification(id, row)

    def state(self, id: int) -> State | None:
        """Return what a notification is doing: what workers ask every half second."""
        state = cast("bytes | None", self._redis.hget(self._key(id), "state"))
        return None if state is None else State(state.decode())

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return up to `limit` notifications, newest first, those older than id `before`."""
        newest = int(cast("bytes | None", self._redis.get("{g}:n")) or 0)
        upto = newest if before is None else min(newest, before - 1)
        found: list[Notification] = []
        while upto > 0 and len(found) < limit:
            ids = range(upto, max(0, upto - limit), -1)
            with self._redis.pipeline(transaction=False) as pipe:
                for id in ids:
                    pipe.hmget(self._key(id), "doc", "state", "finished_at")
                rows = pipe.execute()
            # An id is passed over where publishing it was refused.
            found += [_notification(i, row) for i, row in zip(ids, rows, strict=True) if row[0]]
            upto -= limit
        return found[:limit]

    def move(self, id: int, to: State, *, possible_from: Sequence[State]) -> bool:
        """Change the state, if it is one of those given; False otherwise."""
        args = [to.value, *(state.value for state in possible_from)]
        return bool(self._move(keys=[self._key(id)], args=args))

    def active(self) -> list[int]:
        """Return the notifications with something left to do or to count."""
        return sorted(int(id) for id in cast(set[bytes], self._redis.smembers(_ACTIVE)))

    def finish(self, id: int, state: State, at: float) -> bool:
        """Make the report final, once every partition is closed; True for the call that did."""
        progress = self.progress(id)
        report = {
            "recipients": progress.recipients,
            "outcomes": [[o.value, service, n] for (o, service), n in progress.outcomes.items()],
        }
        args = [id, state.value, repr(at), json.dumps(report)]
        finished = bool(self._finish(keys=[self._key(id), _ACTIVE], args=args))
        for partition in self.partitions:
            self._redis.expire(self._part(partition, id), REPORT_KEPT)
        return finished

    # -- audiences -------------------------------------------------------------------------------

    def count(self, audience: Audience) -> int:
        """Return how many browsers an audience reaches now."""
        total = 0
        for partition in self._partitions_of(audience):
            scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
            keys, args = self._selection(partition, audience, scratch + ":to", scratch)
            total += cast(int, self._count(keys=keys, args=args))
        return total

    def freeze(self, id: int, partition: int, audience: Audience) -> int:
        """Fix who will receive a notification in this partition; how many. Done once only."""
        if partition not in self._partitions_of(audience):
            audience = Audience()
        destination = self._part(partition, id, "audience")
        keys, args = self._selection(
            partition, audience, destination, self._part(partition, id, "scratch")
        )
        return cast(int, self._freeze(keys=[self._part(partition, id), *keys], args=args))

    def _partitions_of(self, audience: Audience) -> Iterable[int]:
        one = audience.subscription
        if one is None:
            return self.partitions
        return [one.partition] if one.partition in self.partitions else []

    def _selection(
        self, partition: int, audience: Audience, destination: str, scratch: str
    ) -> tuple[list[str], list[Any]]:
        key = Subscriptions.bitmap_key
        topics = [key(partition, "topic", slug) for slug in audience.topics]
        locales = [
            key(partition, "locale", number)
            for name, number in (self._house.locales.all().items() if audience.locales else ())
            if any(name == asked or name.startswith(asked + "-") for asked in audience.locales)
        ]
        if audience.locales and not locales:
            # Nobody reads in that language yet: an empty bitmap stands for them.
            locales = [key(partition, "locale", "nobody")]
        exclude = [key(partition, "topic", slug) for slug in audience.exclude]
        keys = [scratch, destination, key(partition, "live"), key(partition, "gone")]
        only = audience.subscription.number if audience.subscription else ""
        args = [int(audience.everyone), len(topics), len(locales), len(exclude), only]
        return [*keys, *topics, *locales, *exclude], args

    # -- batches and leases ----------------------------------------------------------------------

    def audience(self, id: int, partition: int) -> bytes:
        """Return the frozen audience, one bit per subscription number, first bit highest."""
        found = self._redis.get(self._part(partition, id, "audience"))
        return cast("bytes | None", found) or b""

    def lay_out(self, id: int, partition: int, batches: Iterable[Batch]) -> bool:
        """Put down the batches of a partition, all due at once; False if that was done before."""
        keys = [self._part(partition, id), self._part(partition, id, "batches")]
        return bool(self._lay_out(keys=keys, args=[str(batch) for batch in batches]))

    def claim(self, id: int, partition: int, worker: str, lease_ms: int) -> Batch | None:
        """Lease a batch that is due to `worker`; None where none is."""
        batches, leases = (self._part(partition, id, what) for what in ("batches", "leases"))
        found = cast("bytes | None", self._claim(keys=[batches, leases], args=[worker, lease_ms]))
        return None if found is None else Batch.parse(partition, found.decode())

    def pending(self, id: int, batch: Batch) -> list[int]:
        """Return the numbers in a batch that have no outcome yet, in order."""
        first, last = batch.start // 8, batch.end // 8
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.getrange(self._part(batch.partition, id, "audience"), first, last)
            pipe.getrange(self._part(batch.partition, id, "done"), first, last)
            audience, done = pipe.execute()
        width = 8 * len(audience)
        done = done.ljust(len(audience), b"\0")
        bits = int.from_bytes(audience, "big") & ~int.from_bytes(done, "big")
        text = f"{bits:0{width}b}" if width else ""
        start = first * 8
        return [
            start + at
            for at, bit in enumerate(text)
            if bit == "1" and batch.start <= start + at <= batch.end
        ]

    def retries(self, id: int, batch: Batch) -> dict[int, Retry]:
        """Return the retry state of a batch by the number of the push service's base."""
        rows = cast(
            dict[bytes, bytes],
            self._redis.hgetall(self._part(batch.partition, id, "retries")),
        )
        found = {}
        for field, value in rows.items():
            of, _, base = field.decode().partition(" ")
            if of == str(batch):
                attempts, _, at = value.decode().partition(" ")
                found[int(base)] = Retry(int(attempts), int(at))
        return found

    def record(
        self,
        id: int,
        batch: Batch,
        worker: str,
        lease_ms: int,
        results: dict[tuple[Outcome, str], list[int]],
    ) -> bool:
        """Write outcomes down, by outcome and push service; False if the lease was lost.

        Outcomes count even then, but only for those who had none yet.
        """
        part = batch.partition
        names = [f"{outcome.value} {service}" for outcome, service in results]
        keys = [self._part(part, id, what) for what in ("batches", "leases", "", "done")]
        keys.append(Subscriptions.bitmap_key(part, "gone"))
        numbers = [pack_numbers(group) for group in results.values()]
        args: list[Any] = [str(batch), worker, lease_ms, json.dumps(names), *numbers]
        return bool(self._record(keys=keys, args=args))

    def release(
        self,
        id: int,
        batch: Batch,
        worker: str,
        *,
        wait_ms: int | None,
        retries: dict[int, Retry],
    ) -> bool:
        """Give a batch back, due in `wait_ms`, or finished (None); False if it was not ours."""
        keys = [self._part(batch.partition, id, what) for what in ("batches", "leases", "retries")]
        args: list[Any] = [str(batch), worker, "done" if wait_ms is None else wait_ms]
        for base, retry in retries.items():
            args += [base, f"{retry.attempts} {retry.at}"]
        return bool(self._release(keys=keys, args=args))

    def look(self, id: int, partition: int) -> Look:
        """Return what there is to do in a partition."""
        keys = [self._part(partition, id), self._part(partition, id, "batches")]
        planned, due, batches = cast(list[int], self._look(keys=keys))
        return Look(bool(planned), due, batches)

    def close(self, id: int, partition: int, undone: Outcome | None) -> bool:
        """End a send in this partition; `undone` is what became of those without an outcome.

        False, and nothing changes, while a batch is under a live lease; and with None where
        somebody has no outcome yet.
        """
        kinds = ("", "audience", "done", "batches", "leases", "retries")
        keys = [self._part(partition, id, what) for what in kinds]
        name = f"{undone.value} " if undone else ""
        return bool(self._close(keys=keys, args=[name]))

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        report = cast("bytes | None", self._redis.hget(self._key(id), "report"))
        if report is not None:
            said = json.loads(report)
            counts = {(Outcome(o), service): n for o, service, n in said["outcomes"]}
            return Progress(said["recipients"], counts)
        recipients = 0
        outcomes: dict[tuple[Outcome, str], int] = {}
        for partition in self.partitions:
            row = cast(dict[bytes, bytes], self._redis.hgetall(self._part(partition, id)))
            for field, value in row.items():
                name, space, service = field.decode().partition(" ")
                if space:
                    kind = (Outcome(name), service)
                    outcomes[kind] = outcomes.get(kind, 0) + int(value)
                elif name == "recipients":
                    recipients += int(value)
        return Progress(recipients, outcomes)

    # -- receipts --------------------------------------------------------------------------------

    def count_receipt(self, id: int, event: str, subscription: str) -> None:
        """Count that a browser reported `event`; the same browser counts once."""
        key = f"{self._key(id)}:{event}"
        with self._redis.pipeline() as pipe:
            pipe.pfadd(key, subscription)
            pipe.expire(key, RECEIPTS_KEPT)
            pipe.execute()

    def receipts(self, id: int, events: Sequence[str]) -> dict[str, int]:
        """Return how many browsers reported each event (HyperLogLog: to about 1 %)."""
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.pfcount(f"{self._key(id)}:{event}")
            return dict(zip(events, pipe.execute(), strict=True))


def _notification(id: int, row: Sequence[bytes | None]) -> Notification:
    doc, state, finished_at = row
    said = json.loads(cast(bytes, doc))
    return Notification(
        id=id,
        content=Content.from_json(said["content"]),
        audience=Audience.from_json(said["audience"]),
        state=State(cast(bytes, state).decode()),
        created_at=said["created_at"],
        created_by=said["created_by"],
        finished_at=float(finished_at) if finished_at else None,
    )
