"""What the checks that call other servers share: a bound in time, and words for certificates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from ssl import SSLCertVerificationError
from typing import TypeVar

T = TypeVar("T")

UNTRUSTED = "its certificate is not trusted"
OUTDATED = "its certificate is not valid now"
OTHER_NAME = "its certificate is that of another host"
_BY_CODE = {9: OUTDATED, 10: OUTDATED, 62: OTHER_NAME, 64: OTHER_NAME}  # X509_V_ERR_…


def certificate_fault(error: SSLCertVerificationError) -> str:
    """Say what is wrong with a certificate."""
    return _BY_CODE.get(error.verify_code, UNTRUSTED)


def in_time(seconds: float, do: Callable[[], T]) -> T:
    """Return what `do` returns, or raise what it raises; `TimeoutError` if it takes longer.

    `do` then goes on in its thread. Time-outs of sockets alone count anew with each byte.
    """
    returned: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            returned.append(do())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in raised:
        raise error
    for value in returned:
        return value
    raise TimeoutError
