"""Notifications: what is said, in which state it is, what became of it; receipts and reports.

All in the slot `{g}`: a hash `n:<id>` each, one set per event reported, and

  active     set: those that are being sent, or of which something is still to be counted
  started    sorted set: all that ever were sent, scored with when that began (ms), and of one
             millisecond by id (in the fraction)
  waves      the same of those that brought what was held; no editor wrote them
  scheduled  sorted set: drafts and what is to be sent later, scored with when (ms; a draft: never)
  n          the last id given away, `n:history` the history of the data (history.py) it is of
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from heapq import nlargest
from typing import Any, cast

from redis import Redis

from service.model.notifications import (
    Audience,
    Content,
    Notification,
    Outcome,
    Progress,
    SendAt,
    State,
)
from service.model.retention import READERS_TEST_KEPT
from service.store.history import HISTORY
from service.store.stories import STORIES

_ACTIVE, _STARTED, _SCHEDULED = "{g}:active", "{g}:started", "{g}:scheduled"
_WAVES = "{g}:waves"
# Ids of alerts that are left out after Redis may have forgotten some: no more than these, welcomes
# and tests included, are given away in minutes.
_LEFT_OUT = 10_000
_FIELDS = (
    *("doc", "state", "started_at", "finished_at", "revision", "corrected", "corrections"),
    *("missed", "changes", "waves"),
)

# KEYS: last id, the history of the data when it was given away. ARGV: ids that are left out where
# that is another by now: the last ones may have been given to alerts that Redis has forgotten, and
# that readers, push services and workers have not. The first write allocates.
_NEW_ID = (
    HISTORY
    + """
local known = redis.call('GET', KEYS[2])
if known ~= history then
  redis.call('SET', KEYS[2], history)
  if known then redis.call('INCRBY', KEYS[1], ARGV[1]) end
end
return redis.call('INCR', KEYS[1])
"""
)

_WHICH_HISTORY = HISTORY + "return history"

# KEYS: notification, active, started or waves, scheduled, stories. ARGV: id, state, ms: when to
# send it, or now; story or ''. A story is open from the first of its alerts that is sent.
_ENTER = """
local function enter()
  if ARGV[2] == 'draft' or ARGV[2] == 'scheduled' then
    redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  else
    redis.call('HSET', KEYS[1], 'started_at', string.format('%.3f', ARGV[3] / 1000))
    redis.call('SADD', KEYS[2], ARGV[1])
    redis.call('ZADD', KEYS[3], ARGV[3] + ARGV[1] % 1000 / 1000, ARGV[1])
    if ARGV[4] ~= '' and ARGV[2] ~= 'cancelled' then
      redis.call('HSET', KEYS[5], ARGV[4], string.format('%s %.0f', ARGV[1], ARGV[3]))
    end
  end
  redis.call('HSET', KEYS[1], 'state', ARGV[2])
end
"""

# KEYS: those of `enter`, idempotency record or nothing.
# ARGV: those of `enter`, doc, whether a reader asked for it, answer, seconds kept.
# Returns nothing, or what was answered to the same key before. The first write allocates.
_PUBLISH = (
    _ENTER
    + """
if KEYS[6] then
  local before = redis.call('GET', KEYS[6])
  if before then return before end
  redis.call('SET', KEYS[6], ARGV[7], 'EX', ARGV[8])
end
redis.call('HSET', KEYS[1], 'doc', ARGV[5])
enter()
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[1], 'by_reader', 1)
  redis.call('ZREM', KEYS[3], ARGV[1])
end
"""
)

# KEYS: those of `enter`. ARGV: those of `enter`, doc, changes so far.
# Returns 0 where it is not planned any more, or was changed meanwhile. The first write allocates.
_CHANGE = (
    _ENTER
    + """
