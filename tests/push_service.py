"""A strict push service to send to: real sockets, and no mercy with what Mozilla's refuses.

Three ports of 127.0.0.1, served by one thread with its own event loop: HTTP/2 and HTTP/1.1 over
TLS (by ALPN), HTTP/1.1 in clear text, and the WebSocket protocol by which Firefox registers and
receives. Where Apple, Google or Microsoft refuse more than Mozilla, so does this one.

    with PushService() as push:
        browser = push.subscribe(vapid_public_key)
        ...
        assert browser.decrypt(push.wait_for(1, timeout=5)[0].body) == b"Stop press"
        assert push.refusals == []

Every message is judged. A rule given to `answer_with` changes what the sender hears, and no more.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import http
import ipaddress
import itertools
import json
import re
import secrets
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h11
import http_ece
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

HOST = "127.0.0.1"
MAX_BODY = 4096  # bytes, RFC 8030 section 7.2
MAX_TTL = 30 * 24 * 3600  # seconds that Mozilla grants at most
MAX_TOKEN_AGE = 24 * 3600  # seconds, RFC 8292 section 2
HEADER_BLOCK = 16 + 4 + 1 + 65  # bytes: salt, rs, idlen, sender key (RFC 8291 section 4)
RECORD_OVERHEAD = 1 + 16  # bytes: the delimiter and AES-GCM's tag
ECDSA_P256 = ec.ECDSA(hashes.SHA256())


@dataclass(slots=True, eq=False)
class Message:
    """One request, as it came. `status` is None until answered, and stays so after a reset."""

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
    """What to answer, after `delay` seconds.

    Instead of an answer `reset` ends the TCP connection by RST, and `reset_stream` the HTTP/2
    stream. `goaway` answers and then closes the connection, HTTP/2 with a GOAWAY that
    disowns every later stream.
    """

    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    reset: bool = False
    reset_stream: bool = False
    goaway: bool = False


Rule = Callable[[Message], "Answer | None"]


class Refusal(Exception):
    """Why a message is refused, in Mozilla's terms (autopush-rs, docs/src/errors.md)."""

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
        return _point(self.private_key.public_key())

    def as_json(self) -> dict[str, Any]:
        """Return what PushSubscription.toJSON() gives the page."""
        keys = {"p256dh": _b64url(self.p256dh), "auth": _b64url(self.auth)}
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


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_b64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _from_point(data: bytes) -> ec.EllipticCurvePublicKey:
    # `cryptography` would take a compressed point too, which RFC 8291 section 3.1 does not.
    if len(data) != 65:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


# The judgement


@dataclass(frozen=True, slots=True)
class _Token:
    """A VAPID header whose signature was verified under `key`."""

    key: bytes
    claims: Mapping[str, Any]


