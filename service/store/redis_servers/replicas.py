"""Replicas that must have what was stored before we say so (STORE_WAIT_REPLICAS; decision 80).

Too few of them are noticed before anything is written, so that a refusal is whole. What was written
stands: an alert that is on its way is not said to be refused because a replica has just gone away.
"""

from __future__ import annotations

from redis import Redis, RedisError

from service.model.operations.process_log import say
from service.store.redis_servers.connection import at

# ms for replicas to answer. While as many calls of a web process as may wait for Redis do so, a
# further one fails after half a second (connection.py).
_PATIENCE = 400


class TooFewReplicas(RedisError):
    """Fewer replicas answer than must have what is stored; nothing was stored."""


class NotKept(RedisError):
    """What was stored is not there any more, because another server has become the master."""


class Replicas:
    """Waits until enough replicas have the writes until now; does nothing if none is wanted."""

    def __init__(self, redis: Redis, wanted: int) -> None:
        self._redis = redis
        self._wanted = wanted

    def check(self, tag: str) -> None:
        """Raise `TooFewReplicas` unless enough of them keep up at this moment."""
        if self._wanted and self._ask(tag)[0] < self._wanted:
            raise TooFewReplicas("too few replicas")

    def keep(self, key: str, field: str) -> None:
        """Wait for a field of a hash that was just written; `NotKept` if it is gone.

        A failover in between may have lost it, while the new master has replicas that answer.
        """
        if not self._wanted:
            return
        answered, there = self._ask(key.partition("}")[0] + "}", key, field)
        if not there:
            raise NotKept("lost in a failover")
        if answered < self._wanted:
            line = f"stored on {answered} of {self._wanted} replicas (STORE_WAIT_REPLICAS)"
            say("store", line)

    def _ask(self, tag: str, key: str = "", field: str = "") -> tuple[int, bool]:
        """Return how many replicas have all writes until now, and whether a field is there."""
        marker = f"{tag}:replicated"

        def call(server: Redis, asking: bool) -> tuple[int, bool | None]:
            with server.pipeline(transaction=False) as pipe:
                if asking:
                    pipe.execute_command("ASKING")  # type: ignore[no-untyped-call]
                # WAIT is for the writes of its own connection. They are replicated in the order of
                # all.
                pipe.set(marker, "", px=1)
                pipe.wait(self._wanted, _PATIENCE)
                if asking or not key:  # while its slot moves, the key may be at the other server
                    return pipe.execute()[-1], None
                pipe.hexists(key, field)
                _, answered, there = pipe.execute()
                return answered, there

        answered, there = at(self._redis, marker, call)
        if key and there is None:
            there = bool(self._redis.hexists(key, field))
        return answered, bool(there)
