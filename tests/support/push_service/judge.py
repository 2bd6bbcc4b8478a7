"""Decides whether a message is valid, as strictly as the strictest push service."""

from __future__ import annotations

import http
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.push_service.messages import (
    Answer,
    Message,
    Registration,
    from_b64url,
    from_point,
)

MAX_BODY = 4096  # bytes, RFC 8030 section 7.2
MAX_TOKEN_AGE = 24 * 3600  # seconds, RFC 8292 section 2
HEADER_BLOCK = 16 + 4 + 1 + 65  # bytes: salt, rs, idlen, sender key (RFC 8291 section 4)
RECORD_OVERHEAD = 1 + 16  # bytes: the delimiter and AES-GCM's tag
ECDSA_P256 = ec.ECDSA(hashes.SHA256())


class Refusal(Exception):
    """The reason for refusing a message, in Mozilla's terms (autopush-rs, docs/src/errors.md)."""

    def __init__(self, status: int, errno: int, why: str) -> None:
        super().__init__(status, errno, why)
        self.status = status
        self.errno = errno
        self.why = why

    def answer(self) -> Answer:
        """Return the JSON error as Mozilla writes it."""
        error = {
            "code": self.status,
            "errno": self.errno,
            "error": http.HTTPStatus(self.status).phrase,
            "message": self.why,
            "more_info": "http://autopush.readthedocs.io/en/latest/http.html#error-codes",
        }
        headers = {"content-type": "application/json"}
        if self.status == 405:
            headers["allow"] = "POST"
        return Answer(self.status, headers, json.dumps(error).encode())


@dataclass(frozen=True, slots=True)
class _Token:
    """A VAPID header whose signature was verified under `key`."""

    key: bytes
    claims: Mapping[str, Any]


