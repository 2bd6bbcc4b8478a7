"""Trying two texts of an alert on a sample of its audience (decision 101).

Which readers are in the sample, and who of them gets which text, follows from the ids of alert and
reader alone, so that every process finds the same without storing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_128
from typing import Any, NamedTuple

A, B = TEXTS = ("A", "B")
MIN_SAMPLE, MAX_SAMPLE = 2, 50  # percent
MAX_WAIT = 240  # minutes
# Clicks on both texts together, below which nothing is to be learned and text A is taken.
LEAST_CLICKS = 20
# A difference counts as more than chance if it comes by chance in no more tests than this share.
LEVEL = 0.05
_BLOCK = 256  # readers whose draws are made together; a draw is one byte of each
_BYTES = _BLOCK // 8  # of a bitmap


@dataclass(frozen=True, slots=True)
class SecondText:
    """The other text of an alert, B, and how to try it."""

    title: str
    body: str
    sample_percent: int  # of the audience, who get either text
    decide_after_minutes: int  # from the alert's start


class Tried(NamedTuple):
    """What became of one text in the sample."""

    accepted: int = 0  # by push services whose browsers report clicks
    clicked: int = 0
    silent: int = 0  # accepted by the others: Safari reports no clicks

    @property
    def share(self) -> float:
        """How many of those who could report a click did, from 0 to 1."""
        # A reader may click in the instant before the outcome is recorded.
        return min(1.0, self.clicked / self.accepted) if self.accepted else 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Which text all other readers get."""

    text: str  # A or B
    at: float  # seconds since 1970
    by: str  # an editor's address, or the name of a token; empty: the clock
    tried: tuple[Tried, Tried]  # both texts at that time

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"text": self.text, "at": self.at, "by": self.by, "tried": self.tried}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Decision:
        """Read what `as_json` wrote."""
        a, b = (Tried(*one[:3]) for one in given["tried"])
        return cls(given["text"], given["at"], given["by"], (a, b))


# Who gets which text --------------------------------------------------------------------------


def text_of(alert: int, partition: int, number: int, percent: int) -> str:
    """Return which text a reader in the sample gets; empty for readers outside of it."""
    draw = _draws(alert, partition, number // _BLOCK)[number % _BLOCK]
    each = _each(percent)
    return A if draw < each else B if draw < 2 * each else ""


def outside_sample(alert: int, partition: int, audience: bytes, percent: int) -> bytes:
    """Return the bitmap of those readers of an audience who are not in the sample."""
    sample = 2 * _each(percent)
    digits = bytes(ord("0" if draw < sample else "1") for draw in range(256))
    parts = []
    for at in range(0, len(audience), _BYTES):
        here = audience[at : at + _BYTES]
        outside = int(_draws(alert, partition, at // _BYTES).translate(digits), 2)
        bits = outside & int.from_bytes(here.ljust(_BYTES, b"\0"), "big")
        parts.append(bits.to_bytes(_BYTES, "big")[: len(here)])
    return b"".join(parts)


def sample_shares(percent: int) -> float:
    """Return the share of the audience that gets one text of a sample: a draw is in 256ths."""
    return _each(percent) / 256


def _each(percent: int) -> int:
    """Return how many of the 256 values of a draw mean text A, and as many more text B."""
    return max(1, round(256 * percent / 200))


@lru_cache(maxsize=1024)
def _draws(alert: int, partition: int, block: int) -> bytes:
    return shake_128(f"{alert} {partition} {block}".encode()).digest(_BLOCK)


# The arithmetic -------------------------------------------------------------------------------


def better(tried: Sequence[Tried]) -> str:
    """Return the text with more clicks for its readers; A if they are equal or hardly any."""
    a, b = tried
    enough = a.clicked + b.clicked >= LEAST_CLICKS and a.accepted and b.accepted
    return B if enough and b.share > a.share else A


def chance(tried: Sequence[Tried], counting_error: float = 0.0) -> float | None:
    """Return in what share of tests chance alone makes a difference at least this large.

    It is the two-sided test of two proportions (z-test). Clicks are counted with a relative
    standard error of `counting_error`. None if there is nothing to compare.
    """
    a, b = tried
    if not (a.accepted and b.accepted) or a.clicked + b.clicked == 0:
        return None
    both = min(1.0, (a.clicked + b.clicked) / (a.accepted + b.accepted))
    sampling = both * (1 - both) * (1 / a.accepted + 1 / b.accepted)
    counting = counting_error**2 * (a.share**2 + b.share**2)
    error = math.sqrt(sampling + counting)
    return math.erfc(abs(a.share - b.share) / error / math.sqrt(2)) if error else 1.0
