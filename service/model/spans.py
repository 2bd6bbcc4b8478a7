"""Spans of time in English words, for the desk and the command line."""

from __future__ import annotations

from itertools import pairwise

from babel import Locale
from babel.units import format_unit

ENGLISH = Locale("en")
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def span(seconds: float) -> str:
    """Return a span in its two largest units: `2 hours 13 minutes`, `42 seconds`, `6.1 seconds`."""
    if seconds < 9.95:
        return _of(round(max(0.0, seconds), 1), "second")
    whole = round(seconds)
    for (unit, length), (next_unit, next_length) in pairwise(_UNITS):
        if whole >= length:
            parts = ((whole // length, unit), (whole % length // next_length, next_unit))
            return " ".join(_of(number, name) for number, name in parts if number)
    return _of(whole, "second")


def _of(number: float, unit: str) -> str:
    return format_unit(int(number) if number == int(number) else number, unit, locale=ENGLISH)
