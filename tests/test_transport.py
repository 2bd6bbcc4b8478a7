"""The transport, against a push service on real sockets that answers, stalls and hangs up."""

from __future__ import annotations

import itertools
import os
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from service.keys import VapidKey
from tests.push_service import Answer as Reply
from tests.push_service import Message, PushService, every
from workers import http1, wire
from workers.exchange import Exchange
from workers.transport import Answer, Transport

pytestmark = pytest.mark.once

KEY = VapidKey.generate()
SIGNER = wire.VapidSigner(KEY, "mailto:push@newsroom.example")
WAIT = 20.0  # seconds until a test gives up


@pytest.fixture
def push() -> Iterator[PushService]:
    with PushService() as service:
        service.accept_any(KEY.public)
        yield service


@pytest.fixture
def transport(push: PushService) -> Iterator[Transport]:
    transport = Transport(ca_bundle=push.ca_file, timeout=WAIT)
    yield transport
    transport.close()


def send(transport: Transport, origin: str, keys: range | list[int], path: str = "/push/") -> None:
    """Start a right message for each key, to an endpoint that ends in it."""
    topic = wire.collapse_topic(b"key", "story")
    headers = wire.headers(SIGNER.header(origin, time.time()), 3600, "high", topic)
    for key in keys:
        # The test's own public key serves as the browser's: nobody reads these messages.
        body = wire.encrypt(b"Stop press", KEY.public, bytes(16))
        transport.start(key, origin, f"{path}{key}", headers, body)


def answers(transport: Transport, n: int) -> list[Answer[int]]:
    """Wait for n answers; there must be no more."""
    came: list[Answer[int]] = []
    deadline = time.monotonic() + WAIT
    while len(came) < n:
        assert time.monotonic() < deadline, f"{len(came)} of {n} answers"
        came += transport.poll(1.0)
    assert len(came) == n
    return came


