"""What a newsroom promises itself: to which share of the browsers an alert goes in which time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from service.model.notifications import Notification, Outcome, Progress
from service.model.stored import known_fields

_WORDS = re.compile(r"([0-9]{1,3}) ?% in ([0-9]{1,5}) ?s")
_LONGEST = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Promise:
    """The setting `PROMISE`."""

    share: int  # percent of the browsers that can get an alert
    seconds: int

    def __str__(self) -> str:
        """Return it as the setting has it."""
        return f"{self.share}% in {self.seconds}s"


@dataclass(frozen=True, slots=True)
class Measured:
    """How an alert does by the promise that held when it was sent."""

    share: int  # of the promise
    seconds: int
    reached_at: float | None = None  # when that share was handed over, in seconds since 1970
    share_then: int | None = None  # percent that was handed over when the time was over
    is_interrupted: bool = False  # it was paused, or everything was stopped, before that time

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Measured:
        """Read what was stored; leave out what only a newer release knows."""
        return cls(**known_fields(cls, document))


def read_promise(text: str) -> Promise | None:
    """Read `90% in 60s`; None for an empty text; ValueError."""
    if not text:
        return None
    found = _WORDS.fullmatch(text)
    if found is None:
        raise ValueError("must be a share and a time, such as 90% in 60s")
    share, seconds = map(int, found.groups())
    if not 1 <= share <= 100:
        raise ValueError("must have a share from 1% to 100%")
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"must have a time from 1s to {_LONGEST}s")
    return Promise(share, seconds)


def is_promised(one: Notification) -> bool:
    """Whether a promise holds for an alert: it is sent to many browsers as fast as possible."""
    takes_its_time = one.spread_minutes or one.wall or one.wave or one.second_text is not None
    return not (one.planned or takes_its_time or one.audience.subscription is not None)


def share_of(progress: Progress) -> int | None:
    """Return to what percent of the browsers that can get it an alert was handed over.

    Readers in quiet hours or over their limit, and browsers that have unsubscribed, cannot. It is
    rounded down; None if no browser can get it.
    """
    can = progress.recipients - progress.of(Outcome.SKIPPED) - progress.of(Outcome.GONE)
    return math.floor(100 * progress.of(Outcome.ACCEPTED) / can) if can > 0 else None
