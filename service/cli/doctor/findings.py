"""One line of the doctor's report."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One line: the state of one thing, and what to do about it."""

    level: Level
    what: str  # the thing that was checked, such as "Redis"
    says: str
