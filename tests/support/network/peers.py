"""Sending messages with the transport, and servers that are no push service."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from service.model.keys import VapidKey
from workers.http.transport import Answer, NoRoom, Transport
from workers.sending import wire

KEY = VapidKey.generate()
SIGNER = wire.VapidSigner(KEY, "mailto:push@newsroom.example")
WAIT = 20.0  # seconds until a test gives up
T = TypeVar("T", bound="_TlsServer")

# Messages for which there was no room yet: key, origin, path, headers, body.
_waiting: WeakKeyDictionary[Transport, deque[tuple[int, str, str, wire.Headers, bytes]]] = (
    WeakKeyDictionary()
)


def send(transport: Transport, origin: str, keys: range | list[int], path: str = "/push/") -> None:
    """Start a valid message for each key, to an endpoint that ends in it.

    Messages without room wait for the next `hand_over`, which `answers` calls.
    """
    topic = wire.collapse_topic(b"key", "story")
    headers = wire.headers(SIGNER.header(origin, time.time()), 3600, "high", topic)
    for key in keys:
        # The test's own public key serves as the browser's, because no browser reads them.
        body = wire.encrypt(b"Stop press", KEY.public, bytes(16))
        _waiting.setdefault(transport, deque()).append((key, origin, f"{path}{key}", headers, body))
    hand_over(transport)


def hand_over(transport: Transport) -> None:
    """Start as many of the waiting messages as there is room for, the oldest first."""
    waiting = _waiting.setdefault(transport, deque())
    rooms: dict[str, int] = {}
    for request in [waiting.popleft() for _ in range(len(waiting))]:
        origin = request[1]
        if origin not in rooms:
            rooms[origin] = transport.room(origin)
        if rooms[origin]:
            rooms[origin] -= 1
            with suppress(NoRoom):
                transport.start(*request)
                continue
        waiting.append(request)
    for origin in {request[1] for request in waiting}:
        transport.room(origin)  # there is none, so the transport opens another connection


def answers(transport: Transport, n: int) -> list[Answer[int]]:
    """Wait for `n` responses, and check that no more have come."""
    came: list[Answer[int]] = []
    deadline = time.monotonic() + WAIT
    while len(came) < n:
        assert time.monotonic() < deadline, f"{len(came)} of {n} answers"
        hand_over(transport)
        came += transport.poll(1.0)
    assert len(came) == n
    return came


def one(transport: Transport, origin: str) -> Answer[int]:
    send(transport, origin, [0])
    return answers(transport, 1)[0]


def room(transport: Transport, origin: str) -> int:
    """Wait until there is room at an origin, and return how much."""
    deadline = time.monotonic() + WAIT
    while not (room := transport.room(origin)):
        assert time.monotonic() < deadline, "no room"
        assert transport.poll(1.0) == []
    return room


def unreachable(transport: Transport, origin: str) -> str:
    """Wait until the transport finds a new origin unreachable, and return why."""
    assert transport.room(origin) == 0
    deadline = time.monotonic() + WAIT
    while not (found := transport.unreachable()):
        assert time.monotonic() < deadline, "still reachable"
        assert transport.poll(1.0) == []
    assert [*found] == [origin]
    return found[origin]


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection with a bare socket; yield its host and port."""

    def run() -> None:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection:
            connection.settimeout(WAIT)
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)
        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def responding(text: bytes) -> Callable[[socket.socket], None]:
    """Read a whole HTTP/1.1 request, send `text` and close the connection."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as request:
            length = 0
            for line in iter(request.readline, b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            request.read(length)
        connection.sendall(text)

    return serve


def make_certificate(folder: Path, name: str) -> Path:
    """Make a self-signed certificate for 127.0.0.1 or a name, in one file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of this test")])
    now = datetime.now(timezone.utc)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "127.0.0.1":
        names = [x509.IPAddress(ip_address(name))]
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, SHA256())
    )
    file = folder / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return file


class _TlsServer(socketserver.ThreadingTCPServer):
    """A server on 127.0.0.1 that agrees on HTTP/2; a context manager."""

    allow_reuse_address = True

    def __init__(
        self, folder: Path, handler: type[socketserver.BaseRequestHandler], name: str = "127.0.0.1"
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.certificate = make_certificate(folder, name)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.certificate)
        self.context.set_alpn_protocols(["h2"])
        self.origin = f"https://127.0.0.1:{self.server_address[1]}"

    def __enter__(self: T) -> T:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class GoawayServer(_TlsServer):
    """Ends connections as nginx does: it takes some streams and disowns the later ones.

    It goes on reading until the client closes, so that no response is lost in a reset.
    """

    def __init__(self, folder: Path, streams: int, name: str = "127.0.0.1") -> None:
        super().__init__(folder, GoawayConnection, name)
        self.streams = streams
        self.taken: Counter[str] = Counter()


class GoawayConnection(socketserver.BaseRequestHandler):
    server: GoawayServer

    def handle(self) -> None:
        self.request.settimeout(WAIT)
        with suppress(OSError), self.server.context.wrap_socket(self.request, True) as tls:
            self.take_streams(tls)
            while tls.recv(1 << 16):
                pass

    def take_streams(self, tls: ssl.SSLSocket) -> None:
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        tls.sendall(h2.data_to_send())
        paths: dict[int, str] = {}
        left = self.server.streams
        while left and (data := tls.recv(1 << 16)):
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                elif isinstance(event, StreamEnded) and left:
                    left -= 1
                    self.server.taken[paths[event.stream_id]] += 1
                    h2.send_headers(event.stream_id, [(":status", "201")], end_stream=True)
                    if not left:
                        h2.close_connection(last_stream_id=event.stream_id)
            tls.sendall(h2.data_to_send())


class BareServer(_TlsServer):
    """Agrees on HTTP/2 after `wait` seconds, sends the bytes `first`, and then runs `serve`."""

    def __init__(
        self,
        folder: Path,
        serve: Callable[[ssl.SSLSocket], None],
        *,
        first: bytes = b"",
        wait: float = 0.0,
    ) -> None:
        super().__init__(folder, BareConnection)
        self.serve, self.first, self.wait = serve, first, wait
        self.connections = 0  # accepted so far


class BareConnection(socketserver.BaseRequestHandler):
    server: BareServer

    def handle(self) -> None:
        self.server.connections += 1
        self.request.settimeout(WAIT)
        time.sleep(self.server.wait)
        with suppress(OSError), self.server.context.wrap_socket(self.request, True) as tls:
            tls.sendall(self.server.first)
            self.server.serve(tls)


def answers_of(transport: Transport, is_last: Callable[[Answer[int]], bool]) -> list[Answer[int]]:
    """Wait for a certain response, and return all that have come."""
    came: list[Answer[int]] = []
    while not any(map(is_last, came)):
        hand_over(transport)
        came += transport.poll(1.0)
    return came
