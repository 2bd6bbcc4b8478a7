"""What a clock says in a time zone: quiet hours, dates, and when a wall clock shows a time."""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.model.preferences import Quiet

QUARTER = 900  # seconds; every zone in use is whole quarter hours from UTC
_LONGEST_DAY = 26 * 4  # quarter hours, where clocks are put back by two


class QuietTimes(NamedTuple):
    """What a reader's clock says at a moment; in seconds since 1970, 0 for never.

    `quiet_until`: it is quiet, and until when; `quiet_from`: when it will be next.
    """

    quiet_until: int
    quiet_from: int


@lru_cache(maxsize=512)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else timezone.utc
    except (ZoneInfoNotFoundError, ValueError):
        return timezone.utc  # of a newer list of zones than this machine's


@lru_cache(maxsize=65_536)
def quiet_times(zone: str, quiet: Quiet, quarter: int) -> QuietTimes:
    """Return what holds in the quarter hour `quarter`, counted from 1970, for a reader in `zone`.

    It is looked up quarter hour by quarter hour, so that a change of clocks in between is right.
    """
    if quiet.start == quiet.end:
        return QuietTimes(0, 0)
    states = [quiet.covers(_quarter_there(zone, quarter + n)) for n in range(2 * _LONGEST_DAY)]
    until = states.index(False) if states[0] else 0
    after = states.index(True, until)
    return QuietTimes(until and (quarter + until) * QUARTER, (quarter + after) * QUARTER)


def _quarter_there(zone: str, quarter: int) -> int:
    there = datetime.fromtimestamp(quarter * QUARTER, _zone(zone))
    return there.hour * 4 + there.minute // 15


@lru_cache(maxsize=4096)
def day(zone: str, quarter: int) -> int:
    """Return the date there, as a number: 20260329."""
    there = datetime.fromtimestamp(quarter * QUARTER, _zone(zone))
    return there.year * 10_000 + there.month * 100 + there.day


@lru_cache(maxsize=4096)
def moment(zone: str, wall: str) -> float:
    """Return when a clock in `zone` says `wall` (ISO 8601, without an offset).

    A time that does not exist moves forward, of a doubled one the first is meant (PEP 495).
    """
    return datetime.fromisoformat(wall).replace(tzinfo=_zone(zone)).timestamp()
