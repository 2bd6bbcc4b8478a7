"""When the occurrences of an alert that repeats are due."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from service.model.notifications import SendAt
from service.model.time.clocks import moment, zone_of
from service.model.time.repeats import WEEKDAYS, Repeat

_LONGEST_DIGEST = 7 * 86_400.0  # seconds that a digest looks back
_FIRST_CLOCK = "+14:00"  # the zone whose clocks show a time before all others


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
        kept = moment(clock, datetime.combine(wall.date(), meant.time()).isoformat())
        if abs(kept - send_at.at) < 1:
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
    """Return when the time begins whose alerts are in a digest; it ends at `until`.

    The first digest of a series has the alerts since the day on which one would have come before.
    """
    since = repeat.since
    if not since:
        meant = datetime.fromisoformat(repeat.stands_for).date()
        gaps = range(1, len(WEEKDAYS) + 1)
        days = next(n for n in gaps if _weekday(meant - timedelta(days=n)) in repeat.weekdays)
        since = until - days * 86_400
    return max(since, until - _LONGEST_DIGEST)


def _shown(at: float, zone: str) -> datetime:
    """Return what a clock in a zone shows."""
    return datetime.fromtimestamp(at, zone_of(zone)).replace(tzinfo=None)


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]
