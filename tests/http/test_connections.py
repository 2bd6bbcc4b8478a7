"""Which connections the transport makes, shares, keeps and closes."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service.model.network.endpoints import EndpointPolicy
from tests.support.network.peers import (
    KEY,
    WAIT,
    GoawayServer,
    answers,
    hand_over,
    one,
    room,
    send,
    unreachable,
)
from tests.support.processes.installation import wait_until
from tests.support.push_service import Answer as Reply
from tests.support.push_service import Message, PushService, every
from workers.http import http1
from workers.http.channel import Channel
from workers.http.exchange import Exchange
from workers.http.transport import NoRoom, Transport


def test_many_messages_share_a_few_http_2_connections(
    push: PushService, transport: Transport
) -> None:
    send(transport, push.origin, range(200))
    came = answers(transport, 200)
    assert sorted(answer.key for answer in came) == list(range(200))
    assert {answer.status for answer in came} == {201}
    received = push.wait_for(200, WAIT)
    assert {message.http_version for message in received} == {"2"}
    assert len({message.connection for message in received}) <= 4
    assert push.refusals == []


def test_a_few_messages_at_once_use_one_connection(push: PushService, transport: Transport) -> None:
    send(transport, push.origin, range(20))
    answers(transport, 20)
    assert {message.connection for message in push.wait_for(20, WAIT)} == {1}
    assert len(push.connections) == 1


def test_no_more_connections_are_made_than_allowed(push: PushService) -> None:
    transport = Transport(streams=150, connections=1, ca_bundle=push.ca_file)
    # After the first answer the transport knows that a connection takes 100 streams.
    one(transport, push.origin)
    push.answer_with(lambda message: Reply(delay=0.5))
    send(transport, push.origin, range(150))
    answers(transport, 150)
    transport.close()
    assert {message.connection for message in push.wait_for(151, WAIT)} == {1}


def fill(
    transport: Transport, push: PushService, wanted: int, least: int, *, gently: bool = False
) -> int:
    """Start `wanted` requests, or as many as connections take, but at least `least`."""
    started, full_since = 0, time.monotonic()
    while started < wanted and time.monotonic() - full_since < (WAIT if started < least else 1.0):
        room = transport.room(push.origin, wanted=wanted - started, gently=gently)
        for _ in range(min(room, wanted - started)):
            transport.start(started, push.origin, f"/push/{started}", (), b"")
            started, full_since = started + 1, time.monotonic()
        assert transport.poll(0.05) == []
    return started


@pytest.mark.parametrize(("wanted", "connections"), [(100, 1), (101, 2), (750, 8)])
def test_as_many_connections_are_made_as_the_streams_require(
    push: PushService, wanted: int, connections: int
) -> None:
    transport = Transport(ca_bundle=push.ca_file)
    push.answer_with(lambda message: Reply(hang=True))
    assert fill(transport, push, wanted, wanted) == wanted
    transport.close()
    assert len({message.connection for message in push.wait_for(wanted, WAIT)}) == connections


def test_an_origin_that_is_treated_gently_gets_two_connections(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file)
    push.answer_with(lambda message: Reply(hang=True))
    assert fill(transport, push, 750, 200, gently=True) == 200
    transport.close()
    assert len({message.connection for message in push.wait_for(200, WAIT)}) == 2


def test_http_1_1_gets_a_connection_for_each_request_but_16_if_treated_gently() -> None:
    with PushService(http2=False) as push:
        push.accept_any(KEY.public)
        push.answer_with(lambda message: Reply(hang=True))
        for gently, taken in ((False, 60), (True, 16)):
            transport = Transport(ca_bundle=push.ca_file)
            assert fill(transport, push, 60, taken, gently=gently) == taken
            transport.close()


def test_a_connection_is_kept_for_the_next_message(push: PushService, transport: Transport) -> None:
    for _ in range(3):
        one(transport, push.origin)
    assert len({message.connection for message in push.wait_for(3, WAIT)}) == 1


def test_no_more_requests_start_than_streams_allow(push: PushService) -> None:
    transport = Transport(streams=3, ca_bundle=push.ca_file)
    assert room(transport, push.origin) == 3
    send(transport, push.origin, range(3))
    assert transport.free == 0
    assert transport.room(push.origin) == 0
    with pytest.raises(NoRoom):
        transport.start(3, push.origin, "/push/3", (), b"")
    answers(transport, 3)
    assert transport.free == 3
    transport.close()


def test_poll_returns_at_once_when_nothing_is_under_way(transport: Transport) -> None:
    assert transport.poll(3600) == []


def test_a_name_that_leads_into_our_own_network_is_not_connected_to(push: PushService) -> None:
    origin = push.origin.replace("127.0.0.1", "localhost")  # stands for a name under a wildcard
    for named in ((), (origin,)):
        transport = Transport(ca_bundle=push.ca_file, may_connect=EndpointPolicy(named).may_connect)
        why = unreachable(transport, origin) if not named else ""
        if named:
            one(transport, origin)
        transport.close()
        assert ("not public" in why) == (not named)
        assert len(push.received) == len(named)


def test_a_server_with_an_untrusted_certificate_is_sent_nothing(push: PushService) -> None:
    transport = Transport()
    why = unreachable(transport, push.origin)
    transport.close()
    assert "certificate" in why
    assert push.received == []


def test_a_server_with_a_certificate_for_another_name_is_sent_nothing(tmp_path: Path) -> None:
    with GoawayServer(tmp_path, streams=1, name="localhost") as server:
        transport = Transport(ca_bundle=server.certificate)
        why = unreachable(transport, server.origin)
        transport.close()
    assert "certificate" in why
    assert not server.taken


def test_an_http_origin_is_refused(push: PushService, transport: Transport) -> None:
    for origin in ("http://push.example", push.plain_origin, "ftp://push.example"):
        with pytest.raises(ValueError, match="https only"):
            transport.room(origin)
        with pytest.raises(ValueError, match="https only"):
            transport.start(1, origin, "/1", (), b"")
    assert transport.free == 2048


def test_a_listed_plain_origin_is_sent_http(push: PushService) -> None:
    transport = Transport(plain_origins=frozenset([push.plain_origin]))
    assert one(transport, push.plain_origin).status == 201
    with pytest.raises(ValueError, match="https only"):
        transport.start(1, "http://push.example", "/1", (), b"")
    transport.close()
    assert [message.http_version for message in push.received] == ["1.1"]
    assert push.refusals == []


def test_a_closed_port_and_an_unknown_name_are_unreachable() -> None:
    transport = Transport()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    # No label has 64 characters, so the resolver does not ask the network.
    for host, why in ((f"127.0.0.1:{port}", "refused"), ("x" * 64 + ".invalid", "unknown")):
        assert why in unreachable(transport, f"https://{host}")
    assert not transport.is_busy
    transport.close()


@pytest.mark.parametrize("fault", ["no thread", "an error in the thread"])
def test_an_origin_is_reached_once_this_host_can_connect_again(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with monkeypatch.context() as broken:
        if fault == "no thread":
            # The kernel refuses a thread whose stack is as large as that.
            broken.setattr(threading.Thread, "start", _start_with_a_stack_of(1 << 46))
        else:
            broken.setattr("workers.http.connections.connect", _no_memory)
        for _ in range(5):  # more often than connections to an origin are made at once
            assert unreachable(transport, push.origin).startswith("cannot connect")
    assert one(transport, push.origin).status == 201


def _start_with_a_stack_of(size: int) -> Callable[[threading.Thread], None]:
    def start(
        thread: threading.Thread, begin: Callable[..., None] = threading.Thread.start
    ) -> None:
        before = threading.stack_size(size)
        try:
            begin(thread)
        finally:
            threading.stack_size(before)

    return start


def _no_memory(*_given: object) -> Channel:
    raise MemoryError


def test_close_gives_up_requests_and_leaves_no_connection(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file)
    arrived = threading.Event()

    def rule(message: Message) -> Reply:
        arrived.set()
        return Reply(delay=WAIT)

    push.answer_with(rule)
    send(transport, push.origin, range(5))
    while not arrived.is_set():
        hand_over(transport)
        assert transport.poll(0.1) == []
    transport.close()
    wait_until(lambda: not push.connections)


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
    wait_until(lambda: not push.connections)
    send(transport, push.origin, range(20))
    assert {answer.status for answer in answers(transport, 20)} == {201}
    assert {message.connection for message in push.received} == {1, 2}


def test_a_slow_name_lookup_delays_no_other_origin(
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
    unknown = [f"https://{n}.invalid" for n in range(20)]
    assert not any(map(transport.room, unknown))
    send(transport, push.origin, range(20))
    assert {answer.status for answer in answers(transport, 20)} == {201}
    released.set()
    found: dict[str, str] = {}
    while len(found) < 20:
        assert transport.poll(1.0) == []
        found |= transport.unreachable()
    assert found == dict.fromkeys(unknown, "host name unknown")


def test_dead_hosts_of_a_group_take_few_look_ups_and_a_dead_host_two(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    asked: Counter[str] = Counter()
    resolve = socket.getaddrinfo

    def silent(host: str, *rest: object, **named: object) -> object:
        if host.endswith(".invalid"):
            asked[host] += 1
            released.wait(WAIT)
            raise socket.gaierror
        return resolve(host, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr("workers.http.connections._LOOK_UP", 0.0)
    dead = [f"https://{n}.invalid" for n in range(100)]
    hasty = Transport(ca_bundle=push.ca_file, connect_timeout=0.3)
    for _ in range(4):  # each time its time is over, and the threads still wait
        for url in (dead[0], dead[0]):
            hasty.room(url, "*.invalid")
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            hasty.poll(0.05)
    assert asked == {"0.invalid": 2}
    for url in dead:
        hasty.room(url, "*.invalid")
    send(hasty, push.origin, range(20))
    assert {answer.status for answer in answers(hasty, 20)} == {201}
    assert sum(asked.values()) == 16
    released.set()
    hasty.close()


def test_the_first_of_several_addresses_that_answers_is_used(
    push: PushService, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    # An address that never answers, because its queue of connections is full.
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
        assert 2 < len({message.connection for message in push.received}) <= 50
        push.answer_with(every(5, Reply(goaway=True)))
        send(transport, push.origin, range(50))
        came = answers(transport, 50)
        assert all(answer.status == 201 or answer.untouched for answer in came)
        transport.close()
        assert {message.http_version for message in push.received} == {"1.1"}
        assert push.refusals == []


def test_an_http_1_1_connection_is_not_used_after_a_cancelled_request() -> None:
    connection = http1.Connection[Exchange]("push.example")
    given_up = Exchange("/push/1", (), b"Stop press")
    connection.request(given_up)
    assert connection.receive(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nbut") == []
    connection.cancel(given_up)
    assert (connection.failure, connection.room) == (
        "connection lost: a request was given up",
        0,
    )


def test_the_longest_unused_connection_is_closed_when_there_are_many(
    push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.http.transport._MAX_CONNECTIONS", 2)
    with PushService() as second, PushService() as third:
        both = push.ca_file.read_text() + second.ca_file.read_text() + third.ca_file.read_text()
        bundle = push.ca_file.parent / "all.pem"
        bundle.write_text(both)
        transport = Transport(ca_bundle=bundle)
        for service in (push, second, third):
            service.accept_any(KEY.public)
            assert one(transport, service.origin).status == 201
        wait_until(lambda: not push.connections)
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
        ("https://push.example", "/" + "x" * 4096),
    ],
)
def test_an_impossible_origin_or_path_is_refused(
    transport: Transport, origin: str, path: str
) -> None:
    with pytest.raises(ValueError, match=r"not an origin|not a path|too long|[Pp]ort"):
        transport.start(1, origin, path, (), b"")
    assert transport.free == 2048
    assert transport.poll(3600) == []
