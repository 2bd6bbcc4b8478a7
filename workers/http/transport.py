"""Carries messages to push services: many requests at a time over few long-lived connections."""

from __future__ import annotations

import re
import selectors
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from workers.http import http1
from workers.http.channel import Channel
from workers.http.connections import Connection, Connectors, Origin, Request
from workers.http.exchange import Headers

__all__ = ["Answer", "Headers", "NoRoom", "Transport"]

Key = TypeVar("Key")

_MAX_CONNECTIONS: Final = 256  # above it those unused for longest are closed
# An HTTP/1.1 connection carries one request at a time, so an origin gets this many times as many.
_HTTP1_TIMES: Final = 4
# Connections, at most, to an origin that is to be treated gently: with HTTP/2, with HTTP/1.1.
_GENTLY: Final = (2, 16)
_LONGEST_PATH: Final = 4096  # characters; an HTTP/2 header block must fit into a frame of 16 KB
# Seconds to wait for more answers when few of many have come, since each wake-up costs as much as
# several requests. Measured at 2,450/s: 24 µs of CPU per request with 5 ms, 86 µs without. But with
# 3 ms the window is filled less (decision 23).
_GATHER: Final = 0.001
# Seconds between attempts to add a connection to an origin that refused another one.
_REFUSED_MORE: Final = 1.0
# Reads of a connection, each of up to 64 KB, before a request in it counts as timed out.
_CATCH_UP: Final = 64
# Of a text with one space between its words: of many in a row, each of several patterns could take
# some, which takes hours of a long text.
_NUMBER = re.compile(
    r"""["']? ?\+?(\d+)(\.\d{1,6})? ?(?:s|secs?|seconds?)? ?["']? ?(?:[,;].*)?""",
    re.ASCII | re.IGNORECASE,
)
_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE


class NoRoom(Exception):
    """No connection can take a request now; see `Transport.room`."""


# Not frozen, because every request makes one and a frozen one takes three times as long to make.
@dataclass
class Answer(Generic[Key]):
    """What became of one request."""

    key: Key
    status: int  # 0: no answer came
    retry_after: float | None  # seconds
    # Without an answer, why; else the start of the answer's body, which may repeat the endpoint and
    # must not be logged.
    reason: str
    untouched: bool  # the push service certainly did not process the request
    wns_status: str = ""  # X-WNS-Status
    took: float = field(default=0.0, compare=False)  # seconds until the answer was read


