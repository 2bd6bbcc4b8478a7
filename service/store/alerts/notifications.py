"""Notifications: content, state and final reports. All in the slot `{g}`.

n:<id>            hash: a notification; its field `promise` is that of promises.py, and `call` names
                  the last call that changed it: the client repeats a call whose reply was lost,
                  and then hears that it succeeded
n                 the last id given out; `n:history`, the history of the data (history.py) then
active            set: notifications that are being sent, or whose outcomes are still counted
started           sorted set: all that were ever sent, scored with when that began (ms), and with
                  the id in the fraction
waves             the same for waves, which deliver held alerts and which no editor wrote
scheduled         sorted set: scheduled ones and drafts, scored with when to send (ms; draft: inf)
links:<d>         the id of the alert that was published with a link once a day; ends by itself
idempotency:<d>   the response to the same idempotency key again; ends by itself
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Any, cast

from redis import Redis

from service.model.alert_log import LogEntry
from service.model.notifications import ROUND_THE_WORLD, Notification, State
from service.store.alerts.alert_documents import FIELDS, document_of, notification_of
from service.store.alerts.alert_log import LOG, NOTE, packed
from service.store.readers.reader_alerts import NoRoom, Place
from service.store.readers.stories import STORIES
from service.store.redis_servers.history import HISTORY
from service.store.redis_servers.replicas import Replicas
from service.store.redis_servers.scripts import NOW, lua

ACTIVE, STARTED, SCHEDULED = "{g}:active", "{g}:started", "{g}:scheduled"
WAVES = "{g}:waves"
# Ids that are left out when Redis may have forgotten the last ones. In minutes no more are given
# out, welcomes and tests included.
_LEFT_OUT = 10_000

# KEYS: last id, the history of the data when it was given out. ARGV: how many ids are left out if
# the history is another by now: the last ones may belong to alerts that Redis has forgotten, while
# readers, push services and workers have not. The first write allocates.
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

_HISTORY = HISTORY + "return history"

# Puts a notification into the lists of its state. KEYS: notification, active, started or waves,
# scheduled, stories. ARGV: id, state, ms when to send it, or now, story or ''. A story opens with
# the first of its alerts that is sent.
_ENTER = """
local function enter()
  if ARGV[2] == 'draft' or ARGV[2] == 'scheduled' then
    redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  else
    redis.call('ZREM', KEYS[4], ARGV[1])
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

# KEYS: those of `enter`, log, claim to a link. ARGV: those of `enter`, document, changes so far,
# entry of the log, the call, seconds for which the link is claimed, 0 if it is not, alert that has
# the claim by now, or 0. Returns 0 if it is not planned any more, or was changed meanwhile; -1 if
# another alert has the claim. The first write allocates; that of a cancelling frees.
_CHANGE = (
    _ENTER
    + NOTE
    + """
local state, changes, call = unpack(redis.call('HMGET', KEYS[1], 'state', 'changes', 'call'))
if call == ARGV[8] then return 1 end
if state ~= 'draft' and state ~= 'scheduled' then return 0 end
if (changes or '0') ~= ARGV[6] then return 0 end
local claims = ARGV[9] ~= '0'
if claims and (redis.call('GET', KEYS[7]) or '0') ~= ARGV[10] then return -1 end
-- What stops an alert frees first, so that a full Redis does not refuse it.
local stops = ARGV[2] == 'cancelled' or (ARGV[2] == 'draft' and state == 'scheduled')
if stops then redis.call('ZREM', KEYS[4], '') end
redis.call('HSET', KEYS[1], 'doc', ARGV[5], 'changes', ARGV[6] + 1, 'call', ARGV[8])
redis.call('HDEL', KEYS[1], 'missed')
if claims then redis.call('SET', KEYS[7], ARGV[1], 'EX', ARGV[9]) end
enter()
note(KEYS[6], KEYS[1], ARGV[7])
return 1
"""
)

# KEYS: those of `enter`, log. ARGV: those of `enter`, document, entry of the log, digest of the
# document that is approved, who approves, the call. Returns 0 if that does not wait any more, was
# changed since, or if one of its authors approves. The first write allocates.
_APPROVE = (
    _ENTER
    + NOTE
    + """
local state, before, call = unpack(redis.call('HMGET', KEYS[1], 'state', 'doc', 'call'))
if call == ARGV[9] then return 1 end
if state ~= 'draft' or redis.sha1hex(before) ~= ARGV[7] then return 0 end
local document = cjson.decode(before)
local request = document.request
if not request or request == cjson.null or request.sent_back_by ~= '' then return 0 end
for _, author in ipairs(document.authors) do
  if author == ARGV[8] then return 0 end
end
redis.call('HSET', KEYS[1], 'doc', ARGV[5], 'call', ARGV[9])
redis.call('HINCRBY', KEYS[1], 'changes', 1)
enter()
note(KEYS[6], KEYS[1], ARGV[6])
return 1
"""
)

