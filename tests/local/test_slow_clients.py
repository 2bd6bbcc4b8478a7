"""Slow clients against real web processes: they cost a reader nothing."""

from __future__ import annotations

import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from service.local.open_files import open_files
from service.local.web_worker import HEADERS_WITHIN, MOST_OF_A_CALLER
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.processes

SOON = 0.8 * HEADERS_WITHIN

# Parts of requests that never become whole ones, by what a client withholds.
HELD_BACK = {
    "everything": b"",
    "headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "a body": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2000\r\n\r\n{",
    "chunks": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "a body, with zeros before its length": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %020d\r\n\r\n{" % 2000,
    "a chunk, with zeros before its size": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0000000007d0\r\n{",
    "a chunk of many gigabytes": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n{",
    "a chunk with an extension": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7d0 ;a=b\r\n{",
    "a large body": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n{",
    "a body after asking": b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n",
    "its end": b"GET /healthz HTTP/1.0\r\n\r\n",
}


@pytest.fixture
def web(installation: Installation) -> Iterator[Installation]:
    """An installation with one web process."""
    installation.environment["WEB_CONCURRENCY"] = "1"
    installation.config = type(installation.config).read(installation.environment)
    installation.web()
    yield installation


@pytest.fixture
def given() -> Iterator[int]:
    """How many files this process may have open, until the test is over."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(web: Installation) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), timeout=30)


def answers(web: Installation, times: int = 20) -> None:
    """A reader's browser gets answers meanwhile, each on a connection of its own."""
    for _ in range(times):
        # Before the time of those who withhold is up.
        with closing(HTTPConnection("127.0.0.1", web.port, timeout=SOON)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200


def received(sock: socket.socket) -> bytes:
    """What comes until the other end closes."""
    pieces = []
    try:
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.mark.parametrize("withheld", HELD_BACK)
def test_readers_are_answered_while_300_clients_withhold(web: Installation, withheld: str) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(web)) for _ in range(300)]
        for sock in slow:
            sock.sendall(HELD_BACK[withheld])
        answers(web)


def test_a_client_that_sends_a_byte_now_and_then_has_ten_seconds(web: Installation) -> None:
    began = time.monotonic()
    with connect(web) as drip, connect(web) as silent, connect(web) as blank:
        drip.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        while not select.select([drip], [], [], 0.5)[0]:
            assert time.monotonic() < began + 3 * HEADERS_WITHIN
            drip.sendall(b"X")
            with suppress(ConnectionError):  # its time may be up a moment earlier
                blank.sendall(b"\r\n")  # an empty line before a request means nothing
        answer = drip.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert received(silent) == b""
        assert received(blank) == b""
        assert time.monotonic() < began + 2 * HEADERS_WITHIN
        answers(web, 1)


def test_a_caller_who_opens_ever_more_connections_loses_the_oldest(web: Installation) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(web)) for _ in range(2 * MOST_OF_A_CALLER)]
        for sock in slow[:-1]:
            sock.sendall(b"\r\n")  # empty lines begin no request, and count as unfinished too
        slow[-1].sendall(HELD_BACK["headers"])
        assert received(slow[0]) == b""
        answers(web)
        slow[-1].sendall(b"not so slow\r\nConnection: close\r\n\r\n")
        assert received(slow[-1]).startswith(b"HTTP/1.1 200 ")


def test_clients_that_do_not_read_hold_no_thread(web: Installation) -> None:
    request = b"GET /desk/htmx-2.0.11.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(30):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(("127.0.0.1", web.port))
            sock.sendall(50 * request)
        answers(web)


@pytest.mark.soak
def test_a_client_that_reads_late_gets_all_of_its_responses(web: Installation) -> None:
    request = b"GET /desk/htmx-2.0.11.min.js HTTP/1.1\r\nHost: localhost\r\n"
    with connect(web) as sock:
        sock.sendall(20 * (request + b"\r\n") + request + b"Connection: close\r\n\r\n")
        time.sleep(0.5)
        assert received(sock).count(b"HTTP/1.1 200 OK") == 21


def test_requests_that_come_in_pieces_or_together_are_answered(web: Installation) -> None:
    body = b'{"token":"forged","event":"shown"}'
    head = (
        b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    )
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    in_chunks = b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with connect(web) as sock:
        for at in range(0, len(whole), 7):
            sock.sendall(whole[at : at + 7])
            time.sleep(0.002)
        sock.sendall(whole + b"\r\n" + head + in_chunks + last)
        came = received(sock)
    assert came.count(b"HTTP/1.1 204 ") == 3
    assert came.count(b"HTTP/1.1 200 ") == 1


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(web: Installation) -> None:
    with connect(web) as sock:
        body = b'{"token":"forged","event":"shown"}'
        sock.sendall(
            b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n"
            % len(body)
            + b"Expect: 100-continue\r\n\r\n"
        )
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert received(sock).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, b"431"),
        (b"NO SUCH THING\r\n\r\n", b"400"),
        (
            b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"400",
        ),
        (
            b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"30000\r\n"
            + b"x" * 140_000,
            b"413",
        ),
        (
            b"POST /api/v1/receipts HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 9999999\r\n\r\n",
            b"413",
        ),
    ],
    ids=["endless headers", "no HTTP", "no chunk", "endless chunk", "too long"],
)
def test_what_is_no_request_or_too_large_is_refused_at_once(
    web: Installation, sent: bytes, status: bytes
) -> None:
    with connect(web) as sock:
        sock.settimeout(SOON)
        sock.sendall(sent)
        assert sock.recv(1000).startswith(b"HTTP/1.1 " + status)
    answers(web, 1)


@pytest.mark.parametrize("withheld", ["a body", "chunks"])
def test_half_a_request_is_not_taken_for_the_whole(web: Installation, withheld: str) -> None:
    head, _, body = HELD_BACK[withheld].partition(b"\r\n\r\n")
    form = head.replace(b"application/json", b"application/x-www-form-urlencoded")
    for sent in (head + b"\r\n\r\n" + body, form + b"\r\n\r\n" + body):
        with connect(web) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert received(sock).startswith(b"HTTP/1.1 400 ")


def test_a_client_of_http_1_0_gets_no_interim_response(web: Installation) -> None:
    with connect(web) as sock:
        sock.sendall(
            b"POST /api/v1/receipts HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 34\r\n\r\n"
            b'{"token":"forged","event":"shown"}'
        )
        assert received(sock).startswith(b"HTTP/1.0 204 ")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system changes another's limits")
def test_readers_are_answered_by_a_process_that_has_no_file_left_for_them(
    web: Installation,
) -> None:
    master = web.processes[-1].pid
    answers(web, 1)
    (pid,) = map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split())
    files = len([*Path(f"/proc/{pid}/fd").iterdir()])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files + 5, files + 5))
    with ExitStack() as stack:
        for _ in range(MOST_OF_A_CALLER):
            stack.enter_context(connect(web)).sendall(HELD_BACK["headers"])
        answers(web)
    assert Path(f"/proc/{pid}").exists(), "no process has ended"


def test_a_process_takes_as_many_files_as_the_host_allows(given: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, given))
    enough = open_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (enough, given)
    assert enough > 200
    assert open_files() == enough
