"""The canary's browser: made up, and known only to those who have `SECRET_KEY` (decision 119).

Its endpoint, its keys and its auth secret follow from that key. So nothing of it is stored, every
process knows it, and nobody else can send it a message.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.model.keys import b64url

# What workers call our own push service, beside google, apple and so on.
CANARY = "canary"
PATH = "/canary/"  # of its endpoints
# The order of P-256's base point (SEC 2, section 2.4.2): private keys are smaller.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class CanaryBrowser:
    """The browser under one `SECRET_KEY`; `key` is derived from it."""

    key: bytes

    @cached_property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The private half of the subscription's keys."""
        number = int.from_bytes(hmac.digest(self.key, b"private", "sha512"), "big")
        return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())

    @property
    def p256dh(self) -> bytes:
        """The public half."""
        public_key = self.private_key.public_key()
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def auth(self) -> bytes:
        """The auth secret (RFC 8291, section 3.2)."""
        return hmac.digest(self.key, b"auth", "sha256")[:16]

    @property
    def token(self) -> str:
        """What its endpoint ends with."""
        return b64url(hmac.digest(self.key, b"endpoint", "sha256"))


class Arrival(NamedTuple):
    """A canary that arrived; times are seconds since 1970."""

    published: float
    arrived: float
    seconds: float  # between the two
