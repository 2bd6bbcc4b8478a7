"""Takes messages to push services: many requests at a time over few long-lived connections."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from workers import http1, http2
from workers.http2 import Ended, Headers

Key = TypeVar("Key")

_MAX_IDLE_CONNECTIONS: Final = 256
# HTTP/1.1 carries one request at a time: as many times the connections.
_HTTP1_TIMES: Final = 8
# Seconds after which the next address is tried beside one that has not connected: RFC 8305.
_NEXT_ADDRESS: Final = 0.25
_LARGEST_RECORD: Final = 16_384  # bytes of one TLS record (RFC 8446 section 5.1)
_READ: Final = 1 << 16  # bytes
# Seconds in which answers that trickle in may gather, while many are awaited.
_GATHER: Final = 0.002
_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)
_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


# Not frozen: one is made for every request, and a frozen one takes three times as long.
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


class _Request:
    """A request under way. `at` is when it was handed to its connection, by the monotonic clock."""

    __slots__ = ("at", "body", "connection", "deadline", "headers", "key", "origin", "path")

    def __init__(
        self,
        key: object,
        origin: _Origin,
        path: str,
        headers: Headers,
        body: bytes,
        deadline: float,
    ) -> None:
        self.key = key
        self.origin = origin
        self.path = path
        self.headers = headers
        self.body = body
        self.deadline = deadline
        self.connection: _Connection | None = None
        self.at = 0.0


class _Origin:
    """Where requests go to: those that wait for a connection, and the connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.authority = parts.netloc
        self.waiting: deque[_Request] = deque()
        self.connections: list[_Connection] = []
        self.speaks_http1 = not self.secure


class _Connection:
    """A connection from the resolving of its name on. `http` is None until it can carry requests.

    `attempts` are the sockets of which the first to connect will be `socket`.
    """

    def __init__(self, origin: _Origin, now: float, timeout: float) -> None:
        self.origin = origin
        self.deadline = now + timeout
        self.addresses: deque[_Address] = deque()
        self.next_address_at = self.deadline
        self.attempts: list[socket.socket] = []
        self.socket: socket.socket | None = None
        self.http: http1.Connection | http2.Connection | None = None
        self.why = "timed out"  # what to say if nothing else is known
        self.written = 0
        self.mask = 0
        self.heard_at = now
        self.closed = False


