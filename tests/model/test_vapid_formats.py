"""A VAPID key in whatever form an operator has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from service.config import Config, ConfigError
from service.model.keys import VapidKey, b64url
from service.model.vapid_formats import read_vapid_keys

# The secret begins with a zero byte and has both characters in which the alphabets differ.
KEY = VapidKey(bytes.fromhex("00fbff" + "3e" * 29))
OTHER = VapidKey.generate()


def written(encoding: Encoding, form: PrivateFormat, key: VapidKey = KEY) -> bytes:
    return key.signing_key.private_bytes(encoding, form, NoEncryption())


PKCS8 = written(Encoding.PEM, PrivateFormat.PKCS8).decode()
SEC1 = written(Encoding.PEM, PrivateFormat.TraditionalOpenSSL).decode()
DER = written(Encoding.DER, PrivateFormat.PKCS8)
SEC1_DER = written(Encoding.DER, PrivateFormat.TraditionalOpenSSL)
PUBLIC = KEY.signing_key.public_key()
PUBLIC_PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
STANDARD = base64.b64encode(KEY.private).decode()
# What `openssl ecparam -name prime256v1 -genkey` writes before the key.
PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

CLOTHES = {
    "base64url": KEY.text,
    "padded": f"{KEY.text}=",
    "standard base64": STANDARD,
    "hex": KEY.private.hex(),
    "without its leading zero": b64url(KEY.private[1:]),
    "with one zero more": b64url(b"\0" + KEY.private),
    "PKCS#8": PKCS8,
    "SEC 1": SEC1,
    "SEC 1 with parameters": PARAMETERS + SEC1,
    "with the public half": PUBLIC_PEM + PKCS8,
    "line ends as two characters": PKCS8.replace("\n", "\\n"),
    "line ends escaped twice": PKCS8.replace("\n", "\\\\n"),
    "line ends of Windows as characters": SEC1.replace("\n", "\\r\\n"),
    "line ends of Windows": PKCS8.replace("\n", "\r\n"),
    "line ends lost": PKCS8.replace("\n", " "),
    "no line ends": PKCS8.replace("\n", ""),
    "DER": base64.b64encode(DER).decode(),
    "DER in base64url": b64url(DER),
    "DER in lines": base64.encodebytes(DER).decode(),
    "SEC 1 DER": base64.b64encode(SEC1_DER).decode(),
    "PEM encoded once more": base64.b64encode(PKCS8.encode()).decode(),
    "base64url encoded once more": base64.b64encode(KEY.text.encode()).decode(),
    "double quotes": f'"{KEY.text}"',
    "single quotes": f"'{KEY.text}'",
    "PEM in quotes": f'"{PKCS8}"'.replace("\n", "\\n"),
    "a byte order mark": f"\ufeff{KEY.text}",
    "the whole line": f"export VAPID_PRIVATE_KEY={KEY.text}",
    "JWK": json.dumps({"kty": "EC", "crv": "P-256", "d": KEY.text, "x": "…", "y": "…"}),
    "JWK set": json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "d": KEY.text}]}),
    "JSON list": json.dumps([KEY.text]),
    "curly quotes": f"“{KEY.text}”",
    "PKCS#12 in words": f"Bag Attributes\n    friendlyName: vapid\n{PKCS8}",
    "a block of YAML": f"|\n  {PKCS8}".replace("\n", "\n  "),
    "hex with its mark": f"0x{KEY.private.hex().upper()}",
    "escaped for a form": STANDARD.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    "after its public half": f"{b64url(KEY.public)} {KEY.text}",
    "what web-push prints": f"==\nPublic Key:\n{b64url(KEY.public)}\n\nPrivate Key:\n{KEY.text}\n",
    "an object of JavaScript": f"{{ publicKey: '{b64url(KEY.public)}', privateKey: '{KEY.text}' }}",
    "a line of YAML": f"private_key: {KEY.text}",
    "two lines of an environment": f"VAPID_PUBLIC_KEY=x\nVAPID_PRIVATE_KEY={KEY.text}",
    "PEM in lines of a program": '"' + PKCS8.strip().replace("\n", '\\n"\n"') + '"',
    "JSON of web-push": json.dumps({"publicKey": b64url(KEY.public), "privateKey": KEY.text}),
}


@pytest.mark.parametrize("text", CLOTHES.values(), ids=CLOTHES.keys())
def test_a_vapid_key_is_read_in_any_form_that_tools_write(text: str) -> None:
    assert Config.read({"VAPID_PRIVATE_KEY": text}).vapid_private_key == (KEY,)


@pytest.mark.parametrize("first", range(0, 256, 4), ids=lambda first: b64url(bytes([first]))[0])
@pytest.mark.parametrize(
    "labelled",
    ['{"privateKey": "%s"}', "Private Key:\n%s\n", "{ privateKey: '%s' }", "PRIVATE_KEY=%s"],
)
def test_a_key_with_a_name_may_begin_with_any_character(labelled: str, first: int) -> None:
    key = VapidKey(bytes([first]) + KEY.private[1:])
    for text in (key.text, base64.b64encode(key.private).decode()):
        assert read_vapid_keys(labelled % text) == (key,)


SEPARATORS = {"comma": ",", "comma and space": ", ", "space": " ", "line end": "\n"}


@pytest.mark.parametrize("between", SEPARATORS.values(), ids=SEPARATORS.keys())
@pytest.mark.parametrize("form", ["base64url", "padded", "PKCS#8", "DER", "JWK", "double quotes"])
def test_several_keys_are_read_in_their_order(form: str, between: str) -> None:
    text = between.join([OTHER.text, CLOTHES[form], OTHER.text])
    assert read_vapid_keys(text) == (OTHER, KEY)


@pytest.mark.parametrize("form", ["base64url", "DER", "PKCS#8", "JWK"])
def test_no_key_is_lost_beside_one_with_a_name(form: str) -> None:
    text = f"privateKey: {OTHER.text}\n{CLOTHES[form]}"
    with suppress(ValueError):
        assert KEY in read_vapid_keys(text)


@pytest.mark.parametrize("text", ["", "  ", '""', "''", ","])
def test_no_key_is_no_key(text: str) -> None:
    assert Config.read({"VAPID_PRIVATE_KEY": text}).vapid_private_key == ()


def encrypted() -> str:
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    return KEY.signing_key.private_bytes(*form).decode()


def on_another_curve() -> str:
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(*form).decode()


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: b64url(KEY.public), "it is a public key"),
        (lambda: PUBLIC_PEM, "it is a public key"),
        (lambda: base64.b64encode(KEY.public).decode(), "it is a public key"),
        (encrypted, "it is encrypted"),
        (on_another_curve, "it is on the curve secp384r1"),
        (lambda: "hunter2", "neither base64url of 32 bytes"),
        (lambda: b64url(bytes(16)), "neither base64url of 32 bytes"),
        (lambda: b64url(bytes(32)), "its number is not one of the curve's"),
        (lambda: b64url(ORDER.to_bytes(32, "big")), "its number is not one of the curve's"),
        (lambda: b64url(DER[:60]), "neither base64url of 32 bytes"),
        (lambda: PKCS8.replace("M", "!", 1), "neither base64url of 32 bytes"),
        (lambda: PARAMETERS, "it is only EC PARAMETERS"),
        (lambda: '{"kty": "EC"}', "the JSON has no private key"),
        (lambda: '{"d": }', "neither base64url of 32 bytes"),
        (lambda: "ключ", "neither base64url of 32 bytes"),
    ],
    ids=range(15),
)
def test_what_is_no_key_is_refused_in_one_line_with_a_fingerprint(
    make: Callable[[], str], why: str
) -> None:
    with pytest.raises(ConfigError) as error:
        Config.read({"VAPID_PRIVATE_KEY": make()})
    said = str(error.value)
    assert said.startswith("VAPID_PRIVATE_KEY: value 1 (")
    assert why in said
    assert "fingerprint " in said
    assert "\n" not in said
    assert make()[:20] not in said


def test_two_hosts_with_the_same_wrong_value_show_the_same_fingerprint() -> None:
    said = []
    for wrong in ("hunter2", "hunter2", "hunter3"):
        with pytest.raises(ValueError, match="fingerprint") as error:
            read_vapid_keys(wrong)
        said.append(str(error.value))
    assert said[0] == said[1] != said[2]
