"""The connections of a transport, and the threads that make them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from workers.http import http1, http2
from workers.http.channel import CannotConnect, Channel, Proxy, connect, in_words
from workers.http.exchange import Exchange

# Connections to all origins of a group that are made at once, each in a thread. A name server that
# is silent holds a thread for ten seconds or more, also after its connection was given up. Without
# a cap, dead hosts would take all threads from living ones.
_A_GROUP: Final = 16
_LOOK_UP: Final = 10.0  # seconds that a name may take to resolve, beside those for connecting


class Request(Exchange):
    """A request that was handed to a connection."""

    key: object  # its caller's
    connection: Connection
    started_at: float  # by the monotonic clock


class Origin:
    """An origin to which requests go, and the connections to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.hostname or f"{parts.scheme}://{parts.netloc}" != url:
            raise ValueError("not an origin")
        self.url = url
        self.authority = parts.netloc
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.speaks_http1 = not self.secure
        self.connections: list[Connection] = []
        self.connect_at = 0.0  # no further connection is tried before this time


class Connection:
    """A connection that is being made or is ready.

    `channel` and `http` exist only once it is ready.
    """

    channel: Channel
    http: http1.Connection[Request] | http2.Connection[Request]

    def __init__(self, origin: Origin, now: float) -> None:
        self.origin = origin
        self.deadline = now  # for being made, or for having room: see Transport._awaited
        self.heard_at = now  # when bytes last came
        self.is_ready = False
        self.has_carried = False  # a request
        self.has_answered = False  # one
        self.watched = 0  # the events for which it is registered

    def open(self, channel: Channel, now: float) -> None:
        """Start HTTP on a socket that is connected."""
        self.channel, self.heard_at, self.is_ready = channel, now, True
        self.origin.speaks_http1 = channel.protocol != "h2"
        kind = http1.Connection if self.origin.speaks_http1 else http2.Connection
        self.http = kind(self.origin.authority)


class Connectors:
    """Threads that make connections, so that one slow name lookup or handshake delays no other.

    No thread is waited for, and none has to wait for another: `may_begin` says whether one is free.
    `woken` becomes readable when `finished` has something to return.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        timeout: float,
        may_connect: Callable[[str, str], bool],
        proxy: Callable[[str], str | None],
    ) -> None:
        self._may_connect = may_connect  # from an origin to an address that its name has
        self._tls = tls
        self._timeout = timeout
        self._proxy = proxy
        self._lock = threading.Lock()
        self._closed = False
        self._threads: Counter[tuple[str, str]] = Counter()  # by kind of name, and name
        self._finished: list[tuple[Connection, Channel | CannotConnect]] = []
        self.woken, self._waker = socket.socketpair()
        self.woken.setblocking(False)
        self._waker.setblocking(False)

    def may_begin(self, url: str, group: str, at_once: int) -> bool:
        """Whether another connection to an origin of a group may be made now.

        `at_once`: the most to that origin that are being made together.
        """
        with self._lock:
            return (
                self._threads["origin", url] < at_once and self._threads["group", group] < _A_GROUP
            )

    def begin(self, connection: Connection, group: str) -> None:
        """Make a connection; `finished` returns it when that has succeeded or failed.

        Its time counts from the start of its thread.
        """
        counted = [("origin", connection.origin.url), ("group", group)]
        with self._lock:
            self._threads.update(counted)
        connection.deadline = time.monotonic() + _LOOK_UP + self._timeout
        work = threading.Thread(
            target=self._run, args=(connection, counted), name="connector", daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:  # this host gives no more threads, or no memory for one
            self._finish(connection, counted, CannotConnect(in_words(error)))

    def _run(self, connection: Connection, counted: list[tuple[str, str]]) -> None:
        origin = connection.origin
        result: Channel | CannotConnect
        try:
            tls = self._tls if origin.secure else None
            proxy = self._proxy(origin.url)
            may_connect = partial(self._may_connect, origin.url)
            via = None if proxy is None else Proxy.parse(proxy)
            result = connect(origin.host, origin.port, tls, self._timeout, may_connect, via)
        except CannotConnect as error:
            result = error
        except Exception as error:  # no memory, say; else it would count as being made for ever
            result = CannotConnect(in_words(error))
        self._finish(connection, counted, result)

    def _finish(
        self,
        connection: Connection,
        counted: list[tuple[str, str]],
        result: Channel | CannotConnect,
    ) -> None:
        with self._lock:
            self._threads.subtract(counted)
            for name in counted:
                if not self._threads[name]:
                    del self._threads[name]
            if not self._closed:
                self._finished.append((connection, result))
                with suppress(BlockingIOError):
                    self._waker.send(b"x")
            elif isinstance(result, Channel):
                result.socket.close()

    def finished(self) -> list[tuple[Connection, Channel | CannotConnect]]:
        """Return the connections made or failed since the last call."""
        with self._lock:
            with suppress(BlockingIOError):
                self.woken.recv(4096)
            finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Make no more connections; close those that nobody took."""
        with self._lock:
            self._closed = True
            self.woken.close()
            self._waker.close()
            for _, result in self._finished:
                if isinstance(result, Channel):
                    result.socket.close()