class Transport:
    """Requests under way from this process, at most `streams` at a time.

    Make it after a fork: two processes must not share it. To an origin it has at most `connections`
    with HTTP/2, each with at most 256 requests. It connects to https origins and to
    `plain_origins`, and trusts the certificates of `ca_bundle`, by default those of the system.
    `may_connect` is asked for each address to which an origin's name leads. `proxy` returns the
    proxy through which it connects to an origin, `http://host:port`, or None.
    Timeouts are in seconds: `timeout` from the start of a request to the end of its answer,
    `connect_timeout` for TCP, proxy and TLS together. By `now`, in seconds since 1970, a date in
    Retry-After is read.

    `start` hands a request to a connection or refuses it; no request waits here. Ask `room` first.
    The transport never repeats a request; `Answer.untouched` says whether the caller safely may.
    """

    def __init__(
        self,
        *,
        streams: int = 2048,
        connections: int = 32,
        ca_bundle: Path | None = None,
        plain_origins: frozenset[str] = frozenset(),
        may_connect: Callable[[str, str], bool] = lambda _origin, _address: True,
        connect_timeout: float = 5.0,
        timeout: float = 15.0,
        proxy: Callable[[str], str | None] = lambda _origin: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._streams = streams
        self._connections_each = connections
        self._plain_origins = plain_origins
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=None if ca_bundle is None else str(ca_bundle))
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        self._under_way: dict[Request, None] = {}  # ordered by start
        self._answers: list[Answer[Any]] = []
        self._origins: dict[str, Origin] = {}  # that have connections
        self._unreachable: dict[str, str] = {}
        self._connections: dict[Connection, None] = {}
        # Connections that must have room by their deadline: those being made, and idle ones whose
        # peer allows no request.
        self._awaited: dict[Connection, None] = {}
        self._unwritten: dict[Connection, None] = {}
        self._has_news = False  # a connection became ready or failed
        self._size = 1  # bytes of the last body; the next ones are of nearly the same size
        self._connectors = Connectors(self._tls, connect_timeout, may_connect, proxy)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._connectors.woken, _IN)

    @property
    def free(self) -> int:
        """How many more requests may be started now."""
        return self._streams - len(self._under_way)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to poll for: answers, or connections being made."""
        return bool(self._under_way or self._awaited)

    def room(self, origin: str, group: str = "", *, wanted: int = 1, gently: bool = False) -> int:
        """How many requests to `origin` may be started now.

        If there is no room, this begins as many connections as `wanted` requests need, but no more
        than are ready, and few to an origin that is to be treated `gently`. So ask only when you
        have a request. `poll` returns when a connection is ready; if it fails, `unreachable` names
        the origin. Of a group of origins, few connections are made at once, so that its dead hosts
        keep no other origin waiting; without a group an origin is by itself. `ValueError`: the
        origin is neither https nor a plain one.
        """
        to, now = self._origin(origin), time.monotonic()
        takes = {one: self._takes(one, self._size, now) for one in [*to.connections]}
        # `start` takes the first with room, so that many requests go out in one write.
        to.connections.sort(key=lambda one: takes.get(one, 0), reverse=True)
        room = sum(takes.values())
        if not room and self.free:
            self._make_room(to, group or origin, wanted, gently, now)
        return min(room, self.free)

    def start(self, key: object, origin: str, path: str, headers: Headers, body: bytes) -> None:
        """POST `body` to `path` of `origin`; `poll` returns the answer with `key`.

        `flush` or `poll` writes it. `NoRoom`: no connection takes it. That can happen although
        `room` promised it, if a connection was lost or this body is larger than the last one.
        `ValueError`: the origin is neither https nor a plain one, or the path is impossible.
        """
        to, now = self._origin(origin), time.monotonic()
        if path[:1] != "/" or not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("not a path")
        if len(path) > _LONGEST_PATH:
            raise ValueError("the path is too long")
        self._size = len(body) or 1
        if len(self._under_way) < self._streams:
            for connection in [*to.connections]:
                if self._takes(connection, self._size, now):
                    request = Request(path, headers, body)
                    request.key, request.connection, request.started_at = key, connection, now
                    connection.has_carried = True
                    self._awaited.pop(connection, None)
                    self._under_way[request] = None
                    self._unwritten[connection] = None
                    connection.http.request(request)
                    return
        raise NoRoom

    def flush(self) -> None:
        """Write the requests that were started."""
        for connection in self._unwritten:
            if connection in self._connections:
                self._write(connection)
        self._unwritten.clear()

    def poll(self, timeout: float) -> list[Answer[Any]]:
        """Send and receive; wait up to `timeout` seconds for an answer and return all that came.

        Returns early, without answers, when a connection became ready or failed, and at once when
        there is nothing to wait for.
        """
        now = time.monotonic()
        until = now + timeout
        while True:
            self.flush()
            self._expire(now)
            if not self.is_busy:
                self._wait(0)  # notice unused connections that the peer closed
            if self._answers or self._has_news or not self.is_busy:
                break
            self._wait(min(until, self._next_deadline()) - now)
            # A caller that gives no time has other work to do.
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
        """Return the origins that became unreachable since the last call, each with the reason.

        That is an origin without another connection, to which one could not be made, or which ended
        one before its first request, or allowed no request on an idle one for `timeout` seconds.
        """
        unreachable, self._unreachable = self._unreachable, {}
        return unreachable

    def close(self) -> None:
        """Give up the requests under way and close all connections."""
        self._under_way.clear()
        for connection in list(self._connections):
            self._close(connection, "closed")
        self._answers.clear()
        self._selector.close()
        self._connectors.close()

    # -- requests --------------------------------------------------------------------------------

    def _origin(self, url: str) -> Origin:
        if (origin := self._origins.get(url)) is not None:
            return origin
        if not url.startswith("https://") and url not in self._plain_origins:
            raise ValueError("messages are sent over https only")
        return Origin(url)

    def _takes(self, connection: Connection, size: int, now: float) -> int:
        """Return how many requests with bodies of `size` bytes a connection can take now.

        Only requests that can be written now count: the time-out runs from the start, and one that
        waits here for the peer would use it up.
        """
        if not connection.is_ready:
            return 0
        http, channel = connection.http, connection.channel
        if http.is_idle:
            # The peer may have closed it since, and a request written then would be lost.
            self._read(connection, now)
        room = http.room
        if room <= 0 or channel.unsent or channel.ended:
            return 0
        # If the window is too small for any body, one request must still start to widen it.
        return min(room, http.window // size) or int(http.is_idle)

    def _expire(self, now: float) -> None:
        """End requests and connections that took too long."""
        while self._under_way:
            request = next(iter(self._under_way))
            if request.started_at + self._timeout > now:
                break
            self._time_out(request, now)
        if any(connection.deadline <= now for connection in self._awaited):
            self._take_connected(now)
        for connection in [c for c in self._awaited if c.deadline <= now]:
            self._close(connection, "timed out")

    def _time_out(self, request: Request, now: float) -> None:
        connection = request.connection
        # The answer may have come in time, while this process did something else.
        for _ in range(_CATCH_UP):
            if not self._read(connection, now):
                break
        if request not in self._under_way:
            return
        request.fail("timed out", untouched=False)
        self._end(request, now)
        connection.http.cancel(request)
        if connection.http.failure or connection.heard_at < request.started_at:
            # Nothing came since the request started, so the whole connection is dead.
            self._close(connection, "timed out")
        else:
            self._write(connection)

    def _next_deadline(self) -> float:
        deadlines = [connection.deadline for connection in self._awaited]
        if self._under_way:
            deadlines.append(next(iter(self._under_way)).started_at + self._timeout)
        return min(deadlines)

    def _end(self, request: Request, now: float) -> None:
        if request not in self._under_way:
            return
        del self._under_way[request]
        status = request.status
        if status:
            request.connection.has_answered = True
        if status and request.answer:
            reason = request.answer.decode(errors="replace")
        else:
            reason = request.failure
        retry_after = _seconds(request.retry_after, self._now()) if request.retry_after else None
        untouched = request.untouched or status in (429, 503)
        took = now - request.started_at
        answer = Answer(
            request.key, status, retry_after, reason, untouched, request.wns_status, took
        )
        self._answers.append(answer)

    # -- connections -----------------------------------------------------------------------------

    def _make_room(self, origin: Origin, group: str, wanted: int, gently: bool, now: float) -> None:
        """Make connections to an origin that has too few, as many at once as are ready."""
        idle = [c for c in origin.connections if c.is_ready and c.http.is_idle]
        for connection in idle:  # idle, yet without room: the peer gets some time to allow requests
            if connection not in self._awaited:
                connection.deadline = now + self._timeout
                self._awaited[connection] = None
        staying = [c for c in origin.connections if not (c.is_ready and c.http.going_away)]
        ready = [c for c in staying if c.is_ready]
        most = self._connections_each * (_HTTP1_TIMES if origin.speaks_http1 else 1)
        if gently or idle:  # a peer that allows none on one connection may not on others
            most = min(most, _GENTLY[origin.speaks_http1])
        # Each is expected to take what one takes that is there.
        needed = -(-wanted // max([1, *(c.http.takes for c in ready)]))
        at_once = 1 if gently else max(1, len(ready))
        making = len(staying) - len(ready)
        for _ in range(min(most - len(staying), needed - making, at_once - making)):
            # One thread more, as that of a connection that was given up may still wait.
            may_begin = self._connectors.may_begin(origin.url, group, at_once + 1)
            if now < origin.connect_at or not may_begin:
                return
            self._connect(origin, group, now)

    def _connect(self, origin: Origin, group: str, now: float) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            idle = [c for c in self._connections if c.has_carried and c.http.is_idle]
            if idle:
                self._close(min(idle, key=lambda c: c.heard_at), "closed")
        connection = Connection(origin, now)
        origin.connections.append(connection)
        self._origins[origin.url] = origin
        self._connections[connection] = self._awaited[connection] = None
        self._connectors.begin(connection, group)

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

    def _close(self, connection: Connection, why: str) -> None:
        """Close a connection and end the requests under way in it."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        origin = connection.origin
        origin.connections.remove(connection)
        if connection.is_ready:
            self._selector.unregister(connection.channel.socket)
            connection.channel.socket.close()
            for request in connection.http.abandon(connection.channel.written, why):
                self._end(request, time.monotonic())
        if not origin.connections:
            self._origins.pop(origin.url, None)
        if origin.connections and not connection.has_answered:
            origin.connect_at = time.monotonic() + _REFUSED_MORE
        if connection in self._awaited or not connection.has_carried:
            self._awaited.pop(connection, None)
            self._has_news = True
            if not origin.connections:
                self._unreachable[origin.url] = why or "connection lost"

    # -- sockets ---------------------------------------------------------------------------------

    def _wait(self, timeout: float) -> None:
        """Wait until sockets are ready, then read or write them."""
        ready = self._selector.select(max(timeout, 0))
        now = time.monotonic()
        for key, mask in ready:
            connection: Connection | None = key.data
            if connection is None:
                self._take_connected(now)
            elif connection in self._connections:
                if mask & _IN:
                    self._read(connection, now)
                elif connection.channel.unsent:
                    self._write(connection)

    def _read(self, connection: Connection, now: float) -> bool:
        """Take the bytes that came; return whether there were any."""
        channel, http = connection.channel, connection.http
        data = channel.read()
        if data:
            connection.heard_at = now
            for request in http.receive(data):
                self._end(request, now)
            if connection in self._awaited and http.room > 0:
                del self._awaited[connection]
                self._has_news = True
        if channel.ended and isinstance(http, http1.Connection):
            for request in http.receive(b""):
                self._end(request, now)
        if http.failure or (http.going_away and http.is_idle):
            channel.write(http.out)
            self._close(connection, http.failure)
        elif channel.ended:
            self._close(connection, channel.ended)
        elif http.out or channel.unsent:
            self._write(connection)
        return bool(data)

    def _write(self, connection: Connection) -> None:
        channel = connection.channel
        channel.write(connection.http.out)
        if channel.ended:
            # Not closed yet: answers that the peer sent before it hung up are still to be read.
            return
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        channel = connection.channel
        mask = _IN | _OUT if channel.unsent else _IN
        if mask != connection.watched:
            change = self._selector.modify if connection.watched else self._selector.register
            change(channel.socket, mask, connection)
            connection.watched = mask


def _seconds(retry_after: str, now: float) -> float | None:
    """Return the seconds that Retry-After asks for; None if it asks for no wait.

    It is a number of seconds or a date (RFC 9110 section 10.2.3). Servers and their proxies also
    write `1.5`, `60s`, `"60"`, or the header twice.
    """
    if found := _NUMBER.fullmatch(" ".join(retry_after.split())):
        wait = float(found[1][:9] + (found[2] or ""))
    else:
        try:
            date = parsedate_to_datetime(retry_after)
            wait = date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return wait if wait > 0 else None
