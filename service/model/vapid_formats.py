r"""VAPID private keys in the forms in which operators have them.

Tools write the same key as PEM, DER, JSON or bare base64, and what carries it (a shell, a secret
store, an env file) may add quotes, write line ends as `\n`, or encode the whole once more.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
)

from service.model.keys import VapidKey, any_base64

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.S)
# One PEM block, one JSON object, or one word without quotes and brackets.
_PIECE = re.compile(rf"{_PEM.pattern}|\{{[^{{}}]*\}}|[^\s,;|\"'`“”„‘’<>\[\]{{}}]+", re.S)
# As `web-push generate-vapid-keys` prints it, or as it stands in JavaScript, YAML or Python.
# As few characters as possible stand between: a key may begin with `-`, `+` or `/`.
_LABEL = re.compile(
    r"private[ _-]?key\W{1,8}?([\w+/-][\w+/=-]{41,43})(?![\w+/=-])", re.I | re.ASCII
)
_PRIVATE = ("PRIVATE KEY", "EC PRIVATE KEY")
# What tools write beside a private key, and what is no key alone.
_BESIDE = ("EC PARAMETERS", "PUBLIC KEY", "CERTIFICATE")
_PUBLIC = "it is a public key, and the private one is needed"
_UNREADABLE = "it is neither base64url of 32 bytes, as `stoppress keys` prints it, nor PEM or DER"


def read_vapid_keys(text: str) -> tuple[VapidKey, ...]:
    """Return the keys of `VAPID_PRIVATE_KEY`, each once; `ValueError`.

    The message is one line. It has a fingerprint in place of the value, so that two hosts can be
    compared.
    """
    text = re.sub(r"(\\+[rn])+", "\n", unquote(text)).translate({0xFEFF: "", 0x200B: "", 0xA0: " "})
    text = re.sub(r"^\W*(export\s+)?VAPID_PRIVATE_KEY\s*[=:]\s*", "", text)
    pieces = _labelled(text) or _pieces(text)
    if len(pieces) > 1 and (key := _folded(text)):
        return (key,)
    keys = (_value(number, piece) for number, piece in enumerate(pieces, 1))
    return tuple(dict.fromkeys(keys))


def _value(number: int, piece: str) -> VapidKey:
    try:
        return _read(piece)
    except ValueError as error:
        fingerprint = sha256(piece.encode(errors="surrogateescape")).hexdigest()[:8]
        raise ValueError(
            f"value {number} ({len(piece)} characters, fingerprint {fingerprint}) is no P-256"
            f" private key: {error}"
        ) from None


def _labelled(text: str) -> list[str]:
    """Return the keys that a program printed with their names, beside what is no private key."""
    keys = [found[1] for found in _LABEL.finditer(text)]
    rest = _LABEL.sub(" ", text)
    others = (one for one in _pieces(rest) if _may_be_key(one) and not _is_beside(one))
    # No key may be lost among the words.
    return [] if re.search(r"private|[\"']d[\"']", rest, re.I) or any(others) else keys


def _pieces(text: str) -> list[str]:
    """Return the parts of a text that are, or should be, keys."""
    pieces = [found[0] for found in _PIECE.finditer(text)]
    marked = [piece for piece in pieces if piece.startswith(("-----BEGIN ", "{"))]
    if marked:
        # Tools write words around PEM and JSON: `Bag Attributes`, or the key in figures.
        pieces = [piece for piece in pieces if piece in marked or _may_be_key(piece)]
    return [piece for piece in pieces if not _is_beside(piece)] or pieces


def _may_be_key(word: str) -> bool:
    try:
        return len(any_base64(word)) > 30
    except ValueError:
        return False


def _is_beside(piece: str) -> bool:
    block = _PEM.fullmatch(piece)
    if block is not None:
        return block[1] in _BESIDE
    try:
        return (data := any_base64(piece))[:1] == b"\x04" and len(data) == 65
    except ValueError:
        return False


def _folded(text: str) -> VapidKey | None:
    """Return the key if the whole text is one base64 text that was broken into lines."""
    try:
        return _from_bytes(any_base64(text))
    except ValueError:
        return None


def _read(piece: str) -> VapidKey:
    block = _PEM.fullmatch(piece)
    if block is not None:
        label, body = block.groups()
        if "ENCRYPTED" in label or "ENCRYPTED" in body:
            raise ValueError("it is encrypted; remove its password with `openssl pkcs8`")
        if label in _BESIDE:
            raise ValueError(_PUBLIC if label == "PUBLIC KEY" else f"it is only {label}")
        if label not in _PRIVATE:
            raise ValueError(f"it is a {label}")
        return _from_base64(re.sub(r"[\"']", "", body))  # of each line, in a program's source
    if piece.startswith("{"):
        return _from_json(piece)
    if figures := re.fullmatch(r"(?:0x)?([0-9A-Fa-f]{64})", piece):
        return _from_scalar(bytes.fromhex(figures[1]))
    return _from_base64(piece)


def _from_base64(text: str) -> VapidKey:
    try:
        data = any_base64(text)
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    return _from_bytes(data)


def _from_json(piece: str) -> VapidKey:
    """Read a JWK (RFC 7518 section 6.2), or what `web-push generate-vapid-keys --json` prints."""
    try:
        document = json.loads(piece, strict=False)
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    for name in ("d", "privateKey", "private_key"):
        if isinstance(value := document.get(name), str):
            return _read(value.strip())
    raise ValueError("the JSON has no private key (`d` or `privateKey`)")


def _from_bytes(data: bytes) -> VapidKey:
    if len(data) in (31, 32) or (len(data) == 33 and data[0] == 0):
        return _from_scalar(data)
    if len(data) == 65 and data[0] == 4:
        raise ValueError(_PUBLIC)
    if data[:1] == b"\x30":
        return _from_der(data)
    if data.isascii():  # perhaps a text that was encoded once more
        pieces = _pieces(data.decode())
        if len(pieces) == 1:
            return _read(pieces[0])
    raise ValueError(_UNREADABLE)


def _from_der(data: bytes) -> VapidKey:
    """Read PKCS#8 (RFC 5958) or SEC 1 (RFC 5915)."""
    try:
        key = load_der_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        try:
            load_der_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(_UNREADABLE) from None
        raise ValueError(_PUBLIC) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is for another algorithm")
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"it is on the curve {key.curve.name}")
    return _from_scalar(key.private_numbers().private_value.to_bytes(32, "big"))


def _from_scalar(data: bytes) -> VapidKey:
    # Some tools drop a leading zero, others write one more.
    key = VapidKey(data[-32:].rjust(32, b"\0"))
    try:
        _ = key.public
    except ValueError:
        raise ValueError("its number is not one of the curve's") from None
    return key
