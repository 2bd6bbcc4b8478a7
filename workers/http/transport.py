"""Takes messages to push services: many requests at a time over few long-lived connections."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from workers.http import http1, http2
from workers.http.channel import CannotConnect, Channel, connect
from workers.http.exchange import Exchange, Headers

__all__ = ["Answer", "Headers", "NoRoom", "Transport"]

Key = TypeVar("Key")

_MAX_CONNECTIONS: Final = 256  # above it those unused for longest are closed
# HTTP/1.1 carries one request at a time: so many times the connections.
_HTTP1_TIMES: Final = 8
# Seconds in which answers that trickle in may gather while many are awaited: each waking costs as
# much as several requests. Measured at 2,450/s: 24 µs of CPU per request with 5 ms, 86 without;
# but with 3 ms a window is filled less (decision 23).
_GATHER: Final = 0.001
_MAX_THREADS: Final = 64
# Seconds until another connection is tried to an origin that has some but refused one more.
_REFUSED_MORE: Final = 1.0
# Reads of a connection, each of up to 64 KB, before a request in it is said to have timed out.
_CATCH_UP: Final = 64
_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE


class NoRoom(Exception):
    """No connection can take a request now: see `Transport.room`."""


# Not frozen: one is made for every request, and making a frozen one takes three times as long.
@dataclass
class Answer(Generic[Key]):
    """What became of one request.

    `status` is 0 where no answer came, and `reason` then says why; otherwise `reason` is the
    beginning of the answer's body, which may repeat the endpoint and is not for logs.
    `retry_after` is in seconds. `untouched` is True where it is known that the push service did
    not process the request.
    """

    key: Key
    status: int
    retry_after: float | None
    reason: str
    untouched: bool


# How many forks lie between the first process and this one. To ask the system which process this
# is took 8 µs of a message's 265 (measured on a virtual machine whose system calls are slow).
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class _Request(Exchange):
    """A request under way. `at`: when it was handed to its connection, by the monotonic clock."""

    connection: _Connection
    at: float

    def __init__(self, key: object, path: str, headers: Headers, body: bytes) -> None:
        super().__init__(path, headers, body)
        self.key = key


class _Origin:
    """Where requests go to, and the connections to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.hostname or f"{parts.scheme}://{parts.netloc}" != url:
            raise ValueError("the origin is none")
        self.url = url
        self.authority = parts.netloc
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.speaks_http1 = not self.secure
        self.connections: list[_Connection] = []
        self.connect_at = 0.0  # not before then


class _Connection:
    """A connection; `channel` and `http` are there once it can carry requests."""

    channel: Channel
    http: http1.Connection[_Request] | http2.Connection[_Request]

    def __init__(self, origin: _Origin, now: float, deadline: float) -> None:
        self.origin = origin
        self.deadline = deadline  # for having room: see Transport._awaited
        self.heard_at = now
        self.is_ready = False
        self.has_carried = False  # a request
        self.watched = 0

    def open(self, channel: Channel, now: float) -> None:
        self.channel, self.heard_at, self.is_ready = channel, now, True
        self.origin.speaks_http1 = channel.protocol != "h2"
        kind = http1.Connection if self.origin.speaks_http1 else http2.Connection
        self.http = kind(self.origin.authority)


