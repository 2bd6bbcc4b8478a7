"""A sink: a push service on 127.0.0.1 that accepts every message and forgets it, for trials.

It is nginx if that is installed, else our own below (`python -m workers.trials.push_service`). Both
speak HTTP/2 and HTTP/1.1 over TLS 1.3 in one process, so that their CPU time is easy to measure.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import math
import os
import random
import re
import shutil
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from workers.trials.processes import (
    HOST,
    Process,
    TrialError,
    free_port,
    listens,
    running,
    wait_for,
)


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink."""

    name: str
    origin: str
    ca_file: Path  # the certificate to trust it by
    pid: int


class Nginx(NamedTuple):
    """An installed nginx."""

    binary: str
    version: str


def find_nginx() -> Nginx | None:
    """Return the nginx of this machine, if there is one."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    if (binary := shutil.which("nginx", path=path)) is None:
        return None
    printed = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stderr
    version = re.search(r"nginx/([\d.]+)", printed)
    return Nginx(binary, version[1]) if version else None


@contextmanager
def any_sink(folder: Path) -> Iterator[Sink]:
    """Run nginx, or our own if it is not installed, with files in `folder`; `TrialError`."""
    nginx = find_nginx()
    with nginx_sink(folder, nginx) if nginx else own_sink(folder) as sink:
        yield sink


@contextmanager
def nginx_sink(folder: Path, nginx: Nginx) -> Iterator[Sink]:
    """Run nginx; raises `TrialError` with its log if it does not start."""
    ca_file, port = _certificate(folder), free_port()
    config, log = folder / "nginx.conf", folder / "nginx.log"
    since_1_25_1 = tuple(map(int, nginx.version.split("."))) >= (1, 25, 1)
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config.write_text(
        "daemon off;\n"
        "master_process off;\n"
        f"pid {folder}/nginx.pid;\n"
        "events { worker_connections 1024; }\n"
        "http {\n"
        "  access_log off;\n"
        + "".join(f"  {name}_temp_path {folder}/{name};\n" for name in temporary)
        + "  server {\n"
        f"    listen {HOST}:{port} ssl{'' if since_1_25_1 else ' http2'};\n"
        f"    {'http2 on;' if since_1_25_1 else ''}\n"
        f"    ssl_certificate {ca_file};\n"
        f"    ssl_certificate_key {ca_file};\n"
        "    ssl_protocols TLSv1.3;\n"
        "    keepalive_requests 1000000000;\n"
        "    location / { return 201; }\n"
        "  }\n"
        "}\n"
    )
    argv = [nginx.binary, "-p", str(folder), "-e", str(log), "-c", str(config)]
    with running(argv) as process:
        _wait_for(process, port, log)
        yield Sink(f"nginx {nginx.version}", f"https://{HOST}:{port}", ca_file, process.pid)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How our own server behaves."""

    delay: float | None = 0.0  # seconds until it responds, the median; None: it never does
    spread: float = 0.0  # the standard deviation of the delay's natural logarithm
    between: tuple[float, float] = (0.0, math.inf)  # the shortest and the longest delay, in seconds
    streams: int = 0  # requests that a connection may have under way; 0: any number
    requests: int = 0  # after which an HTTP/2 connection goes away (GOAWAY); 0: never
    lost: float = 0.0  # the share of these connections that it then cuts instead
    http1: bool = False  # it does not speak HTTP/2


@contextmanager
def own_sink(folder: Path, behaviour: Behaviour = Behaviour()) -> Iterator[Sink]:
    """Run our own server; `TrialError`."""
    ca_file, port = _certificate(folder), free_port()
    argv = [sys.executable, "-m", "workers.trials.push_service", str(port), str(ca_file)]
    with running([*argv, json.dumps(asdict(behaviour))]) as process:
        _wait_for(process, port)
        name = "our own in Python, since nginx is not installed"
        yield Sink(name, f"https://{HOST}:{port}", ca_file, process.pid)


def _wait_for(process: Process, port: int, log: Path | None = None) -> None:
    try:
        wait_for(lambda: listens(port), process)
    except TrialError as error:
        why = log.read_text().strip() if log and log.exists() else error
        raise TrialError(f"the pretend push service did not start: {why}") from None


