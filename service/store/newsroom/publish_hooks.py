"""Publish hooks, and what came of their last calls. All in the slot `{g}`.

hooks             hash: by id, a publish hook as JSON, its secret sealed
hooks:calls       hash: by id, its last calls as JSON, the latest first
hooks:seen:<d>    what a call was answered, for the same call again; it ends by itself
hooks:texts:<d>   hash: by digest, the alert that a text of a story went into; it ends by itself
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from redis import Redis

from service.model.newsroom.publish_hooks import HookCall, PublishHook
from service.model.retention import HOOK_CALL_SEEN, HOOK_TEXTS_SEEN
from service.model.stored import known_fields
from service.store.redis_servers.scripts import REPLACE

_HOOKS, _CALLS = "{g}:hooks", "{g}:hooks:calls"
MOST_HOOKS = 20

# KEYS: hooks. ARGV: id, hook, the most. Returns 0 if there are too many. The first write allocates.
_ADD = """
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class PublishHooks:
    """Reads and writes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._replace = redis.register_script(REPLACE)

    def all(self) -> list[PublishHook]:
        """Return all publish hooks, the oldest first."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(_HOOKS))
        hooks = [PublishHook.from_json(text) for text in found.values()]
        return sorted(hooks, key=lambda one: (one.created_at, one.id))

    def get(self, id: str) -> PublishHook | None:
        """Return one publish hook."""
        text = cast("bytes | None", self._redis.hget(_HOOKS, id))
        return None if text is None else PublishHook.from_json(text)

    def add(self, hook: PublishHook) -> bool:
        """Store a new publish hook; False if there are too many."""
        return bool(self._add(keys=[_HOOKS], args=[hook.id, hook.as_json(), MOST_HOOKS]))

    def change(self, id: str, changed: Callable[[PublishHook], PublishHook]) -> bool:
        """Store what `changed` makes of a publish hook; False if there is none.

        It is called again if another process has changed the hook meanwhile.
        """
        while (text := cast("bytes | None", self._redis.hget(_HOOKS, id))) is not None:
            after = changed(PublishHook.from_json(text))
            if self._replace(keys=[_HOOKS], args=[id, text, after.as_json()]):
                return True
        return False

    def remove(self, id: str) -> bool:
        """Remove a publish hook; False if there is none."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_HOOKS, id)
            pipe.hdel(_CALLS, id)
            return bool(pipe.execute()[0])

    def calls(self) -> dict[str, list[HookCall]]:
        """Return the last calls of each publish hook, the latest first."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(_CALLS))
        return {id.decode(): _calls(text) for id, text in found.items()}

    def calls_of(self, id: str) -> list[HookCall]:
        """Return the last calls of one publish hook."""
        return _calls(cast("bytes | None", self._redis.hget(_CALLS, id)) or b"[]")

    def put_calls(self, id: str, calls: Sequence[HookCall]) -> None:
        """Replace the last calls of a publish hook; of two at once one may be missing."""
        self._redis.hset(_CALLS, id, json.dumps([asdict(one) for one in calls]))

    def seen(self, digest: str) -> dict[str, Any] | None:
        """Return what the same call was answered before."""
        text = cast("bytes | None", self._redis.get(_seen(digest)))
        return None if text is None else cast("dict[str, Any]", json.loads(text))

    def taken(self, story: str, text: str) -> int | None:
        """Return the alert that this text of a story went into; None for a new one. By digests."""
        found = cast("bytes | None", self._redis.hget(_texts(story), text))
        return None if found is None else int(found)

    def put_taken(self, story: str, text: str, alert: int) -> None:
        """Store that a text of a story went into an alert."""
        with self._redis.pipeline() as pipe:
            pipe.hset(_texts(story), text, alert)
            pipe.expire(_texts(story), HOOK_TEXTS_SEEN)
            pipe.execute()

    def put_seen(self, digest: str, answer: dict[str, Any]) -> None:
        """Store what a call was answered."""
        self._redis.set(_seen(digest), json.dumps(answer), ex=HOOK_CALL_SEEN)


def _seen(digest: str) -> str:
    return f"{{g}}:hooks:seen:{digest}"


def _texts(story: str) -> str:
    return f"{{g}}:hooks:texts:{story}"


def _calls(text: bytes) -> list[HookCall]:
    return [HookCall(**known_fields(HookCall, one)) for one in json.loads(text)]
