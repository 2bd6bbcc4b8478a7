"""VAPID key pairs (RFC 8292), and the primitives that encryption and tokens share."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# P-256: y² = x³ - 3x + b, modulo p (SEC 2, section 2.4.2).
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_BASE64 = re.compile("[A-Za-z0-9+/]*")
_TO_URL = bytes.maketrans(b"+/", b"-_")
# One alphabet, and no white space.
_COMPACT = str.maketrans("-_", "+/", "".join(filter(str.isspace, map(chr, range(0x3001)))))
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))


def b64url(data: bytes) -> str:
    """Return base64url without padding, the form of every key and token in Web Push."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    """Decode strictly: no padding, no other characters, no stray trailing bits; `ValueError`."""
    data = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def any_base64(text: str) -> bytes:
    """Decode base64 in any spelling: both alphabets, padded or not, in lines; `ValueError`.

    For keys that come from other programs, whose bytes count and not their spelling.
    """
    compact = text.translate(_COMPACT).rstrip("=")
    if not _BASE64.fullmatch(compact):
        raise ValueError("not base64")
    return binascii.a2b_base64(compact + "=" * (-len(compact) % 4))


def on_p256(point: bytes) -> bool:
    """Whether an uncompressed point of 65 bytes is on the curve, as every public key must be.

    OpenSSL takes several times as long. A public key is no secret, so that timing does not matter.
    """
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    return x < _P and y < _P and (y * y - (x * x - 3) * x - _B) % _P == 0


def mac(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 (RFC 2104) under a key of at most 64 bytes; HKDF is made of it too.

    It takes 0.9 µs, `hmac.digest` 1.6 µs alone and several times that among other work (measured);
    one message needs up to five.
    """
    key = key.ljust(64, b"\0")
    return sha256(key.translate(_OPAD) + sha256(key.translate(_IPAD) + message).digest()).digest()


@dataclass(frozen=True)
class VapidKey:
    """One application server key pair on P-256; `private` is its 32-byte scalar."""

    private: bytes

    @classmethod
    def generate(cls) -> VapidKey:
        """Make a new key pair from the system's randomness."""
        number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        return cls(number.to_bytes(32, "big"))

    @cached_property
    def signing_key(self) -> ec.EllipticCurvePrivateKey:
        """The key as `cryptography` signs with it."""
        return ec.derive_private_key(int.from_bytes(self.private, "big"), ec.SECP256R1())

    @cached_property
    def public(self) -> bytes:
        """The uncompressed point, 65 bytes: `applicationServerKey` and VAPID's `k`."""
        public_key = self.signing_key.public_key()
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def text(self) -> str:
        """The private key as `VAPID_PRIVATE_KEY` takes it."""
        return b64url(self.private)

    def __repr__(self) -> str:
        return f"VapidKey(public={b64url(self.public)})"
