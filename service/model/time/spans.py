"""Spans of time in words: English for the desk and the command line, any language for readers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from babel.lists import format_list
from babel.units import format_unit

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def span(seconds: float, language: str = "en") -> str:
    """Return a span in its two largest units: `2 hours 13 minutes`, `42 seconds`, `6.1 seconds`."""
    if seconds < 9.95:
        return _of(round(max(0.0, seconds), 1), "second", language)
    whole = round(seconds)
    for (unit, length), (next_unit, next_length) in pairwise(_UNITS):
        if whole >= length:
            parts = ((whole // length, unit), (whole % length // next_length, next_unit))
            return " ".join(_of(number, name, language) for number, name in parts if number)
    return _of(whole, "second", language)


def one_of_spans(seconds: Sequence[float], language: str) -> str:
    """Return spans as a choice: `1 minute, 15 minutes, or 1 day`."""
    return format_list([span(one, language) for one in seconds], style="or", locale=language)


@lru_cache(maxsize=1024)  # Babel takes a twentieth of a page's time
def _of(number: float, unit: str, language: str) -> str:
    return format_unit(int(number) if number == int(number) else number, unit, locale=language)
