"""Charts as SVG, drawn by svg.py. Their colours are those of the style sheet, by classes.

A chart is stretched to the width of the page, so its texts stand beside it, as HTML. What a chart
shows also stands in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import svg
from markupsafe import Markup, escape

from service.desk.words import number

_HEIGHT = 100.0
_STEP = 10.0  # width of a column with its gap
_GAP = 2.0
_FEW = 8  # labels that all have room
DAY = ("00:00", "06:00", "12:00", "18:00", "24:00")  # labels of 24 columns


class Chart(NamedTuple):
    """A picture, and the texts beside it."""

    picture: Markup
    top: str  # what its upper edge stands for
    bottom: str
    labels: list[str]  # below it, evenly spaced
    each: bool  # each column has its own label


class Column(NamedTuple):
    """A column, which may go up and down from the baseline."""

    label: str
    up: float
    down: float = 0.0
    words: str = ""  # shown by a mouse


class Line(NamedTuple):
    """A line; a value that is not known interrupts it."""

    values: Sequence[float | None]
    style: str = "main"


def columns(
    given: Sequence[Column],
    words: Callable[[float], str] = number,
    labels: Sequence[str] = (),
) -> Chart:
    """Draw columns; `words` writes a value of the scale, `labels` take the place of theirs."""
    up = _nice(max((one.up for one in given), default=0))
    lowest = max((one.down for one in given), default=0)
    down = _nice(lowest) if lowest else 0.0
    scale = _HEIGHT / (up + down)
    elements: list[svg.Element] = [_grid(len(given), up * scale, up * scale / 2)]
    for at, one in enumerate(given):
        title = [svg.Title(text=escape(one.words or f"{one.label}: {words(one.up)}"))]
        x, width = at * _STEP + _GAP / 2, _STEP - _GAP
        for value, y, style in (
            (one.up, (up - one.up) * scale, "up"),
            (one.down, up * scale, "down"),
        ):
            if value:
                rect = svg.Rect(x=x, y=_two(y), width=width, height=_two(value * scale))
                rect.class_, rect.elements = [style], [*title]
                elements.append(rect)
    bottom = f"−{words(down)}" if down else words(0)
    below = _some([*labels] or [one.label for one in given])
    each = len(below) == len(given)
    return Chart(_draw(elements, len(given)), words(up), bottom, below, each)


def lines(
    labels: Sequence[str],
    given: Sequence[Line],
    words: Callable[[float], str] = number,
    *,
    from_zero: bool = True,
) -> Chart:
    """Draw lines over the same labels."""
    known = [value for line in given for value in line.values if value is not None]
    bottom, top = 0.0, _nice(max(known, default=0))
    if not from_zero and known:
        bottom, top = _around(min(known), max(known))
    scale = _HEIGHT / (top - bottom)
    elements: list[svg.Element] = [_grid(len(labels), _HEIGHT, _HEIGHT / 2)]
    for line in given:
        points: list[str] = []
        joined = False
        for at, value in enumerate(line.values):
            if value is None:
                joined = False
                continue
            place = f"{at * _STEP + _STEP / 2:g} {_two((top - value) * scale):g}"
            # A value alone is a dot, by the round end of a line without length.
            points.append(f"L{place}" if joined else f"M{place}h0")
            joined = True
        path = svg.Path(class_=[line.style])
        path.extra = {"d": " ".join(points)}
        elements.append(path)
    return Chart(_draw(elements, len(labels)), words(top), words(bottom), _some(labels), False)


def _draw(elements: list[svg.Element], count: int) -> Markup:
    width = max(1, count) * _STEP
    picture = svg.SVG(viewBox=svg.ViewBoxSpec(0, 0, width, _HEIGHT), elements=elements)
    picture.extra = {"preserveAspectRatio": "none", "aria-hidden": "true"}
    return Markup(picture.as_str())  # noqa: S704  # all texts in it are escaped


def _grid(count: int, *heights: float) -> svg.Element:
    """Draw a line at each of these heights."""
    width = max(1, count) * _STEP
    rows = [svg.Line(x1=0, x2=width, y1=_two(y), y2=_two(y)) for y in heights]
    return svg.G(class_=["grid"], elements=[*rows])


def _nice(value: float) -> float:
    """Return the next higher number that is easy to read, such as 250."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(n * unit for n in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if n * unit >= value * 0.9999)


def _around(least: float, most: float) -> tuple[float, float]:
    """Return the ends of a scale of counts that need not begin at 0."""
    unit = math.ceil(_nice(max(most - least, most / 100) / 2))
    return math.floor(least / unit) * unit, math.floor(most / unit + 1) * unit


def _two(value: float) -> float:
    return round(value, 2)


def _some(labels: Sequence[str]) -> list[str]:
    """Return some of the labels, evenly spaced, the first and the last among them."""
    if len(labels) <= _FEW:
        return [*labels]
    # As many gaps as divide the labels evenly, if any number does.
    gaps = next((n for n in (4, 3, 2, 6, 5) if (len(labels) - 1) % n == 0), 1)
    return [labels[at * (len(labels) - 1) // gaps] for at in range(gaps + 1)]
