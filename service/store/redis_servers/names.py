"""Connections that wait for the name of a Redis server no longer than for the server itself.

Nothing else ends the wait for a silent name server: the time-outs of a socket begin once it has an
address. The look-up goes on in its thread, and the next connection uses its late answer: where the
first of several name servers is dead, each answer comes after five seconds.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from typing import Any

from redis.connection import Connection, SSLConnection
from redis.exceptions import TimeoutError

_OLD = 30.0  # seconds after which a question is asked anew, whatever became of it


class NameServerSilent(TimeoutError):
    """The name server does not answer."""


_lock = threading.Lock()
_asked: dict[tuple[str, int], tuple[float, Future[list[Any]]]] = {}  # and when


def look_up(host: str, port: int, seconds: float | None) -> list[Any]:
    """Return the addresses of a host as `socket.getaddrinfo` has them; callers share a look-up."""
    name, now = (host, port), time.monotonic()
    with _lock:
        asked_at, answer = _asked.get(name) or (now, Future())
        if name not in _asked or now - asked_at > _OLD:
            asked_at, answer = now, Future()
            _asked[name] = asked_at, answer
            _begin(answer, host, port)
    try:
        return answer.result(seconds)
    except TooLate:
        raise NameServerSilent("the name server does not answer") from None
    finally:
        with _lock:  # the server may have moved since: the next caller asks anew
            if answer.done() and _asked.get(name) == (asked_at, answer):
                del _asked[name]


def _begin(answer: Future[list[Any]], host: str, port: int) -> None:
    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)

    try:
        threading.Thread(target=ask, name="look-up", daemon=True).start()
    except RuntimeError:  # this host gives no more threads
        ask()


class Named(Connection):
    """A connection to the first address of a name that takes it."""

    def _connect(self) -> Any:
        why: OSError | None = None
        for *_, where in look_up(self.host, int(self.port), self.socket_connect_timeout):
            try:
                sock = socket.create_connection(where[:2], self.socket_connect_timeout)
            except OSError as error:
                why = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.socket_keepalive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in self.socket_keepalive_options.items():
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.settimeout(self.socket_timeout)
            return sock
        raise why or OSError("the name has no address")


class NamedTls(SSLConnection, Named):
    """The same with TLS."""
