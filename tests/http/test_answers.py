"""What the transport reports of an answer, and of a missing one."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.network.peers import (
    WAIT,
    GoawayServer,
    answers,
    answers_of,
    listening,
    one,
    responding,
    send,
    unreachable,
)
from tests.support.push_service import Answer as Reply
from tests.support.push_service import PushService, every
from workers.http.transport import Answer, Transport

# Answers before the answer (RFC 9110 section 15.2).
CONTINUE = b"HTTP/1.1 100 Continue\r\nRetry-After: 5\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def test_a_late_answer_does_not_delay_the_others(push: PushService, transport: Transport) -> None:
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("1", 1), ("1.5", 1.5), ("60 s", 60), ('"60"', 60), ("60, 30", 60), ("+7", 7)],
)
def test_retry_after_is_read_as_seconds(
    push: PushService, transport: Transport, text: str, seconds: float
) -> None:
    push.answer_with(lambda message: Reply(429, {"retry-after": text}))
    assert one(transport, push.origin).retry_after == seconds


@pytest.mark.parametrize(
    "form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"]
)
def test_retry_after_is_read_as_a_date(
    push: PushService, transport: Transport, form: str
) -> None:  # RFC 9110 section 5.6.7
    date = time.strftime(form, time.gmtime(time.time() + 7200))
    push.answer_with(lambda message: Reply(503, {"retry-after": date}))
    retry_after = one(transport, push.origin).retry_after
    assert retry_after is not None
    assert 7200 - WAIT < retry_after <= 7200


@pytest.mark.parametrize(
    "text", ["soon", "-5", "0", "0.0", "1 hour", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_a_retry_after_without_a_wait_is_none(
    push: PushService, transport: Transport, text: str
) -> None:
    push.answer_with(lambda message: Reply(429, {"retry-after": text}))
    assert one(transport, push.origin).retry_after is None


@pytest.mark.timeout(30)  # it took hours
def test_no_retry_after_takes_long_to_read(push: PushService, transport: Transport) -> None:
    push.answer_with(lambda message: Reply(429, {"retry-after": f"1{' ' * 12_000}x"}))
    assert one(transport, push.origin).retry_after is None


def test_a_retry_after_does_not_carry_over_to_the_next_answer(push: PushService) -> None:
    with_one_handle = Transport(streams=1, connections=1, ca_bundle=push.ca_file)
    push.answer_with(lambda message: Reply(429, {"retry-after": "9"}, b"slow down"))
    one(with_one_handle, push.origin)
    push.answer_with(lambda message: None)
    assert one(with_one_handle, push.origin) == Answer(0, 201, None, "", False)
    with_one_handle.close()


def test_an_answer_of_ten_megabytes_is_cut_and_its_connection_kept(
    push: PushService, transport: Transport
) -> None:
    push.answer_with(lambda message: Reply(403, body=b"VapidPkHashMismatch".ljust(10_000_000)))
    answer = one(transport, push.origin)
    assert answer.status == 403
    assert answer.reason == "VapidPkHashMismatch".ljust(4096)
    push.answer_with(lambda message: None)
    assert one(transport, push.origin).status == 201
    assert {message.connection for message in push.wait_for(2, WAIT)} == {1}


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        responding(b"HTTP/1.1 500 Oh\r\n\r\n")(connection)
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


def test_a_request_without_an_answer_times_out(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, timeout=0.5)
    push.answer_with(lambda message: Reply(delay=WAIT))
    answer = one(transport, push.origin)
    transport.close()
    assert (answer.status, answer.untouched) == (0, False)
    assert "timed out" in answer.reason


def test_an_unfinished_handshake_times_out() -> None:
    transport = Transport(connect_timeout=0.5, timeout=3600)
    with listening(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as address:
        why = unreachable(transport, f"https://{address}")
    transport.close()
    assert why == "timed out"


def test_a_reset_connection_still_gives_one_result_for_each_message(
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


def test_a_reset_stream_does_not_affect_the_others(push: PushService, transport: Transport) -> None:
    push.answer_with(
        lambda message: Reply(reset_stream=True) if message.path == "/push/3" else None
    )
    send(transport, push.origin, range(10))
    came = {answer.key: answer for answer in answers(transport, 10)}
    assert (came[3].status, came[3].untouched) == (0, False)
    assert Counter(answer.status for answer in came.values()) == {201: 9, 0: 1}


def test_goaway_after_every_ten_streams_delivers_each_message_once(
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


def test_a_status_counts_though_the_rest_of_the_answer_is_missing() -> None:
    reply = b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nonly this"
    with listening(responding(reply)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert (answer.status, answer.reason) == (201, "only this")


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"X-Foo : 1\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: 0\r\nContent-Length: 1\r\n",
        b"caf\xe9\r\n",
    ],
)
@pytest.mark.parametrize(
    "before",
    [b"", b"\r\n", CONTINUE, HINTS * 2],
    ids=["", "after an empty line", "after 100", "after two 103"],
)
def test_a_status_counts_though_the_rest_of_the_head_is_against_the_rules(
    before: bytes, head: bytes
) -> None:
    reply = before + b"HTTP/1.1 201 Created\r\n" + head + b"\r\n"
    with listening(responding(reply)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert answer.status == 201


@pytest.mark.parametrize("before", [b"", CONTINUE])
def test_a_head_against_the_rules_still_says_when_to_try_again(before: bytes) -> None:
    odd = (
        b"X-Foo : 1\r\nretry-AFTER:  60 \r\nX-WNS-Status: channelthrottled\r\n\r\n"
        b"Retry-After: 7\r\n"
    )
    with listening(responding(before + b"HTTP/1.1 429 Too Many\r\n" + odd)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert (answer.status, answer.retry_after) == (429, 60)
    assert answer.wns_status == "channelthrottled"


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"nonsense\r\n\r\n"])
def test_bytes_that_are_no_answer_are_not_taken_for_one(text: bytes) -> None:
    with listening(responding(text)) as address:
        transport = Transport(plain_origins=frozenset([f"http://{address}"]))
        answer = one(transport, f"http://{address}")
        transport.close()
    assert (answer.status, answer.untouched) == (0, False)
    assert answer.reason


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_refused_streams_are_known_to_be_untouched(push: PushService, transport: Transport) -> None:
    push.answer_with(every(3, Reply(refuse_stream=True)))
    send(transport, push.origin, range(30))
    came = answers(transport, 30)
    refused = {f"/push/{answer.key}" for answer in came if answer.untouched}
    assert len(refused) == 10
    assert refused == {message.path for message in push.disowned}
    assert {answer.status for answer in came} == {0, 201}


def test_goaways_under_load_lose_no_message_and_repeat_none(
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


def test_a_timed_out_message_leaves_its_connection_to_the_others(push: PushService) -> None:
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


def test_a_silent_connection_is_closed_with_all_its_requests(push: PushService) -> None:
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
