"""Senders to test the push service with; their messages are valid until a test spoils them."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import http_ece
import pycurl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.push_service import Subscription
from tests.support.push_service.messages import b64url

TEXT = "Eilmeldung: Ünïcode – 速報".encode()


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
    """A message to send, valid until a test spoils it."""

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
    """Valid claims with changes; None removes a claim."""
    parts = urlsplit(url)
    valid = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": int(time.time()) + 12 * 3600,
        "sub": "mailto:push@example.com",
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


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
    """Send over HTTP/1.1 without TLS; return the response and its body."""
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
    """One connection of libcurl, which carries several messages at a time."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = str(ca_file)
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)

    def send(self, *drafts: Draft) -> list[tuple[int, bytes]]:
        """Send all at once; return the status (0 without a response) and the body of each."""
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


def by(key: Key, **options: Any) -> Callable[[Draft], Draft]:
    return lambda m: m.with_header("Authorization", key.vapid(claims(m.url), **options))