class _Judge:
    """Decides whether a message may be taken, from its text and what came before."""

    def __init__(self, strict_subject: bool) -> None:
        self.registrations: dict[str, Registration] = {}
        self.key_of_any: bytes | None = None
        self._strict_subject = strict_subject
        self._tokens: dict[str, _Token] = {}
        self._used: dict[bytes, int] = {}

    def judge(self, message: Message, now: float) -> None:
        """Raise `Refusal` if the message cannot be taken at `now`, in seconds since 1970."""
        if message.method != "POST":
            raise Refusal(405, 999, "only POST is answered here")
        registered_key = self._registered_key(message)
        self._check_headers(message.headers)
        self._check_authorization(message, registered_key, now)
        self._check_body(message, registered_key)

    def _registered_key(self, message: Message) -> bytes:
        registration = self.registrations.get(message.endpoint)
        if registration is None:
            if self.key_of_any is None or not re.fullmatch("/(push|fcm/send)/.+", message.path):
                raise Refusal(404, 102, "no such endpoint was ever given out")
            return self.key_of_any
        if registration.unsubscribed:
            raise Refusal(410, 106, "the browser has unsubscribed")
        return registration.vapid_public_key

    @staticmethod
    def _check_headers(headers: Mapping[str, str]) -> None:
        # Microsoft's takes neither chunks nor an Expect.
        if "content-length" not in headers:
            raise Refusal(411, 999, "Content-Length is missing")
        if "expect" in headers:
            raise Refusal(417, 999, "Expect is not answered here")
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
            _from_point(sender_key)
        except ValueError:
            raise Refusal(400, 110, "the sender's key is no point of P-256") from None
        if sender_key == vapid_key:
            raise Refusal(400, 110, "the sender's key must not be the VAPID key")
        # Greater, not equal: RFC 8291 section 4. So there is exactly one record.
        if record_size <= len(body) - HEADER_BLOCK:
            raise Refusal(400, 110, "rs must exceed the one record")
        self._check_unused(salt, sender_key, hash((message.endpoint, body)))

    def _check_unused(self, salt: bytes, sender_key: bytes, message: int) -> None:
        """Refuse a salt or key that another message had; the same one may be tried again.

        RFC 8188 section 2.1 forbids a salt for two different bodies, RFC 8291 section 3.1 has a
        new key pair for each message.
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
        header, claims = (json.loads(_from_b64url(part)) for part in signed.split("."))
        signature = _from_b64url(signature_text)
        if header["alg"] != "ES256" or len(signature) != 64 or not isinstance(claims, dict):
            raise ValueError
        key = _from_b64url(values["k"])
        public_key = _from_point(key)
    except (ValueError, KeyError, TypeError):
        raise Refusal(401, 109, "Authorization must be vapid t=<ES256 JWT>, k=<key>") from None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public_key.verify(encode_dss_signature(r, s), signed.encode(), ECDSA_P256)
    except InvalidSignature:
        raise Refusal(401, 109, "the token was not signed by k") from None
    return _Token(key, claims)


# The transports


class _Request(NamedTuple):
    method: str
    authority: str
    path: str
    headers: dict[str, str]


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class _Http(asyncio.Protocol):
    """What both versions share: their transport, and a place among the open connections."""

    http_version: str

    def __init__(self, service: PushService) -> None:
        self.service = service
        self.number = next(service.connection_numbers)
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.scheme = "https" if transport.get_extra_info("ssl_object") else "http"
        self.service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.connections.discard(self)
        # Python 3.10 counts a TLS transport as left open when the client was first to go.
        self.transport.abort()

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        """Answer the message of one stream, and if it is the `last` close the connection."""
        raise NotImplementedError

    def reset_stream(self, stream: int) -> None:
        """Give one message no answer; where a connection has no streams, none of them."""
        raise NotImplementedError

    def reset(self) -> None:
        """End the connection so that the kernel sends RST: by a close that must not linger."""
        peer: socket.socket = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _Http1(_Http):
    """HTTP/1.1: one message at a time."""

    http_version = "1.1"

    def __init__(self, service: PushService) -> None:
        super().__init__(service)
        self._h11 = h11.Connection(h11.SERVER)
        self._request: _Request
        self._body = bytearray()

    def data_received(self, data: bytes) -> None:
        self._h11.receive_data(data)
        self._read()

    def _read(self) -> None:
        try:
            while not self.transport.is_closing():
                event = self._h11.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._handle(event)
        except h11.RemoteProtocolError as error:
            self.service.refuse_protocol(error)
            self.transport.close()

    def _handle(self, event: object) -> None:
        if isinstance(event, h11.Request):
            pairs = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
            headers = _joined(pairs)
            authority = headers.get("host", "")
            path = event.target.decode()
            self._request = _Request(event.method.decode(), authority, path, headers)
            self._body = bytearray()
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self.service.take(self, 0, self._request, bytes(self._body))
        elif isinstance(event, h11.ConnectionClosed):
            self.transport.close()

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        if self.transport.is_closing():
            return
        all_headers = {**headers, "content-length": str(len(body))}
        if last:
            all_headers["connection"] = "close"
        response = h11.Response(status_code=status, headers=list(all_headers.items()))
        parts = (response, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self._h11.send(part) or b"" for part in parts))
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
            asyncio.get_running_loop().call_soon(self._read)
        else:
            self.transport.close()

    def reset_stream(self, stream: int) -> None:
        self.reset()


class _Http2(_Http):
    """HTTP/2: many messages at a time, 100 as `h2` and Google's service allow."""

    http_version = "2"

    def __init__(self, service: PushService) -> None:
        super().__init__(service)
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, tuple[_Request, bytearray]] = {}
        self._unsent: dict[int, memoryview] = {}
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._h2.initiate_connection()
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except h2.exceptions.ProtocolError as error:
            self.service.refuse_protocol(error)
            self._flush()
            self.transport.close()
        else:
            self._flush_soon()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = _joined(cast("list[tuple[str, str]]", event.headers))
            method, path = headers.pop(":method"), headers.pop(":path")
            authority = headers.pop(":authority", headers.get("host", ""))
            request = _Request(method, authority, path, headers)
            self._streams[event.stream_id] = request, bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._streams[event.stream_id][1].extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            request, body = self._streams[event.stream_id]
            self.service.take(self, event.stream_id, request, bytes(body))
        elif isinstance(event, h2.events.StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            for stream in list(self._unsent):
                self._send_unsent(stream)

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)
        self._unsent.pop(stream, None)

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        if stream not in self._streams or self.transport.is_closing():
            return
        pairs = [(":status", str(status)), *headers.items(), ("content-length", str(len(body)))]
        self._h2.send_headers(stream, pairs, end_stream=not body)
        self._unsent[stream] = memoryview(body)
        self._send_unsent(stream)
        if last:
            self._h2.close_connection(last_stream_id=stream)
            self._flush()
            self.transport.close()
        else:
            self._flush_soon()

    def _send_unsent(self, stream: int) -> None:
        """Send as much of an answer as the client's windows allow."""
        while body := self._unsent[stream]:
            window = self._h2.local_flow_control_window(stream)
            size = min(len(body), window, self._h2.max_outbound_frame_size)
            if size <= 0:
                return
            self._h2.send_data(stream, bytes(body[:size]), end_stream=size == len(body))
            self._unsent[stream] = body[size:]
        self._forget(stream)

    def reset_stream(self, stream: int) -> None:
        if stream in self._streams:
            self._h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self._forget(stream)
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Write once for all that this turn of the loop answers."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)


