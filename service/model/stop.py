"""That everything is stopped: no alert of the installation is sent until an editor releases it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop that holds now."""

    id: str  # of its entry in the log of alerts
    at: float  # seconds since 1970, by Redis' time
    by: str  # an editor's address, or the host of the command