def _certificate(folder: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1; key and certificate in one file.

    The sinks of one folder share it.
    """
    file = folder / "sink.pem"
    if file.exists():
        return file
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(subject_key, critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file


# Our own ----------------------------------------------------------------------------------------

_PREFACE = 24  # bytes with which a client begins (RFC 9113 section 3.4)
# A frame's header (section 4.1): length (16 and 8 bits), type, flags, stream.
_FRAME = struct.Struct(">HBBBL")
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_MAX_CONCURRENT_STREAMS = 3  # a setting (section 6.5.2)
_STATUS_201 = b"\x08\x03201"  # HPACK: the name of static entry 8, `:status`, a value (RFC 7541, B)
_RESPONSE_2_SIZE = _FRAME.size + len(_STATUS_201)  # bytes
_NO_TABLE = b"\x20"  # HPACK: from now on the encoder's table has size 0 (RFC 7541 section 6.3)
_RESPONSE_1_1 = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
_TICK = 0.005  # seconds; responses that are due in the same one are written together
_DELAYS = 4096  # drawn beforehand


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _FRAME.pack(length >> 8, length & 255, kind, flags, stream) + payload


def _without_table(responses: bytes | bytearray) -> bytes:
    """Say in the first header block that no table is used, as our workers ask.

    A server must (RFC 7541 section 4.2), and nginx does. Until then a client has to decode each
    block in full, which takes several times as long.
    """
    first = _FRAME.unpack_from(responses)
    block = _NO_TABLE + _STATUS_201
    return _frame(first[2], first[3], first[4], block) + responses[_RESPONSE_2_SIZE:]


class _Delays:
    """Writes responses when they are due."""

    def __init__(self, behaviour: Behaviour) -> None:
        draw = random.Random(1)  # noqa: S311 - the same for each run
        median, (least, most) = behaviour.delay or 0.0, behaviour.between
        drawn = (draw.lognormvariate(0, behaviour.spread) * median for _ in range(_DELAYS))
        self._ticks = cycle([round(min(max(one, least), most) / _TICK) for one in drawn])
        self._due: dict[int, dict[_Connection, bytearray]] = {}  # by tick

    def add(self, connection: _Connection, response: bytes) -> None:
        """Write a response after the next delay."""
        tick = int(time.monotonic() / _TICK) + next(self._ticks)
        if (connections := self._due.get(tick)) is None:
            connections = self._due[tick] = {}
            late = (tick + 1) * _TICK - time.monotonic()
            asyncio.get_running_loop().call_later(late, self._write, tick)
        if (responses := connections.get(connection)) is None:
            responses = connections[connection] = bytearray()
        responses += response

    def _write(self, tick: int) -> None:
        for connection, responses in self._due.pop(tick).items():
            connection.respond(responses)


class _Connection(asyncio.Protocol):
    """Responds with 201.

    It only looks for the end of each request, so it needs no HPACK decoder. Measured CPU time a
    request: 32 µs here, 35 in nginx, 484 with `h2`, which would be slower than what we measure.
    """

    def __init__(self, behaviour: Behaviour, delays: _Delays) -> None:
        self._behaviour = behaviour
        self._delays = delays
        self._unread = bytearray()
        self._taken = self._answered = 0  # requests
        self._ends = False  # it has said that it takes no more requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        secured = cast(ssl.SSLObject, transport.get_extra_info("ssl_object"))
        self._is_http2 = secured.selected_alpn_protocol() == "h2"
        self._size = _RESPONSE_2_SIZE if self._is_http2 else len(_RESPONSE_1_1)
        self._preface = _PREFACE
        if self._is_http2:
            settings = b""
            if self._behaviour.streams:
                settings = struct.pack(">HL", _MAX_CONCURRENT_STREAMS, self._behaviour.streams)
            # Otherwise the defaults, and the largest window for the whole connection.
            room = (2**31 - 1 - 65_535).to_bytes(4, "big")
            self._transport.write(
                _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, room)
            )

    def data_received(self, data: bytes) -> None:
        self._unread += data
        responses = self._http2() if self._is_http2 else self._http1()
        if self._behaviour.delay == 0:
            self.respond(b"".join(responses))
        elif self._behaviour.delay is not None:
            for response in responses:
                self._delays.add(self, response)

    def respond(self, responses: bytes | bytearray) -> None:
        """Write responses; hang up after the last one that the connection carries."""
        if self._transport.is_closing():
            return
        if responses:
            if self._is_http2 and not self._answered:
                responses = _without_table(responses)
            self._transport.write(bytes(responses))
            self._answered += len(responses) // self._size
        if self._ends and self._answered >= self._taken:
            self._transport.close()

    def _http1(self) -> list[bytes]:
        """Return responses to the complete requests; their length is in Content-Length."""
        responses = []
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"\r\ncontent-length: *(\d+)", self._unread[:end], re.IGNORECASE)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                break
            del self._unread[:whole]
            responses.append(_RESPONSE_1_1)
        return responses

    def _http2(self) -> list[bytes]:
        """Return responses to the complete requests; acknowledge other frames at once."""
        unread, size, unpack_from = self._unread, len(self._unread), _FRAME.unpack_from
        at = min(self._preface, size)
        self._preface -= at
        responses: list[bytes] = []
        at_once, taken = bytearray(), 0
        while size >= at + _FRAME.size:
            high, low, kind, flags, stream = unpack_from(unread, at)
            start = at + _FRAME.size
            at_next = start + (high << 8 | low)
            if size < at_next:
                break
            if kind == _DATA:
                taken += at_next - start
            if kind in (_DATA, _HEADERS):
                if flags & _END_STREAM and not self._ends:
                    responses.append(
                        _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _STATUS_201)
                    )
                    at_once += self._count(stream)
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                echo = bytes(unread[start:at_next]) if kind == _PING else b""
                at_once += _frame(kind, _ACK, 0, echo)
            at = at_next
        del unread[:at]
        if taken:  # give back the window that bodies took
            at_once += _frame(_WINDOW_UPDATE, 0, 0, taken.to_bytes(4, "big"))
        if at_once and not self._transport.is_closing():
            self._transport.write(bytes(at_once))
        return responses

    def _count(self, stream: int) -> bytes:
        """Count a request; return what to say if it is the connection's last one."""
        self._taken += 1
        if self._taken != self._behaviour.requests:
            return b""
        self._ends = True
        if random.random() < self._behaviour.lost:  # noqa: S311
            self._transport.abort()
        return _frame(_GOAWAY, 0, 0, stream.to_bytes(4, "big") + bytes(4))


async def _serve(port: int, pem: Path, behaviour: Behaviour) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pem)
    tls.set_alpn_protocols(["http/1.1"] if behaviour.http1 else ["h2", "http/1.1"])
    delays = _Delays(behaviour)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(behaviour, delays), HOST, port, ssl=tls
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), Behaviour(**json.loads(sys.argv[3]))))