class _ByAlpn(asyncio.Protocol):
    """Hands a TLS connection to the version of HTTP that its handshake agreed on."""

    def __init__(self, service: PushService) -> None:
        self.service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        version = _Http2 if tls.selected_alpn_protocol() == "h2" else _Http1
        protocol = version(self.service)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def _make_certificates(folder: Path) -> tuple[Path, Path]:
    """Make a CA and a certificate for this machine; return the CA's file and the server's."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stop Press test CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)

    def builder(
        subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, is_ca: bool
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_ca,
                    key_cert_sign=is_ca,
                    crl_sign=is_ca,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )

    ca = builder(ca_name, ca_key.public_key(), is_ca=True).sign(ca_key, hashes.SHA256())
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    certificate = (
        builder(name, key.public_key(), is_ca=False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file, server_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server_file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return ca_file, server_file


# Firefox's side


@dataclass(slots=True)
class _Queued:
    """A message that Firefox has not acknowledged."""

    channel: str
    topic: str | None
    deadline: float  # time.monotonic()
    frame: str


@dataclass(slots=True)
class _Browser:
    """One Firefox profile, known by its uaid, with a connection while it is there."""

    uaid: str
    connection: ServerConnection | None = None
    channels: dict[str, Channel] = field(default_factory=dict)
    queue: dict[str, _Queued] = field(default_factory=dict)  # by version


class _Autopush:
    """Mozilla's WebSocket protocol, as Firefox 153 and autopush-rs speak it."""

    def __init__(self, service: PushService) -> None:
        self.service = service
        self.browsers: dict[str, _Browser] = {}

    async def serve(self, connection: ServerConnection) -> None:
        """Talk to one browser until it leaves."""
        try:
            hello = json.loads(await connection.recv())
            if hello["messageType"] != "hello" or hello["use_webpush"] is not True:
                raise ValueError("hello with use_webpush must come first")
            browser = await self._greet(connection, hello.get("uaid"))
            async for frame in connection:
                await self._handle(browser, connection, json.loads(frame))
        except (KeyError, ValueError) as error:
            self.service.refuse_protocol(error)
        except ConnectionClosed:
            pass  # a browser may be killed

    async def _greet(self, connection: ServerConnection, uaid: str | None) -> _Browser:
        """Know a browser again by its uaid, whose messages it then gets; else give it a new one."""
        browser = self.browsers.get(uaid or "") or _Browser(secrets.token_hex(16))
        self.browsers[browser.uaid] = browser
        reply = {"messageType": "hello", "uaid": browser.uaid, "status": 200}
        await connection.send(json.dumps({**reply, "use_webpush": True, "broadcasts": {}}))
        browser.connection = connection
        now = time.monotonic()
        browser.queue = {v: m for v, m in browser.queue.items() if m.deadline > now}
        for message in browser.queue.values():
            broadcast([connection], message.frame)
        return browser

    async def _handle(
        self, browser: _Browser, connection: ServerConnection, frame: dict[str, Any]
    ) -> None:
        kind = frame.get("messageType")
        if frame in ({}, {"messageType": "ping"}):
            await connection.send(json.dumps(frame))
        elif kind == "register":
            reply = self._register(browser, frame["channelID"], frame.get("key"))
            await connection.send(json.dumps({"messageType": kind, **reply}))
        elif kind == "unregister":
            channel = browser.channels.pop(frame["channelID"], None)
            if channel is not None:
                channel.unsubscribed = True
            reply = {"channelID": frame["channelID"], "status": 200}
            await connection.send(json.dumps({"messageType": kind, **reply}))
        elif kind == "ack":
            for update in frame["updates"]:
                browser.queue.pop(update["version"], None)
                ack = Ack(update["channelID"], update["version"], update["code"])
                self.service.tell(self.service.acks, ack)
        elif kind == "nack":
            self.service.tell(self.service.nacks, Nack(frame["version"], frame["code"]))
        elif kind != "broadcast_subscribe":
            raise ValueError(f"unknown messageType {kind!r}")

    def _register(self, browser: _Browser, channel_id: str, key: str | None) -> dict[str, Any]:
        try:
            vapid_public_key = _from_b64url((key or "").rstrip("="))
            _from_point(vapid_public_key)
        except ValueError:
            return {"channelID": channel_id, "status": 400}
        endpoint = f"{self.service.plain_origin}/wpush/v2/{secrets.token_urlsafe(24)}"
        channel = Channel(
            endpoint=endpoint,
            vapid_public_key=vapid_public_key,
            uaid=browser.uaid,
            channel=channel_id,
        )
        browser.channels[channel_id] = channel
        self.service.register(channel)
        self.service.tell(self.service.registrations, channel)
        return {"channelID": channel_id, "status": 200, "pushEndpoint": endpoint}

    def relay(self, channel: Channel, message: Message, version: str, ttl: int) -> None:
        """Send a message on to its browser, and keep it until acknowledged or out of time."""
        browser = self.browsers[channel.uaid]
        topic = message.headers.get("topic")
        if topic is not None:  # RFC 8030 section 5.4: it replaces the one not yet delivered
            browser.queue = {
                version: queued
                for version, queued in browser.queue.items()
                if (queued.channel, queued.topic) != (channel.channel, topic)
            }
        frame = json.dumps(
            {
                "messageType": "notification",
                "channelID": channel.channel,
                "version": version,
                "ttl": ttl,
                "data": _b64url(message.body),
                "headers": {"encoding": message.headers["content-encoding"]},
            }
        )
        deadline = time.monotonic() + ttl
        browser.queue[version] = _Queued(channel.channel, topic, deadline, frame)
        if browser.connection is not None:
            broadcast([browser.connection], frame)


