"""What the doctor finds: a line about one thing."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One line: how it stands with `what`, and what to do where that is not well."""

    level: Level
    what: str
    says: str
