"""The sender gets the response that a rule chooses, and `received` has exactly what was taken."""

from __future__ import annotations

import contextlib
import gc
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from tests.support.processes.installation import wait_until
from tests.support.push_service import Answer, Message, PushService, Subscription, every
from tests.support.push_service.certificates import Certificate
from tests.support.push_service.senders import OURS, Draft, Http2, connected_to, message_to, send


def test_a_rule_chooses_some_responses_and_the_judgement_the_others(
    push: PushService, browser: Subscription
) -> None:
    busy = Answer(429, {"Retry-After": "7"}, b"slow down")
    push.answer_with(lambda message: busy if message.headers["ttl"] == "60" else None)
    response, body = send(message_to(browser).with_header("TTL", "60"))
    assert (response.status, response.headers["Retry-After"], body) == (429, "7", b"slow down")
    assert send(message_to(browser))[0].status == 201
    assert [message.status for message in push.received] == [429, 201]


def test_a_message_is_judged_even_when_a_rule_chooses_the_response(
    push: PushService, browser: Subscription
) -> None:
    push.answer_with(lambda message: Answer(201))
    assert send(message_to(browser).without("TTL"))[0].status == 201
    assert [refusal.errno for refusal in push.refusals] == [111]


def test_a_delayed_response_does_not_delay_others(push: PushService, http2: Http2) -> None:
    slow, quick = push.subscribe(OURS.public), push.subscribe(OURS.public)

    def rule(message: Message) -> Answer | None:
        return Answer(201, delay=0.2) if message.endpoint == slow.endpoint else None

    push.answer_with(rule)
    answers = http2.send(message_to(slow), message_to(quick))
    assert [status for status, _ in answers] == [201, 201]
    assert [message.endpoint for message in push.received] == [quick.endpoint, slow.endpoint]


def test_a_reset_ends_the_connection(push: PushService, browser: Subscription) -> None:
    push.answer_with(lambda message: Answer(reset=True))
    with pytest.raises(ConnectionResetError):
        send(message_to(browser))
    assert [message.status for message in push.received] == [None]


def test_a_reset_ends_an_http2_connection_with_all_its_messages(
    push: PushService, http2: Http2
) -> None:
    browsers = [push.subscribe(OURS.public) for _ in range(3)]

    def rule(message: Message) -> Answer | None:
        if message.connection > 1:  # libcurl itself sends messages without a response again
            return None
        return Answer(reset=True) if message.endpoint == browsers[2].endpoint else Answer(delay=60)

    push.answer_with(rule)
    http2.send(*map(message_to, browsers))
    assert (push.received[0].endpoint, push.received[0].status) == (browsers[2].endpoint, None)
    assert all(message.connection > 1 for message in push.received[1:])


def test_a_stream_can_be_reset_alone(push: PushService, http2: Http2) -> None:
    unlucky, lucky = push.subscribe(OURS.public), push.subscribe(OURS.public)
    push.answer_with(
        lambda m: Answer(reset_stream=True) if m.endpoint == unlucky.endpoint else None
    )
    answers = http2.send(message_to(unlucky), message_to(lucky))
    assert [status for status, _ in answers] == [0, 201]
    assert {message.connection for message in push.received} == {1}


def test_after_goaway_the_next_message_takes_another_connection(
    push: PushService, http2: Http2
) -> None:
    browser = push.subscribe(OURS.public)
    push.answer_with(lambda message: Answer(goaway=True))
    for _ in range(2):
        assert http2.send(message_to(browser))[0][0] == 201
    assert [message.connection for message in push.received] == [1, 2]


