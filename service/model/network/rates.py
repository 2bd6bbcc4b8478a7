"""What is left of a rate after a call."""

from __future__ import annotations

from typing import NamedTuple


class Counted(NamedTuple):
    """What is left of a rate after a call."""

    left: int  # calls, as far as this process knows; below 0: this call exceeds the rate
    resets_in: int  # seconds

    @property
    def fits(self) -> bool:
        """Whether the call is within the rate."""
        return self.left >= 0
