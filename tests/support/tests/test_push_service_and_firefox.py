"""Firefox registers at the push service and gets its messages; at the end everything is closed."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.processes.installation import wait_until
from tests.support.push_service import Answer, Message, PushService, Subscription
from tests.support.push_service.senders import (
    ANOTHER,
    OURS,
    TEXT,
    b64url,
    by,
    connected_to,
    message_to,
    send,
)


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

    def acknowledge(self, notification: dict[str, Any]) -> None:
        update = {name: notification[name] for name in ("channelID", "version")}
        updates = [{**update, "code": 100}]
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


def test_a_message_refused_by_a_rule_is_not_relayed(push: PushService) -> None:
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


def test_an_unknown_firefox_gets_a_new_name(push: PushService) -> None:
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
    # A thread of our own client ends a moment after its connection.
    wait_until(lambda: set(threading.enumerate()) == threads)
    assert not push.ca_file.exists()
    for url in (push.origin, push.plain_origin, push.websocket_url):
        with pytest.raises(ConnectionRefusedError):
            connected_to(url)
