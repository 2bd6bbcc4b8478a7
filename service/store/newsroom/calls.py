"""Requests that a fetch process is to send, and what came of each. In the slot `{g}`.

{g}:call:<id>  hash: `address`, `headers` as JSON and `body`; once it was sent, `answer` as JSON. It
               ends by itself
"""

from __future__ import annotations

import json
from typing import NamedTuple, cast

from redis import Redis

# KEYS: call. ARGV: answer. The first write frees.
_ANSWER = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HDEL', KEYS[1], 'answer')
redis.call('HSET', KEYS[1], 'answer', ARGV[1])
"""


class Request(NamedTuple):
    """A request that was not sent yet."""

    address: str
    headers: dict[str, str]
    body: bytes


class Calls:
    """Requests and their answers, by id."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._answer = redis.register_script(_ANSWER)

    def to_send(self, id: str) -> Request | None:
        """Return the request stored under an id; None if it was sent, or has ended."""
        fields = ("address", "headers", "body", "answer")
        row = cast("list[bytes | None]", self._redis.hmget(call_key(id), *fields))
        address, headers, body, answer = row
        if address is None or headers is None or body is None or answer is not None:
            return None
        return Request(address.decode(), json.loads(headers), body)

    def answered(self, id: str, answer: str) -> None:
        """Store what came of a request, unless it has ended meanwhile."""
        self._answer(keys=[call_key(id)], args=[answer])

    def answer(self, id: str) -> bytes | None:
        """Return what came of a request; None if that is not known yet."""
        return cast("bytes | None", self._redis.hget(call_key(id), "answer"))


def call_key(id: str) -> str:
    """Return the key of a request."""
    return f"{{g}}:call:{id}"
