"""What the doctor finds: a line about one thing, and the words for sizes and times in it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]
GB = 1 << 30


class Finding(NamedTuple):
    """One line: how it stands with `what`, and what to do where that is not well."""

    level: Level
    what: str
    says: str


def size(bytes: float) -> str:
    """Say an amount of memory."""
    return f"{bytes / GB:.1f} GB" if bytes >= GB else f"{bytes / (1 << 20):.0f} MB"


def lasting(seconds: float) -> str:
    """Say a stretch of time in its largest unit."""
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0, seconds):.0f} s"