class Judge:
    """Decides whether a message is valid, also in comparison with earlier messages."""

    def __init__(self, strict_subject: bool) -> None:
        self.registrations: dict[str, Registration] = {}
        self.key_of_any: bytes | None = None
        self._strict_subject = strict_subject
        self._tokens: dict[str, _Token] = {}
        self._used: dict[bytes, int] = {}

    def judge(self, message: Message, now: float) -> None:
        """Raise `Refusal` if the message is not valid at `now`, in seconds since 1970."""
        if message.method != "POST":
            raise Refusal(405, 999, "only POST is supported")
        registered_key = self._registered_key(message)
        self._check_headers(message.headers)
        self._check_authorization(message, registered_key, now)
        self._check_body(message, registered_key)

    def _registered_key(self, message: Message) -> bytes:
        registration = self.registrations.get(message.endpoint)
        if registration is None:
            if self.key_of_any is None or not re.fullmatch("/(push|fcm/send)/.+", message.path):
                raise Refusal(404, 102, "this endpoint never existed")
            return self.key_of_any
        if registration.unsubscribed:
            raise Refusal(410, 106, "the browser has unsubscribed")
        return registration.vapid_public_key

    @staticmethod
    def _check_headers(headers: Mapping[str, str]) -> None:
        # Microsoft's service accepts neither chunks nor Expect.
        if "content-length" not in headers:
            raise Refusal(411, 999, "Content-Length is missing")
        if "expect" in headers:
            raise Refusal(417, 999, "Expect is not supported")
        if "ttl" not in headers:
            raise Refusal(400, 111, "TTL is missing")
        if not re.fullmatch("[0-9]+", headers["ttl"]):
            raise Refusal(400, 112, "TTL must be a number of seconds")
        topic = headers.get("topic")
        if topic is not None and not re.fullmatch("[A-Za-z0-9_-]{1,32}", topic):
            raise Refusal(400, 113, "Topic must be at most 32 characters of base64url")
        if topic is not None and len(topic) % 4 == 1:
            raise Refusal(400, 113, "Topic must be decodable: Apple answers BadWebPushTopic")
        if headers.get("urgency", "normal") not in {"very-low", "low", "normal", "high"}:
            raise Refusal(400, 999, "Urgency must be one of very-low, low, normal and high")
        if headers.get("content-encoding") != "aes128gcm":
            raise Refusal(400, 110, "Content-Encoding must be aes128gcm")

    def _check_authorization(self, message: Message, registered_key: bytes, now: float) -> None:
        header = message.headers.get("authorization")
        if header is None:
            raise Refusal(401, 109, "Authorization is missing")
        token = self._tokens.get(header)
        if token is None:
            token = self._tokens[header] = _verify(header)
        if token.key != registered_key:
            raise Refusal(401, 109, "VAPID public key mismatch")
        origin = message.endpoint.removesuffix(message.path)
        if token.claims.get("aud") != origin:
            raise Refusal(401, 109, f"aud must be {origin}")
        exp = token.claims.get("exp")
        if isinstance(exp, bool) or not isinstance(exp, (int, float)):
            raise Refusal(401, 109, "exp must be a number")
        if not now < exp <= now + MAX_TOKEN_AGE:
            raise Refusal(401, 109, "exp must lie ahead, by no more than 24 hours")
        self._check_subject(token.claims.get("sub"))

    def _check_subject(self, subject: object) -> None:
        host = None
        if isinstance(subject, str):
            mail = re.fullmatch(r"mailto:[^@\s<>]+@([^@\s<>]+)", subject)
            link = re.fullmatch(r"https://[^\s<>]+", subject)
            host = mail[1] if mail else urlsplit(subject).hostname if link else None
        if not host:
            raise Refusal(401, 109, "sub must be a mailto: or https: URI")
        if self._strict_subject and re.search(r"(^|\.)(localhost|local|invalid)$", host.lower()):
            raise Refusal(403, 109, "sub must name a real host: Apple answers BadJwtToken")

    def _check_body(self, message: Message, vapid_key: bytes) -> None:
        body = message.body
        if len(body) > MAX_BODY:
            raise Refusal(413, 104, f"the body must not exceed {MAX_BODY} bytes")
        if len(body) < HEADER_BLOCK + RECORD_OVERHEAD:
            raise Refusal(400, 110, "the body is too short for a header block and a record")
        salt, record_size, key_length = struct.unpack_from("!16sIB", body)
        if key_length != 65:
            raise Refusal(400, 110, "idlen must be 65")
        sender_key = body[21:HEADER_BLOCK]
        try:
            from_point(sender_key)
        except ValueError:
            raise Refusal(400, 110, "the sender's key is no point of P-256") from None
        if sender_key == vapid_key:
            raise Refusal(400, 110, "the sender's key must not be the VAPID key")
        # Greater, not equal: RFC 8291 section 4. So there is exactly one record.
        if record_size <= len(body) - HEADER_BLOCK:
            raise Refusal(400, 110, "rs must exceed the one record")
        self._check_unused(salt, sender_key, hash((message.endpoint, body)))

    def _check_unused(self, salt: bytes, sender_key: bytes, message: int) -> None:
        """Refuse a salt or key of another message; the same message may come again.

        RFC 8188 section 2.1 forbids a salt for two different bodies, and RFC 8291 section 3.1
        requires a new key pair for each message.
        """
        if self._used.setdefault(salt, message) != message:
            raise Refusal(400, 110, "the salt was used for another message")
        if self._used.setdefault(sender_key, message) != message:
            raise Refusal(400, 110, "the sender's key was used for another message")


def _verify(authorization: str) -> _Token:
    """Return the token of a VAPID header (RFC 8292 section 3); `Refusal` if it is not valid."""
    scheme, _, rest = authorization.partition(" ")
    try:
        if scheme.lower() != "vapid":
            raise ValueError
        values = dict(part.strip().split("=", 1) for part in rest.split(","))
        signed, _, signature_text = values["t"].rpartition(".")
        header, claims = (json.loads(from_b64url(part)) for part in signed.split("."))
        signature = from_b64url(signature_text)
        if header["alg"] != "ES256" or len(signature) != 64 or not isinstance(claims, dict):
            raise ValueError
        key = from_b64url(values["k"])
        public_key = from_point(key)
    except (ValueError, KeyError, TypeError):
        raise Refusal(401, 109, "Authorization must be vapid t=<ES256 JWT>, k=<key>") from None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public_key.verify(encode_dss_signature(r, s), signed.encode(), ECDSA_P256)
    except InvalidSignature:
        raise Refusal(401, 109, "the token was not signed by k") from None
    return _Token(key, claims)
