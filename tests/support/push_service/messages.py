"""What goes in and out of the push service: messages, answers, subscriptions, Firefox's word."""

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
    """One request, as it came. `status` is None until answered, and stays so where none came."""

    endpoint: str
    path: str
    method: str
    headers: Mapping[str, str]  # names in lower case; what came twice is joined by ", "
    body: bytes = field(repr=False)
    http_version: str
    connection: int  # 1 for the first connection anybody made
    at: float  # time.monotonic()
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer, after `delay` seconds, and what goes wrong with it.

    - `hang`: no answer ever comes.
    - `reset` ends the TCP connection by RST, `close` by FIN and without a GOAWAY; neither answers.
    - `reset_stream` ends the HTTP/2 stream, as a fault of the service (INTERNAL_ERROR).
    - `refuse_stream` ends it as one that was not looked at (REFUSED_STREAM, RFC 9113 section 8.7).
    - `goaway` answers and takes nothing more on this connection, which ends once all it took is
      answered; HTTP/2 is told by a GOAWAY that names the last stream taken.
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
    """Give this answer to every `n`-th message of a connection, and the judgement's to the rest."""
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
    unsubscribed: bool = False  # from now on 410


@dataclass(slots=True, eq=False, kw_only=True)
class Subscription(Registration):
    """A pretend browser: it subscribes, and can read what it is sent."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    auth: bytes = field(repr=False)

    @property
    def p256dh(self) -> bytes:
        """The browser's public key, 65 bytes."""
        return point(self.private_key.public_key())

    def as_json(self) -> dict[str, Any]:
        """Return what PushSubscription.toJSON() gives the page."""
        keys = {"p256dh": b64url(self.p256dh), "auth": b64url(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> bytes:
        """Decrypt as RFC 8291 says, by a library that is none of the project's code."""
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
    """Firefox's word on a message: 100 decrypted, 101 not decrypted, 102 not delivered."""

    channel: str
    version: str
    code: int


class Nack(NamedTuple):
    """Firefox's complaint after an ack: 301 the handler threw, 302 its promise was rejected."""

    version: str
    code: int


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def from_point(data: bytes) -> ec.EllipticCurvePublicKey:
    # `cryptography` would take a compressed point too, which RFC 8291 section 3.1 does not.
    if len(data) != 65:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
