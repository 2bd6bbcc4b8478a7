"""Webhooks, how each does, and the events that wait for them. All in the slot `{g}`.

webhooks                hash: by id, a webhook as JSON, its secrets sealed
webhooks:health         hash: by id, how it does, as JSON
webhooks:state          how far the log of alerts was read, and what else was laid out, as JSON
webhooks:waiting:<id>   hash: the events that a webhook is to hear, by `webhook-id`, as JSON
webhooks:due:<id>       sorted set: these, scored with when each is due (seconds)

Each write of the clock names what it has read, and does nothing if that is another one by now. So a
second clock, or an editor who changes the webhook, cannot be overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.newsroom.webhooks import Call, Health, Waiting, Webhook
from service.model.retention import CALL_KEPT
from service.model.stored import known_fields
from service.store.alerts.alert_log import LOG
from service.store.newsroom.calls import Request, call_key
from service.store.redis_servers.scripts import REPLACE

_WEBHOOKS, _HEALTH, _STATE = "{g}:webhooks", "{g}:webhooks:health", "{g}:webhooks:state"
MOST_WEBHOOKS = 20
_MOST_WAITING = 1000  # events of one webhook; later ones are dropped

# KEYS: webhooks, state. ARGV: id, webhook, the state where no webhook was before, the most. Returns
# 0 if there are too many. The first write allocates.
_ADD = """
local before = redis.call('HLEN', KEYS[1])
if before >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if before == 0 then redis.call('SET', KEYS[2], ARGV[3]) end
return 1
"""

# KEYS: state, webhooks, then due and waiting of each webhook that hears something. ARGV: state as
# it was read, state as it shall be, when all is due, the most that may wait; for each pair of keys
# the id of the webhook and the events, as a JSON object. Returns 0, and stores nothing, if the
# state is another by now. The first write allocates.
_LAY_OUT = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
for i = 3, #KEYS, 2 do
  local due, waiting = KEYS[i], KEYS[i + 1]
  if redis.call('HEXISTS', KEYS[2], ARGV[i + 2]) == 1 then
    for event, text in pairs(cjson.decode(ARGV[i + 3])) do
      if redis.call('ZCARD', due) < tonumber(ARGV[4]) then
        redis.call('HSET', waiting, event, text)
        redis.call('ZADD', due, ARGV[3], event)
      end
    end
  end
end
return 1
"""

# KEYS: webhooks, health, call. ARGV: id, health as it was read, health as it shall be, address,
# headers, body, seconds for which the call is kept. Returns 0 if the health is another by now, or
# the webhook is gone. The first write allocates.
_BEGIN = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[3], 'address', ARGV[4], 'headers', ARGV[5], 'body', ARGV[6])
redis.call('EXPIRE', KEYS[3], ARGV[7])
return 1
"""

# KEYS: health, call, due, waiting. ARGV: id, health as it was read, health as it shall be, event;
# where the event is due again, the time and the event as JSON, else '' and ''. Returns 0 if the
# health is another by now. The first write frees.
_SETTLE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[3], ARGV[4])
  redis.call('HDEL', KEYS[4], ARGV[4])
elseif redis.call('ZSCORE', KEYS[3], ARGV[4]) then
  redis.call('HSET', KEYS[4], ARGV[4], ARGV[6])
  redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
end
return 1
"""


class Kept(NamedTuple):
    """All webhooks at one moment, with how each does, and the state as it is stored."""

    webhooks: dict[str, Webhook]
    health: dict[str, Health]
    state: str
    stored: dict[str, bytes]  # webhooks as they are written, for `change`
    health_stored: dict[str, bytes]  # the same, for `begin` and `settle`

    def health_of(self, id: str) -> Health:
        """Return how a webhook does."""
        return self.health.get(id, Health())


