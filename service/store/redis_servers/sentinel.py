"""Where the master of a Redis is that Sentinel watches (decision 80).

All sentinels are asked at once, and the one with the latest failover is believed: a sentinel that
was cut off, or has just been started again, may name the master of before. While an address is in
use they are asked twice a second, because a master that was replaced may go on taking writes for
ten seconds, all of which are lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from service.model.network.redis_urls import SentinelUrl, parse_sentinel_url

_ANSWER = 0.5  # seconds that a sentinel has to accept a connection, and again to answer
_ALL = 1.0  # seconds that all of them have together, also where a name server is silent
_EVERY = 0.5  # seconds between two looks
_NEEDED = {"ip", "port", "config-epoch"}  # of what a sentinel says of a master
_IDLE = 30.0  # seconds without a call after which nobody needs to know any more


class SentinelsAway(ConnectionError):
    """No sentinel answers; the message has the cause for one of them."""


class MasterIsDown(ConnectionError):
    """The sentinels have no master that works: they may be about to choose another."""


class UnknownMaster(RedisError):
    """The sentinels watch no master of that name."""


class NotSentinel(RedisError):
    """What answers is no sentinel; it may be a Redis."""


class IsSentinel(RedisError):
    """What should be a Redis is a sentinel."""


class SentinelsRefuse(AuthenticationError):
    """The sentinels want another user or password."""


class Answer(NamedTuple):
    """What one sentinel said."""

    sentinel: str
    masters: Mapping[str, Any]  # by name, as redis-py reads them
    error: RedisError | None = None


class Named(NamedTuple):
    """The master that the sentinels name."""

    host: str
    port: int
    epoch: int  # grows with each failover


class Sentinels:
    """The sentinels of one address, and the master that they name."""

    def __init__(self, url: SentinelUrl) -> None:
        self.name = url.master
        self._clients = {
            host: Redis.from_url(
                address,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=_ANSWER,
                socket_connect_timeout=_ANSWER,
            )
            for host, address in url.sentinels.items()
        }

    def ask(self) -> list[Answer]:
        """Ask all of them at once."""
        answers: SimpleQueue[Answer] = SimpleQueue()
        for sentinel in self._clients:
            threading.Thread(
                target=lambda host: answers.put(self._ask_one(host)),
                args=(sentinel,),
                name="sentinel",
                daemon=True,  # it may wait for a name server
            ).start()
        found: dict[str, Answer] = {}
        until = time.monotonic() + _ALL
        with suppress(Empty):
            while len(found) < len(self._clients):
                answer = answers.get(timeout=max(0.0, until - time.monotonic()))
                found[answer.sentinel] = answer
        late = TimeoutError("no answer in time")
        return [found.get(sentinel, Answer(sentinel, {}, late)) for sentinel in self._clients]

    def _ask_one(self, sentinel: str) -> Answer:
        try:
            # redis-py's types know only what the command returns to a client of several sentinels.
            masters = cast("dict[str, Any]", self._clients[sentinel].sentinel_masters())
            complete = all(state.keys() >= _NEEDED for state in masters.values())
        except RedisError as error:
            return Answer(sentinel, {}, error)
        except (AttributeError, LookupError, TypeError, ValueError):  # as `asking` has it
            complete = False
        if not complete:
            return Answer(sentinel, {}, InvalidResponse("it answers as no sentinel does"))
        return Answer(sentinel, masters)

    def named(self, answers: list[Answer]) -> Named:
        """Return the master that these answers name; `RedisError`."""
        known = [answer.masters[self.name] for answer in answers if self.name in answer.masters]
        if not known:
            raise self._why(answers)
        latest = max(state["config-epoch"] for state in known)
        for state in known:
            down = state["is_sdown"] or state["is_odown"] or not state["is_master"]
            if state["config-epoch"] == latest and not down:
                return Named(state["ip"], state["port"], latest)
        raise MasterIsDown(f"no master called {self.name} works")

    def _why(self, answers: list[Answer]) -> RedisError:
        errors = [answer.error for answer in answers if answer.error]
        if len(errors) < len(answers):
            return UnknownMaster(f"no master is called {self.name}")
        for error in errors:
            if isinstance(error, AuthenticationError | NoPermissionError):
                return SentinelsRefuse("they want another user or password")
        for error in errors:
            if isinstance(error, ResponseError | InvalidResponse):
                return NotSentinel("it does not know the command")
        return SentinelsAway(str(errors[0]))

    def close(self) -> None:
        """End the connections that no thread uses; another question opens new ones.

        A thread may still wait for a slow sentinel. If its socket were closed, redis-py would raise
        errors there that are no `RedisError`.
        """
        for client in self._clients.values():
            client.connection_pool.disconnect(inuse_connections=False)


def look_for_master(url: str) -> Named:
    """Ask the sentinels of an address once; `RedisError` if they name no master."""
    sentinels = Sentinels(parse_sentinel_url(url))
    try:
        return sentinels.named(sentinels.ask())
    finally:
        sentinels.close()


class Master:
    """The address of a master, kept up to date by a thread as long as calls are made."""

    def __init__(self, url: SentinelUrl, moved: Callable[[], None]) -> None:
        """Have `moved` called when the master has become another."""
        self._sentinels = Sentinels(url)
        self._moved = moved
        self._lock = threading.Lock()
        self._known: Named | None = None
        self._used_at = 0.0
        self._watch: threading.Thread | None = None

    def address(self) -> Named:
        """Return where the master is; `RedisError` if that was never known."""
        with self._lock:
            if self._known is None:
                self._known = self._sentinels.named(self._sentinels.ask())
            return self._known

    def used(self) -> None:
        """Note that a call is made, so that the thread goes on, or begins."""
        self._used_at = time.monotonic()
        if self._watch is None or not self._watch.is_alive():  # as after a fork
            with self._lock:
                if self._watch is None or not self._watch.is_alive():
                    self._watch = threading.Thread(target=self._run, name="master", daemon=True)
                    self._watch.start()

    def _run(self) -> None:
        while time.monotonic() - self._used_at < _IDLE:
            # In a failover, or while no sentinel answers, the last one is as good as any.
            with suppress(RedisError):
                self._look()
            time.sleep(_EVERY)
        self._sentinels.close()

    def _look(self) -> None:
        answers = self._sentinels.ask()
        found = self._sentinels.named(answers)
        with self._lock:
            known, moved = self._known, False
            # A sentinel that was cut off alone must not lead us back. Sentinels that were all set
            # up anew count from zero, and answer all.
            older = known is not None and found.epoch < known.epoch
            if not (older and any(answer.error for answer in answers)):
                moved = known is not None and found[:2] != known[:2]
                self._known = found
        if moved:
            self._moved()