local state, changes = unpack(redis.call('HMGET', KEYS[1], 'state', 'changes'))
if state ~= 'draft' and state ~= 'scheduled' then return 0 end
if (changes or '0') ~= ARGV[6] then return 0 end
redis.call('HSET', KEYS[1], 'doc', ARGV[5], 'changes', ARGV[6] + 1)
redis.call('HDEL', KEYS[1], 'missed')
redis.call('ZREM', KEYS[4], ARGV[1])
enter()
return 1
"""
)

# KEYS: notification, scheduled. ARGV: id. Returns 0 where it is not planned any more.
_REMOVE = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'draft' and state ~= 'scheduled' then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
return 1
"""

# KEYS: those of `enter`. ARGV: id, ms by which it may be late.
# Starts what is due by Redis' own time, whoever asks and however often; what is later than that
# becomes a draft, unless it may be however late. Returns 1 where it was started. The first write
# allocates: what a full Redis would keep from being sent is not started, and may be late by then.
_START = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or 'inf')
if due > now then return 0 end
local state, text = unpack(redis.call('HMGET', KEYS[1], 'state', 'doc'))
if state ~= 'scheduled' then
  redis.call('ZREM', KEYS[4], ARGV[1])
  return 0
end
local said = cjson.decode(text)
if now - due > tonumber(ARGV[2]) and not said.send_at.however_late then
  redis.call('HSET', KEYS[1], 'state', 'draft', 'missed', 1)
  redis.call('ZADD', KEYS[4], 'inf', ARGV[1])
  return 0
end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'sending', 'started_at', string.format('%.3f', now / 1000))
redis.call('ZADD', KEYS[3], now + ARGV[1] % 1000 / 1000, ARGV[1])
if said.story ~= '' then
  redis.call('HSET', KEYS[5], said.story, string.format('%s %.0f', ARGV[1], now))
end
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
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

# KEYS: what is corrected, the correction, active, idempotency record, started, then earlier
# corrections.
# ARGV: revision so far, the correction's id, doc, state, text, all corrections, now, report or '',
# answer, seconds kept (0: not). Returns 0 if another correction came first, 1, or what was answered
# to the same key before. Earlier corrections end: what they had to say is out of date. The first
# write allocates.
_CORRECT = """
if ARGV[10] ~= '0' then
  local before = redis.call('GET', KEYS[4])
  if before then return before end
end
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then return 0 end
if ARGV[10] ~= '0' then redis.call('SET', KEYS[4], ARGV[9], 'EX', ARGV[10]) end
redis.call('HSET', KEYS[2], 'doc', ARGV[3], 'state', ARGV[4], 'started_at', ARGV[7])
redis.call('ZADD', KEYS[5], ARGV[7] * 1000 + ARGV[2] % 1000 / 1000, ARGV[2])
redis.call('HSET', KEYS[1], 'revision', ARGV[1] + 1, 'corrected', ARGV[5], 'corrections', ARGV[6])
if ARGV[8] == '' then
  redis.call('SADD', KEYS[3], ARGV[2])
else
  redis.call('HSET', KEYS[2], 'finished_at', ARGV[7], 'report', ARGV[8])
end
for i = 6, #KEYS do
  local state = redis.call('HGET', KEYS[i], 'state')
  if state == 'sending' or state == 'paused' then
    redis.call('HSET', KEYS[i], 'state', 'cancelled')
  end
end
return 1
"""