class Transport:
    """Requests under way from this process, at most `streams` at a time.

    Made after a fork and used by that process alone. It connects to https origins and to
    `plain_origins`, directly, and trusts whom `ca_bundle` or else the system trusts. Timeouts are
    in seconds: `timeout` from a request's start to the end of its answer, `connect_timeout` for a
    connection with its TLS handshake.

    A request is handed to a connection when it is started: none waits here. Ask `room` first.
    Nothing is ever sent twice: `Answer.untouched` tells what another attempt risks.
    """

    def __init__(
        self,
        *,
        streams: int = 256,
        connections: int = 2,
        ca_bundle: Path | None = None,
        plain_origins: frozenset[str] = frozenset(),
        connect_timeout: float = 5.0,
        timeout: float = 15.0,
    ) -> None:
        self._forks = _forks
        self._streams = streams
        self._connections_each = connections
        self._plain_origins = plain_origins
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=None if ca_bundle is None else str(ca_bundle))
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        self._under_way: dict[_Request, None] = {}  # in the order of their start
        self._answers: list[Answer[Any]] = []
        self._origins: dict[str, _Origin] = {}  # that have connections
        self._unreachable: dict[str, str] = {}
        self._connections: dict[_Connection, None] = {}
        # Which are to have room by their deadline: being made, or idle and still without room.
        self._awaited: dict[_Connection, None] = {}
        self._unwritten: dict[_Connection, None] = {}
        self._has_news = False  # a connection was made, or could not be
        self._size = 1  # of the last body: those that follow are much alike
        self._connectors = _Connectors(self._tls, connect_timeout)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._connectors.woken, _IN)

    @property
    def free(self) -> int:
        """How many more requests may be started now."""
        return self._streams - len(self._under_way)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to poll for: answers, or a connection that is being made."""
        return bool(self._under_way or self._awaited)

    def room(self, origin: str) -> int:
        """How many requests to `origin` may be started now.

        Where there is no room a connection is made, unless there are enough: ask only with a
        request at hand. `poll` returns when it is ready, or else `unreachable` names the origin.
        `ValueError` for an origin that is neither https nor a plain one.
        """
        self._check_process()
        to, now = self._origin(origin), time.monotonic()
        room = sum(self._takes(connection, self._size, now) for connection in [*to.connections])
        if not room and self.free:
            self._make_room(to, now)
        return min(room, self.free)

    def start(self, key: object, origin: str, path: str, headers: Headers, body: bytes) -> None:
        """POST `body` to `path` of `origin`; `poll` returns the answer with `key`.

        It is written by `flush` or `poll`. `NoRoom` where no connection takes it, though `room`
        may have said so: that was lost meanwhile, or the body is larger than those before.
        `ValueError` for an origin that is neither https nor a plain one, or an impossible path.
        """
        self._check_process()
        to, now = self._origin(origin), time.monotonic()
        if path[:1] != "/" or not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("the path is none")
        self._size = len(body) or 1
        if len(self._under_way) < self._streams:
            for connection in [*to.connections]:
                if self._takes(connection, self._size, now):
                    request = _Request(key, path, headers, body)
                    request.connection, request.at = connection, now
                    connection.has_carried = True
                    self._awaited.pop(connection, None)
                    self._under_way[request] = None
                    self._unwritten[connection] = None
                    connection.http.request(request)
                    return
        raise NoRoom

    def flush(self) -> None:
        """Write what was started."""
        for connection in self._unwritten:
            if connection in self._connections:
                self._write(connection)
        self._unwritten.clear()

    def poll(self, timeout: float) -> list[Answer[Any]]:
        """Send and receive; return the answers that have come, waiting `timeout` s for the first.

        Comes back without any when a connection was made or could not be, and at once when there
        is nothing to wait for.
        """
        self._check_process()
        now = time.monotonic()
        until = now + timeout
        while True:
            self.flush()
            self._expire(now)
            if not self.is_busy:
                self._wait(0)  # those unused may have been closed
            if self._answers or self._has_news or not self.is_busy:
                break
            self._wait(min(until, self._next_deadline()) - now)
            # Whoever does not want to wait has other work.
            if timeout and 0 < len(self._answers) * 8 < len(self._under_way):
                time.sleep(_GATHER)
                self._wait(0)
            now = time.monotonic()
            if self._answers or self._has_news or now >= until:
                break
        self._has_news = False
        answers, self._answers = self._answers, []
        return answers

    def unreachable(self) -> dict[str, str]:
        """Return the origins to which a connection could not be made since the last call, and why.

        Only where that was the last one. Also those that end a connection before it has carried a
        request, or give one that is idle no room in a request's time.
        """
        unreachable, self._unreachable = self._unreachable, {}
        return unreachable

    def close(self) -> None:
        """Give up what is under way and close all connections."""
        self._check_process()
        self._under_way.clear()
        for connection in list(self._connections):
            self._close(connection, "closed")
        self._answers.clear()
        self._selector.close()
        self._connectors.close()

    # -- requests --------------------------------------------------------------------------------

    def _origin(self, url: str) -> _Origin:
        if (origin := self._origins.get(url)) is not None:
            return origin
        if not url.startswith("https://") and url not in self._plain_origins:
            raise ValueError("messages are sent by https only")
        return _Origin(url)

    def _takes(self, connection: _Connection, size: int, now: float) -> int:
        """Return how many requests with bodies of that size a connection can be handed now.

        Only what can be written now: what waits here for the peer would use up its time.
        """
        if not connection.is_ready:
            return 0
        http, channel = connection.http, connection.channel
        if http.is_idle:
            # The peer may have closed it meanwhile, and what is written then would be lost.
            self._read(connection, now)
        if http.room <= 0 or channel.unsent or channel.ended:
            return 0
        # What there is of a window may be too little for any body: one must go on to get more.
        return min(http.room, http.window // size) or int(http.is_idle)

    def _expire(self, now: float) -> None:
        """End requests and connections that took too long."""
        while self._under_way:
            request = next(iter(self._under_way))
            if request.at + self._timeout > now:
                break
            connection = request.connection
            # The answer may have come in time while this process did something else.
            for _ in range(_CATCH_UP):
                if not self._read(connection, now):
                    break
            if request not in self._under_way:
                continue
            request.fail("timed out", untouched=False)
            self._end(request)
            connection.http.cancel(request)
            if connection.http.failure or connection.heard_at < request.at:
                # Not a word since: it is the connection that is dead.
                self._close(connection, "timed out")
            else:
                self._write(connection)
        if any(connection.deadline <= now for connection in self._awaited):
            self._take_connected(now)
        for connection in [c for c in self._awaited if c.deadline <= now]:
            self._close(connection, "timed out")

    def _next_deadline(self) -> float:
        deadlines = [connection.deadline for connection in self._awaited]
        if self._under_way:
            deadlines.append(next(iter(self._under_way)).at + self._timeout)
        return min(deadlines)

    def _end(self, request: _Request) -> None:
        if request not in self._under_way:
            return
        del self._under_way[request]
        status = request.status
        if status and request.answer:
            reason = request.answer.decode(errors="replace")
        else:
            reason = request.failure
        retry_after = _seconds(request.retry_after) if request.retry_after else None
        untouched = request.untouched or status in (429, 503)
        self._answers.append(Answer(request.key, status, retry_after, reason, untouched))

    # -- connections -----------------------------------------------------------------------------

    def _make_room(self, origin: _Origin, now: float) -> None:
        """Make a connection where there are too few, one at a time."""
        idle = [c for c in origin.connections if c.is_ready and c.http.is_idle]
        for connection in idle:  # and without room: its peer has some time left to give it
            if connection not in self._awaited:
                connection.deadline = now + self._timeout
                self._awaited[connection] = None
        staying = [c for c in origin.connections if not (c.is_ready and c.http.going_away)]
        most = self._connections_each * (_HTTP1_TIMES if origin.speaks_http1 else 1)
        if len(staying) < most and all(c.is_ready for c in staying) and now >= origin.connect_at:
            self._connect(origin, now)

    def _connect(self, origin: _Origin, now: float) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            idle = [c for c in self._connections if c.has_carried and c.http.is_idle]
            if idle:
                self._close(min(idle, key=lambda c: c.heard_at), "closed")
        connection = _Connection(origin, now, now + self._connect_timeout)
        origin.connections.append(connection)
        self._origins[origin.url] = origin
        self._connections[connection] = self._awaited[connection] = None
        self._connectors.begin(connection)

    def _take_connected(self, now: float) -> None:
        for connection, channel in self._connectors.finished():
            if connection not in self._awaited:
                if isinstance(channel, Channel):
                    channel.socket.close()  # too late
            elif isinstance(channel, Channel):
                del self._awaited[connection]
                connection.open(channel, now)
                self._watch(connection)
                self._has_news = True
            else:
                self._close(connection, str(channel))

    def _close(self, connection: _Connection, why: str) -> None:
        """Close a connection; what is under way in it ends."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        origin = connection.origin
        origin.connections.remove(connection)
        if connection.is_ready:
            self._selector.unregister(connection.channel.socket)
            connection.channel.socket.close()
            for request in connection.http.abandon(connection.channel.written, why):
                self._end(request)
        if not origin.connections:
            self._origins.pop(origin.url, None)
        if connection in self._awaited or not connection.has_carried:
            self._awaited.pop(connection, None)
            self._has_news = True
            if origin.connections:
                origin.connect_at = time.monotonic() + _REFUSED_MORE
            else:
                self._unreachable[origin.url] = why or "connection lost"

    # -- sockets ---------------------------------------------------------------------------------

    def _wait(self, timeout: float) -> None:
        """Wait for sockets to be ready, and do what they are ready for."""
        ready = self._selector.select(max(timeout, 0))
        now = time.monotonic()
        for key, mask in ready:
            connection: _Connection | None = key.data
            if connection is None:
                self._take_connected(now)
            elif connection in self._connections:
                if mask & _IN:
                    self._read(connection, now)
                elif connection.channel.unsent:
                    self._write(connection)

    def _read(self, connection: _Connection, now: float) -> bool:
        """Take what has come; whether anything had."""
        channel, http = connection.channel, connection.http
        data = channel.read()
        if data:
            connection.heard_at = now
            for request in http.receive(data):
                self._end(request)
            if connection in self._awaited and http.room > 0:
                del self._awaited[connection]
                self._has_news = True
        if channel.ended and isinstance(http, http1.Connection):
            for request in http.receive(b""):
                self._end(request)
        if http.failure or (http.going_away and http.is_idle):
            channel.write(http.out)
            self._close(connection, http.failure)
        elif channel.ended:
            self._close(connection, channel.ended)
        elif http.out or channel.unsent:
            self._write(connection)
        return bool(data)

    def _write(self, connection: _Connection) -> None:
        channel = connection.channel
        channel.write(connection.http.out)
        if channel.ended:
            # What it said before it hung up is still to be read: no further than that.
            return
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        channel = connection.channel
        mask = _IN | _OUT if channel.unsent else _IN
        if mask != connection.watched:
            change = self._selector.modify if connection.watched else self._selector.register
            change(channel.socket, mask, connection)
            connection.watched = mask

    def _check_process(self) -> None:
        if _forks != self._forks:
            raise RuntimeError("this Transport belongs to another process: make one after the fork")