# KEYS: notification, scheduled, log. ARGV: id, entry of the log, '1' if it has to be a draft,
# changes so far or ''. Returns 0 if it is not planned any more, no draft, or was changed meanwhile.
# The first write frees.
_REMOVE = (
    NOTE
    + """
local state, changes = unpack(redis.call('HMGET', KEYS[1], 'state', 'changes'))
if state ~= 'draft' and (state ~= 'scheduled' or ARGV[3] == '1') then return 0 end
if ARGV[4] ~= '' and (changes or '0') ~= ARGV[4] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
note(KEYS[3], KEYS[1], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
"""
)

# KEYS: notification, log. ARGV: new state, entry of the log, the call, then the states from which
# that is possible. The first write frees, so that an alert can be stopped while Redis is full.
_MOVE = (
    NOTE
    + """
redis.call('HDEL', KEYS[1], '')
local state, call = unpack(redis.call('HMGET', KEYS[1], 'state', 'call'))
if call == ARGV[3] then return 1 end
for i = 4, #ARGV do
  if state == ARGV[i] then
    redis.call('HSET', KEYS[1], 'state', ARGV[1], 'call', ARGV[3])
    note(KEYS[2], KEYS[1], ARGV[2])
    return 1
  end
end
return 0
"""
)


@dataclass(frozen=True, slots=True)
class Move:
    """A change of an alert's state, if it is in one of those from which that is possible."""

    to: State
    possible_from: Sequence[State]
    entry: LogEntry | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The response to the same idempotency key again."""

    digest: str  # of the key and its caller
    response: dict[str, Any]
    seconds: int  # for which it is kept

    @property
    def key(self) -> str:
        """Its key in Redis."""
        return idempotency_key(self.digest)


@dataclass(frozen=True, slots=True)
class LinkClaim:
    """That an alert is to be the only one with its link for some time."""

    digest: str = ""  # of the link
    holder: int = 0  # the alert that has the claim so far
    seconds: int = 0  # for which it is kept; 0: no claim

    @property
    def key(self) -> str:
        """Its key in Redis."""
        return f"{{g}}:links:{self.digest}"


class LinkTaken(Exception):
    """Another alert has got the claim to the link meanwhile."""


def alert_key(id: int) -> str:
    """Return the key of a notification."""
    return f"{{g}}:n:{id}"


def idempotency_key(digest: str) -> str:
    """Return the key of the response to an idempotency key."""
    return f"{{g}}:idempotency:{digest}"


class Notifications:
    """Notifications, but not their recipients (recipients.py, batches.py, outcomes.py)."""

    def __init__(self, redis: Redis, replicas: Replicas) -> None:
        self._redis = redis
        self._replicas = replicas
        self._new_id = redis.register_script(_NEW_ID)
        self._history = redis.register_script(_HISTORY)
        self._publish = redis.register_script(
            _ENTER + NOTE + lua(__file__, "room") + lua(__file__, "publish")
        )
        self._change = redis.register_script(_CHANGE)
        self._approve = redis.register_script(_APPROVE)
        self._remove = redis.register_script(_REMOVE)
        self._start = redis.register_script(NOW + NOTE + lua(__file__, "start"))
        self._move = redis.register_script(_MOVE)
        self._correct = redis.register_script(NOTE + lua(__file__, "correct"))

    # -- the notification itself -----------------------------------------------------------------

    def new_id(self) -> int:
        """Return an id that no notification ever had; an id that is not used is no loss."""
        return cast(int, self._new_id(keys=["{g}:n", "{g}:n:history"], args=[_LEFT_OUT]))

    def history(self) -> bytes:
        """Return the history of the data; after it has changed, the last writes may be missing."""
        return cast(bytes, self._history(keys=["{g}:n:history"]))

    def publish(
        self,
        notification: Notification,
        idempotency: IdempotencyRecord | None = None,
        place: Place | None = None,
        entry: LogEntry | None = None,
        claim: LinkClaim | None = None,
    ) -> dict[str, Any] | None:
        """Store a notification in the lists of its state; returns None.

        If there is an idempotency record already, returns its response and stores nothing. An
        alert to one reader takes a place, or raises `NoRoom`. `LinkTaken` if the claim to its link
        is another alert's than that which it names.
        """
        link = claim or LinkClaim()
        keys = self._enter_keys(notification.id, WAVES if notification.wave else STARTED)
        args = _enter_args(notification, notification.created_at)
        args += [document_of(notification), int(notification.to_one)]
        keys += [idempotency.key if idempotency else idempotency_key(""), LOG, link.key]
        args += [json.dumps(idempotency.response), idempotency.seconds] if idempotency else ["", 0]
        args += [packed(entry), link.seconds, link.holder]
        if place is not None:
            keys += place.keys
            args += place.args
        editors = not notification.wave  # else it must not wait for replicas until it is late
        if editors:
            self._replicas.check("{g}")
        before = cast("bytes | int | None", self._publish(keys=keys, args=args))
        if before in (0, 1):
            raise LinkTaken if before else NoRoom
        if isinstance(before, bytes):
            return cast(dict[str, Any], json.loads(before))
        if editors:
            self._replicas.keep(alert_key(notification.id), "doc")
        return None

    def change(
        self,
        before: Notification,
        after: Notification,
        now: float,
        entry: LogEntry | None,
        claim: LinkClaim | None = None,
    ) -> bool:
        """Replace a planned notification; False if it is not planned or was changed meanwhile.

        `LinkTaken` as in `publish`.
        """
        link = claim or LinkClaim()
        args = [*_enter_args(after, now), document_of(after), before.changes, packed(entry)]
        args += [_new_call(), link.seconds, link.holder]
        keys = [*self._enter_keys(after.id), LOG, link.key]
        # What stops an alert must not wait for replicas until it has begun.
        stops = after.state is State.CANCELLED or (
            after.state is State.DRAFT and before.state is State.SCHEDULED
        )
        if not stops:
            self._replicas.check("{g}")
        if (changed := self._change(keys=keys, args=args)) == -1:
            raise LinkTaken
        if changed and not stops:
            self._replicas.keep(alert_key(after.id), "doc")
        return bool(changed)

    def approve(
        self, before: Notification, after: Notification, by: str, now: float, entry: LogEntry
    ) -> bool:
        """Send or schedule what waits for a second person; False if it is not `before` any more."""
        args = [*_enter_args(after, now), document_of(after), packed(entry), before.digest, by]
        args.append(_new_call())
        self._replicas.check("{g}")
        approved = bool(self._approve(keys=[*self._enter_keys(after.id), LOG], args=args))
        if approved:
            self._replicas.keep(alert_key(after.id), "doc")
        return approved

    def remove(
        self, id: int, entry: LogEntry, *, only_draft: bool = False, changes: int | None = None
    ) -> bool:
        """Delete a planned notification; False if it is not planned any more, or no draft.

        `changes` is how often it may have been changed; None: however often.
        """
        args: list[Any] = [id, packed(entry), int(only_draft), "" if changes is None else changes]
        return bool(self._remove(keys=[alert_key(id), SCHEDULED, LOG], args=args))

    def due(self, ahead: float = 0.0) -> list[int]:
        """Return the scheduled notifications that are due, or will be in so many seconds."""
        seconds, microseconds = self._redis.time()
        until = seconds * 1000 + microseconds // 1000 + int(ahead * 1000)
        found = cast("list[bytes]", self._redis.zrangebyscore(SCHEDULED, "-inf", until))
        return [int(id) for id in found]

    def next_due(self) -> float | None:
        """Return when the next scheduled one is due, in seconds since 1970; None: there is none."""
        found = self._redis.zrange(SCHEDULED, 0, 0, withscores=True)
        ((_, due),) = cast("list[tuple[bytes, float]]", found) or [(b"", math.inf)]
        return None if due == math.inf else due / 1000

    def start(self, id: int, most_late: float, *, outdated: bool = False) -> bool:
        """Start a scheduled notification that is due; True for the one call that did.

        One that is more than `most_late` seconds late becomes a draft instead, one for a local time
        once that has passed on all clocks by as much; one with an `outdated` audience in any case.
        """
        args = [id, int(most_late * 1000), ROUND_THE_WORLD * 1000, int(outdated)]
        return bool(self._start(keys=[*self._enter_keys(id), LOG], args=args))

    def _enter_keys(self, id: int, begun: str = STARTED) -> list[str]:
        return [alert_key(id), ACTIVE, begun, SCHEDULED, STORIES]

    def correct(
        self,
        root: Notification,
        correction: Notification,
        idempotency: IdempotencyRecord | None,
        entry: LogEntry,
        waited: tuple[Notification, LogEntry | None] | None = None,
        then: Move | None = None,
    ) -> dict[str, Any] | int:
        """Store a correction, and give its text to recipients that `root` has not reached yet.

        1; 0 if another correction came first; or the response of an idempotency record. A
        correction that is not to be sent is finished at once. `waited` is what it was until now, a
        draft or scheduled, and what the log says of that; -1 if it is not that any more. `then` is
        what else becomes of `root`.
        """
        ids = [*root.corrections, correction.id]
        over = correction.state is not State.SENDING
        self._replicas.check("{g}")
        result = self._correct(
            keys=[
                alert_key(root.id),
                alert_key(correction.id),
                ACTIVE,
                idempotency.key if idempotency else "{g}:idempotency:",
                STARTED,
                LOG,
                SCHEDULED,
                *(alert_key(id) for id in root.corrections),
            ],
            args=[
                root.revision,
                correction.id,
                document_of(correction),
                correction.state.value,
                json.dumps(correction.content.as_json()),
                json.dumps(ids),
                repr(correction.created_at),
                json.dumps({"recipients": 0, "outcomes": []}) if over else "",
                json.dumps(idempotency.response) if idempotency else "",
                idempotency.seconds if idempotency else 0,
                packed(entry),
                waited[0].digest if waited else "",
                packed(waited[1] if waited else None),
                then.to.value if then else "",
                packed(then.entry if then else None),
                *((state.value for state in then.possible_from) if then else ()),
            ],
        )
        if isinstance(result, bytes):
            return cast(dict[str, Any], json.loads(result))
        if result == 1:
            self._replicas.keep(alert_key(correction.id), "doc")
        return cast(int, result)

    def remembered(self, digest: str) -> dict[str, Any] | None:
        """Return the response of an idempotency record, if there is one."""
        before = cast("bytes | None", self._redis.get(idempotency_key(digest)))
        return None if before is None else cast(dict[str, Any], json.loads(before))

    def holder_of_link(self, digest: str) -> int:
        """Return the alert that was last published with a claim to this link, or 0."""
        return int(cast("bytes | None", self._redis.get(LinkClaim(digest).key)) or 0)

    def get(self, id: int) -> Notification | None:
        """Return a notification as it stands."""
        row = cast("list[bytes | None]", self._redis.hmget(alert_key(id), *FIELDS))
        return None if row[0] is None else notification_of(id, row)

    def state(self, id: int) -> State | None:
        """Return the state of a notification; workers ask every half second."""
        state = cast("bytes | None", self._redis.hget(alert_key(id), "state"))
        return None if state is None else State(state.decode())

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return up to `limit` notifications with ids below `before`, the newest first.

        Neither this nor `started` has tests to one browser, welcomes and waves. Editors do not look
        at them, and there may be one for each reader.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            # In this order, so that one that is started in between is in both, not in neither.
            pipe.zrange(SCHEDULED, 0, -1)
            pipe.zrange(STARTED, 0, -1)
            ids = {int(id) for found in pipe.execute() for id in found}
        some = ids if before is None else (id for id in ids if id < before)
        return self.all(nlargest(limit, some))

    def started(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return up to `limit` that are or were sent, the latest start first, after `before`."""
        rank = None if before is None else self._redis.zrevrank(STARTED, str(before))
        first = 0 if rank is None else cast(int, rank) + 1
        ids = cast("list[bytes]", self._redis.zrevrange(STARTED, first, first + limit - 1))
        return self.all(map(int, ids))

    def begun(self, since: float, until: float) -> list[Notification]:
        """Return those that began from `since` to before `until`, the first one first."""
        low, high = f"{since * 1000:.0f}", f"({until * 1000:.0f}"
        ids = cast("list[bytes]", self._redis.zrangebyscore(STARTED, low, high))
        return self.all(map(int, ids))

    def waves(self, limit: int) -> list[Notification]:
        """Return up to `limit` waves, the latest first."""
        return self.all(map(int, cast("list[bytes]", self._redis.zrevrange(WAVES, 0, limit - 1))))

    def all(self, ids: Iterable[int]) -> list[Notification]:
        """Return those of these notifications that exist."""
        ids = list(ids)
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(alert_key(id), *FIELDS)
            rows = pipe.execute()
        return [notification_of(id, row) for id, row in zip(ids, rows, strict=True) if row[0]]

    def move(
        self,
        id: int,
        to: State,
        *,
        possible_from: Sequence[State],
        entry: LogEntry | None = None,
    ) -> bool:
        """Change the state, if it is one of those given; False otherwise."""
        args = [to.value, packed(entry), _new_call(), *(state.value for state in possible_from)]
        return bool(self._move(keys=[alert_key(id), LOG], args=args))

    def active(self) -> list[int]:
        """Return the notifications that are being sent, or whose outcomes are still counted."""
        return sorted(int(id) for id in cast(set[bytes], self._redis.smembers(ACTIVE)))


def _new_call() -> str:
    """Return a name for a call, by which its script knows it again if it is repeated."""
    return secrets.token_hex(8)


def _enter_args(notification: Notification, now: float) -> list[Any]:
    when: float | str = round(now * 1000)
    if notification.state is State.DRAFT:
        when = "inf"
    elif notification.state is State.SCHEDULED and notification.send_at is not None:
        when = int(notification.send_at.at * 1000)
    return [notification.id, notification.state.value, when, notification.story]