# KEYS: notification, active, then the alerts that it brought as a wave. ARGV: id, state,
# finished_at, report, seconds after which one that a reader asked for is forgotten, the history of
# the data when it was closed, then to how many it brought each of those alerts alone, and together
# with others. Cancelled stays cancelled. Nothing where Redis may have forgotten that it was closed.
_FINISH = (
    HISTORY
    + """
if history ~= ARGV[6] then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'report') == 1 then return 0 end
local state = ARGV[2]
if redis.call('HGET', KEYS[1], 'state') == 'cancelled' then state = 'cancelled' end
redis.call('HSET', KEYS[1], 'state', state, 'finished_at', ARGV[3], 'report', ARGV[4])
if redis.call('HEXISTS', KEYS[1], 'by_reader') == 1 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
for i = 3, #KEYS do
  local waves = cjson.decode(redis.call('HGET', KEYS[i], 'waves') or '[]')
  table.insert(waves, {tonumber(ARGV[1]), tonumber(ARGV[i * 2 + 1]), tonumber(ARGV[i * 2 + 2])})
  redis.call('HSET', KEYS[i], 'waves', cjson.encode(waves))
end
return 1
"""
)


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What to answer to the same idempotency key again, and for how many seconds."""

    digest: str
    answer: dict[str, Any]
    seconds: int

    @property
    def key(self) -> str:
        """Where it is kept."""
        return _idempotency_key(self.digest)


class Notifications:
    """Everything about notifications but their recipients."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._new_id = redis.register_script(_NEW_ID)
        self._which_history = redis.register_script(_WHICH_HISTORY)
        self._publish = redis.register_script(_PUBLISH)
        self._change = redis.register_script(_CHANGE)
        self._remove = redis.register_script(_REMOVE)
        self._start = redis.register_script(_START)
        self._move = redis.register_script(_MOVE)
        self._finish = redis.register_script(_FINISH)
        self._correct = redis.register_script(_CORRECT)

    @staticmethod
    def _key(id: int) -> str:
        return f"{{g}}:n:{id}"

    # -- the notification itself -----------------------------------------------------------------

    def new_id(self) -> int:
        """Return an id that no notification ever had; one that is not used is no loss."""
        return cast(int, self._new_id(keys=["{g}:n", "{g}:n:history"], args=[_LEFT_OUT]))

    def history(self) -> bytes:
        """Return which history the data is of; another one may lack the last writes."""
        return cast(bytes, self._which_history(keys=["{g}:n:history"]))

    def publish(
        self,
        notification: Notification,
        memory: IdempotencyRecord | None = None,
    ) -> dict[str, Any] | None:
        """Store a notification, to be sent as its state says; returns None.

        Where something is remembered already, nothing is stored and that is returned.
        """
        keys = self._enter_keys(notification.id, _WAVES if notification.wave else _STARTED)
        args = _enter_args(notification, notification.created_at)
        args += [_doc(notification), int(notification.by_reader)]
        if memory is not None:
            keys.append(memory.key)
            args += [json.dumps(memory.answer), memory.seconds]
        before = cast("bytes | None", self._publish(keys=keys, args=args))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def change(self, before: Notification, after: Notification, now: float) -> bool:
        """Replace what is planned; False where it is not any more, or was changed meanwhile."""
        args = [*_enter_args(after, now), _doc(after), before.changes]
        return bool(self._change(keys=self._enter_keys(after.id), args=args))

    def remove(self, id: int) -> bool:
        """Forget what is planned; False where it is not."""
        return bool(self._remove(keys=[self._key(id), _SCHEDULED], args=[id]))

    def due(self) -> list[int]:
        """Return what is to be sent by now."""
        seconds, microseconds = self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        found = cast("list[bytes]", self._redis.zrangebyscore(_SCHEDULED, "-inf", now))
        return [int(id) for id in found]

    def start(self, id: int, most_late: float) -> bool:
        """Start what is due; at most so many seconds late, else it becomes a draft again.

        True for the one call that started it.
        """
        return bool(self._start(keys=self._enter_keys(id), args=[id, int(most_late * 1000)]))

    def _enter_keys(self, id: int, begun: str = _STARTED) -> list[str]:
        return [self._key(id), _ACTIVE, begun, _SCHEDULED, STORIES]

    def correct(
        self, root: Notification, correction: Notification, memory: IdempotencyRecord | None = None
    ) -> dict[str, Any] | bool:
        """Store a correction, and give its text to those whom `root` has not reached yet.

        True; False if another correction came first; or what is remembered already. A correction
        that is not to be sent is finished at once.
        """
        ids = [*root.corrections, correction.id]
        over = correction.state is not State.SENDING
        said = self._correct(
            keys=[
                self._key(root.id),
                self._key(correction.id),
                _ACTIVE,
                memory.key if memory else "{g}:idempotency:",
                _STARTED,
                *(self._key(id) for id in root.corrections),
            ],
            args=[
                root.revision,
                correction.id,
                _doc(correction),
                correction.state.value,
                json.dumps(correction.content.as_json()),
                json.dumps(ids),
                repr(correction.created_at),
                json.dumps({"recipients": 0, "outcomes": []}) if over else "",
                json.dumps(memory.answer) if memory else "",
                memory.seconds if memory else 0,
            ],
        )
        return cast(dict[str, Any], json.loads(said)) if isinstance(said, bytes) else bool(said)

    def remembered(self, digest: str) -> dict[str, Any] | None:
        """Return what is remembered under an idempotency key."""
        before = cast("bytes | None", self._redis.get(_idempotency_key(digest)))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def get(self, id: int) -> Notification | None:
        """Return a notification as it stands."""
        row = cast("list[bytes | None]", self._redis.hmget(self._key(id), *_FIELDS))
        return None if row[0] is None else _notification(id, row)

    def state(self, id: int) -> State | None:
        """Return what a notification is doing: what workers ask every half second."""
        state = cast("bytes | None", self._redis.hget(self._key(id), "state"))
        return None if state is None else State(state.decode())

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return up to `limit` notifications, newest first, those older than id `before`.

        What readers asked for, to try their browsers, is neither here nor among `started`, nor is
        what brought what was held: neither is looked at, there may be one for each reader.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            # In this order: what is started between the two is in both, not in neither.
            pipe.zrange(_SCHEDULED, 0, -1)
            pipe.zrange(_STARTED, 0, -1)
            ids = {int(id) for found in pipe.execute() for id in found}
        some = ids if before is None else (id for id in ids if id < before)
        return self.all(nlargest(limit, some))

    def started(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return up to `limit` that are or were sent, latest start first, those below `before`."""
        rank = None if before is None else self._redis.zrevrank(_STARTED, str(before))
        first = 0 if rank is None else cast(int, rank) + 1
        ids = cast("list[bytes]", self._redis.zrevrange(_STARTED, first, first + limit - 1))
        return self.all(map(int, ids))

    def waves(self, limit: int) -> list[Notification]:
        """Return up to `limit` that bring or brought what was held, the latest first."""
        return self.all(map(int, cast("list[bytes]", self._redis.zrevrange(_WAVES, 0, limit - 1))))

    def planned(self, limit: int) -> list[Notification]:
        """Return up to `limit` that were not sent yet: the soonest first, drafts last."""
        ids = cast("list[bytes]", self._redis.zrange(_SCHEDULED, 0, limit - 1))
        return [one for one in self.all(map(int, ids)) if one.planned]

    def all(self, ids: Iterable[int]) -> list[Notification]:
        """Return those of these notifications that there are."""
        ids = list(ids)
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(self._key(id), *_FIELDS)
            rows = pipe.execute()
        return [_notification(id, row) for id, row in zip(ids, rows, strict=True) if row[0]]

    def move(self, id: int, to: State, *, possible_from: Sequence[State]) -> bool:
        """Change the state, if it is one of those given; False otherwise."""
        args = [to.value, *(state.value for state in possible_from)]
        return bool(self._move(keys=[self._key(id)], args=args))

    def active(self) -> list[int]:
        """Return the notifications with something left to do or to count."""
        return sorted(int(id) for id in cast(set[bytes], self._redis.smembers(_ACTIVE)))

    def finish(self, id: int, state: State, at: float, progress: Progress, history: bytes) -> bool:
        """Make the report final, once every partition is closed; True for the call that did.

        `history` is the replication id from before the partitions were closed. Under another one
        nothing is done, because Redis may have forgotten that they were.
        """
        report: dict[str, Any] = {
            "recipients": progress.recipients,
            "outcomes": [[o.value, service, n] for (o, service), n in progress.outcomes.items()],
        }
        if progress.brought:
            report["brought"] = [[alert, *counts] for alert, counts in progress.brought.items()]
        keys = [self._key(id), _ACTIVE, *map(self._key, progress.brought)]
        args = [id, state.value, repr(at), json.dumps(report), READERS_TEST_KEPT, history]
        args += [count for counts in progress.brought.values() for count in counts]
        return bool(self._finish(keys=keys, args=args))

    def report(self, id: int) -> Progress | None:
        """Return what became of a notification that is finished."""
        report = cast("bytes | None", self._redis.hget(self._key(id), "report"))
        if report is None:
            return None
        said = json.loads(report)
        counts = {(Outcome(o), service): n for o, service, n in said["outcomes"]}
        brought = {alert: (alone, together) for alert, alone, together in said.get("brought", ())}
        return Progress(said["recipients"], counts, brought)

    # -- receipts --------------------------------------------------------------------------------

    def count_receipt(self, id: int, event: str, subscription: str, kept: int) -> None:
        """Count that a browser reported `event`; the same browser counts once.

        Counts are kept for so many seconds after the last one; each event takes up to 12 KB.
        """
        key = f"{self._key(id)}:{event}"
        with self._redis.pipeline() as pipe:
            pipe.pfadd(key, subscription)
            pipe.expire(key, kept)
            pipe.execute()

    def receipts(self, id: int, events: Sequence[str]) -> dict[str, int]:
        """Return how many browsers reported each event (HyperLogLog: to about 1 %)."""
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.pfcount(f"{self._key(id)}:{event}")
            return dict(zip(events, pipe.execute(), strict=True))


def _idempotency_key(digest: str) -> str:
    return f"{{g}}:idempotency:{digest}"


def _enter_args(notification: Notification, now: float) -> list[Any]:
    when: float | str = round(now * 1000)
    if notification.state is State.DRAFT:
        when = "inf"
    elif notification.state is State.SCHEDULED and notification.send_at is not None:
        when = int(notification.send_at.at * 1000)
    return [notification.id, notification.state.value, when, notification.story]


def _doc(notification: Notification) -> str:
    return json.dumps(
        {
            "content": notification.content.as_json(),
            "audience": notification.audience.as_json(),
            "story": notification.story,
            "spread_minutes": notification.spread_minutes,
            "send_at": asdict(notification.send_at) if notification.send_at else None,
            "corrects": notification.corrects,
            "reporting": notification.reporting,
            "created_at": notification.created_at,
            "created_by": notification.created_by,
        }
    )


def _notification(id: int, row: Sequence[bytes | None]) -> Notification:
    doc, state, started_at, finished_at, revision, corrected, corrections = row[:7]
    missed, changes, waves = row[7:]
    said = json.loads(cast(bytes, doc))
    return Notification(
        id=id,
        content=Content.from_json(said["content"]),
        audience=Audience.from_json(said["audience"] | {"story": said["story"]}),
        state=State(cast(bytes, state).decode()),
        created_at=said["created_at"],
        created_by=said["created_by"],
        started_at=float(started_at) if started_at else None,
        finished_at=float(finished_at) if finished_at else None,
        spread_minutes=said["spread_minutes"],
        send_at=SendAt(**said["send_at"]) if said["send_at"] else None,
        missed=bool(missed),
        changes=int(changes or 0),
        corrects=said["corrects"],
        revision=int(revision or 0),
        corrected=Content.from_json(json.loads(corrected)) if corrected else None,
        corrections=tuple(json.loads(corrections)) if corrections else (),
        reporting=said["reporting"],
        waves=tuple((id, alone, together) for id, alone, together in json.loads(waves or b"[]")),
    )
