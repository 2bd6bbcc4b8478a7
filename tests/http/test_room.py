"""How many requests there is room for: each is handed to a connection at once or refused."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hyperframe.frame import GoAwayFrame, SettingsFrame, WindowUpdateFrame

from tests.support.network.frames import SETTINGS
from tests.support.network.peers import (
    KEY,
    WAIT,
    BareServer,
    answers,
    one,
    room,
    send,
    unreachable,
)
from tests.support.processes.installation import wait_until
from tests.support.push_service import Answer as Reply
from tests.support.push_service import Message, PushService
from workers.http.transport import NoRoom, Transport

STREAMS = SettingsFrame.MAX_CONCURRENT_STREAMS


@pytest.fixture
def old_push() -> Iterator[PushService]:
    """A push service that speaks only HTTP/1.1."""
    with PushService(http2=False) as service:
        service.accept_any(KEY.public)
        yield service


def fill(transport: Transport, origin: str, body: bytes = b"", most: int = 1000) -> int:
    """Start requests, a few at a time, until no connection has room; return how many."""
    started = 0
    while (room := transport.room(origin)) and started < most:
        for _ in range(min(room, 10)):
            with suppress(NoRoom):
                transport.start(started, origin, f"/push/{started}", (), body)
                started += 1
        assert transport.poll(0.0) == []
    return started


def assert_takes(transport: Transport, origin: str, n: int, body: bytes = b"") -> None:
    """Start exactly `n` requests; there is never room for another one."""
    started, deadline = 0, time.monotonic() + WAIT
    while started < n:
        assert time.monotonic() < deadline, f"{started} of {n}"
        started += fill(transport, origin, body)
        assert transport.poll(0.1) == []
    time.sleep(0.3)
    assert transport.poll(0.1) == []
    assert started + fill(transport, origin, body) == n


# Nothing waits in the transport ------------------------------------------------------------------


def test_http_1_1_has_room_for_one_request_for_each_connection(old_push: PushService) -> None:
    transport = Transport(ca_bundle=old_push.ca_file, connections=1)
    old_push.answer_with(lambda _message: Reply(hang=True))
    assert_takes(transport, old_push.origin, 4)
    with pytest.raises(NoRoom):
        transport.start(4, old_push.origin, "/push/4", (), b"")
    assert transport.free == 2048 - 4
    transport.close()


def test_http_2_has_room_for_one_request_for_each_stream(
    push: PushService,
) -> None:
    transport = Transport(connections=2, ca_bundle=push.ca_file)
    push.answer_with(lambda _message: Reply(hang=True))
    assert_takes(transport, push.origin, 200)
    with pytest.raises(NoRoom):
        transport.start(200, push.origin, "/push/200", (), b"")
    transport.close()


@pytest.mark.soak
def test_a_slow_http_1_1_service_has_the_whole_timeout_for_each_request(
    old_push: PushService,
) -> None:
    # Five rounds of 0.6 s each; each request may take two seconds.
    transport = Transport(ca_bundle=old_push.ca_file, connections=1, timeout=2.0)
    old_push.answer_with(lambda _message: Reply(delay=0.6))
    send(transport, old_push.origin, range(40))
    assert {answer.status for answer in answers(transport, 40)} == {201}
    transport.close()
    assert Counter(m.path for m in old_push.received) == Counter(f"/push/{n}" for n in range(40))


def test_a_slow_http_2_service_has_the_whole_timeout_for_each_request(push: PushService) -> None:
    transport = Transport(streams=1000, ca_bundle=push.ca_file, connections=1, timeout=2.0)
    push.answer_with(lambda _message: Reply(delay=random.uniform(0.5, 0.7)))
    send(transport, push.origin, range(500))
    assert {answer.status for answer in answers(transport, 500)} == {201}
    transport.close()
    assert Counter(m.path for m in push.received) == Counter(f"/push/{n}" for n in range(500))


def test_an_answer_that_came_in_time_counts_though_it_is_read_late(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, timeout=2.0)
    push.answer_with(lambda _message: Reply(500, body=bytes(4000)))
    assert room(transport, push.origin) == 100
    for key in range(100):
        transport.start(key, push.origin, f"/push/{key}", (), b"")
    transport.flush()
    # This process does something else meanwhile, such as waiting for Redis.
    push.wait_for(100, WAIT)
    time.sleep(2.2)
    came = answers(transport, 100)
    transport.close()
    assert Counter(answer.status for answer in came) == {500: 100}


def test_a_connection_made_in_time_counts_though_it_is_noticed_late(
    push: PushService,
) -> None:
    transport = Transport(ca_bundle=push.ca_file, connect_timeout=1.0)
    assert transport.room(push.origin) == 0
    time.sleep(1.2)
    assert transport.poll(0.0) == []
    assert transport.unreachable() == {}
    assert transport.room(push.origin) == 100
    transport.close()


# Connections that are being made, or cannot be ----------------------------------------------------


def test_poll_waits_for_a_slow_handshake_and_returns_with_it(tmp_path: Path) -> None:
    with BareServer(tmp_path, read_on, first=SETTINGS, wait=0.5) as server:
        transport = Transport(ca_bundle=server.certificate)
        started_at = time.monotonic()
        assert transport.room(server.origin) == 0
        assert transport.poll(0.1) == []
        assert transport.room(server.origin) == 0, "one connection is made at a time"
        assert transport.is_busy
        assert transport.poll(WAIT) == []
        assert 0.5 <= time.monotonic() - started_at < WAIT
        assert transport.room(server.origin) > 0
        transport.close()
        assert server.connections == 1


def test_a_new_connection_ends_polling_though_another_service_owes_answers(
    push: PushService, old_push: PushService
) -> None:
    trusted = push.ca_file.parent / "both.pem"
    trusted.write_text(push.ca_file.read_text() + old_push.ca_file.read_text())
    transport = Transport(ca_bundle=trusted, timeout=2 * WAIT)
    push.answer_with(lambda _message: Reply(hang=True))
    room(transport, push.origin)
    transport.start(1, push.origin, "/push/1", (), b"")
    assert transport.room(old_push.origin) == 0
    started_at = time.monotonic()
    assert transport.poll(WAIT) == []
    assert time.monotonic() - started_at < WAIT
    assert transport.room(old_push.origin) == 1
    transport.close()


@pytest.mark.parametrize("first", [b"", SETTINGS + GoAwayFrame(0, last_stream_id=0).serialize()])
def test_a_peer_that_ends_each_connection_before_a_request_is_unreachable(
    tmp_path: Path, first: bytes
) -> None:
    with BareServer(tmp_path, lambda _tls: None, first=first) as server:
        transport = Transport(ca_bundle=server.certificate)
        assert unreachable(transport, server.origin) == "connection lost"
        transport.close()


def test_a_peer_that_allows_no_streams_is_unreachable_after_the_timeout(tmp_path: Path) -> None:
    none = SettingsFrame(0, {STREAMS: 0}).serialize()
    with BareServer(tmp_path, read_on, first=none) as server:
        transport = Transport(ca_bundle=server.certificate, timeout=0.5)
        started_at = time.monotonic()
        while not (found := transport.unreachable()):
            transport.room(server.origin)
            assert transport.poll(1.0) == []
        assert found == {server.origin: "timed out"}
        assert time.monotonic() - started_at >= 0.5
        transport.close()
        assert server.connections <= 4, "it is not connected to all the time"


def test_a_peer_that_allows_no_streams_gets_two_connections(tmp_path: Path) -> None:
    none = SettingsFrame(0, {STREAMS: 0}).serialize()
    with BareServer(tmp_path, read_on, first=none) as server:
        transport = Transport(ca_bundle=server.certificate)

        def connections() -> int:
            transport.room(server.origin, wanted=1000)
            assert transport.poll(0.05) == []
            return server.connections

        wait_until(lambda: connections() >= 2)
        assert {connections() for _ in range(10)} == {2}
        transport.close()


def test_a_peer_that_allows_streams_only_later_is_awaited(tmp_path: Path) -> None:
    def serve(tls: ssl.SSLSocket) -> None:
        time.sleep(0.5)
        tls.sendall(SettingsFrame(0, {STREAMS: 7}).serialize())
        read_on(tls)

    none = SettingsFrame(0, {STREAMS: 0}).serialize()
    with BareServer(tmp_path, serve, first=none) as server:
        transport = Transport(ca_bundle=server.certificate, connections=1)
        wait_until(lambda: transport.poll(0.1) == [] and transport.room(server.origin) == 7)
        assert transport.unreachable() == {}
        assert not transport.is_busy
        transport.close()


def test_a_refused_further_connection_is_not_retried_at_once(tmp_path: Path) -> None:
    ended = threading.Event()

    def serve(tls: ssl.SSLSocket) -> None:
        if server.connections == 1:
            read_on(tls)
            ended.set()

    with BareServer(tmp_path, serve, first=SETTINGS) as server:
        transport = Transport(ca_bundle=server.certificate)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            if room := transport.room(server.origin):
                for key in range(room):
                    with suppress(NoRoom):
                        transport.start(key, server.origin, "/push/1", (), b"")
            transport.poll(0.01)
        assert server.connections <= 4
        assert transport.unreachable() == {}, "one connection works"
        transport.close()


# Connections that change --------------------------------------------------------------------------


def test_a_connection_that_is_lost_after_it_had_room_takes_no_request(
    push: PushService, transport: Transport
) -> None:
    one(transport, push.origin)
    assert transport.room(push.origin) == 256 - 156
    push.present("good")  # all connections are cut
    wait_until(lambda: not push.connections)
    with pytest.raises(NoRoom):
        transport.start(1, push.origin, "/push/1", (), b"")
    assert transport.free == 2048
    assert one(transport, push.origin).status == 201


def test_fewer_streams_on_one_connection_take_no_room_from_another(
    tmp_path: Path,
) -> None:
    def serve(tls: ssl.SSLSocket) -> None:
        if server.connections == 1:
            tls.sendall(SettingsFrame(0, {STREAMS: 5}).serialize())
            while len(tls.recv(1 << 16)) < 100:
                pass  # until the requests come
            tls.sendall(SettingsFrame(0, {STREAMS: 1}).serialize())
        else:
            tls.sendall(SettingsFrame(0, {STREAMS: 3}).serialize())
        read_on(tls)

    with BareServer(tmp_path, serve) as server:
        transport = Transport(ca_bundle=server.certificate)
        wait_until(lambda: transport.poll(0.1) == [] and transport.room(server.origin) == 5)
        for key in range(5):
            transport.start(key, server.origin, "/push/1", (), b"")
        wait_until(lambda: transport.poll(0.1) == [] and transport.room(server.origin) == 3)
        transport.close()


def test_a_connection_that_is_going_away_makes_place_for_another(push: PushService) -> None:
    transport = Transport(ca_bundle=push.ca_file, connections=1)

    def rule(message: Message) -> Reply | None:
        if message.connection > 1:
            return None
        return Reply(delay=0.2, goaway=True) if message.path == "/push/0" else Reply(delay=2.0)

    push.answer_with(rule)
    send(transport, push.origin, range(10))
    assert [answer.key for answer in answers(transport, 1)] == [0]
    send(transport, push.origin, range(10, 20))
    assert {answer.key for answer in answers(transport, 10)} == {*range(10, 20)}
    assert {answer.status for answer in answers(transport, 9)} == {201}
    transport.close()


# What cannot be written --------------------------------------------------------------------------


def test_there_is_no_room_for_bodies_beyond_the_peers_window(tmp_path: Path) -> None:
    with BareServer(tmp_path, read_on, first=SETTINGS) as server:
        transport = Transport(ca_bundle=server.certificate, connections=2)
        wait_until(lambda: transport.poll(0.1) == [] and transport.room(server.origin))
        # Each of two connections takes as many whole bodies as fit into 65,535 bytes.
        assert_takes(transport, server.origin, 2 * 15, bytes(4096))
        with pytest.raises(NoRoom):
            transport.start(30, server.origin, "/push/30", (), bytes(5000))
        transport.start(30, server.origin, "/push/30", (), bytes(1000))
        assert transport.room(server.origin) == 3 + 4
        transport.close()


def test_a_body_larger_than_the_window_is_sent_alone(
    push: PushService, transport: Transport
) -> None:
    assert room(transport, push.origin) == 100
    transport.start(1, push.origin, "/push/1", (), bytes(200_000))
    assert transport.room(push.origin) == 0
    (answer,) = answers(transport, 1)
    assert answer.status in (400, 413), "it came whole, and is refused because it is no message"


def test_a_peer_that_reads_nothing_gets_no_more_than_its_socket_takes(tmp_path: Path) -> None:
    ended = threading.Event()
    wide = SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}).serialize()
    wide += WindowUpdateFrame(0, window_increment=2**30).serialize()
    with BareServer(tmp_path, lambda _tls: ended.wait(WAIT) and None, first=wide) as server:
        transport = Transport(ca_bundle=server.certificate, connections=1)
        wait_until(lambda: transport.poll(0.1) == [] and transport.room(server.origin) == 256)
        started = fill(transport, server.origin, bytes(1 << 20))
        ended.set()
        transport.close()
    assert 1 <= started < 50


def read_on(tls: ssl.SSLSocket) -> None:
    """Read until the client hangs up, without answering."""
    while tls.recv(1 << 16):
        pass
