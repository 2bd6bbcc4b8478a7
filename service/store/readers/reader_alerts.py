"""Welcomes and tests that are active: where each goes and who called for it. In the slot `{g}`.

readers_alerts:<group>          hash: id of an alert -> the push service or the host where it goes
readers_alerts:<group>:callers  hash: id of an alert -> the code of who called; ends by itself

The script that publishes such an alert looks for room, takes a place, and forgets the alerts that
are over (room.lua): two processes never take the last place both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.model.retention import CALLERS_KEPT


class NoRoom(Exception):
    """So many alerts to readers are active that no other is published now."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an alert to one reader goes, and the room for such alerts there."""

    group: str  # of places that share their room
    name: str  # of the push service, or of the host
    at_one: int  # alerts that may be active at one place
    at_all: int  # and in the group
    caller: str  # the code of who called for it; empty if not known, and then not counted
    share: int = 1  # it may take the place only within this part of the room: 2 is a half

    @property
    def keys(self) -> list[str]:
        """Its keys in Redis."""
        key = f"{{g}}:readers_alerts:{self.group}"
        return [key, f"{key}:callers"]

    @property
    def args(self) -> list[Any]:
        """What a script is told of it."""
        return [self.name, self.caller, self.at_one, self.at_all, self.share, CALLERS_KEPT]
