"""The push service that other tests send to refuses what it should, and takes what is right."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import http_ece
import pycurl
import pytest
import pywebpush
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.push_service import Answer, Certificate, Message, PushService, Subscription, every

pytestmark = pytest.mark.once

TEXT = "Eilmeldung: Ünïcode – 速報".encode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key pair of an application server."""

    def __init__(self) -> None:
        self.pair = ec.generate_private_key(ec.SECP256R1())
        self.public = self.pair.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        self.private_text = b64url(self.pair.private_numbers().private_value.to_bytes(32, "big"))

    def vapid(self, claims: dict[str, Any], *, alg: str = "ES256", k: bytes | None = None) -> str:
        parts = ({"typ": "JWT", "alg": alg}, claims)
        signed = ".".join(b64url(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self.pair.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={signed}.{signature}, k={b64url(k or self.public)}"


OURS, ANOTHER = Key(), Key()


@dataclass(frozen=True)
class Draft:
    """A message as it will be sent, right until a case spoils it."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: str = "POST"

    def with_header(self, name: str, value: str) -> Draft:
        return replace(self.without(name), headers=(*self.without(name).headers, (name, value)))

    def without(self, name: str) -> Draft:
        return replace(self, headers=tuple(h for h in self.headers if h[0] != name))

    def with_body(self, body: bytes) -> Draft:
        return replace(self, body=body).with_header("Content-Length", str(len(body)))

    def with_claims(self, **changes: Any) -> Draft:
        return self.with_header("Authorization", OURS.vapid(claims(self.url, **changes)))

    @property
    def header_lines(self) -> list[str]:
        return [f"{name}: {value}" for name, value in self.headers]


def claims(url: str, **changes: Any) -> dict[str, Any]:
    """The right claims, changed; None takes one away."""
    parts = urlsplit(url)
    right = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": int(time.time()) + 12 * 3600,
        "sub": "mailto:push@example.com",
    }
    return {name: value for name, value in {**right, **changes}.items() if value is not None}


def message_to(browser: Subscription, text: bytes = TEXT) -> Draft:
    body = http_ece.encrypt(
        text,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=browser.p256dh,
        auth_secret=browser.auth,
        version="aes128gcm",
    )
    headers = (
        ("TTL", "3600"),
        ("Urgency", "high"),
        ("Topic", "a" * 32),
        ("Content-Encoding", "aes128gcm"),
        ("Content-Length", str(len(body))),
        ("Authorization", OURS.vapid(claims(browser.endpoint))),
    )
    return Draft(browser.endpoint, headers, body)


def send(draft: Draft, connection: http.client.HTTPConnection | None = None) -> tuple[Any, bytes]:
    """Send over clear HTTP/1.1, byte for byte; return the response and its body."""
    parts = urlsplit(draft.url)
    own = connection or http.client.HTTPConnection(parts.netloc, timeout=10)
    own.putrequest(draft.method, parts.path, skip_accept_encoding=True)
    for name, value in draft.headers:
        own.putheader(name, value)
    try:
        own.endheaders(draft.body)
        response = own.getresponse()
        return response, response.read()
    finally:
        if connection is None:
            own.close()


def connected_to(url: str) -> socket.socket:
    host, port = urlsplit(url).netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


class Http2:
    """One connection of libcurl's, over which several messages go at a time."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = str(ca_file)
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)

    def send(self, *drafts: Draft) -> list[tuple[int, bytes]]:
        """Send all at once; return each one's status, 0 when the answer never came, and body."""
        sent = [self._start(draft) for draft in drafts]
        left = len(sent)
        while left:
            self.multi.perform()
            _, taken, failed = self.multi.info_read()
            left -= len(taken) + len(failed)
            self.multi.select(0.1)
        answers = [(curl.getinfo(pycurl.RESPONSE_CODE), out.getvalue()) for curl, out in sent]
        for curl, _ in sent:
            self.multi.remove_handle(curl)
            curl.close()
        return answers

    def _start(self, draft: Draft) -> tuple[pycurl.Curl, io.BytesIO]:
        curl, out = pycurl.Curl(), io.BytesIO()
        curl.setopt(pycurl.URL, draft.url)
        curl.setopt(pycurl.CAINFO, self.ca_file)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        curl.setopt(pycurl.PIPEWAIT, 1)
        curl.setopt(pycurl.TIMEOUT, 20)
        curl.setopt(pycurl.POSTFIELDS, draft.body)
        curl.setopt(pycurl.HTTPHEADER, draft.without("Content-Length").header_lines)
        curl.setopt(pycurl.WRITEDATA, out)
        self.multi.add_handle(curl)
        return curl, out


@pytest.fixture
def push() -> Iterator[PushService]:
    with PushService() as service:
        yield service


@pytest.fixture
def browser(push: PushService) -> Subscription:
    return push.subscribe(OURS.public, plain=True)


@pytest.fixture
def http2(push: PushService) -> Iterator[Http2]:
    client = Http2(push.ca_file)
    yield client
    client.multi.close()


@pytest.mark.parametrize("plain", [False, True])
def test_what_pywebpush_sends_is_taken_and_can_be_read(push: PushService, plain: bool) -> None:
    browser = push.subscribe(OURS.public, plain=plain)
    with requests.Session() as session:
        session.trust_env = False  # whose REQUESTS_CA_BUNDLE would win over `verify`
        session.verify = str(push.ca_file)
        answer = pywebpush.webpush(
            browser.as_json(),
            TEXT,
            vapid_private_key=OURS.private_text,
            vapid_claims={"sub": "mailto:push@example.com"},
            ttl=99_999_999,
            timeout=10,
            requests_session=session,
        )
    assert answer.status_code == 201
    assert answer.headers["TTL"] == str(30 * 24 * 3600)
    assert answer.headers["Location"].startswith(push.origin)
    (message,) = push.wait_for(1, timeout=10)
    assert message.endpoint == browser.endpoint
    assert message.status == 201
    assert message.http_version == "1.1"
    assert message.headers["content-encoding"] == "aes128gcm"
    assert browser.decrypt(message.body) == TEXT
    assert push.refusals == []


def test_many_messages_go_over_one_http2_connection(push: PushService, http2: Http2) -> None:
    browsers = [push.subscribe(OURS.public) for _ in range(150)]
    answers = http2.send(*(message_to(browser) for browser in browsers))
    assert [status for status, _ in answers] == [201] * 150
    assert push.refusals == []
    messages = {message.endpoint: message for message in push.received}
    assert {(m.http_version, m.connection) for m in messages.values()} == {("2", 1)}
    assert all(b.decrypt(messages[b.endpoint].body) == TEXT for b in browsers)


def test_an_http1_connection_is_kept_for_the_next_message(
    push: PushService, browser: Subscription
) -> None:
    connection = http.client.HTTPConnection(urlsplit(push.plain_origin).netloc, timeout=10)
    for _ in range(3):
        assert send(message_to(browser), connection)[0].status == 201
    connection.close()
    assert {message.connection for message in push.received} == {1}


def spoiled_body(start: int, new: bytes) -> Callable[[Draft], Draft]:
    return lambda m: m.with_body(m.body[:start] + new + m.body[start + len(new) :])


def chunked(m: Draft) -> Draft:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(m.body), m.body)
    return (
        replace(m, body=body).without("Content-Length").with_header("Transfer-Encoding", "chunked")
    )


