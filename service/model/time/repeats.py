"""Alerts that repeat, as an entry of a calendar does (decision 111).

Only the next occurrence is stored, as an ordinary scheduled alert. The clock makes the one after it
before it sends it.
"""

from __future__ import annotations

from calendar import day_name
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from service.model.stored import known_fields

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_LISTED = 20  # alerts that one digest lists


@dataclass(frozen=True, slots=True)
class Digest:
    """How the text of an occurrence is made of the alerts sent since the one before."""

    most: int = 5  # titles, of the newest alerts
    topics: tuple[str, ...] = ()  # slugs; only alerts to followers of any; empty: all alerts


@dataclass(frozen=True, slots=True)
class Repeat:
    """On which days an alert repeats, and for which of them this occurrence stands.

    An editor may move one occurrence. The day for which it stands is then kept, so that the series
    goes on as if it had not been moved.
    """

    weekdays: tuple[str, ...]  # some of `WEEKDAYS`
    stands_for: str = ""  # the time on the wall clock, ISO 8601 without an offset
    zone: str = ""  # of that clock, IANA name; empty: each reader's own
    digest: Digest | None = None
    makes_drafts: bool = False  # each occurrence becomes a draft, and is not sent by itself
    series: int = 0  # the id of the first occurrence
    since: float = 0.0  # seconds since 1970, when the occurrence before was due; 0: it is the first
    followed: bool = False  # the next occurrence is made, so that this one repeats no more

    @property
    def rule(self) -> tuple[object, ...]:
        """What an editor chooses of it."""
        return self.weekdays, self.digest, self.makes_drafts

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Repeat:
        """Read what `as_json` wrote; leave out what only a newer release knows."""
        known = known_fields(cls, given)
        if digest := given.get("digest"):
            topics = tuple(digest.get("topics", ()))
            known["digest"] = Digest(**known_fields(Digest, digest) | {"topics": topics})
        return cls(**known | {"weekdays": tuple(given["weekdays"])})


def in_order(weekdays: Sequence[str]) -> tuple[str, ...]:
    """Return days of the week as they follow one another."""
    return tuple(day for day in WEEKDAYS if day in weekdays)


def each_day(weekdays: Sequence[str]) -> str:
    """Return days of the week in words: `each Monday and Friday`."""
    names = [name for day, name in zip(WEEKDAYS, day_name, strict=True) if day in weekdays]
    if len(names) == len(WEEKDAYS):
        return "each day"
    if in_order(weekdays) == WEEKDAYS[:5]:
        return "each day from Monday to Friday"
    return f"each {' and '.join(filter(None, [', '.join(names[:-1]), *names[-1:]]))}"