class Webhooks:
    """Reads and writes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._change = redis.register_script(REPLACE)
        self._lay_out = redis.register_script(_LAY_OUT)
        self._begin = redis.register_script(_BEGIN)
        self._settle = redis.register_script(_SETTLE)

    # -- what editors and tools do -----------------------------------------------------------------

    def kept(self) -> Kept:
        """Return all webhooks, the oldest first."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(_WEBHOOKS)
            pipe.hgetall(_HEALTH)
            pipe.get(_STATE)
            webhooks, health, state = pipe.execute()
        found = [Webhook.from_json(text) for text in webhooks.values()]
        return Kept(
            {one.id: one for one in sorted(found, key=lambda one: (one.created_at, one.id))},
            {id.decode(): Health.from_json(text) for id, text in health.items()},
            (state or b"").decode(),
            {id.decode(): text for id, text in webhooks.items()},
            {id.decode(): text for id, text in health.items()},
        )

    def end_of_log(self) -> str:
        """Return the id of the last entry of the log of alerts."""
        rows = cast("list[tuple[bytes, object]]", self._redis.xrevrange(LOG, count=1))
        return rows[0][0].decode() if rows else "0-0"

    def add(self, webhook: Webhook, state: str) -> bool:
        """Add a webhook; False if there are too many. With the first one begins this `state`."""
        args: list[Any] = [webhook.id, webhook.as_json(), state, MOST_WEBHOOKS]
        return bool(self._add(keys=[_WEBHOOKS, _STATE], args=args))

    def change(self, kept: Kept, after: Webhook) -> bool:
        """Replace a webhook; False if it is another by now."""
        args: list[Any] = [after.id, kept.stored[after.id], after.as_json()]
        return bool(self._change(keys=[_WEBHOOKS], args=args))

    def put_health(self, id: str, health: Health) -> None:
        """Let a webhook go on that was ended, or end it."""
        self._redis.hset(_HEALTH, id, health.as_json())

    def remove(self, id: str) -> bool:
        """Remove a webhook and what waits for it; False if there is none."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_WEBHOOKS, id)
            pipe.hdel(_HEALTH, id)
            pipe.delete(_due(id), _waiting(id))
            return bool(pipe.execute()[0])

    def add_event(self, id: str, event: Waiting, now: float) -> None:
        """Have a webhook hear an event now."""
        with self._redis.pipeline() as pipe:
            pipe.hset(_waiting(id), event.id, _text(event))
            pipe.zadd(_due(id), {event.id: now})
            pipe.execute()

    def waiting(self, ids: Sequence[str]) -> dict[str, int]:
        """Return how many events wait for each webhook."""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.zcard(_due(id))
            return dict(zip(ids, pipe.execute(), strict=True))

    # -- what the clock does -----------------------------------------------------------------------

    def lay_out(
        self, before: str, after: str, events: Mapping[str, Iterable[Waiting]], now: float
    ) -> bool:
        """Store how far the log was read, and by webhook the events that it hears; all or nothing.

        False if another process has done so meanwhile.
        """
        keys = [_STATE, _WEBHOOKS]
        args: list[Any] = [before, after, repr(now), _MOST_WAITING]
        for id, some in events.items():
            keys += [_due(id), _waiting(id)]
            args += [id, json.dumps({one.id: _text(one) for one in some})]
        return bool(self._lay_out(keys=keys, args=args))

    def due(self, ids: Sequence[str], now: float) -> dict[str, Waiting]:
        """Return for each of these webhooks the event that is due first, if one is."""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.zrangebyscore(_due(id), "-inf", now, start=0, num=1)
            first = [(id, found[0]) for id, found in zip(ids, pipe.execute(), strict=True) if found]
        with self._redis.pipeline(transaction=False) as pipe:
            for id, event in first:
                pipe.hget(_waiting(id), event)
            texts = pipe.execute()
        return {id: _event(text) for (id, _), text in zip(first, texts, strict=True) if text}

    def event(self, id: str, event: str) -> Waiting | None:
        """Return an event that waits for a webhook."""
        text = cast("bytes | None", self._redis.hget(_waiting(id), event))
        return None if text is None else _event(text)

    def begin(
        self, kept: Kept, webhook: Webhook, health: Health, call: Call, request: Request
    ) -> bool:
        """Store a call that a fetch process is to make; False if anything has changed meanwhile."""
        keys = [_WEBHOOKS, _HEALTH, call_key(call.id)]
        before = kept.health_stored.get(webhook.id, b"")
        args: list[Any] = [webhook.id, before, health.as_json()]
        args += [request.address, json.dumps(request.headers), request.body, CALL_KEPT]
        return bool(self._begin(keys=keys, args=args))

    def settle(
        self, kept: Kept, id: str, call: Call, health: Health, again: tuple[float, Waiting] | None
    ) -> bool:
        """Store what came of a call, and when its event is due again; False if that is known."""
        keys = [_HEALTH, call_key(call.id), _due(id), _waiting(id)]
        args: list[Any] = [id, kept.health_stored[id], health.as_json(), call.event]
        args += [repr(again[0]), _text(again[1])] if again else ["", ""]
        return bool(self._settle(keys=keys, args=args))


def _due(id: str) -> str:
    return f"{{g}}:webhooks:due:{id}"


def _waiting(id: str) -> str:
    return f"{{g}}:webhooks:waiting:{id}"


def _text(event: Waiting) -> str:
    return json.dumps(asdict(event))


def _event(text: bytes) -> Waiting:
    return Waiting(**known_fields(Waiting, json.loads(text)))
