"""P-256: our own check that a point is on the curve agrees with OpenSSL's."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from service.model.keys import VapidKey, on_p256


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
