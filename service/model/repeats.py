"""Alerts that repeat, as an entry of a calendar does (decision 111).

Only the next occurrence is stored, as an ordinary scheduled alert. The clock makes the one after it
before it sends it.
"""

from __future__ import annotations

from calendar import day_name
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.model.clocks import moment, zone_of

if TYPE_CHECKING:  # which imports this module
    from service.model.notifications import SendAt

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_LISTED = 20  # alerts that one digest lists
LONGEST_DIGEST = 7 * 86_400.0  # seconds that a digest looks back
_FIRST_CLOCK = "+14:00"  # the zone whose clocks show a time before all others


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
        known = {one.name: given[one.name] for one in fields(cls) if one.name in given}
        if digest := given.get("digest"):
            named = {one.name: digest[one.name] for one in fields(Digest) if one.name in digest}
            known["digest"] = Digest(**named | {"topics": tuple(digest.get("topics", ()))})
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


def wall_of(send_at: SendAt) -> datetime:
    """Return what the clock shows at a time, in its zone; in local time on each reader's own."""
    if send_at.wall:
        return datetime.fromisoformat(send_at.wall)
    return _shown(send_at.at, send_at.zone)


def planned(repeat: Repeat, send_at: SendAt, before: Repeat | None = None) -> Repeat:
    """Return a repetition for an occurrence at this time, as a change of `before` if there is one.

    An occurrence that is moved to a day on which the alert does not repeat stands for its old day.
    """
    zone = "" if send_at.wall else send_at.zone
    clock = zone or _FIRST_CLOCK
    wall = wall_of(send_at)
    if before is not None:
        meant = datetime.fromisoformat(before.stands_for)
        # A time that clocks skip in spring is an hour later that day, and not on the days after.
        if moment(clock, datetime.combine(wall.date(), meant.time()).isoformat()) == send_at.at:
            wall = datetime.combine(wall.date(), meant.time())
        if _weekday(wall.date()) not in repeat.weekdays:
            wall = datetime.combine(meant.date(), wall.time())
        repeat = replace(repeat, series=before.series, since=before.since)
    return replace(repeat, stands_for=wall.isoformat(), zone=zone)


def following(repeat: Repeat, send_at: SendAt, now: float) -> tuple[SendAt, Repeat]:
    """Return when the next occurrence is due, after both `now` and this one, and its repetition.

    A time that does not exist moves forward, and of one that comes twice the first counts, as in
    `times.read`. A whole day that a zone skipped has no occurrence.
    """
    zone = repeat.zone or _FIRST_CLOCK
    meant, after = datetime.fromisoformat(repeat.stands_for), max(now, send_at.at)
    day = max(meant.date(), _shown(send_at.at, zone).date()) + timedelta(days=1)
    day = max(day, _shown(now, zone).date())
    while True:
        wall = datetime.combine(day, meant.time()).isoformat()
        at = moment(zone, wall)
        is_there = _shown(at, zone).date() == day
        if _weekday(day) in repeat.weekdays and is_there and at > after:
            break
        day += timedelta(days=1)
    next_at = replace(send_at, at=at, wall="" if repeat.zone else wall, zone=repeat.zone)
    since = replace(repeat, stands_for=wall, since=send_at.at)
    return replace(next_at, sent_at=None), since


def looks_back_to(repeat: Repeat, until: float) -> float:
    """Return since when alerts belong into the digest of an occurrence that is made `until` then.

    That of the first one begins as if there had been one before.
    """
    since = repeat.since
    if not since:
        meant = datetime.fromisoformat(repeat.stands_for).date()
        gaps = range(1, len(WEEKDAYS) + 1)
        days = next(n for n in gaps if _weekday(meant - timedelta(days=n)) in repeat.weekdays)
        since = until - days * 86_400
    return max(since, until - LONGEST_DIGEST)


def _shown(at: float, zone: str) -> datetime:
    """Return what a clock in a zone shows."""
    return datetime.fromtimestamp(at, zone_of(zone)).replace(tzinfo=None)


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]
