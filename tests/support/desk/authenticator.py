"""A device with passkeys, and the browser around it, as far as a test needs them (WebAuthn)."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from service.model.keys import b64url, from_b64url

ORIGIN = "http://localhost:8000"
_PRESENT, _VERIFIED, _HAS_KEY = 0x01, 0x04, 0x40  # flags


class Authenticator:
    """Answers truthfully, unless it is told another `origin`, `host`, `user` and so on."""

    def __init__(self) -> None:
        self.origin, self.host = ORIGIN, "localhost"
        self.verified = True  # whether it asks for a PIN
        self.uses = 0  # how often it says that it was used, before it is used again
        self.counts = True
        self.user = b""
        self.id = secrets.token_bytes(16)
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: dict[str, Any], **changes: Any) -> str:
        """Make a passkey, and return what a browser sends."""
        self.user = from_b64url(options["user"]["id"])
        point = self._key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (point.x, point.y))
        key = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        data = self._data(_HAS_KEY) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + key
        attested = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options)
        return self._answer({"clientDataJSON": client, "attestationObject": attested}, changes)

    def get(self, options: dict[str, Any], **changes: Any) -> str:
        """Use the passkey, and return what a browser sends."""
        self.uses += self.counts
        data, client = self._data(0), self._client("webauthn.get", options)
        signed = data + hashlib.sha256(client).digest()
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        response = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        return self._answer({**response, "userHandle": self.user}, changes)

    def _data(self, flags: int) -> bytes:
        flags |= _PRESENT | (_VERIFIED if self.verified else 0)
        host = hashlib.sha256(self.host.encode()).digest()
        return host + bytes((flags,)) + self.uses.to_bytes(4, "big")

    def _client(self, type: str, options: dict[str, Any]) -> bytes:
        client = {"type": type, "challenge": options["challenge"], "origin": self.origin}
        return json.dumps(client).encode()

    def _answer(self, response: dict[str, bytes], changes: dict[str, Any]) -> str:
        response = {**response, **changes}
        shown = {name: b64url(one) for name, one in response.items() if one is not None}
        id = b64url(self.id)
        return json.dumps({"id": id, "rawId": id, "type": "public-key", "response": shown})
