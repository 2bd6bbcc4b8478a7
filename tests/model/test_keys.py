"""Our own quick checks of keys agree with those of the libraries that they stand for."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from service.model.keys import VapidKey, any_base64, on_p256


def openssl_takes(point: bytes) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return True


@given(st.integers(1, 2**255), st.binary(min_size=64, max_size=64))
def test_point_is_on_the_curve_if_openssl_says_so(number: int, anywhere: bytes) -> None:
    point = VapidKey(number.to_bytes(32, "big")).public
    assert on_p256(point)
    for other in (point[:64] + bytes((point[64] ^ 1,)), b"\x04" + anywhere):
        assert on_p256(other) == openssl_takes(other)


def test_point_with_an_unreduced_coordinate_is_refused() -> None:
    known = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), b"\x02" + bytes(31) + b"\5"
    )
    x, y = known.public_numbers().x, known.public_numbers().y.to_bytes(32, "big")
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    points = [b"\x04" + same.to_bytes(32, "big") + y for same in (x, x + p)]
    assert [on_p256(point) for point in points] == [True, False]
    assert [openssl_takes(point) for point in points] == [True, False]


def python_takes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


@given(st.one_of(st.text("AZaz09+/=*\u00e9", max_size=12), st.binary().map(base64.b64encode)))
def test_base64_is_read_as_python_reads_it(spelled: str | bytes) -> None:
    text = spelled.decode() if isinstance(spelled, bytes) else spelled
    bare = text.rstrip("=")  # we take it with and without padding
    try:
        found = any_base64(text)
    except ValueError:
        found = None
    assert found == python_takes(bare + "=" * (-len(bare) % 4))
