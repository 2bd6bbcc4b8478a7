"""Tokens that need no storage: a reader's token, and the receipt that each alert carries."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from service.model.keys import b64url, from_b64url, mac
from service.model.subscriptions import SubscriptionId

# What an API token may do; one without scopes may do everything.
SCOPES = ("send", "read", "topics", "webhooks")

# Seven bytes leave four for the notification's id: every welcome and reader's test has one too.
_MAC = bytes(7)


def digest(token: str) -> str:
    """Return the digest by which a token of 128 bits or more is stored and looked up."""
    return sha256(token.encode()).hexdigest()


class Tokens:
    """Makes tokens under the current `SECRET_KEY`, and accepts those of the previous one too."""

    def __init__(self, current: str, *previous: str) -> None:
        keys = (current, *previous)
        self._reader_keys = [_derive(key, b"stop-press reader token") for key in keys]
        # Prepared keys are sealed under the first of these, and opened with any.
        self.preparing_keys = [_derive(key, b"stop-press prepared keys") for key in keys]
        self.two_step_keys = [_derive(key, b"stop-press two-step sign-in") for key in keys]
        self.webhook_keys = [_derive(key, b"stop-press webhooks") for key in keys]
        self.canary_keys = [_derive(key, b"stop-press canary") for key in keys]
        self.address_key = _derive(current, b"stop-press address")
        self.topic_key = _derive(current, b"stop-press collapse topic")
        # One block of AES. Its seven zero bytes make a forgery as hard as a seven-byte MAC would,
        # and only this service can read the ids.
        receipt_keys = [_derive(key, b"stop-press receipt")[:16] for key in keys]
        self._blocks = [
            Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 (one block, no mode)
            for key in receipt_keys
        ]
        self._seal = self._blocks[0].encryptor()
        self._erasures = [
            Cipher(algorithms.AES(_derive(key, b"stop-press erasure")[:16]), modes.ECB())  # noqa: S305
            for key in keys
        ]
        self.fingerprints = [_derive(key, b"stop-press fingerprint").hex()[:16] for key in keys]

    def reader(self, id: SubscriptionId, auth: bytes) -> str:
        """Return the token with which a browser changes or ends its subscription."""
        return self._reader(self._reader_keys[0], id, auth)

    def is_reader(self, token: str, id: SubscriptionId, auth: bytes) -> bool:
        """Whether `token` belongs to this subscription; in constant time."""
        return any(
            hmac.compare_digest(token.encode(), self._reader(key, id, auth).encode())
            for key in self._reader_keys
        )

    @staticmethod
    def _reader(key: bytes, id: SubscriptionId, auth: bytes) -> str:
        message = struct.pack(">BI", *id) + auth
        return b64url(mac(key, message)[:16])

    def receipt(self, notification: int, id: SubscriptionId) -> str:
        """Return the 22 characters with which a browser reports on one alert."""
        return self.receipts(notification, id.partition, [id.number])[0]

    def receipts(self, notification: int, partition: int, numbers: Sequence[int]) -> list[str]:
        """Return the receipts of one alert for many subscriptions; 1 µs each, one alone 6 µs."""
        head = _MAC + notification.to_bytes(4, "big") + bytes((partition,))
        sealed = self._seal.update(
            b"".join([head + number.to_bytes(4, "big") for number in numbers])
        )
        return [b64url(sealed[at : at + 16]) for at in range(0, len(sealed), 16)]

    def open_receipt(self, token: str) -> tuple[int, SubscriptionId] | None:
        """Return the notification and the subscription of a receipt; None if it is forged."""
        try:
            sealed = from_b64url(token)
        except ValueError:
            return None
        if len(sealed) != 16:
            return None
        for block in self._blocks:
            text = block.decryptor().update(sealed)
            if hmac.compare_digest(text[:7], _MAC):
                number = int.from_bytes(text[7:11], "big")
                return number, SubscriptionId(*struct.unpack(">BI", text[11:]))
        return None

    def erasure(self, digest: bytes, at: int) -> str:
        """Return a line for a list outside: the reader with this digest (ten bytes) has left."""
        block = digest + at.to_bytes(4, "big") + bytes(2)
        return b64url(self._erasures[0].encryptor().update(block))

    def open_erasure(self, text: str) -> tuple[bytes, int] | None:
        """Return digest and time of such a line; None if it was not written with our key."""
        try:
            sealed = from_b64url(text)
        except ValueError:
            return None
        for block in self._erasures if len(sealed) == 16 else ():
            opened = block.decryptor().update(sealed)
            if opened[14:] == bytes(2):
                return opened[:10], int.from_bytes(opened[10:14], "big")
        return None


def _derive(secret_key: str, purpose: bytes) -> bytes:
    return hmac.digest(secret_key.encode(), purpose, "sha256")
