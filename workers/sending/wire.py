"""The wire format: message encryption (RFC 8291), VAPID (RFC 8292), request headers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.model.keys import VapidKey, b64url, mac
from service.model.notifications import MAX_PLAINTEXT, MAX_TTL, MIN_TTL

# Seconds. RFC 8292 section 2 allows 24 h, but a push service with a slow clock refuses that.
VAPID_LIFETIME: Final = 12 * 3600

Headers: TypeAlias = tuple[tuple[str, str], ...]

_CURVE: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()
_ES256: Final = ec.ECDSA(SHA256())
# The part of RFC 8188's header after the salt, and the first byte of the key: uncompressed.
_RECORD_SIZE_AND_KEY: Final = (4096).to_bytes(4, "big") + b"\x41\x04"
_MOST_MADE: Final = 1000  # origins whose headers a worker keeps
_LAST_RECORD: Final = b"\x02"  # the delimiter
_JWT_HEADER: Final = b64url(b'{"typ":"JWT","alg":"ES256"}')


class PreparedKey(NamedTuple):
    """The key agreement for one message to one subscription (RFC 8291 section 3.1)."""

    reader: bytes  # eight bytes that tell the reader's keys from others
    public: bytes  # our public key without its first byte, 0x04
    keying_material: bytes  # the IKM of RFC 8291 section 3.4

    def fits(self, p256dh: bytes, auth: bytes) -> bool:
        """Whether it was made for these keys; a subscription may have new ones since."""
        return self.reader == _reader(p256dh, auth)


def encrypt(plaintext: bytes, p256dh: bytes, auth: bytes) -> bytes:
    """Encrypt one message for one subscription with a new key pair: `derive`, then `seal`."""
    return seal(plaintext, derive(p256dh, auth))


def derive(
    p256dh: bytes, auth: bytes, *, key_pair: ec.EllipticCurvePrivateKey | None = None
) -> PreparedKey:
    """Agree on a key with a subscription for one message; most of the cost of encryption.

    `key_pair` is a parameter only for the RFC's test vector. `ValueError`: no browser makes such
    keys.
    """
    theirs = _load(p256dh, auth)
    (key,) = _agree([(p256dh, auth)], [theirs], [key_pair or ec.generate_private_key(_CURVE)])
    return key


def derive_all(readers: Sequence[tuple[bytes, bytes]]) -> list[PreparedKey | None]:
    """Derive keys for many subscriptions, given by p256dh and auth; None where `derive` raises.

    Each step is taken for all of them before the next, so that its code stays in the processor's
    caches. During a fan-out that takes a quarter less time (decision 36).
    """
    theirs = [_loaded(p256dh, auth) for p256dh, auth in readers]
    known = [(reader, key) for reader, key in zip(readers, theirs, strict=True) if key is not None]
    ours = [ec.generate_private_key(_CURVE) for _ in known]
    agreed = iter(_agree([reader for reader, _ in known], [key for _, key in known], ours))
    return [None if key is None else next(agreed) for key in theirs]


def _load(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey:
    # `cryptography` checks that the point is on the curve, but would take a compressed one too.
    if len(p256dh) != 65:
        raise ValueError("p256dh must be an uncompressed point of 65 bytes")
    if len(auth) != 16:
        raise ValueError("auth must be 16 bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)


def _loaded(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        return _load(p256dh, auth)
    except ValueError:
        return None


def _agree(
    readers: Sequence[tuple[bytes, bytes]],
    theirs: Sequence[ec.EllipticCurvePublicKey],
    ours: Sequence[ec.EllipticCurvePrivateKey],
) -> list[PreparedKey]:
    """Agree with each reader, who has the public key in `theirs`, by a key pair of `ours`."""
    publics = [
        pair.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for pair in ours
    ]
    secrets = [pair.exchange(_ECDH, key) for pair, key in zip(ours, theirs, strict=True)]
    return [
        PreparedKey(
            _reader(p256dh, auth),
            public[1:],
            mac(mac(auth, secret), b"WebPush: info\0" + p256dh + public + b"\x01"),
        )
        for (p256dh, auth), public, secret in zip(readers, publics, secrets, strict=True)
    ]


def seal(plaintext: bytes, prepared: PreparedKey, *, salt: bytes | None = None) -> bytes:
    """Return the `aes128gcm` body of a message, a single record (RFC 8188 section 2).

    `salt` is one of `salts`, or made here. `ValueError`: more than `MAX_PLAINTEXT` bytes.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise ValueError(f"a message must not be longer than {MAX_PLAINTEXT} bytes")
    if salt is None:
        salt = os.urandom(16)
    prk = mac(salt, prepared.keying_material)
    key = mac(prk, b"Content-Encoding: aes128gcm\0\x01")[:16]
    nonce = mac(prk, b"Content-Encoding: nonce\0\x01")[:12]
    record = AESGCM(key).encrypt(nonce, plaintext + _LAST_RECORD, None)
    return b"".join((salt, _RECORD_SIZE_AND_KEY, prepared.public, record))


def salts() -> Iterator[bytes]:
    """Yield salts without end; two processes must not share the iterator.

    It reads random bytes for 256 salts at a time, as each read costs as much as two steps of HKDF.
    """
    while True:
        some = os.urandom(256 * 16)
        for at in range(0, len(some), 16):
            yield some[at : at + 16]


def _reader(p256dh: bytes, auth: bytes) -> bytes:
    """Return eight bytes that tell a reader's keys from others."""
    return p256dh[1:5] + auth[:4]


class VapidSigner:
    """Makes the Authorization headers of one VAPID key, and uses each for half its life.

    Push services encourage reuse (RFC 8292 section 5), and a signature takes as long as a key
    agreement.
    """

    def __init__(self, key: VapidKey, subject: str) -> None:
        self._key = key
        self._subject = subject
        self._made: dict[str, tuple[float, str]] = {}

    def header(self, origin: str, now: float) -> str:
        """Return the value of Authorization for endpoints of `origin`; `now` in Unix seconds."""
        made_at, value = self._made.get(origin, (math.inf, ""))
        # After a clock was set back, a kept token would count as valid for more than 24 h.
        if not 0 <= now - made_at < VAPID_LIFETIME / 2:
            value = f"vapid t={self._token(origin, now)}, k={b64url(self._key.public)}"
            # There is no end of origins, because strangers make up some.
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            self._made[origin] = now, value
        return value

    def _token(self, origin: str, now: float) -> str:
        claims = {"aud": origin, "exp": int(now) + VAPID_LIFETIME, "sub": self._subject}
        signed = f"{_JWT_HEADER}.{b64url(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.signing_key.sign(signed.encode(), _ES256))
        return f"{signed}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def collapse_topic(key: bytes, name: str) -> str:
    """Return the `Topic` header, under which messages called `name` replace one another.

    It depends on a secret key, because the push service sees it. RFC 8030 section 5.4 allows at
    most 32 characters, and Apple decodes them as base64url, so they stand for 24 whole bytes.
    """
    return b64url(mac(key, b"Topic: " + name.encode())[:24])


def headers(authorization: str, time_left: float, urgency: str, topic: str) -> Headers:
    """Return the headers of a message, which are the same for all recipients at one origin.

    `time_left` is in seconds until the notification's deadline; `topic` is a `collapse_topic`.
    """
    return (
        ("ttl", str(int(min(max(time_left, MIN_TTL), MAX_TTL)))),
        ("urgency", urgency),
        ("topic", topic),
        ("content-encoding", "aes128gcm"),
        ("content-type", "application/octet-stream"),
        ("authorization", authorization),
    )
