"""The figures that a benchmark measures, and the options that it runs with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click

Step: TypeAlias = Callable[[int], None]  # sets how much of a bar's total is done


class BenchError(click.ClickException):
    """A benchmark that failed; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a section."""

    name: str
    value: float | None = None
    unit: str = ""  # µs, ms, s, bytes, MB, %, × (a ratio), /s; empty for a count
    most: float | None = None  # its budget, an upper limit
    least: float | None = None  # its budget, a lower limit
    absent: str = ""  # why it was not measured

    def as_json(self, section: str) -> dict[str, Any]:
        """Return the figure as the document has it."""
        return {"section": section, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Bench:
    """The options of the command, as each section gets them."""

    folder: Path  # where the section runs an installation of its own
    recipients: int
    workers: int
    ids: int  # subscription numbers that publishing is measured with
    peers: Mapping[str, Any]  # `peers.Peers`: other senders to measure
    churn: bool
    masters: int  # of a cluster that keeps the store; 0: one Redis
    bar: Callable[[str, int], AbstractContextManager[Step]]  # shows progress: a title, a total


Section: TypeAlias = Callable[[Bench], Iterator[Figure]]
