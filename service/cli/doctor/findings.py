"""One line of the doctor's report."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One line: the state of one thing, and what to do about it."""

    level: Level
    what: str  # the thing that was checked, such as "Redis"
    says: str


def ok(what: str, says: str) -> Finding:
    """Return that a thing is as it should be."""
    return Finding("ok", what, says)


def warn(what: str, says: str) -> Finding:
    """Return that a thing may be wrong, or will be."""
    return Finding("warn", what, says)


def fail(what: str, says: str) -> Finding:
    """Return that a thing does not work."""
    return Finding("fail", what, says)