class Transport:
    """Requests under way from this process, at most `streams` at a time.

    Made after a fork and used by that process alone. Connections are only made to https origins and
    to `plain_origins`, and checked against `ca_bundle` or else the system's authorities. Timeouts
    are in seconds: `timeout` from a request's start to its answer, `connect_timeout` for a
    connection with its TLS handshake.

    Nothing is ever sent again: who wants to retries, and `Answer.untouched` says what that risks.
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
        self._pid = os.getpid()
        self._most = streams
        self._connections_each = connections
        self._plain_origins = plain_origins
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=None if ca_bundle is None else str(ca_bundle))
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        self._under_way: dict[_Request, None] = {}  # in the order of their start
        self._origins: dict[str, _Origin] = {}
        self._with_waiting: dict[_Origin, None] = {}
        self._connections: dict[_Connection, None] = {}
        self._connecting: dict[_Connection, None] = {}
        self._answers: list[Answer[Any]] = []
        self._selector = selectors.DefaultSelector()
        self._resolved: deque[tuple[_Connection, list[_Address]]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, _IN)

    @property
    def free(self) -> int:
        """How many more requests may be started now."""
        return self._most - len(self._under_way)

    def start(self, key: object, origin: str, path: str, headers: Headers, body: bytes) -> None:
        """Begin to POST `body` to `path` of `origin`; `poll` returns the answer with `key`.

        `ValueError` for an origin that is neither https nor a plain one, or an impossible path.
        """
        self._check_process()
        to = self._origins.get(origin) or self._origin(origin)
        if path[:1] != "/" or not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("the path is none")
        if len(self._under_way) >= self._most:
            raise RuntimeError("all streams are taken: poll() until some are free")
        deadline = time.monotonic() + self._timeout
        request = _Request(key, to, path, headers, body, deadline)
        self._under_way[request] = None
        if not to.waiting:
            self._with_waiting[to] = None
        to.waiting.append(request)

    def poll(self, timeout: float) -> list[Answer[Any]]:
        """Send and receive; return the answers that have come, waiting `timeout` s for the first.

        Comes back at once when nothing is under way.
        """
        self._check_process()
        now = time.monotonic()
        until = now + timeout
        while True:
            self._expire(now)
            self._hand_out(now)
            if self._answers or not self._under_way:
                break
            self._wait(min(until, self._next_deadline()) - now)
            now = time.monotonic()
            if self._answers or now >= until:
                break
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """Give up what is under way and close all connections."""
        self._check_process()
        self._under_way.clear()
        for connection in list(self._connections):
            self._close(connection, "closed")
        self._answers.clear()
        self._origins.clear()
        self._with_waiting.clear()
        self._selector.close()
        self._woken.close()
        with _lock:
            self._waker.close()

    def _origin(self, url: str) -> _Origin:
        if not url.startswith("https://") and url not in self._plain_origins:
            raise ValueError("messages are sent by https only")
        origin = _Origin(url)
        if not origin.host or f"{urlsplit(url).scheme}://{origin.authority}" != url:
            raise ValueError("the origin is none")
        self._origins[url] = origin
        return origin

    # -- requests --------------------------------------------------------------------------------

    def _hand_out(self, now: float) -> None:
        """Give waiting requests to connections, and make connections for those left."""
        for origin in list(self._with_waiting):
            for connection in list(origin.connections):
                self._fill(connection, now)
            if not origin.waiting:
                del self._with_waiting[origin]
                continue
            most = self._connections_each * (_HTTP1_TIMES if origin.speaks_http1 else 1)
            if len(origin.connections) < most and all(c.http for c in origin.connections):
                self._connect(origin, now)

    def _fill(self, connection: _Connection, now: float) -> None:
        http, waiting = connection.http, connection.origin.waiting
        if http is None or not waiting or not http.room:
            return
        if http.is_idle:
            # The peer may have closed it meanwhile; what is written then would be lost.
            self._read(connection, now)
        room = http.room
        while room > 0 and waiting:
            request = waiting.popleft()
            if request not in self._under_way:
                continue
            request.connection, request.at = connection, now
            http.request(request, request.path, request.headers, request.body)
            request.body = b""
            room = room - 1 or http.room
            if not room & 15:
                room = http.room  # the window may have closed
        self._write(connection)

    def _expire(self, now: float) -> None:
        """End requests and connections that took too long."""
        while self._under_way:
            request = next(iter(self._under_way))
            if request.deadline > now:
                break
            connection = request.connection
            self._end(Ended(request, 0, "", "timed out", connection is None))
            if connection is None or connection.http is None:
                continue
            connection.http.cancel(request)
            if connection.heard_at < request.at or connection.http.failure:
                self._close(connection, "timed out")
            else:
                self._write(connection)
        for connection in list(self._connecting):
            if connection.deadline <= now:
                self._close(connection, connection.why)
            elif connection.next_address_at <= now:
                self._try_address(connection, now)

    def _next_deadline(self) -> float:
        deadline = next(iter(self._under_way)).deadline
        for connection in self._connecting:
            deadline = min(deadline, connection.deadline, connection.next_address_at)
        return deadline

    def _end(self, ended: Ended) -> None:
        request = ended.key
        if request in self._under_way:
            del self._under_way[request]
            retry_after = seconds(ended.retry_after) if ended.retry_after else None
            untouched = ended.untouched or ended.status in (429, 503)
            answer = Answer(request.key, ended.status, retry_after, ended.reason, untouched)
            self._answers.append(answer)

    # -- connecting ------------------------------------------------------------------------------

    def _connect(self, origin: _Origin, now: float) -> None:
        self._close_idle()
        connection = _Connection(origin, now, self._connect_timeout)
        connection.why = "timed out: host name not resolved"
        origin.connections.append(connection)
        self._connections[connection] = self._connecting[connection] = None
        # A thread of its own, which nobody waits for: one name that takes long holds up no other.
        resolve = _resolver(connection, self._resolved, self._waker)
        threading.Thread(target=resolve, name="resolver", daemon=True).start()

    def _take_resolved(self, now: float) -> None:
        while self._resolved:
            connection, addresses = self._resolved.popleft()
            if connection.closed:
                continue
            if not addresses:
                self._close(connection, "host name unknown")
                continue
            connection.addresses.extend(addresses)
            connection.why = "timed out"
            self._try_address(connection, now)

    def _try_address(self, connection: _Connection, now: float) -> None:
        """Connect to the next address, beside those being tried."""
        family, kind, protocol, _, address = connection.addresses.popleft()
        more = bool(connection.addresses)
        connection.next_address_at = now + _NEXT_ADDRESS if more else connection.deadline
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:
            self._failed_attempt(connection, error, now)
            return
        connection.attempts.append(attempt)
        try:
            attempt.setblocking(False)
            attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attempt.connect(address)
        except BlockingIOError:
            pass
        except OSError as error:
            connection.attempts.remove(attempt)
            attempt.close()
            self._failed_attempt(connection, error, now)
            return
        self._selector.register(attempt, _OUT, connection)

    def _failed_attempt(self, connection: _Connection, error: OSError, now: float) -> None:
        connection.why = _words(error)
        if connection.addresses:
            self._try_address(connection, now)
        elif not connection.attempts:
            self._close(connection, connection.why)

    def _connected(self, connection: _Connection, attempt: socket.socket, now: float) -> None:
        """Take the first attempt that succeeds, and begin its handshake."""
        code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._selector.unregister(attempt)
        connection.attempts.remove(attempt)
        if code:
            attempt.close()
            self._failed_attempt(connection, OSError(code, os.strerror(code)), now)
            return
        for other in connection.attempts:
            self._selector.unregister(other)
            other.close()
        connection.attempts.clear()
        connection.next_address_at = connection.deadline
        connection.why = "timed out: TLS handshake"
        if not connection.origin.secure:
            connection.socket = attempt
            self._open(connection, http1.Connection(connection.origin.authority), now)
            return
        try:
            connection.socket = self._tls.wrap_socket(
                attempt, server_hostname=connection.origin.host, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            attempt.close()
            self._close(connection, _words(error))
            return
        self._handshake(connection, now)

    def _handshake(self, connection: _Connection, now: float) -> None:
        tls = connection.socket
        assert isinstance(tls, ssl.SSLSocket)  # noqa: S101
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(connection, _IN)
        except ssl.SSLWantWriteError:
            self._watch(connection, _OUT)
        except OSError as error:
            self._close(connection, _words(error))
        else:
            http2_agreed = tls.selected_alpn_protocol() == "h2"
            connection.origin.speaks_http1 = not http2_agreed
            authority = connection.origin.authority
            kind = http2.Connection if http2_agreed else http1.Connection
            self._open(connection, kind(authority), now)

    def _open(
        self, connection: _Connection, http: http1.Connection | http2.Connection, now: float
    ) -> None:
        connection.http = http
        connection.heard_at = now
        del self._connecting[connection]
        self._watch(connection, _IN)

    # -- sockets ---------------------------------------------------------------------------------

    def _wait(self, timeout: float) -> None:
        """Wait for sockets to be ready, and do what they are ready for."""
        ready = self._selector.select(max(timeout, 0))
        if timeout > _GATHER and len(self._under_way) >= 32 and ready:
            time.sleep(_GATHER)
        now = time.monotonic()
        for key, mask in ready:
            connection, sock = key.data, key.fileobj
            if connection is None:
                while self._drain():
                    pass
                self._take_resolved(now)
            elif connection.closed:
                continue
            elif isinstance(sock, socket.socket) and sock is not connection.socket:
                if sock in connection.attempts:
                    self._connected(connection, sock, now)
            elif connection.http is None:
                self._handshake(connection, now)
            else:
                if mask & _OUT:
                    self._write(connection)
                if mask & _IN and not connection.closed:
                    self._read(connection, now)

    def _drain(self) -> bytes:
        try:
            return self._woken.recv(4096)
        except BlockingIOError:
            return b""

    def _watch(self, connection: _Connection, mask: int) -> None:
        if mask == connection.mask:
            return
        assert connection.socket is not None  # noqa: S101
        if connection.mask:
            self._selector.modify(connection.socket, mask, connection)
        else:
            self._selector.register(connection.socket, mask, connection)
        connection.mask = mask

    def _write(self, connection: _Connection) -> None:
        http, sock = connection.http, connection.socket
        if connection.closed or http is None or sock is None:
            return
        out = http.out
        sent = 0
        try:
            with memoryview(out) as view:
                while sent < len(view):
                    sent += sock.send(view[sent : sent + _LARGEST_RECORD])
        except _WANTS:
            self._watch(connection, _IN | _OUT)
        except OSError as error:
            self._lose(connection, sent, error)
            return
        else:
            self._watch(connection, _IN)
        del out[:sent]
        connection.written += sent

    def _read(self, connection: _Connection, now: float) -> None:
        http, sock = connection.http, connection.socket
        if connection.closed or http is None or sock is None:
            return
        try:
            while data := sock.recv(_READ):
                connection.heard_at = now
                for ended in http.receive(data):
                    self._end(ended)
                if http.failure:
                    break
            else:
                for ended in http.receive(b""):
                    self._end(ended)
                self._close(connection, http.failure or "connection lost")
                return
        except _WANTS:
            pass
        except OSError as error:
            self._close(connection, _words(error))
            return
        if http.failure or (http.going_away and http.is_idle):
            self._write(connection)
            self._close(connection, http.failure)
        elif http.out:
            self._write(connection)

    def _lose(self, connection: _Connection, sent: int, error: OSError) -> None:
        """Read what the peer said before it hung up, then close."""
        connection.written += sent
        self._close(connection, _words(error))

    def _close(self, connection: _Connection, why: str) -> None:
        """Close a connection; what is under way in it ends."""
        if connection.closed:
            return
        connection.closed = True
        origin = connection.origin
        origin.connections.remove(connection)
        del self._connections[connection]
        self._connecting.pop(connection, None)
        for attempt in connection.attempts:
            self._selector.unregister(attempt)
            attempt.close()
        if connection.socket is not None:
            if connection.mask:
                self._selector.unregister(connection.socket)
            connection.socket.close()
        if connection.http is not None:
            for ended in connection.http.abandon(connection.written, why):
                self._end(ended)
        elif not origin.connections:
            # Nobody is left to take those that waited.
            for request in origin.waiting:
                self._end(Ended(request, 0, "", why, True))
            origin.waiting.clear()
        if not origin.connections and not origin.waiting:
            self._origins.pop(origin.url, None)
            self._with_waiting.pop(origin, None)

    def _close_idle(self) -> None:
        """Close the connections unused for longest, where there are too many."""
        if len(self._connections) < _MAX_IDLE_CONNECTIONS:
            return
        idle = [c for c in self._connections if c.http is not None and c.http.is_idle]
        if idle:
            self._close(min(idle, key=lambda connection: connection.heard_at), "closed")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this Transport belongs to another process: make one after the fork")


_lock = threading.Lock()


def _resolver(
    connection: _Connection,
    resolved: deque[tuple[_Connection, list[_Address]]],
    waker: socket.socket,
) -> Callable[[], None]:
    host, port = connection.origin.host, connection.origin.port

    def resolve() -> None:
        try:
            addresses: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            addresses = []
        resolved.append((connection, addresses))
        with _lock, suppress(OSError):
            waker.send(b"x")

    return resolve


def seconds(retry_after: str) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110 section 10.2.3); None if none."""
    if retry_after.isdecimal() and retry_after.isascii():
        wait = float(retry_after[:9])
    else:
        try:
            date = parsedate_to_datetime(retry_after)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        wait = date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() - time.time()
    return wait if wait > 0 else None


def _words(error: Exception) -> str:
    """Say in plain words why a connection failed, whatever the TLS library calls it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no reason given'}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "timed out"
    return "connection lost" if isinstance(error, ConnectionError) else f"cannot connect: {error}"