class _Connectors:
    """Threads that make connections, many: a name that takes long holds up no other.

    Nobody waits for them. Whoever waits for `woken` finds what they did in `finished`.
    """

    def __init__(self, tls: ssl.SSLContext, timeout: float) -> None:
        self._tls = tls
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed = False
        self._threads = 0
        self._todo: deque[_Connection] = deque()
        self._finished: list[tuple[_Connection, Channel | CannotConnect]] = []
        self.woken, self._waker = socket.socketpair()
        self.woken.setblocking(False)
        self._waker.setblocking(False)

    def begin(self, connection: _Connection) -> None:
        with self._lock:
            self._todo.append(connection)
            if self._threads < _MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._run, name="connector", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._todo or self._closed:
                    self._threads -= 1
                    return
                connection = self._todo.popleft()
            self._connect(connection)

    def _connect(self, connection: _Connection) -> None:
        origin = connection.origin
        tls = self._tls if origin.secure else None
        channel: Channel | CannotConnect
        try:
            channel = connect(origin.host, origin.port, tls, self._timeout)
        except CannotConnect as error:
            channel = error
        with self._lock:
            if not self._closed:
                self._finished.append((connection, channel))
                with suppress(BlockingIOError):
                    self._waker.send(b"x")
            elif isinstance(channel, Channel):
                channel.socket.close()

    def finished(self) -> list[tuple[_Connection, Channel | CannotConnect]]:
        with self._lock:
            with suppress(BlockingIOError):
                self.woken.recv(4096)
            finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.woken.close()
            self._waker.close()
            for _, channel in self._finished:
                if isinstance(channel, Channel):
                    channel.socket.close()


def _seconds(retry_after: str) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110 section 10.2.3). None: at once."""
    if retry_after.isascii() and retry_after.isdecimal():
        wait = float(retry_after[:9])
    else:
        try:
            date = parsedate_to_datetime(retry_after)
            wait = date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return wait if wait > 0 else None
