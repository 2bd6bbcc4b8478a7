"""Clocks in time zones: when quiet hours begin and end, which date it is, when a time comes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.model.preferences import Quiet

QUARTER = 900  # seconds; every zone in use is whole quarter hours from UTC
_LONGEST_DAY = 26 * 4  # quarter hours, where clocks are put back by two


class QuietTimes(NamedTuple):
    """When quiet time ends and begins for a reader, in seconds since 1970."""

    quiet_until: int  # 0: it is not quiet now
    quiet_from: int  # when it is quiet next; 0: never


@lru_cache(maxsize=512)
def zone_of(name: str) -> tzinfo:
    """Return the zone that a browser named, as far as this machine knows it; else UTC."""
    if name[:1] in ("+", "-"):  # an offset, as `times.browser_zone` writes it
        hours, _, minutes = name.partition(":")
        return timezone(timedelta(hours=int(hours), minutes=int(f"{name[0]}{minutes}")))
    try:
        return ZoneInfo(name) if name else timezone.utc
    except (ZoneInfoNotFoundError, ValueError):
        return timezone.utc  # the browser's list of zones is newer than this machine's


@lru_cache(maxsize=65_536)
def quiet_times(zone: str, quiet: Quiet, quarter: int) -> QuietTimes:
    """Return when it is quiet for a reader in `zone`, as of a quarter hour counted from 1970.

    Each quarter hour is looked at, so that the answer is right when clocks change in between.
    """
    if quiet.start == quiet.end:
        return QuietTimes(0, 0)
    states = [quiet.covers(_quarter_there(zone, quarter + n)) for n in range(2 * _LONGEST_DAY)]
    until = states.index(False) if states[0] else 0
    after = states.index(True, until)
    return QuietTimes(until and (quarter + until) * QUARTER, (quarter + after) * QUARTER)


def _quarter_there(zone: str, quarter: int) -> int:
    there = datetime.fromtimestamp(quarter * QUARTER, zone_of(zone))
    return there.hour * 4 + there.minute // 15


@lru_cache(maxsize=4096)
def hour(zone: str, quarter: int) -> int:
    """Return the hour of the day in `zone`, from 0 to 23; `quarter` is counted from 1970."""
    return _quarter_there(zone, quarter) // 4


@lru_cache(maxsize=4096)
def day(zone: str, quarter: int) -> int:
    """Return the date in `zone` as a number, 20260329; `quarter` is counted from 1970."""
    there = datetime.fromtimestamp(quarter * QUARTER, zone_of(zone))
    return there.year * 10_000 + there.month * 100 + there.day


@lru_cache(maxsize=4096)
def moment(zone: str, wall: str) -> float:
    """Return when a clock in `zone` shows `wall` (ISO 8601, no offset), in seconds since 1970.

    A time that does not exist moves forward; of one that comes twice the first counts (PEP 495).
    """
    return datetime.fromisoformat(wall).replace(tzinfo=zone_of(zone)).timestamp()