# The service


class PushService:
    """The push service, running inside its `with`; see the module's opening words.

    An exception in a rule, or a fault of the service itself, is raised when the `with` ends.
    """

    def __init__(self, *, strict_subject: bool = False) -> None:
        """With `strict_subject`, `sub` may not name localhost, .local or .invalid, as at Apple."""
        self.received: list[Message] = []  # in the order of their answers
        self.refusals: list[Refusal] = []  # but 410, which is no sender's fault
        self.registrations: list[Channel] = []
        self.acks: list[Ack] = []
        self.nacks: list[Nack] = []
        self.connections: set[_Http] = set()
        self.connection_numbers = itertools.count(1)
        self._judge = _Judge(strict_subject)
        self._autopush = _Autopush(self)
        self._rule: Rule = lambda message: None
        self._name = secrets.token_urlsafe(8)  # no version twice, for the same Firefox profile
        self._numbers = itertools.count(1)
        self._waiting: list[tuple[Callable[[], bool], threading.Event]] = []
        self._acks_waited_for = 0
        self._faults: list[BaseException] = []

    def __enter__(self) -> PushService:
        self._folder = tempfile.TemporaryDirectory(prefix="push-service-")
        self.ca_file, self._server_file = _make_certificates(Path(self._folder.name))
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="push-service")
        self._thread.start()
        started.result()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._folder.cleanup()
        if kind is None and self._faults:
            raise self._faults[0]

    # What a test does

    def subscribe(self, vapid_public_key: bytes, *, plain: bool = False) -> Subscription:
        """Subscribe a pretend browser; `plain` gives it an endpoint without TLS."""
        origin = self.plain_origin if plain else self.origin
        subscription = Subscription(
            endpoint=f"{origin}/wpush/v2/{secrets.token_urlsafe(24)}",
            vapid_public_key=vapid_public_key,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            auth=secrets.token_bytes(16),
        )
        self.register(subscription)
        return subscription

    def accept_any(self, vapid_public_key: bytes) -> None:
        """Take every endpoint `/push/<anything>` for one that was registered with this key."""
        self._judge.key_of_any = vapid_public_key

    def answer_with(self, rule: Rule) -> None:
        """From now on let `rule` choose the answers; where it returns None the judgement does.

        It runs in the service's own thread and must not wait.
        """
        self._rule = rule

    def wait_for(self, n: int, timeout: float) -> list[Message]:
        """Wait until `n` messages were answered since the start, and return all that were."""
        self._wait(lambda: len(self.received) >= n, timeout, f"{n} messages")
        return self.received[:]

    def wait_for_ack(self, timeout: float) -> Ack:
        """Wait for the first ack that no earlier call returned."""
        position = self._acks_waited_for
        self._wait(lambda: len(self.acks) > position, timeout, f"ack {position + 1}")
        self._acks_waited_for += 1
        return self.acks[position]

    def _wait(self, arrived: Callable[[], bool], timeout: float, what: str) -> None:
        waiting = (arrived, threading.Event())
        self._waiting.append(waiting)
        try:
            if not arrived() and not waiting[1].wait(timeout):
                raise TimeoutError(
                    f"no {what} within {timeout} s: {len(self.received)} messages,"
                    f" {len(self.acks)} acks, refusals {self.refusals[:3]}"
                )
        finally:
            self._waiting.remove(waiting)

    # What its transports and browsers tell it

    def register(self, registration: Registration) -> None:
        """Let messages come to a new endpoint."""
        self._judge.registrations[registration.endpoint] = registration

    def tell(self, news: list[Any], item: object) -> None:
        """Append to one of the lists a test may be waiting on, and wake it if this was all.

        Waking it for every message would have the two threads fight for the interpreter's lock.
        """
        news.append(item)
        for arrived, woken in tuple(self._waiting):
            if arrived():
                woken.set()

    def refuse_protocol(self, error: Exception) -> None:
        """Note that a client broke HTTP itself."""
        self.refusals.append(Refusal(400, 999, f"{type(error).__name__}: {error}"))

    def take(self, connection: _Http, stream: int, request: _Request, body: bytes) -> None:
        """Judge a message and answer it, now or when its rule says."""
        message = Message(
            endpoint=f"{connection.scheme}://{request.authority}{request.path}",
            path=request.path,
            method=request.method,
            headers=request.headers,
            body=body,
            http_version=connection.http_version,
            connection=connection.number,
            at=time.monotonic(),
        )
        refusal = self._refusal(message)
        answer = self._rule(message) or (refusal.answer() if refusal else Answer())
        finish = self._accept if answer.status == 201 and refusal is None else self._answer
        if answer.delay > 0:
            self._loop.call_later(answer.delay, finish, connection, stream, message, answer)
        else:
            finish(connection, stream, message, answer)

    def _refusal(self, message: Message) -> Refusal | None:
        try:
            self._judge.judge(message, time.time())
        except Refusal as refusal:
            if refusal.status != 410:
                self.refusals.append(refusal.with_traceback(None))
            return refusal
        return None

    def _accept(self, connection: _Http, stream: int, message: Message, answer: Answer) -> None:
        version = f"{self._name}-{next(self._numbers)}"
        ttl = min(int(message.headers["ttl"]), MAX_TTL)
        headers = {"location": f"{self.origin}/m/{version}", "ttl": str(ttl), **answer.headers}
        self._answer(connection, stream, message, replace(answer, headers=headers))
        channel = self._judge.registrations.get(message.endpoint)
        if isinstance(channel, Channel) and message.status == 201:
            self._autopush.relay(channel, message, version, ttl)

    def _answer(self, connection: _Http, stream: int, message: Message, answer: Answer) -> None:
        """Note the message, then answer it: who has the answer finds it in the list."""
        if not (answer.reset or answer.reset_stream):
            message.status = answer.status
        self.tell(self.received, message)
        if answer.reset:
            connection.reset()
        elif answer.reset_stream:
            connection.reset_stream(stream)
        else:
            connection.respond(stream, answer.status, answer.headers, answer.body, answer.goaway)

    # Its thread

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                self._faults.append(error)
            else:
                started.set_exception(error)

    async def _serve(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_fault)
        self._stop = asyncio.Event()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(self._server_file)
        tls.set_alpn_protocols(["h2", "http/1.1"])
        https = await self._loop.create_server(lambda: _ByAlpn(self), HOST, 0, ssl=tls)
        plain = await self._loop.create_server(lambda: _Http1(self), HOST, 0)
        protocol = Subprotocol("push-notification")
        browsers = await serve(self._autopush.serve, HOST, 0, subprotocols=[protocol])
        self.origin = f"https://{_address(https.sockets[0])}"
        self.plain_origin = f"http://{_address(plain.sockets[0])}"
        self.websocket_url = f"ws://{_address(next(iter(browsers.sockets)))}/"
        started.set_result(None)
        await self._stop.wait()
        https.close()
        plain.close()
        browsers.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await browsers.wait_closed()
        await https.wait_closed()
        await plain.wait_closed()

    def _note_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._faults.append(context.get("exception") or RuntimeError(context["message"]))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return f"{host}:{port}"