def urgent_twice(m: Draft) -> Draft:
    return replace(m, headers=(*m.headers, ("Urgency", "high")))


def by(key: Key, **options: Any) -> Callable[[Draft], Draft]:
    return lambda m: m.with_header("Authorization", key.vapid(claims(m.url), **options))


def other_scheme(m: Draft) -> Draft:
    vapid = dict(m.headers)["Authorization"]
    return m.with_header("Authorization", vapid.replace("vapid", "WebPush"))


REFUSED: dict[str, tuple[Callable[[Draft], Draft], int, int]] = {
    "another method": (lambda m: replace(m, method="PUT"), 405, 999),
    "an endpoint never given out": (lambda m: replace(m, url=m.url + "x"), 404, 102),
    "chunks": (chunked, 411, 999),
    "an expectation": (lambda m: m.with_header("Expect", "100-continue"), 417, 999),
    "no TTL": (lambda m: m.without("TTL"), 400, 111),
    "a TTL in words": (lambda m: m.with_header("TTL", "1h"), 400, 112),
    "a negative TTL": (lambda m: m.with_header("TTL", "-1"), 400, 112),
    "a long Topic": (lambda m: m.with_header("Topic", "a" * 34), 400, 113),
    "a Topic with a foreign character": (lambda m: m.with_header("Topic", "a.bc"), 400, 113),
    "an empty Topic": (lambda m: m.with_header("Topic", ""), 400, 113),
    "a Topic Apple cannot decode": (lambda m: m.with_header("Topic", "abcde"), 400, 113),
    "an unknown Urgency": (lambda m: m.with_header("Urgency", "urgent"), 400, 999),
    "two Urgencies": (urgent_twice, 400, 999),
    "the old encoding": (lambda m: m.with_header("Content-Encoding", "aesgcm"), 400, 110),
    "no encoding": (lambda m: m.without("Content-Encoding"), 400, 110),
    "no authorization": (lambda m: m.without("Authorization"), 401, 109),
    "another scheme": (other_scheme, 401, 109),
    "a token that is none": (lambda m: m.with_header("Authorization", "vapid t=a, k=b"), 401, 109),
    "another algorithm": (by(OURS, alg="HS256"), 401, 109),
    "another key": (by(ANOTHER), 401, 109),
    "a token of another key": (by(ANOTHER, k=OURS.public), 401, 109),
    "another audience": (lambda m: m.with_claims(aud="https://example.com"), 401, 109),
    "an audience with a path": (lambda m: m.with_claims(aud=claims(m.url)["aud"] + "/"), 401, 109),
    "no audience": (lambda m: m.with_claims(aud=None), 401, 109),
    "no expiry": (lambda m: m.with_claims(exp=None), 401, 109),
    "an expiry in quotes": (lambda m: m.with_claims(exp=str(claims(m.url)["exp"])), 401, 109),
    "an expired token": (lambda m: m.with_claims(exp=int(time.time()) - 1), 401, 109),
    "an expiry too far": (lambda m: m.with_claims(exp=int(time.time()) + 25 * 3600), 401, 109),
    "no subject": (lambda m: m.with_claims(sub=None), 401, 109),
    "a subject that is no URI": (lambda m: m.with_claims(sub="push@example.com"), 401, 109),
    "a subject with brackets": (lambda m: m.with_claims(sub="mailto:<a@example.com>"), 401, 109),
    "a large body": (lambda m: m.with_body(m.body + bytes(4097 - len(m.body))), 413, 104),
    "no body": (lambda m: m.with_body(b""), 400, 110),
    "a body without a record": (lambda m: m.with_body(m.body[:102]), 400, 110),
    "a key of another length": (spoiled_body(20, bytes([64])), 400, 110),
    "a key off the curve": (spoiled_body(53, bytes(32)), 400, 110),
    "the VAPID key as sender's": (spoiled_body(21, OURS.public), 400, 110),
    "a record size as small as the record": (
        lambda m: spoiled_body(16, (len(m.body) - 86).to_bytes(4, "big"))(m),
        400,
        110,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what: str, push: PushService, browser: Subscription) -> None:
    spoil, status, errno = REFUSED[what]
    response, body = send(spoil(message_to(browser)))
    assert response.status == status
    error = json.loads(body)
    assert {"code", "errno", "error", "message", "more_info"} == set(error)
    assert (error["code"], error["errno"]) == (status, errno)
    assert [(r.status, r.errno) for r in push.refusals] == [(status, errno)]
    assert send(message_to(browser))[0].status == 201


def test_a_key_other_than_the_registered_one_is_called_a_mismatch(
    push: PushService, browser: Subscription
) -> None:
    _, body = send(by(ANOTHER)(message_to(browser)))
    assert json.loads(body)["message"] == "VAPID public key mismatch"


def test_a_body_of_4096_bytes_is_taken(push: PushService, browser: Subscription) -> None:
    message = message_to(browser, b"x" * 3993)
    assert len(message.body) == 4096
    assert send(message)[0].status == 201


@pytest.mark.parametrize("part", [slice(0, 16), slice(21, 86)], ids=["salt", "sender's key"])
def test_it_refuses_a_reused(part: slice, push: PushService, browser: Subscription) -> None:
    first, second = message_to(browser), message_to(browser)
    assert send(first)[0].status == 201
    reused = spoiled_body(part.start, first.body[part])(second)
    assert send(reused)[0].status == 400
    assert "was used for another message" in push.refusals[0].why


def test_the_same_message_may_be_tried_again(push: PushService, browser: Subscription) -> None:
    message = message_to(browser)
    assert [send(message)[0].status for _ in range(2)] == [201, 201]
    assert push.refusals == []


def test_a_browser_that_unsubscribed_is_gone_which_is_no_fault(
    push: PushService, browser: Subscription
) -> None:
    browser.unsubscribed = True
    response, body = send(message_to(browser))
    assert (response.status, json.loads(body)["errno"]) == (410, 106)
    assert push.refusals == []


@pytest.mark.parametrize("host", ["localhost", "news.local", "permanently-removed.invalid"])
def test_a_subject_at_no_real_host_is_refused_when_strict(host: str) -> None:
    with PushService(strict_subject=True) as push:
        browser = push.subscribe(OURS.public, plain=True)
        assert send(message_to(browser).with_claims(sub=f"mailto:a@{host}"))[0].status == 403
        assert send(message_to(browser).with_claims(sub=f"https://{host}/"))[0].status == 403
        assert send(message_to(browser))[0].status == 201


def test_any_endpoint_under_push_may_be_registered_with_one_key(
    push: PushService, browser: Subscription
) -> None:
    elsewhere = replace(message_to(browser), url=f"{push.plain_origin}/push/7")
    assert send(elsewhere)[0].status == 404
    push.accept_any(OURS.public)
    assert send(elsewhere)[0].status == 201
    assert send(by(ANOTHER)(elsewhere))[0].status == 401


def test_a_rule_chooses_the_answer_and_the_judgement_the_rest(
    push: PushService, browser: Subscription
) -> None:
    busy = Answer(429, {"Retry-After": "7"}, b"slow down")
    push.answer_with(lambda message: busy if message.headers["ttl"] == "60" else None)
    response, body = send(message_to(browser).with_header("TTL", "60"))
    assert (response.status, response.headers["Retry-After"], body) == (429, "7", b"slow down")
    assert send(message_to(browser))[0].status == 201
    assert [message.status for message in push.received] == [429, 201]


def test_a_message_is_judged_even_when_a_rule_answers(
    push: PushService, browser: Subscription
) -> None:
    push.answer_with(lambda message: Answer(201))
    assert send(message_to(browser).without("TTL"))[0].status == 201
    assert [refusal.errno for refusal in push.refusals] == [111]


def test_a_delayed_answer_holds_up_no_other(push: PushService, http2: Http2) -> None:
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
        if message.connection > 1:  # libcurl tries again by itself what was never answered
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
    """One HTTP/2 connection on which a test sees what is said of each stream."""

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

    def hear(self, enough: Callable[[], object]) -> None:
        """Listen until `enough` is true, or the connection ends."""
        while not enough() and (data := self.tls.recv(65536)):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answered.append(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.reset[event.stream_id] = event.error_code
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.last_taken = event.last_stream_id
                    # To `h2` nothing may follow a GOAWAY; what was taken is still answered.
                    self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN


@pytest.fixture
def streams(push: PushService) -> Iterator[Streams]:
    client = Streams(push)
    with client.tls:
        yield client


def test_what_a_goaway_disowns_was_not_taken_and_what_was_taken_is_answered(
    push: PushService, streams: Streams
) -> None:
    first, second, third, fourth, fifth = (push.subscribe(OURS.public) for _ in range(5))

    def rule(message: Message) -> Answer | None:
        if message.endpoint == first.endpoint:
            return Answer(delay=0.2)
        return Answer(goaway=True) if message.endpoint == third.endpoint else None

    push.answer_with(rule)
    streams.send(*map(message_to, (first, second, third, fourth, fifth)))
    streams.hear(lambda: len(streams.answered) == 3)
    assert streams.last_taken == 5
    assert streams.answered == [3, 5, 1]
    taken = [message.endpoint for message in push.received]
    assert taken == [browser.endpoint for browser in (second, third, first)]
    disowned = [message.endpoint for message in push.disowned]
    assert disowned == [fourth.endpoint, fifth.endpoint]
    streams.hear(lambda: False)


def test_a_service_that_goes_away_after_every_ten_messages_takes_each_once(
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
    streams.hear(lambda: streams.answered)
    assert streams.reset == {1: h2.errors.ErrorCodes.REFUSED_STREAM}
    assert [message.endpoint for message in push.received] == [lucky.endpoint]
    assert [message.endpoint for message in push.disowned] == [unlucky.endpoint]


def test_a_message_left_hanging_is_taken_and_never_answered(
    push: PushService, streams: Streams
) -> None:
    hanging, other = push.subscribe(OURS.public), push.subscribe(OURS.public)
    push.answer_with(lambda m: Answer(hang=True) if m.endpoint == hanging.endpoint else None)
    streams.send(message_to(hanging), message_to(other))
    streams.hear(lambda: streams.answered)
    streams.tls.settimeout(0.2)
    with pytest.raises(TimeoutError):
        streams.hear(lambda: False)
    assert [message.status for message in push.received] == [None, 201]


def test_a_connection_can_end_without_a_word(push: PushService, streams: Streams) -> None:
    push.answer_with(every(2, Answer(close=True)))
    browsers = [push.subscribe(OURS.public) for _ in range(3)]
    streams.send(*map(message_to, browsers))
    streams.hear(lambda: False)
    assert (streams.answered, streams.last_taken) == ([1], None)
    assert [message.status for message in push.received][:2] == [201, None]


def test_an_http1_connection_can_end_without_a_word(
    push: PushService, browser: Subscription
) -> None:
    push.answer_with(lambda message: Answer(close=True))
    with pytest.raises(http.client.RemoteDisconnected):
        send(message_to(browser))
    assert [message.status for message in push.received] == [None]


def test_a_service_of_http1_alone_agrees_on_nothing_else() -> None:
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
def test_a_bad_certificate_is_presented_until_the_good_one_is(
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
        streams.hear(lambda: False)
    assert push.connections == set()


def test_a_large_answer_waits_for_the_clients_window(push: PushService, http2: Http2) -> None:
    large = os.urandom(40_000_000)  # more than libcurl's window for a connection or a stream
    push.answer_with(lambda message: Answer(500, body=large))
    assert http2.send(message_to(push.subscribe(OURS.public))) == [(500, large)]


def test_http_itself_is_judged(push: PushService) -> None:
    with connected_to(push.plain_origin) as client:
        client.sendall(b"no HTTP at all\r\n\r\n")
        assert client.recv(1) == b""
    assert "RemoteProtocolError" in push.refusals[0].why


def test_waiting_for_a_message_that_does_not_come_says_so(push: PushService) -> None:
    with pytest.raises(TimeoutError, match="no 1 messages within"):
        push.wait_for(1, timeout=0.01)


# Firefox's side


class Firefox:
    """Speaks as Firefox 153 does, with keys of its own."""

    def __init__(self, websocket: ClientConnection, uaid: str | None) -> None:
        self.socket = websocket
        known = {"uaid": uaid} if uaid else {}
        hello = self.call({"messageType": "hello", "broadcasts": {}, "use_webpush": True, **known})
        self.uaid: str = hello["uaid"]

    def call(self, frame: dict[str, Any]) -> dict[str, Any]:
        self.socket.send(json.dumps(frame))
        return self.next_frame()

    def next_frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
        return frame

    def register(self, channel: str) -> Subscription:
        key = base64.urlsafe_b64encode(OURS.public).decode()
        reply = self.call({"channelID": channel, "messageType": "register", "key": key})
        assert (reply["messageType"], reply["channelID"]) == ("register", channel)
        assert reply["status"] == 200
        return Subscription(
            endpoint=reply["pushEndpoint"],
            vapid_public_key=OURS.public,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            auth=os.urandom(16),
        )

    def acknowledge(self, notification: dict[str, Any], code: int = 100) -> None:
        update = {name: notification[name] for name in ("channelID", "version")}
        updates = [{**update, "code": code}]
        self.socket.send(json.dumps({"messageType": "ack", "updates": updates}))


@contextlib.contextmanager
def firefox_at(push: PushService, uaid: str | None = None) -> Iterator[Firefox]:
    with connect(push.websocket_url, subprotocols=[Subprotocol("push-notification")]) as websocket:
        yield Firefox(websocket, uaid)


def text_of(notification: dict[str, Any], subscription: Subscription) -> bytes:
    assert notification["messageType"] == "notification"
    data = notification["data"]
    return subscription.decrypt(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))


def test_a_message_is_relayed_to_firefox_and_acknowledged(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
        assert [r.endpoint for r in push.registrations] == [subscription.endpoint]
        assert subscription.endpoint.startswith(push.plain_origin)
        assert send(message_to(subscription))[0].status == 201
        notification = firefox.next_frame()
        assert text_of(notification, subscription) == TEXT
        assert notification["headers"] == {"encoding": "aes128gcm"}
        firefox.acknowledge(notification)
        version = notification["version"]
        assert push.wait_for_ack(timeout=10) == ("a-channel", version, 100)
        firefox.call({})
        firefox.socket.send(json.dumps({"messageType": "nack", "version": version, "code": 302}))
        firefox.call({})
    assert push.nacks == [(version, 302)]
    assert push.refusals == []


def test_a_refused_message_is_not_relayed(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
        assert send(by(ANOTHER)(message_to(subscription)))[0].status == 401
        assert firefox.call({}) == {}


def test_a_message_a_rule_did_not_accept_is_not_relayed(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
        push.answer_with(lambda message: Answer(500))
        assert send(message_to(subscription))[0].status == 500
        assert firefox.call({}) == {}


def test_messages_wait_for_firefox_until_it_has_acknowledged_them(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
    for text in (b"first", b"second"):
        send(message_to(subscription, text).without("Topic"))
    with firefox_at(push, firefox.uaid) as firefox:
        first, second = firefox.next_frame(), firefox.next_frame()
        assert [text_of(f, subscription) for f in (first, second)] == [b"first", b"second"]
        firefox.acknowledge(first)
        push.wait_for_ack(timeout=10)
    with firefox_at(push, firefox.uaid) as firefox:
        assert firefox.next_frame() == second
        assert firefox.call({}) == {}


def test_a_waiting_message_is_replaced_by_one_of_the_same_topic(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
    send(message_to(subscription, b"wrong"))
    send(message_to(subscription, b"right"))
    with firefox_at(push, firefox.uaid) as firefox:
        assert text_of(firefox.next_frame(), subscription) == b"right"
        assert firefox.call({}) == {}


def test_a_message_without_time_to_live_does_not_wait(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
    send(message_to(subscription).with_header("TTL", "0"))
    with firefox_at(push, firefox.uaid) as firefox:
        assert firefox.call({}) == {}


def test_a_firefox_nobody_knows_gets_a_new_name(push: PushService) -> None:
    with firefox_at(push, "of another push service") as firefox:
        assert firefox.uaid != "of another push service"


def test_an_endpoint_is_gone_once_firefox_unregisters(push: PushService) -> None:
    with firefox_at(push) as firefox:
        subscription = firefox.register("a-channel")
        frame = {"channelID": "a-channel", "messageType": "unregister", "code": 200}
        assert firefox.call(frame)["status"] == 200
        assert send(message_to(subscription))[0].status == 410


COMPRESSED = OURS.pair.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize("key", [{}, {"key": b64url(COMPRESSED)}], ids=["none", "compressed"])
def test_firefox_cannot_register_without_a_whole_key(
    push: PushService, key: dict[str, str]
) -> None:
    with firefox_at(push) as firefox:
        reply = firefox.call({"channelID": "a-channel", "messageType": "register", **key})
        assert reply["status"] == 400
    assert push.registrations == []


def test_a_frame_firefox_would_not_send_is_refused(push: PushService) -> None:
    with firefox_at(push) as firefox:
        firefox.socket.send(json.dumps({"messageType": "broadcast_subscribe", "broadcasts": {}}))
        assert firefox.call({}) == {}
        assert push.refusals == []
        firefox.socket.send(json.dumps({"messageType": "purr"}))
        with pytest.raises(ConnectionClosedOK):
            firefox.next_frame()
    assert "purr" in push.refusals[0].why


# Its end


def test_on_exit_everything_is_closed() -> None:
    threads = set(threading.enumerate())
    arrived = threading.Event()

    def rule(message: Message) -> Answer:
        arrived.set()
        return Answer(delay=3600)

    with contextlib.ExitStack() as browsers, PushService() as push:
        browser = push.subscribe(OURS.public, plain=True)
        push.answer_with(rule)
        browsers.enter_context(firefox_at(push))
        waiting = http.client.HTTPConnection(urlsplit(push.plain_origin).netloc, timeout=10)
        message = message_to(browser)
        waiting.request("POST", urlsplit(message.url).path, message.body, dict(message.headers))
        assert arrived.wait(10)
    with pytest.raises(ConnectionError):
        waiting.getresponse()
    waiting.close()
    assert set(threading.enumerate()) == threads
    assert not push.ca_file.exists()
    for url in (push.origin, push.plain_origin, push.websocket_url):
        with pytest.raises(ConnectionRefusedError):
            connected_to(url)


def test_a_fault_in_a_rule_comes_to_light_on_exit() -> None:
    def rule(message: Message) -> Answer:
        raise ZeroDivisionError("in the rule")

    with pytest.raises(ZeroDivisionError, match="in the rule"), PushService() as push:
        push.answer_with(rule)
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            send(message_to(push.subscribe(OURS.public, plain=True)))
