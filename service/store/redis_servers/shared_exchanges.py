"""One exchange with Redis for calls of several threads that run the same script.

Many readers subscribe in the minute in which an alert goes out. While one thread waits for Redis,
the calls of others gather, and the next exchange makes them all. What an exchange costs in Python
and in the kernel is then paid once for two or three of them (decision 136).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from redis.commands.core import Script
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from service.store.redis_servers.connection import AT_ONCE, SOON, Client, Silent

_UNANSWERED = object()


class _Call:
    """A call of a thread, which waits until it is answered or leads the next exchange."""

    __slots__ = ("answer", "command", "ready")

    def __init__(self, command: tuple[Any, ...]) -> None:
        self.command = command
        self.answer: Any = _UNANSWERED
        self.ready = threading.Lock()
        self.ready.acquire()


class SharedExchanges:
    """Runs one script for the threads of a process."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._gathered: list[_Call] = []  # the first one leads the next exchange
        self._is_led = False  # whether a thread is in an exchange, or about to begin one
        self._being_made = 0  # calls of that exchange

    def run(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script once, as redis-py does; `RedisError`."""
        redis = self._script.registered_client
        if not isinstance(redis, Client):  # the nodes of a cluster have no exchange in common
            return self._script(keys=keys, args=args)
        call = _Call(("EVALSHA", self._script.sha, len(keys), *keys, *args))
        self._join(call)
        if call.answer is _UNANSWERED:
            self._exchange(redis)
        if isinstance(call.answer, NoScriptError):
            return self._script(keys=keys, args=args)
        if isinstance(call.answer, RedisError):
            raise call.answer
        return call.answer

    def _join(self, call: _Call) -> None:
        """Gather a call, and wait for its answer or the lead; `Silent`."""
        with self._lock:
            # A thread must be left to pages that need no Redis.
            many_wait = self._being_made + len(self._gathered) >= AT_ONCE
            self._gathered.append(call)
            if not self._is_led:
                self._is_led = True
                return
        if call.ready.acquire(timeout=SOON if many_wait else -1):
            return
        with self._lock:
            if call.ready.acquire(blocking=False):
                return
            if call in self._gathered:
                self._gathered.remove(call)
                raise Silent("Redis has not responded to an earlier call")
        call.ready.acquire()  # it is being made, and how long that takes is limited

    def _exchange(self, redis: Client) -> None:
        """Make the first calls that have gathered, and hand the lead over."""
        with self._lock:
            calls, self._gathered = self._gathered[:AT_ONCE], self._gathered[AT_ONCE:]
            self._being_made = len(calls)
        try:
            answers = redis.execute_together([call.command for call in calls])
        except RedisError as error:
            answers = [error] * len(calls)
        except BaseException:
            self._hand_over(calls, [ConnectionError("the exchange was ended")] * len(calls))
            raise
        self._hand_over(calls, answers)

    def _hand_over(self, calls: Sequence[_Call], answers: Sequence[Any]) -> None:
        for call, answer in zip(calls, answers, strict=True):
            call.answer = answer
            call.ready.release()
        with self._lock:
            self._being_made = 0
            if self._gathered:
                self._gathered[0].ready.release()
            else:
                self._is_led = False
