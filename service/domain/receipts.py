"""What receipts say: how many browsers an event stands for, and how exactly that is known."""

from __future__ import annotations

import math
from typing import NamedTuple

_COUNTING_ERROR = 0.0081  # of a HyperLogLog as Redis keeps it, at any number (PFCOUNT)


class Estimate(NamedTuple):
    """How many browsers did something, by what they report; `error` is the standard error."""

    browsers: int
    error: float


def estimates(reported: dict[str, int], reporting: float) -> dict[str, Estimate]:
    """Return how many browsers it was, by event, where each reports with this probability.

    A click is reported by every browser. The error is that of sampling and that of counting.
    """
    shares = {"clicked": 1.0}
    return {
        event: _estimate(count, shares.get(event, reporting)) for event, count in reported.items()
    }


def _estimate(reported: int, share: float) -> Estimate:
    sampling = reported * (1 - share)  # variance of a binomial distribution
    counting = (_COUNTING_ERROR * reported) ** 2
    return Estimate(round(reported / share), math.sqrt(sampling + counting) / share)
