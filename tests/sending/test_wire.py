"""The wire format, checked with the example of RFC 8291 and with other libraries."""

from __future__ import annotations

import hmac
import json

import http_ece
import py_vapid
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pywebpush import WebPusher

from service.model.keys import VapidKey, b64url, from_b64url, mac
from service.model.notifications import MAX_PLAINTEXT
from workers.sending import wire

NOW = 1_790_000_000.0
ORIGIN = "https://push.example"
SUBJECT = "mailto:push@newsroom.example"


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


BROWSER = ec.generate_private_key(ec.SECP256R1())
P256DH = public(BROWSER)
AUTH = bytes(range(16))


def http_ece_reads(body: bytes) -> bytes:
    return http_ece.decrypt(body, private_key=BROWSER, auth_secret=AUTH, version="aes128gcm")


def browser_reads(body: bytes) -> bytes:
    """Decrypt as a browser does, by the steps of RFC 8291 section 3.4."""

    def step(key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, "sha256")

    salt, sender, record = body[:16], body[21:86], body[86:]
    assert body[16:21] == b"\x00\x00\x10\x00\x41"
    their_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
    prk_key = step(AUTH, BROWSER.exchange(ec.ECDH(), their_key))
    prk = step(salt, step(prk_key, b"WebPush: info\x00" + P256DH + sender + b"\x01"))
    key = step(prk, b"Content-Encoding: aes128gcm\x00\x01")[:16]
    nonce = step(prk, b"Content-Encoding: nonce\x00\x01")[:12]
    padded = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\x00")
    assert padded.endswith(b"\x02")
    return padded[:-1]


