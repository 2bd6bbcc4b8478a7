"""A sink: a push service on 127.0.0.1 that accepts every message and forgets it, for trials.

It is nginx if that is installed, else our own below (`python -m workers.trials.push_service`). Both
speak HTTP/2 and HTTP/1.1 over TLS 1.3 in one process, so that their CPU time is easy to measure.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@contextmanager
def own_sink(folder: Path, delay: float | None = 0.0) -> Iterator[Sink]:
    """Run our own server, which responds after `delay` seconds, or never (None); `TrialError`."""
    ca_file, port = _certificate(folder), free_port()
    argv = [sys.executable, "-m", "workers.trials.push_service", str(port), str(ca_file)]
    with running([*argv, "never" if delay is None else str(delay)]) as process:
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
_FRAME_HEADER = 9  # bytes (section 4.1)
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_STATUS_201 = b"\x08\x03201"  # HPACK: the name of static entry 8, `:status`, a value (RFC 7541, B)
_RESPONSE_1_1 = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


class _Connection(asyncio.Protocol):
    """Responds with 201 after `delay` seconds, or never (None).

    It only looks for the end of each request, so it needs no HPACK decoder. Measured CPU time a
    request: 32 µs here, 35 in nginx, 484 with `h2`, which would be slower than what we measure.
    """

    def __init__(self, delay: float | None) -> None:
        self._delay = delay
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        secured = cast(ssl.SSLObject, transport.get_extra_info("ssl_object"))
        self._is_http2 = secured.selected_alpn_protocol() == "h2"
        self._preface = _PREFACE
        if self._is_http2:
            # Default settings, and the largest window for the whole connection.
            room = (2**31 - 1 - 65_535).to_bytes(4, "big")
            self._transport.write(_frame(_SETTINGS, 0, 0) + _frame(_WINDOW_UPDATE, 0, 0, room))

    def data_received(self, data: bytes) -> None:
        self._unread += data
        responses = self._http2() if self._is_http2 else self._http1()
        if responses and self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._write, responses)
        elif responses and self._delay is not None:
            self._transport.write(responses)

    def _write(self, responses: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(responses)

    def _http1(self) -> bytes:
        """Return responses to the complete requests; their length is in Content-Length."""
        responses = b""
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"\r\ncontent-length: *(\d+)", self._unread[:end], re.IGNORECASE)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                break
            del self._unread[:whole]
            responses += _RESPONSE_1_1
        return responses

    def _http2(self) -> bytes:
        """Return responses to the complete requests; acknowledge other frames at once."""
        at = min(self._preface, len(self._unread))
        self._preface -= at
        responses, at_once, taken = bytearray(), bytearray(), 0
        while len(self._unread) >= at + _FRAME_HEADER:
            length = int.from_bytes(self._unread[at : at + 3], "big")
            kind, flags = self._unread[at + 3], self._unread[at + 4]
            stream = int.from_bytes(self._unread[at + 5 : at + 9], "big")
            start, at_next = at + _FRAME_HEADER, at + _FRAME_HEADER + length
            if len(self._unread) < at_next:
                break
            if kind == _DATA:
                taken += length
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                responses += _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _STATUS_201)
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                echo = bytes(self._unread[start:at_next]) if kind == _PING else b""
                at_once += _frame(kind, _ACK, 0, echo)
            at = at_next
        del self._unread[:at]
        if taken:  # give back the window that bodies took
            at_once += _frame(_WINDOW_UPDATE, 0, 0, taken.to_bytes(4, "big"))
        if self._delay == 0:
            return bytes(at_once + responses)
        if at_once:
            self._transport.write(at_once)
        return bytes(responses)


async def _serve(port: int, pem: Path, delay: float | None) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pem)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(delay), HOST, port, ssl=tls
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    never = sys.argv[3] == "never"
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), None if never else float(sys.argv[3])))
