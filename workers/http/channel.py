"""Connects to a host (DNS or proxy, TCP, TLS), then reads and writes without waiting."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

# Seconds until the next address is tried beside those that have not connected yet (RFC 8305).
_NEXT_ADDRESS: Final = 0.25
_READ: Final = 1 << 16  # bytes
_WRITE: Final = 1 << 18  # bytes that are encrypted at once

_LARGEST_REPLY: Final = 1 << 16  # bytes of a proxy's reply to CONNECT

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class CannotConnect(Exception):
    """The connection could not be made; the message says why."""


class Proxy(NamedTuple):
    """An HTTP proxy that passes connections on when asked by CONNECT (RFC 9110 section 9.3.6)."""

    host: str
    port: int
    authorization: str = ""  # the value of Proxy-Authorization

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read `http://[user:password@]host[:port]`."""
        parts = urlsplit(url)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = f"Basic {b64encode(user.encode()).decode()}" if parts.username else ""
        return cls(parts.hostname or "", parts.port or 80, basic)

    def connect_request(self, host: str, port: int) -> bytes:
        """Return the request for a connection to a host."""
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self.authorization:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Channel:
    """A connected socket, with TLS or without, that never waits.

    TLS runs in memory, so that one read of the socket serves many records.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.protocol = "http/1.1"  # or what ALPN chose
        self.ended = ""  # why nothing more will come, once that is so
        self.written = 0  # bytes taken for sending
        self.unsent = b""  # those of them that are encrypted and not yet taken by the socket
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    def secure(self, tls: ssl.SSLContext, host: str, deadline: float) -> None:
        """Do the TLS handshake before `deadline` of the monotonic clock, and wait for it.

        `OSError` if it fails.
        """
        self._tls = tls.wrap_bio(self._in, self._out, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
                waits = False
            except ssl.SSLWantReadError:
                waits = True
            finally:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                self.socket.sendall(self._out.read())
            if not waits:
                break
            data = self.socket.recv(_READ)
            if not data:
                raise ConnectionResetError
            self._in.write(data)
        self.socket.setblocking(False)
        self.protocol = self._tls.selected_alpn_protocol() or "http/1.1"

    def read(self) -> bytes:
        """Return the bytes that came."""
        try:
            data = self.socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self.ended = in_words(error)
            return b""
        if not data:
            self.ended = "connection lost"
        return data if self._tls is None else self._decrypt(self._tls, data)

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        self._in.write(data)
        pieces = []
        try:
            while piece := tls.read(_READ):
                pieces.append(piece)
                if not (self._in.pending or tls.pending()):
                    break  # nothing is left, and asking for more would cost an exception
            else:
                self.ended = "connection lost"
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            self.ended = in_words(error)
        return b"".join(pieces)

    def write(self, out: bytearray) -> None:
        """Send as much of `out` as the socket takes now, and delete it from `out`."""
        try:
            while True:
                if not self.unsent:
                    self._encrypt(out)
                    if not self.unsent:
                        return
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.ended = in_words(error)

    def _encrypt(self, out: bytearray) -> None:
        data = bytes(out[:_WRITE])
        del out[:_WRITE]
        self.written += len(data)
        if self._tls is None:
            self.unsent = data
            return
        if data:
            self._tls.write(data)
        self.unsent = self._out.read()


def connect(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    timeout: float,
    may_connect: Callable[[str], bool],
    proxy: Proxy | None = None,
) -> Channel:
    """Connect within `timeout` seconds after the name is resolved, or raise `CannotConnect`.

    `may_connect` is asked for each address that the name has, so that no server of names can lead
    us where we must not go. With a proxy, its name is resolved here, and it resolves `host`. This
    waits, so call it in a thread. If `host` is an IPv6 address, it has no brackets.
    """
    if proxy is None:
        sock, deadline = _connected(host, port, timeout, may_connect)
    else:
        try:
            sock, deadline = _connected(proxy.host, proxy.port, timeout, lambda _: True)
        except CannotConnect as error:
            raise CannotConnect(f"the proxy: {error}") from error
    channel = Channel(sock)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Else the kernel of a host that was cut off would deliver late what we have given up.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout * 1000))
        if proxy is not None:
            ask_proxy(sock, proxy.connect_request(host, port), deadline)
        if tls is not None:
            channel.secure(tls, host, deadline)
        else:
            sock.setblocking(False)
    except CannotConnect:
        sock.close()
        raise
    except (OSError, ValueError) as error:
        sock.close()
        raise CannotConnect(in_words(error)) from error
    return channel


def _connected(
    host: str, port: int, timeout: float, may_connect: Callable[[str], bool]
) -> tuple[socket.socket, float]:
    """Return a socket connected to a host, and the deadline for what follows."""
    try:
        addresses: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotConnect("host name unknown") from error
    addresses = [one for one in addresses if may_connect(one[4][0])]
    if not addresses:
        raise CannotConnect("its name leads to an address that is not public")
    deadline = time.monotonic() + timeout
    return first_to_connect(addresses, deadline), deadline


def ask_proxy(sock: socket.socket, request: bytes, deadline: float) -> None:
    """Have a proxy connect a socket to a host, and wait for that; `CannotConnect`, `OSError`."""
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    sock.sendall(request)
    reply = b""
    while b"\r\n\r\n" not in reply:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        # One byte at a time, because what follows the reply is not the proxy's.
        data = sock.recv(1)
        if not data or len(reply) > _LARGEST_REPLY:
            raise CannotConnect("the proxy: connection lost")
        reply += data
    status = reply.split(b" ", 2)[1][:3].decode("latin-1") if reply.count(b" ") else ""
    if status[:1] != "2":
        raise CannotConnect(f"the proxy answered {status or 'no HTTP'} to CONNECT")


def first_to_connect(addresses: list[_Address], deadline: float) -> socket.socket:
    """Try one address after the other; the next one when the last failed or takes too long."""
    todo, trying = list(addresses), select.poll()
    attempts: dict[int, socket.socket] = {}
    why = "timed out"
    try:
        while todo or attempts:
            if todo:
                try:
                    attempt = _begin(todo.pop(0))
                except OSError as error:
                    why = in_words(error)
                    continue
                attempts[attempt.fileno()] = attempt
                trying.register(attempt, select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for number, _ in trying.poll(1000 * (min(left, _NEXT_ADDRESS) if todo else left)):
                attempt = attempts.pop(number)
                trying.unregister(attempt)
                code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return attempt
                why = in_words(OSError(code, os.strerror(code)))
                attempt.close()
    finally:
        for attempt in attempts.values():
            attempt.close()
    raise CannotConnect("timed out" if attempts else why)


def _begin(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    attempt = socket.socket(family, kind, protocol)
    attempt.setblocking(False)
    try:
        attempt.connect(where)
    except BlockingIOError:
        pass
    except OSError:
        attempt.close()
        raise
    return attempt


def in_words(error: Exception) -> str:
    """Say in plain words why a connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "connection lost"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no reason given'}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError):
        return "connection lost"
    return f"cannot connect: {error.strerror if isinstance(error, OSError) else error}"
