"""The installation's time, in seconds since 1970: that of its Redis, on whatever host.

Hosts' clocks differ, and a deadline that one host writes down is judged by another. So each process
asks Redis for the time every few seconds (`Processes`), and goes by its own monotonic clock in
between. A process that never asked has its host's time.
"""

from __future__ import annotations

import time as host

_EXACT = 0.1  # seconds; a response that took longer says too little about when it was written
_GOOD = 60.0  # seconds for which a measurement is better than an inexact one

# Redis' time less the monotonic clock, and when that was measured by the monotonic clock.
_measured: tuple[float, float] | None = None


def time() -> float:
    """Return the installation's time."""
    return host.time() if _measured is None else host.monotonic() + _measured[0]


def set_by(redis_time: float, asked_at: float, answered_at: float) -> None:
    """Go by the time that Redis gave; the other two are by the monotonic clock."""
    global _measured
    known = _measured is not None and answered_at - _measured[1] < _GOOD
    if answered_at - asked_at <= _EXACT or not known:
        _measured = redis_time - (asked_at + answered_at) / 2, answered_at


def ahead() -> float:
    """Return by how many seconds this host's clock is ahead of the installation's time."""
    return host.time() - time()
