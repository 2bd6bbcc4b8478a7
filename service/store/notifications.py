"""Notifications: what is said, in which state it is, what became of it; receipts and reports.

All in the slot `{g}`: a hash `n:<id>` each, the set of those not finished, one set per event
reported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from service.models import Audience, Content, Notification, Outcome, Progress, State

_ACTIVE = "{g}:active"
_FIELDS = ("doc", "state", "started_at", "finished_at", "revision", "corrected", "corrections")
RECEIPTS_KEPT = 30 * 86_400  # seconds after the last one; each event takes up to 12 KB

# KEYS: notification, active, idempotency record or nothing.
# ARGV: id, doc, started_at, answer, seconds kept.
# Returns nothing, or what was answered to the same key before. The first write allocates.
_PUBLISH = """
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before then return before end
  redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
end
redis.call('HSET', KEYS[1], 'doc', ARGV[2], 'state', 'sending', 'started_at', ARGV[3])
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

# KEYS: what is corrected, the correction, active, idempotency record, then earlier corrections.
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
redis.call('HSET', KEYS[1], 'revision', ARGV[1] + 1, 'corrected', ARGV[5], 'corrections', ARGV[6])
if ARGV[8] == '' then
  redis.call('SADD', KEYS[3], ARGV[2])
else
  redis.call('HSET', KEYS[2], 'finished_at', ARGV[7], 'report', ARGV[8])
end
for i = 5, #KEYS do
  local state = redis.call('HGET', KEYS[i], 'state')
  if state == 'sending' or state == 'paused' then
    redis.call('HSET', KEYS[i], 'state', 'cancelled')
  end
end
return 1
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


@dataclass(frozen=True, slots=True)
class Memory:
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
        self._publish = redis.register_script(_PUBLISH)
        self._move = redis.register_script(_MOVE)
        self._finish = redis.register_script(_FINISH)
        self._correct = redis.register_script(_CORRECT)

    @staticmethod
    def _key(id: int) -> str:
        return f"{{g}}:n:{id}"

    # -- the notification itself -----------------------------------------------------------------

    def new_id(self) -> int:
        """Return the next notification's id; one that is not used in the end is no loss."""
        return self._redis.incr("{g}:n")

    def publish(
        self,
        notification: Notification,
        memory: Memory | None = None,
    ) -> dict[str, Any] | None:
        """Store a notification that is to be sent; returns None.

        Where something is remembered already, nothing is stored and that is returned.
        """
        keys = [self._key(notification.id), _ACTIVE]
        args: list[Any] = [notification.id, _doc(notification), repr(notification.created_at)]
        if memory is not None:
            keys.append(memory.key)
            args += [json.dumps(memory.answer), memory.seconds]
        before = cast("bytes | None", self._publish(keys=keys, args=args))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def correct(
        self, root: Notification, correction: Notification, memory: Memory | None = None
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
        """Return up to `limit` notifications, newest first, those older than id `before`."""
        newest = int(cast("bytes | None", self._redis.get("{g}:n")) or 0)
        upto = newest if before is None else min(newest, before - 1)
        found: list[Notification] = []
        while upto > 0 and len(found) < limit:
            ids = range(upto, max(0, upto - limit), -1)
            with self._redis.pipeline(transaction=False) as pipe:
                for id in ids:
                    pipe.hmget(self._key(id), *_FIELDS)
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

    def finish(self, id: int, state: State, at: float, progress: Progress) -> bool:
        """Make the report final, once every partition is closed; True for the call that did."""
        report = {
            "recipients": progress.recipients,
            "outcomes": [[o.value, service, n] for (o, service), n in progress.outcomes.items()],
        }
        args = [id, state.value, repr(at), json.dumps(report)]
        return bool(self._finish(keys=[self._key(id), _ACTIVE], args=args))

    def report(self, id: int) -> Progress | None:
        """Return what became of a notification that is finished."""
        report = cast("bytes | None", self._redis.hget(self._key(id), "report"))
        if report is None:
            return None
        said = json.loads(report)
        counts = {(Outcome(o), service): n for o, service, n in said["outcomes"]}
        return Progress(said["recipients"], counts)

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


def _idempotency_key(digest: str) -> str:
    return f"{{g}}:idempotency:{digest}"


def _doc(notification: Notification) -> str:
    return json.dumps(
        {
            "content": notification.content.as_json(),
            "audience": notification.audience.as_json(),
            "spread_minutes": notification.spread_minutes,
            "corrects": notification.corrects,
            "created_at": notification.created_at,
            "created_by": notification.created_by,
        }
    )


def _notification(id: int, row: Sequence[bytes | None]) -> Notification:
    doc, state, started_at, finished_at, revision, corrected, corrections = row
    said = json.loads(cast(bytes, doc))
    return Notification(
        id=id,
        content=Content.from_json(said["content"]),
        audience=Audience.from_json(said["audience"]),
        state=State(cast(bytes, state).decode()),
        created_at=said["created_at"],
        created_by=said["created_by"],
        started_at=float(started_at) if started_at else None,
        finished_at=float(finished_at) if finished_at else None,
        spread_minutes=said["spread_minutes"],
        corrects=said["corrects"],
        revision=int(revision or 0),
        corrected=Content.from_json(json.loads(corrected)) if corrected else None,
        corrections=tuple(json.loads(corrections)) if corrections else (),
    )
