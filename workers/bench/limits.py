"""The limits of this machine: encryption on one core, and the sink without our engine."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from service.local import pretend_readers
from workers.bench.figures import Bench, BenchError, Figure, Step
from workers.bench.installation import check_signals, cpu_seconds
from workers.sending import wire
from workers.trials.push_service import Sink, any_sink

PAYLOAD = 365  # bytes that a browser gets of the alert that the benchmark sends
_MEASURED = 0.5  # seconds of CPU for which each operation is repeated
_CONNECTIONS = 4
_STREAMS = 100  # of one connection at a time; nginx allows 128
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
_FRAME_HEADER = 9  # bytes
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def limits(bench: Bench) -> Iterator[Figure]:
    """Measure the key agreement of RFC 8291 and our encryption on one core, then the sink."""
    payload = bytes(PAYLOAD)
    readers = [pretend_readers.keys(number) for number in range(256)]
    encrypt = _cpu_of(lambda n: wire.seal(payload, wire.derive(*readers[n % 256])))
    keys = [wire.derive(*reader) for reader in readers]
    seal = _cpu_of(lambda n: wire.seal(payload, keys[n % 256]))
    for name, took in (
        ("new key pair and key agreement (ECDH)", ecdh()),
        ("our whole encryption", encrypt),
        ("our encryption, key derived before", seal),
    ):
        yield Figure(name, took * 1e6, "µs")
        yield Figure("  one core at most", 1 / took, "/s")
    with any_sink(bench.folder) as sink, bench.bar("the sink alone", bench.recipients) as step:
        cpu, start = cpu_seconds(sink.pid), time.monotonic()
        flood(sink, bench.recipients, step)
        seconds = time.monotonic() - start
        yield Figure("the sink alone", bench.recipients / seconds, "/s")
        yield Figure("  its CPU", (cpu_seconds(sink.pid) - cpu) / bench.recipients * 1e6, "µs")


def ecdh() -> float:
    """Return the CPU seconds of a new key pair and the key agreement with a browser's."""
    curve, agreement = ec.SECP256R1(), ec.ECDH()
    theirs = pretend_readers.private_key(0).public_key()
    return _cpu_of(lambda _: ec.generate_private_key(curve).exchange(agreement, theirs))


def _cpu_of(work: Callable[[int], object]) -> float:
    """Return the CPU seconds of one call of `work`, which gets 0, 1, 2 and so on."""
    work(0)
    start, times = time.thread_time(), 0
    while (took := time.thread_time() - start) < _MEASURED:
        work(times)
        times += 1
    return took / times


def flood(sink: Sink, messages: int, step: Step = lambda _: None) -> None:
    """Send messages of the usual size to a sink, without the work of encrypting them."""
    with ExitStack() as stack:
        connections = [_Connection(sink) for _ in range(_CONNECTIONS)]
        for connection in connections:
            stack.callback(connection.close)
        left = messages
        while left:
            for connection in connections:
                left -= connection.send(min(_STREAMS, left))
            for connection in connections:
                connection.wait()
            step(messages - left)
            check_signals()


class _Connection:
    """An HTTP/2 connection that sends many messages at once and only counts the responses."""

    def __init__(self, sink: Sink) -> None:
        parts = urlsplit(sink.origin)
        tls = ssl.create_default_context(cafile=str(sink.ca_file))
        tls.set_alpn_protocols(["h2"])
        plain = socket.create_connection((parts.hostname or "", parts.port or 443), timeout=20)
        self._socket = tls.wrap_socket(plain, server_hostname=parts.hostname)
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0))
        self._head = b"".join(
            (
                b"\x83\x87",  # POST, https: HPACK's static table (RFC 7541, A)
                _literal(b"\x01", parts.netloc.encode()),  # :authority
                _literal(b"\x04", pretend_readers.path(0).encode()),  # :path
                _literal(b"\x00" + _string(b"ttl"), b"14400"),
                _literal(b"\x00" + _string(b"urgency"), b"high"),
                _literal(b"\x00" + _string(b"content-encoding"), b"aes128gcm"),
                _literal(b"\x00" + _string(b"authorization"), b"vapid t=" + b"x" * 270),
            )
        )
        self._body = os.urandom(PAYLOAD + 103)  # encryption adds 103 bytes
        self._next = 1
        self._under_way = 0
        self._unread = bytearray()

    def send(self, messages: int) -> int:
        """Send this number of messages, and return it."""
        frames = bytearray()
        for stream in range(self._next, self._next + 2 * messages, 2):
            frames += _frame(_HEADERS, _END_HEADERS, stream, self._head)
            frames += _frame(_DATA, _END_STREAM, stream, self._body)
        self._next += 2 * messages
        self._under_way += messages
        self._socket.sendall(frames)
        return messages

    def wait(self) -> None:
        """Read until every message has a response."""
        while self._under_way:
            read = self._socket.recv(65536)
            if not read:
                raise ConnectionError("the sink closed a connection")
            self._unread += read
            at = 0
            while len(self._unread) >= at + _FRAME_HEADER:
                kind, flags = self._unread[at + 3], self._unread[at + 4]
                end = at + _FRAME_HEADER + int.from_bytes(self._unread[at : at + 3], "big")
                if len(self._unread) < end:
                    break
                if kind == _SETTINGS and not flags & _ACK:
                    self._socket.sendall(_frame(_SETTINGS, _ACK, 0))
                elif kind == _HEADERS and b"201" not in self._unread[at:end]:
                    raise BenchError("the sink did not respond with 201")
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    self._under_way -= 1
                at = end
            del self._unread[:at]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _string(text: bytes) -> bytes:
    """Return an HPACK string, uncompressed (RFC 7541 section 5.2); of at most 382 bytes."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest = len(text) - 127
    more = bytes((rest,)) if rest < 128 else bytes((rest & 127 | 128, rest >> 7))
    return b"\x7f" + more + text


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header field without an entry in the table (RFC 7541 section 6.2.2)."""
    return name + _string(value)