def one(transport: Transport, origin: str) -> Answer[int]:
    send(transport, origin, [0])
    return answers(transport, 1)[0]


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection with a bare socket; gives its host and port."""

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


def saying(text: bytes) -> Callable[[socket.socket], None]:
    """Read a whole HTTP/1.1 request, say `text` and hang up."""

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
    """Make a certificate, its own authority, for 127.0.0.1 or a name; one file with its key."""
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


class GoawayServer(socketserver.ThreadingTCPServer):
    """HTTP/2 that ends as nginx does: takes some streams of a connection, disowns the later ones.

    It goes on reading until the client hangs up, so that no answer is lost in a reset.
    """

    allow_reuse_address = True

    def __init__(self, folder: Path, streams: int, name: str = "127.0.0.1") -> None:
        super().__init__(("127.0.0.1", 0), GoawayConnection)
        self.certificate = make_certificate(folder, name)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.certificate)
        self.context.set_alpn_protocols(["h2"])
        self.streams = streams
        self.taken: Counter[str] = Counter()
        self.origin = f"https://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> GoawayServer:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


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


def test_messages_share_a_few_http_2_connections(push: PushService, transport: Transport) -> None:
    send(transport, push.origin, range(200))
    came = answers(transport, 200)
    assert sorted(answer.key for answer in came) == list(range(200))
    assert {answer.status for answer in came} == {201}
    received = push.wait_for(200, WAIT)
    assert {message.http_version for message in received} == {"2"}
    assert len({message.connection for message in received}) <= 4
    assert push.refusals == []


def test_a_few_messages_at_once_wait_for_one_connection(
    push: PushService, transport: Transport
) -> None:
    send(transport, push.origin, range(20))
    answers(transport, 20)
    assert {message.connection for message in push.wait_for(20, WAIT)} == {1}
    assert len(push.connections) == 1


def test_no_more_connections_are_made_than_were_allowed(push: PushService) -> None:
    transport = Transport(streams=150, connections=1, ca_bundle=push.ca_file)
    # From its first answer on it is known that this service takes 100 streams of a connection.
    one(transport, push.origin)
    push.answer_with(lambda message: Reply(delay=0.5))
    send(transport, push.origin, range(150))
    answers(transport, 150)
    transport.close()
    assert {message.connection for message in push.wait_for(151, WAIT)} == {1}


def test_connections_are_kept_from_message_to_message(
    push: PushService, transport: Transport
) -> None:
    for _ in range(3):
        one(transport, push.origin)
    assert len({message.connection for message in push.wait_for(3, WAIT)}) == 1


def test_no_more_requests_are_taken_than_there_are_streams(push: PushService) -> None:
    transport = Transport(streams=3, ca_bundle=push.ca_file)
    send(transport, push.origin, range(3))
    assert transport.free == 0
    with pytest.raises(RuntimeError, match="poll"):
        send(transport, push.origin, [3])
    answers(transport, 3)
    assert transport.free == 3
    transport.close()


def test_polling_comes_back_at_once_when_nothing_is_under_way(transport: Transport) -> None:
    assert transport.poll(3600) == []


def test_a_late_answer_is_waited_for_without_holding_up_the_others(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(lambda message: Reply(delay=1.0) if message.path == "/push/0" else None)
    send(transport, push.origin, range(5))
    assert [answer.key for answer in answers(transport, 5)][-1] == 0


@pytest.mark.parametrize(
    ("status", "untouched"),
    [(201, False), (307, False), (410, False), (429, True), (500, False), (503, True)],
)
def test_the_status_says_whether_a_message_may_have_been_taken(
    push: PushService, transport: Transport, status: int, untouched: bool
) -> None:
    push.answer_with(lambda message: Reply(status, body=b"because"))
    answer = one(transport, push.origin)
    assert answer == Answer(0, status, None, "because", untouched)


@pytest.mark.parametrize("text", ["120", "1"])
def test_retry_after_is_read_as_seconds(push: PushService, transport: Transport, text: str) -> None:
    push.answer_with(lambda message: Reply(429, {"retry-after": text}))
    assert one(transport, push.origin).retry_after == int(text)


def test_retry_after_is_read_as_a_date(push: PushService, transport: Transport) -> None:
    date = formatdate(time.time() + 7200, usegmt=True)
    push.answer_with(lambda message: Reply(503, {"retry-after": date}))
    retry_after = one(transport, push.origin).retry_after
    assert retry_after is not None
    assert 7200 - WAIT < retry_after <= 7200


@pytest.mark.parametrize("text", ["soon", "-5", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_that_asks_for_nothing_is_none(
    push: PushService, transport: Transport, text: str
) -> None:
    push.answer_with(lambda message: Reply(429, {"retry-after": text}))
    assert one(transport, push.origin).retry_after is None


def test_a_retry_after_does_not_stay_for_the_next_answer(push: PushService) -> None:
    with_one_handle = Transport(streams=1, connections=1, ca_bundle=push.ca_file)
    push.answer_with(lambda message: Reply(429, {"retry-after": "9"}, b"slow down"))
    one(with_one_handle, push.origin)
    push.answer_with(lambda message: None)
    assert one(with_one_handle, push.origin) == Answer(0, 201, None, "", False)
    with_one_handle.close()


def test_an_answer_of_ten_megabytes_is_cut_and_its_connection_lives_on(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(lambda message: Reply(403, body=b"VapidPkHashMismatch".ljust(10_000_000)))
    answer = one(transport, push.origin)
    assert answer.status == 403
    assert answer.reason == "VapidPkHashMismatch".ljust(4096)
    push.answer_with(lambda message: None)
    assert one(transport, push.origin).status == 201
    assert {message.connection for message in push.wait_for(2, WAIT)} == {1}


def test_an_answer_without_end_is_not_listened_to() -> None:
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        saying(b"HTTP/1.1 500 Oh\r\n\r\n")(connection)
        with suppress(OSError):
            while sent < 100_000_000:
                sent += connection.send(bytes(100_000))

    with listening(serve) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]), timeout=WAIT)
        answer = one(transport, f"http://{address}")
        transport.close()
    assert answer.status == 500
    assert sent < 100_000_000


def test_a_redirect_is_not_followed(push: PushService, transport: Transport) -> None:
    push.answer_with(lambda message: Reply(307, {"location": f"{push.origin}/push/elsewhere"}))
    assert one(transport, push.origin).status == 307
    assert [message.path for message in push.wait_for(1, WAIT)] == ["/push/0"]


def test_a_proxy_in_the_environment_is_ignored(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert one(transport, push.origin).status == 201


def test_a_server_whose_certificate_nobody_vouches_for_is_sent_nothing(push: PushService) -> None:
    transport = Transport()
    answer = one(transport, push.origin)
    transport.close()
    assert (answer.status, answer.untouched) == (0, True)
    assert "certificate" in answer.reason
    assert push.received == []


def test_a_server_whose_certificate_is_for_another_name_is_sent_nothing(tmp_path: Path) -> None:
    with GoawayServer(tmp_path, streams=1, name="localhost") as server:
        transport = Transport(ca_bundle=server.certificate)
        answer = one(transport, server.origin)
        transport.close()
    assert (answer.status, answer.untouched) == (0, True)
    assert "certificate" in answer.reason
    assert not server.taken


def test_http_is_refused(push: PushService, transport: Transport) -> None:
    for origin in ("http://push.example", push.plain_origin, "ftp://push.example"):
        with pytest.raises(ValueError, match="https only"):
            transport.start(1, origin, "/1", (), b"")
    assert transport.free == 256


def test_http_is_spoken_to_an_origin_that_is_listed_for_it(push: PushService) -> None:
    transport = Transport(plain_origins=frozenset([push.plain_origin]))
    assert one(transport, push.plain_origin).status == 201
    with pytest.raises(ValueError, match="https only"):
        transport.start(1, "http://push.example", "/1", (), b"")
    transport.close()
    assert [message.http_version for message in push.received] == ["1.1"]
    assert push.refusals == []


def test_a_server_that_never_answers_is_given_up(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, timeout=0.5)
    push.answer_with(lambda message: Reply(delay=WAIT))
    answer = one(transport, push.origin)
    transport.close()
    assert (answer.status, answer.untouched) == (0, False)
    assert "timed out" in answer.reason


def test_a_server_that_never_finishes_its_handshake_is_given_up() -> None:
    transport = Transport(connect_timeout=0.5, timeout=3600)
    with listening(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as address:
        answer = one(transport, f"https://{address}")
    transport.close()
    assert (answer.status, answer.untouched) == (0, True)
    assert "timed out" in answer.reason


def test_a_closed_port_and_an_unknown_name_are_known_not_to_have_taken_anything() -> None:
    transport = Transport()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    # A label of 64 characters exists nowhere, which the resolver knows without asking the network.
    for host, why in ((f"127.0.0.1:{port}", "refused"), ("x" * 64 + ".invalid", "unknown")):
        answer = one(transport, f"https://{host}")
        assert (answer.status, answer.untouched) == (0, True)
        assert why in answer.reason
    transport.close()


def test_a_reset_loses_the_answers_but_no_account_of_them(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(lambda message: Reply(reset=True) if message.path == "/push/50" else None)
    send(transport, push.origin, range(100))
    came = {answer.key: answer for answer in answers(transport, 100)}
    assert len(came) == 100
    assert (came[50].status, came[50].untouched) == (0, False)
    assert "connection lost" in came[50].reason
    assert {answer.status for answer in came.values()} <= {0, 201}
    push.answer_with(lambda message: None)
    assert one(transport, push.origin).status == 201


def test_a_reset_stream_leaves_the_others_alone(push: PushService, transport: Transport) -> None:
    push.answer_with(
        lambda message: Reply(reset_stream=True) if message.path == "/push/3" else None
    )
    send(transport, push.origin, range(10))
    came = {answer.key: answer for answer in answers(transport, 10)}
    assert (came[3].status, came[3].untouched) == (0, False)
    assert Counter(answer.status for answer in came.values()) == {201: 9, 0: 1}


def test_a_server_that_says_goaway_after_every_ten_streams_gets_each_message_once(
    tmp_path: Path,
) -> None:
    with GoawayServer(tmp_path, streams=10) as server:
        transport = Transport(ca_bundle=server.certificate, timeout=WAIT)
        todo = list(range(200))
        for _ in range(20):
            send(transport, server.origin, todo)
            lost = [a for a in answers(transport, len(todo)) if a.status != 201]
            assert all(a.status == 0 and a.untouched for a in lost)
            todo = [answer.key for answer in lost]
        transport.close()
    assert todo == []
    assert server.taken == Counter(f"/push/{key}" for key in range(200))


def test_a_status_counts_though_the_rest_of_the_answer_never_came() -> None:
    reply = b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nonly this"
    with listening(saying(reply)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert (answer.status, answer.reason) == (201, "only this")


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"nonsense\r\n\r\n"])
def test_whatever_is_no_answer_is_told_from_one(text: bytes) -> None:
    with listening(saying(text)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert (answer.status, answer.untouched) == (0, False)
    assert answer.reason


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_is_refused_and_does_no_harm(
    push: PushService, transport: Transport
) -> None:
    def is_refused(use: Callable[[], object]) -> bool:
        try:
            use()
        except RuntimeError as error:
            return "another process" in str(error)
        return False

    uses = (lambda: send(transport, push.origin, [1]), lambda: transport.poll(0), transport.close)
    one(transport, push.origin)
    child = os.fork()
    if child == 0:
        os._exit(sum(map(is_refused, uses)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert one(transport, push.origin).status == 201
    assert {message.connection for message in push.wait_for(2, WAIT)} == {1}


def test_closing_gives_up_what_is_under_way_and_leaves_no_connection(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file)
    arrived = threading.Event()

    def rule(message: Message) -> Reply:
        arrived.set()
        return Reply(delay=WAIT)

    push.answer_with(rule)
    send(transport, push.origin, range(5))
    while not arrived.is_set():
        assert transport.poll(0.1) == []
    transport.close()
    for _ in itertools.takewhile(lambda _: push.connections, range(200)):
        time.sleep(WAIT / 200)
    assert not push.connections


def test_a_second_connection_is_made_only_when_the_first_is_full(push: PushService) -> None:
    transport = Transport(streams=200, ca_bundle=push.ca_file)
    one(transport, push.origin)
    push.answer_with(lambda message: Reply(delay=0.3))
    send(transport, push.origin, range(100))
    answers(transport, 100)
    assert {message.connection for message in push.received} == {1}
    send(transport, push.origin, range(150))
    answers(transport, 150)
    transport.close()
    assert {message.connection for message in push.received} == {1, 2}


def test_a_connection_that_was_closed_while_idle_costs_no_message(
    push: PushService, transport: Transport
) -> None:
    one(transport, push.origin)
    push.present("good")  # all connections are cut
    for _ in itertools.takewhile(lambda _: push.connections, range(200)):
        time.sleep(WAIT / 200)
    send(transport, push.origin, range(20))
    assert {answer.status for answer in answers(transport, 20)} == {201}
    assert {message.connection for message in push.received} == {1, 2}


def test_refused_streams_are_known_not_to_have_been_taken(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(every(3, Reply(refuse_stream=True)))
    send(transport, push.origin, range(30))
    came = answers(transport, 30)
    refused = {f"/push/{answer.key}" for answer in came if answer.untouched}
    assert len(refused) == 10
    assert refused == {message.path for message in push.disowned}
    assert {answer.status for answer in came} == {0, 201}


def test_goaways_under_load_cost_no_message_and_double_none(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(every(40, Reply(goaway=True)))
    todo = list(range(500))
    for _ in range(50):
        send(transport, push.origin, todo[:200])
        came = answers(transport, min(len(todo), 200))
        assert all(answer.status == 201 or answer.untouched for answer in came)
        todo = [a.key for a in came if a.status != 201] + todo[200:]
        if not todo:
            break
    paths = Counter(message.path for message in push.received)
    assert paths == Counter(f"/push/{key}" for key in range(500))


def test_one_timed_out_message_leaves_its_connection_to_the_others(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, timeout=1.0)
    push.answer_with(lambda message: Reply(hang=True) if message.path == "/push/0" else None)
    send(transport, push.origin, [0])
    came: list[Answer[int]] = []
    for key in itertools.count(1):
        send(transport, push.origin, [key])
        came += answers_of(transport, lambda came, key=key: came.key == key)
        if any(answer.key == 0 for answer in came):
            break
        time.sleep(0.05)
    send(transport, push.origin, [-1])
    assert answers(transport, 1)[0].status == 201
    transport.close()
    assert Counter(answer.status for answer in came)[0] == 1
    assert {message.connection for message in push.received} == {1}


def answers_of(transport: Transport, is_last: Callable[[Answer[int]], bool]) -> list[Answer[int]]:
    """Wait until a certain answer has come; returns all that came."""
    came: list[Answer[int]] = []
    while not any(map(is_last, came)):
        came += transport.poll(1.0)
    return came


def test_a_connection_that_says_nothing_more_is_given_up_whole(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, timeout=1.0)
    one(transport, push.origin)
    push.answer_with(lambda message: Reply(hang=True))
    send(transport, push.origin, range(3))
    came = answers(transport, 3)
    assert {(a.status, a.reason, a.untouched) for a in came} == {(0, "timed out", False)}
    push.answer_with(lambda message: None)
    assert one(transport, push.origin).status == 201
    transport.close()
    assert [message.connection for message in push.received] == [1, 1, 1, 1, 2]


def test_a_name_that_takes_long_to_resolve_holds_up_no_other(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    resolve = socket.getaddrinfo

    def slow(host: str, *rest: object, **named: object) -> object:
        if host.endswith(".invalid"):
            released.wait(WAIT)
            raise socket.gaierror
        return resolve(host, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    for n in range(20):
        send(transport, f"https://{n}.invalid", [-1 - n])
    send(transport, push.origin, range(20))
    assert {answer.status for answer in answers(transport, 20)} == {201}
    released.set()
    assert {(a.reason, a.untouched) for a in answers(transport, 20)} == {
        ("host name unknown", True)
    }


def test_of_several_addresses_one_that_answers_is_taken(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    # One that never answers: its queue of connections is full.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(full.getsockname())
            fillers.append(filler)
        port = int(push.origin.rpartition(":")[2])
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        wheres = [full.getsockname(), refusing, ("127.0.0.1", port)]
        addresses = [(*kind, where) for where in wheres]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        assert one(transport, push.origin).status == 201
        for filler in fillers:
            filler.close()


def test_http_1_1_over_tls_keeps_its_connections() -> None:
    with PushService(http2=False) as push:
        push.accept_any(KEY.public)
        transport = Transport(ca_bundle=push.ca_file)
        for _ in range(3):
            send(transport, push.origin, range(50))
            assert {answer.status for answer in answers(transport, 50)} == {201}
        push.answer_with(lambda message: Reply(delay=0.2))
        send(transport, push.origin, range(50))
        answers(transport, 50)
        assert 2 < len({message.connection for message in push.received}) <= 16
        push.answer_with(every(5, Reply(goaway=True)))
        send(transport, push.origin, range(50))
        came = answers(transport, 50)
        assert all(answer.status == 201 or answer.untouched for answer in came)
        transport.close()
        assert {message.http_version for message in push.received} == {"1.1"}
        assert push.refusals == []


def test_http_1_1_without_an_answer_is_not_used_again() -> None:
    connection = http1.Connection[Exchange]("push.example")
    given_up = Exchange("/push/1", (), b"Stop press")
    connection.request(given_up)
    assert connection.receive(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nbut") == []
    connection.cancel(given_up)
    assert (connection.failure, connection.room) == (
        "connection lost: a request was given up",
        0,
    )


def test_connections_unused_for_longest_are_closed_when_there_are_many(
    push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.transport._MAX_CONNECTIONS", 2)
    with PushService() as second, PushService() as third:
        both = push.ca_file.read_text() + second.ca_file.read_text() + third.ca_file.read_text()
        bundle = push.ca_file.parent / "all.pem"
        bundle.write_text(both)
        transport = Transport(ca_bundle=bundle)
        for service in (push, second, third):
            service.accept_any(KEY.public)
            assert one(transport, service.origin).status == 201
        for _ in itertools.takewhile(lambda _: push.connections, range(200)):
            time.sleep(WAIT / 200)
        assert not push.connections
        assert second.connections
        assert third.connections
        transport.close()


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        ("https://", "/"),
        ("https://push.example/path", "/"),
        ("https://push.example:port", "/"),
        ("https://push.example", ""),
        ("https://push.example", "push"),
        ("https://push.example", "/a b"),
        ("https://push.example", "/a\r\nx: y"),
        ("https://push.example", "/\u00e9"),
    ],
)
def test_what_is_no_url_is_refused(transport: Transport, origin: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"none|[Pp]ort"):
        transport.start(1, origin, path, (), b"")
    assert transport.free == 256
    assert transport.poll(3600) == []
