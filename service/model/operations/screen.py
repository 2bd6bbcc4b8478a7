"""How soon an alert is on the screens of the browsers that report when they showed it.

A browser says how many seconds ago it showed the alert, and nothing else is taken from its clock,
which is often wrong: the report arrived at a time of ours, and that many seconds before, the alert
was on the screen (decision 123).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from service.model.operations.measures import PUBLISH_TO_SCREEN
from service.model.operations.promises import Measured, Promise
from service.model.retention import DAY

FEWEST = 100  # browsers of which a promise is reported to be kept or missed
_LONGEST_AGO = 30 * DAY  # seconds for which a report may wait in a browser
_SKEW = 5.0  # seconds by which the clocks of our hosts may differ
_USUAL = 60  # seconds within which an alert should be there, where nothing is promised
_AWAKE = 600  # seconds
_COUNTING_ERROR = 0.0081  # of a tally: domain/sending/receipts.py


def read_ago(reported: object) -> float | None:
    """Return for how many seconds a browser says it has shown an alert; None for nonsense."""
    if isinstance(reported, bool) or not isinstance(reported, int | float):
        return None
    return float(reported) if 0 <= reported <= _LONGEST_AGO else None


def seconds_until_shown(began: float, arrived: float, ago: float) -> float | None:
    """Return how long after its beginning an alert was on the screen; None if it was before."""
    seconds = arrived - ago - began
    return max(0.0, seconds) if seconds > -_SKEW else None


def patience(promised: int) -> int:
    """Return the seconds within which a browser shows an alert unless it sleeps or is closed."""
    return max(_AWAKE, 2 * promised)


def step(seconds: float, promise: Promise | None) -> str:
    """Return the step of an alert's figures in which so many seconds are: its upper bound."""
    own = (promise.seconds, patience(promise.seconds)) if promise else ()
    return f"{min(bound for bound in (*_BOUNDS, *own) if bound >= seconds):g}"


_BOUNDS = (*PUBLISH_TO_SCREEN.bounds, math.inf)


@dataclass(frozen=True, slots=True)
class OnScreen:
    """How soon an alert was on screens, by the browsers that reported it."""

    promise: Promise | Measured | None
    up_to: dict[float, int]  # seconds: how many browsers showed it within them; inf: all

    @classmethod
    def of(cls, steps: Mapping[str, int], promise: Promise | Measured | None) -> OnScreen:
        """Read the tallies of an alert."""
        up_to: dict[float, int] = {}
        for bound, browsers in sorted((float(step), n) for step, n in steps.items()):
            up_to[bound] = browsers + (max(up_to.values()) if up_to else 0)
        return cls(promise, up_to)

    @property
    def seconds(self) -> int:
        """The time within which it should be there."""
        return self.promise.seconds if self.promise else _USUAL

    @property
    def patience(self) -> int:
        """The time within which browsers showed it that count."""
        return patience(self.seconds)

    @property
    def browsers(self) -> int:
        """How many browsers showed it within that time."""
        return self._within(self.patience)

    @property
    def later(self) -> int:
        """How many showed it later."""
        return self._within(math.inf) - self.browsers

    @property
    def percent(self) -> int | None:
        """Which share of `browsers` showed it in time, rounded down; None if there are none."""
        n = self.browsers
        return math.floor(100 * self._within(self.seconds) / n) if n else None

    @property
    def error(self) -> float:
        """The standard error of that share, in percent: of sampling and of counting."""
        n = self.browsers
        share = self._within(self.seconds) / n if n else 0.0
        return 100 * math.sqrt(share * (1 - share) * (1 / max(1, n) + _COUNTING_ERROR**2))

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise holds for screens too; None: there is none, or too few say."""
        if self.promise is None or self.percent is None or self.browsers < FEWEST:
            return None
        return self.percent >= self.promise.share

    def _within(self, seconds: float) -> int:
        return max((n for bound, n in self.up_to.items() if bound <= seconds), default=0)
