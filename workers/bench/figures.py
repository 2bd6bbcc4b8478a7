"""What a benchmark finds out: figures, each with its budget, and what it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click

Step: TypeAlias = Callable[[int], None]  # takes how much of a bar's total is done


class BenchError(click.ClickException):
    """What kept the benchmark from its end, in one line."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, of all a section found out; `most` or `least` is its budget (design, section 6).

    The units are those of the table: µs, ms, s, bytes, MB, %, × (a ratio), /s, or none (a count).
    With `absent` it was not measured, and that says why.
    """

    name: str
    value: float | None = None
    unit: str = ""
    most: float | None = None
    least: float | None = None
    absent: str = ""

    def as_json(self, section: str) -> dict[str, Any]:
        """Return the figure as the document has it."""
        return {"section": section, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Bench:
    """What is asked of every section; each makes an installation of its own in `folder`.

    `ids` is how many subscription numbers publishing is measured with; `bar` shows on a terminal
    how far something is: what it is called, and its total.
    """

    folder: Path
    recipients: int
    workers: int
    ids: int
    peers: Mapping[str, Any]  # `peers.Peers`: other senders to measure
    churn: bool
    bar: Callable[[str, int], AbstractContextManager[Step]]


Section: TypeAlias = Callable[[Bench], Iterator[Figure]]
