"""What the push service takes and gives: messages, answers, subscriptions, Firefox's acks."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(slots=True, eq=False)
class Message:
    """One request, as it came. `status` is that of the response, None if there is none."""

    endpoint: str
    path: str
    method: str
    headers: Mapping[str, str]  # names in lower case; repeated ones are joined by ", "
    body: bytes = field(repr=False)
    http_version: str
    connection: int  # numbered from 1
    at: float  # time.monotonic()
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to send after `delay` seconds, and what goes wrong with it.

    - `hang`: there is never a response.
    - `reset` ends the TCP connection by RST, `close` by FIN without a GOAWAY, both without a
      response.
    - `reset_stream` ends the HTTP/2 stream with an error of the service (INTERNAL_ERROR).
    - `refuse_stream` ends it as not processed (REFUSED_STREAM, RFC 9113 section 8.7).
    - `goaway` responds and takes no more messages on this connection, which ends after the last
      response. In HTTP/2 a GOAWAY names the last stream taken.
    """

    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    hang: bool = False
    reset: bool = False
    close: bool = False
    reset_stream: bool = False
    refuse_stream: bool = False
    goaway: bool = False


Rule = Callable[[Message], "Answer | None"]


def every(n: int, answer: Answer) -> Rule:
    """Give this answer to every `n`-th message of a connection; the others are only judged."""
    came: Counter[int] = Counter()

    def rule(message: Message) -> Answer | None:
        came[message.connection] += 1
        return None if came[message.connection] % n else answer

    return rule


@dataclass(slots=True, eq=False, kw_only=True)
class Registration:
    """One subscription as the push service knows it."""

    endpoint: str
    vapid_public_key: bytes
    unsubscribed: bool = False  # if True, messages get 410


@dataclass(slots=True, eq=False, kw_only=True)
class Subscription(Registration):
    """A pretend browser that subscribes and can decrypt its messages."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    auth: bytes = field(repr=False)

    @property
    def p256dh(self) -> bytes:
        """The browser's public key, 65 bytes."""
        return point(self.private_key.public_key())

    def as_json(self) -> dict[str, Any]:
        """Return what `PushSubscription.toJSON()` returns."""
        keys = {"p256dh": b64url(self.p256dh), "auth": b64url(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> bytes:
        """Decrypt as RFC 8291 requires, with a library that shares no code with the project."""
        clear: bytes = http_ece.decrypt(
            body, private_key=self.private_key, auth_secret=self.auth, version="aes128gcm"
        )
        return clear


@dataclass(slots=True, eq=False, kw_only=True)
class Channel(Registration):
    """A registration that Firefox made over its WebSocket."""

    uaid: str
    channel: str


class Ack(NamedTuple):
    """Firefox's report on a message: 100 decrypted, 101 not decrypted, 102 not delivered."""

    channel: str
    version: str
    code: int


class Nack(NamedTuple):
    """Firefox's report of an error after an ack: 301 the handler threw, 302 its promise failed."""

    version: str
    code: int


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def from_point(data: bytes) -> ec.EllipticCurvePublicKey:
    # `cryptography` accepts a compressed point too, which RFC 8291 section 3.1 does not.
    if len(data) != 65:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