def test_encryption_gives_the_bytes_of_the_rfc_8291_example() -> None:
    scalar = int.from_bytes(from_b64url("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    prepared = wire.derive(
        from_b64url(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        from_b64url("BTBZMqHH6r4Tts7J_aSIgg"),
        key_pair=ec.derive_private_key(scalar, ec.SECP256R1()),
    )
    body = wire.seal(
        b"When I grow up, I want to be a watermelon",
        prepared,
        salt=from_b64url("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert b64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY"
        "WAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexS"
        "gSxsj_Qulcy4a-fN"
    )


@given(st.binary(max_size=MAX_PLAINTEXT))
def test_http_ece_and_a_browser_read_what_we_encrypt(plaintext: bytes) -> None:
    body = wire.encrypt(plaintext, P256DH, AUTH)
    assert http_ece_reads(body) == plaintext
    assert browser_reads(body) == plaintext


@given(st.binary(min_size=1, max_size=MAX_PLAINTEXT), st.binary(min_size=16, max_size=16))
def test_http_ece_encrypts_to_the_same_bytes_with_the_same_key_and_salt(
    plaintext: bytes, salt: bytes
) -> None:
    sender = ec.generate_private_key(ec.SECP256R1())
    theirs = http_ece.encrypt(
        plaintext,
        salt=salt,
        private_key=sender,
        dh=P256DH,
        auth_secret=AUTH,
        version="aes128gcm",
    )
    assert wire.seal(plaintext, wire.derive(P256DH, AUTH, key_pair=sender), salt=salt) == theirs


@given(st.binary(max_size=MAX_PLAINTEXT))
def test_http_ece_reads_what_a_prepared_key_seals(plaintext: bytes) -> None:
    body = wire.seal(plaintext, wire.derive(P256DH, AUTH))
    assert http_ece_reads(body) == plaintext


def test_keys_derived_together_belong_each_to_their_reader() -> None:
    other, secret = ec.generate_private_key(ec.SECP256R1()), bytes(range(16, 32))
    off_the_curve, too_short = (b"\x04" + bytes(64), AUTH), (P256DH, AUTH[:-1])
    readers = [(public(other), secret), off_the_curve, (P256DH, AUTH), (P256DH, AUTH), too_short]
    others, nobody, first, last, nobody_either = wire.derive_all(readers)
    assert first is not None and last is not None
    assert browser_reads(wire.seal(b"first", first)) == b"first"
    assert browser_reads(wire.seal(b"last", last)) == b"last"
    assert first.public != last.public, "each message has a key pair of its own"
    assert nobody is None and nobody_either is None
    assert others is not None
    body = wire.seal(b"theirs", others)
    read = http_ece.decrypt(body, private_key=other, auth_secret=secret, version="aes128gcm")
    assert read == b"theirs"
    assert wire.derive_all([]) == []


def test_a_prepared_key_fits_only_the_keys_it_was_made_for() -> None:
    prepared = wire.derive(P256DH, AUTH)
    assert prepared.fits(P256DH, AUTH)
    assert not prepared.fits(P256DH, bytes(16))
    assert not prepared.fits(public(ec.generate_private_key(ec.SECP256R1())), AUTH)


@pytest.mark.parametrize(
    ("key", "message", "given"),
    [
        (
            b"\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            b"\xaa" * 20,
            b"\xdd" * 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            bytes(range(1, 26)),
            b"\xcd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
    ],
)
def test_our_hmac_matches_the_rfc_4231_examples(key: bytes, message: bytes, given: str) -> None:
    assert mac(key, message).hex() == given


@given(st.binary(max_size=64), st.binary())
def test_our_hmac_matches_the_standard_library(key: bytes, message: bytes) -> None:
    assert mac(key, message) == hmac.digest(key, message, "sha256")


@given(st.binary(min_size=1, max_size=MAX_PLAINTEXT))
def test_a_browser_reads_our_body_like_that_of_pywebpush(plaintext: bytes) -> None:
    keys = {"p256dh": b64url(P256DH), "auth": b64url(AUTH)}
    theirs = WebPusher({"endpoint": ORIGIN, "keys": keys}).encode(plaintext)["body"]
    ours = wire.encrypt(plaintext, P256DH, AUTH)
    assert browser_reads(theirs) == browser_reads(ours) == plaintext
    assert len(ours) == len(theirs)


def test_the_longest_message_makes_a_body_of_4096_bytes() -> None:
    body = wire.encrypt(b"x" * 3993, P256DH, AUTH)
    assert len(body) == 4096
    assert http_ece_reads(body) == b"x" * 3993


def test_a_message_of_one_byte_more_is_refused() -> None:
    with pytest.raises(ValueError, match="3993"):
        wire.encrypt(b"x" * 3994, P256DH, AUTH)


def test_every_message_has_its_own_key_and_salt() -> None:
    bodies = [wire.encrypt(b"the same", P256DH, AUTH) for _ in range(20)]
    assert len({body[:16] for body in bodies}) == 20
    assert len({body[21:86] for body in bodies}) == 20


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        pytest.param(P256DH[:64] + bytes([P256DH[64] ^ 1]), AUTH, id="a point off the curve"),
        pytest.param(
            BROWSER.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
            AUTH,
            id="a compressed point",
        ),
        pytest.param(b"\x06" + P256DH[1:], AUTH, id="a hybrid point"),
        pytest.param(b"\x00", AUTH, id="the point at infinity"),
        pytest.param(b"\x04" + bytes(64), AUTH, id="a point of zeros"),
        pytest.param(P256DH[:64], AUTH, id="a point cut short"),
        pytest.param(b"", AUTH, id="no point"),
        pytest.param(P256DH, AUTH[:15], id="a short secret"),
        pytest.param(P256DH, AUTH + b"x", id="a long secret"),
        pytest.param(P256DH, b"", id="no secret"),
    ],
)
def test_keys_that_no_browser_makes_are_refused(p256dh: bytes, auth: bytes) -> None:
    with pytest.raises(ValueError):
        wire.encrypt(b"text", p256dh, auth)


def claims_of(header: str) -> dict[str, object]:
    token = header.removeprefix("vapid t=").partition(",")[0]
    return json.loads(from_b64url(token.split(".")[1]))


def test_the_vapid_header_is_valid_for_its_origin_for_twelve_hours() -> None:
    header = wire.VapidSigner(VapidKey.generate(), SUBJECT).header(ORIGIN, NOW)
    assert claims_of(header) == {"aud": ORIGIN, "exp": NOW + 12 * 3600, "sub": SUBJECT}


def test_py_vapid_accepts_the_vapid_header() -> None:
    header = wire.VapidSigner(VapidKey.generate(), SUBJECT).header(ORIGIN, NOW)
    # py_vapid splits at the last space, but the example of RFC 8292 has one after the comma.
    assert py_vapid.Vapid02.verify(header.replace(", ", ",")) is True


def test_the_vapid_signature_is_valid_for_our_key_only() -> None:
    key, other = VapidKey.generate(), VapidKey.generate()
    scheme, t, k = wire.VapidSigner(key, SUBJECT).header(ORIGIN, NOW).replace(",", "").split(" ")
    head, claims, raw = t.removeprefix("t=").split(".")
    signature = from_b64url(raw)
    assert scheme == "vapid"
    assert from_b64url(k.removeprefix("k=")) == key.public
    assert json.loads(from_b64url(head)) == {"typ": "JWT", "alg": "ES256"}
    assert len(signature) == 64
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    der, signed = encode_dss_signature(r, s), f"{head}.{claims}".encode()
    key.signing_key.public_key().verify(der, signed, ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        other.signing_key.public_key().verify(der, signed, ec.ECDSA(SHA256()))


def test_a_vapid_header_is_reused_for_half_its_life() -> None:
    signer = wire.VapidSigner(VapidKey.generate(), SUBJECT)
    first = signer.header(ORIGIN, NOW)
    assert signer.header(ORIGIN, NOW + 6 * 3600 - 1) == first
    renewed = signer.header(ORIGIN, NOW + 6 * 3600)
    assert renewed != first
    assert claims_of(renewed)["exp"] == NOW + 18 * 3600


def test_a_vapid_header_is_renewed_when_the_clock_is_set_back() -> None:
    signer = wire.VapidSigner(VapidKey.generate(), SUBJECT)
    signer.header(ORIGIN, NOW)
    assert claims_of(signer.header(ORIGIN, NOW - 1))["exp"] == NOW - 1 + 12 * 3600


def test_each_origin_has_its_own_vapid_header() -> None:
    signer = wire.VapidSigner(VapidKey.generate(), SUBJECT)
    here, there = (signer.header(origin, NOW) for origin in (ORIGIN, "https://other.example:8443"))
    assert claims_of(here)["aud"] == ORIGIN
    assert claims_of(there)["aud"] == "https://other.example:8443"
    assert signer.header(ORIGIN, NOW) == here


def test_a_worker_keeps_no_header_for_each_origin_that_there_ever_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "_MOST_MADE", 3)
    signer = wire.VapidSigner(VapidKey.generate(), SUBJECT)
    for number in range(10):
        origin = f"https://made-up-{number}.example"
        assert claims_of(signer.header(origin, NOW))["aud"] == origin
        assert len(signer._made) <= 3


@given(st.binary(max_size=100), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_collapse_topic_has_32_characters_of_base64url(key: bytes, name: str) -> None:
    topic = wire.collapse_topic(key, name)
    assert len(topic) == 32
    assert len(from_b64url(topic)) == 24
    assert wire.collapse_topic(key, name) == topic


def test_a_collapse_topic_depends_on_key_and_name() -> None:
    topics = {wire.collapse_topic(k, n) for k in (b"key", b"other") for n in ("story-1", "story-2")}
    assert len(topics) == 4


def test_the_headers_are_those_of_rfc_8030_and_8291() -> None:
    topic = wire.collapse_topic(b"key", "story")
    assert wire.headers("vapid t=…, k=…", 14_400.9, "high", topic) == (
        ("ttl", "14400"),
        ("urgency", "high"),
        ("topic", topic),
        ("content-encoding", "aes128gcm"),
        ("content-type", "application/octet-stream"),
        ("authorization", "vapid t=…, k=…"),
    )


@given(st.floats(min_value=60, max_value=1e9))
def test_the_ttl_ends_by_the_deadline_and_within_four_weeks(time_left: float) -> None:
    ttl = int(dict(wire.headers("", time_left, "normal", "t"))["ttl"])
    assert 60 <= ttl <= min(time_left, 2_419_200)
    assert ttl == 2_419_200 or time_left - ttl < 1


@pytest.mark.parametrize("time_left", [59.9, 0.5])
def test_a_ttl_is_at_least_a_minute(time_left: float) -> None:
    assert dict(wire.headers("", time_left, "normal", "t"))["ttl"] == "60"
