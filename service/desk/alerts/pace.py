"""The pace of an alert in the last seconds, from what its page itself has seen of it.

The page asks every second, and hands back when it asked before and what was done then. Nothing is
stored, and an alert that goes on after a pause begins anew, because the page is loaded again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BACK = 10.0  # seconds that count
_FEWEST = 3.0  # seconds before which no pace is shown
_SEEN = re.compile(r"([0-9]{1,12}\.[0-9]):([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pace:
    """What the page has seen: when, in seconds since 1970, and how many browsers were done."""

    seen: tuple[tuple[float, int], ...] = ()

    @classmethod
    def of(cls, text: str, now: float, done: int) -> Pace:
        """Return what a page has seen that hands back this text, with what is done now."""
        now = round(now, 1)
        before = [(float(at), int(then)) for at, then in _SEEN.findall(text)]
        kept = [(at, then) for at, then in before if now - _BACK <= at < now and 0 < then <= done]
        return cls((*kept, (now, done))) if done else cls()

    @property
    def text(self) -> str:
        """What the page hands back when it asks next."""
        return " ".join(f"{at:.1f}:{done}" for at, done in self.seen)

    @property
    def per_second(self) -> int:
        """Browsers a second; 0 where it has not been seen for long enough, or hardly moves."""
        if not self.seen:
            return 0
        (began, before), (now, done) = min(self.seen), self.seen[-1]
        return round((done - before) / (now - began)) if now - began >= _FEWEST else 0