class Streams:
    """One HTTP/2 connection on which a test sees what happens to each stream."""

    def __init__(self, push: PushService) -> None:
        trust = ssl.create_default_context(cafile=str(push.ca_file))
        trust.set_alpn_protocols(["h2"])
        self.tls = trust.wrap_socket(connected_to(push.origin), server_hostname="localhost")
        self.tls.settimeout(10)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.h2.initiate_connection()
        self.answered: list[int] = []
        self.reset: dict[int, int] = {}  # stream -> error code
        self.last_taken: int | None = None  # of the GOAWAY

    def send(self, *drafts: Draft) -> None:
        """Send all in one piece, as streams 1, 3, 5…"""
        for draft in drafts:
            stream = self.h2.get_next_available_stream_id()
            parts = urlsplit(draft.url)
            names = {":method": "POST", ":scheme": "https", ":authority": parts.netloc}
            lines = [(name.lower(), value) for name, value in draft.headers]
            self.h2.send_headers(stream, [*names.items(), (":path", parts.path), *lines])
            self.h2.send_data(stream, draft.body, end_stream=True)
        self.tls.sendall(self.h2.data_to_send())

    def read(self, enough: Callable[[], object]) -> None:
        """Read until `enough` is true, or the connection ends."""
        while not enough() and (data := self.tls.recv(65536)):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answered.append(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.reset[event.stream_id] = event.error_code
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.last_taken = event.last_stream_id
                    # `h2` forbids frames after a GOAWAY, but responses to taken streams come.
                    self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN


@pytest.fixture
def streams(push: PushService) -> Iterator[Streams]:
    client = Streams(push)
    with client.tls:
        yield client


def test_streams_up_to_the_goaway_get_responses_and_later_ones_are_not_taken(
    push: PushService, streams: Streams
) -> None:
    first, second, third, fourth, fifth = (push.subscribe(OURS.public) for _ in range(5))

    def rule(message: Message) -> Answer | None:
        if message.endpoint == first.endpoint:
            return Answer(delay=0.2)
        return Answer(goaway=True) if message.endpoint == third.endpoint else None

    push.answer_with(rule)
    streams.send(*map(message_to, (first, second, third, fourth, fifth)))
    streams.read(lambda: len(streams.answered) == 3)
    assert streams.last_taken == 5
    assert streams.answered == [3, 5, 1]
    taken = [message.endpoint for message in push.received]
    assert taken == [browser.endpoint for browser in (second, third, first)]
    disowned = [message.endpoint for message in push.disowned]
    assert disowned == [fourth.endpoint, fifth.endpoint]
    streams.read(lambda: False)


def test_a_goaway_after_every_ten_messages_loses_and_repeats_none(
    push: PushService, http2: Http2
) -> None:
    browsers = [push.subscribe(OURS.public) for _ in range(35)]
    push.answer_with(every(10, Answer(goaway=True)))
    answers = http2.send(*map(message_to, browsers))
    assert [status for status, _ in answers] == [201] * 35
    assert sorted(m.endpoint for m in push.received) == sorted(b.endpoint for b in browsers)
    taken = [message.connection for message in push.received]
    assert [taken.count(connection) for connection in (1, 2, 3, 4)] == [10, 10, 10, 5]


def test_a_refused_stream_was_not_taken(push: PushService, streams: Streams) -> None:
    unlucky, lucky = push.subscribe(OURS.public), push.subscribe(OURS.public)
    push.answer_with(
        lambda m: Answer(refuse_stream=True) if m.endpoint == unlucky.endpoint else None
    )
    streams.send(message_to(unlucky), message_to(lucky))
    streams.read(lambda: streams.answered)
    assert streams.reset == {1: h2.errors.ErrorCodes.REFUSED_STREAM}
    assert [message.endpoint for message in push.received] == [lucky.endpoint]
    assert [message.endpoint for message in push.disowned] == [unlucky.endpoint]


def test_a_hanging_message_is_taken_and_gets_no_response(
    push: PushService, streams: Streams
) -> None:
    hanging, other = push.subscribe(OURS.public), push.subscribe(OURS.public)
    push.answer_with(lambda m: Answer(hang=True) if m.endpoint == hanging.endpoint else None)
    streams.send(message_to(hanging), message_to(other))
    streams.read(lambda: streams.answered)
    streams.tls.settimeout(0.2)
    with pytest.raises(TimeoutError):
        streams.read(lambda: False)
    assert [message.status for message in push.received] == [None, 201]


def test_a_connection_can_end_without_a_goaway(push: PushService, streams: Streams) -> None:
    push.answer_with(every(2, Answer(close=True)))
    browsers = [push.subscribe(OURS.public) for _ in range(3)]
    streams.send(*map(message_to, browsers))
    streams.read(lambda: False)
    assert (streams.answered, streams.last_taken) == ([1], None)
    assert [message.status for message in push.received][:2] == [201, None]


def test_an_http1_connection_can_end_without_a_response(
    push: PushService, browser: Subscription
) -> None:
    push.answer_with(lambda message: Answer(close=True))
    with pytest.raises(http.client.RemoteDisconnected):
        send(message_to(browser))
    assert [message.status for message in push.received] == [None]


def test_a_service_can_be_limited_to_http1() -> None:
    with PushService(http2=False) as push:
        client = Http2(push.ca_file)
        assert client.send(message_to(push.subscribe(OURS.public)))[0][0] == 201
        client.multi.close()
    assert [message.http_version for message in push.received] == ["1.1"]


def handshake(push: PushService) -> None:
    trust = ssl.create_default_context(cafile=str(push.ca_file))
    with trust.wrap_socket(connected_to(push.origin), server_hostname="127.0.0.1"):
        pass


@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [("wrong name", "IP address mismatch"), ("not trusted", "unable to get local issuer")],
)
def test_certificates_can_be_exchanged_for_bad_and_good_ones(
    certificate: Certificate, complaint: str
) -> None:
    with PushService(certificate=certificate) as push:
        with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
            handshake(push)
        push.present("good")
        handshake(push)
        push.present(certificate)
        with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
            handshake(push)


def test_another_certificate_ends_every_connection(push: PushService, streams: Streams) -> None:
    push.present("wrong name")
    with contextlib.suppress(ConnectionResetError):
        streams.read(lambda: False)
    wait_until(lambda: not push.connections)


def test_a_large_response_waits_for_the_clients_window(push: PushService, http2: Http2) -> None:
    large = os.urandom(40_000_000)  # more than libcurl's window for a connection or a stream
    push.answer_with(lambda message: Answer(500, body=large))
    assert http2.send(message_to(push.subscribe(OURS.public))) == [(500, large)]


def test_http_itself_is_judged(push: PushService) -> None:
    with connected_to(push.plain_origin) as client:
        client.sendall(b"no HTTP at all\r\n\r\n")
        assert client.recv(1) == b""
    assert "RemoteProtocolError" in push.refusals[0].why


def test_waiting_in_vain_raises_an_error_with_the_number(push: PushService) -> None:
    with pytest.raises(TimeoutError, match="no 1 messages within"):
        push.wait_for(1, timeout=0.01)


def test_an_exception_in_a_rule_is_raised_on_exit() -> None:
    def rule(message: Message) -> Answer:
        raise ZeroDivisionError("in the rule")

    with pytest.raises(ZeroDivisionError, match="in the rule"), PushService() as push:
        push.answer_with(rule)
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            send(message_to(push.subscribe(OURS.public, plain=True)))


def test_connections_of_the_last_moment_are_closed_on_exit() -> None:
    """Otherwise Python warns of them in whichever test comes next."""
    with contextlib.ExitStack() as clients:
        for _ in range(5):
            with PushService() as service:
                address = ("127.0.0.1", urlsplit(service.origin).port)
                for _ in range(3):
                    clients.enter_context(socket.create_connection(address))
        gc.collect()
