"""What a reader chose about when to be alerted, and what their clock says: pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

QUARTER = 900  # seconds; every zone in use is whole quarter hours from UTC
_DAY = 96  # quarter hours
_HOUR = 3600  # seconds
_LONGEST_DAY = 26 * 4  # quarter hours, where clocks are put back by two
# Hours since then, in 16 bits: until June 2033.
_PAUSES_FROM = int(datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()) // _HOUR
MOST_PAUSED = (1 << 16) - 1
MOST_A_DAY = 14  # counted in four bits, of which 15 would be the last
UNLIMITED = 0
_UNSAID, _NO_LIMIT_SAID = 127, 15  # of quiet hours and of a limit: left to the newsroom
_ALLOW_BREAKING, _NO_RECEIPTS, _UNCONFIRMED = 1, 2, 4


class Quiet(NamedTuple):
    """Quiet hours by the reader's own clock, in quarter hours; none where both are the same."""

    start: int
    end: int

    def covers(self, quarter: int) -> bool:
        """Whether that quarter hour of a day is quiet."""
        return (quarter - self.start) % _DAY < (self.end - self.start) % _DAY

    def __str__(self) -> str:
        return f"{_clock(self.start)}-{_clock(self.end)}"

    @classmethod
    def parse(cls, text: str) -> Quiet:
        """Read `22:00-07:00`, or nothing for none; `ValueError`."""
        if not text:
            return NO_QUIET
        start, dash, end = text.partition("-")
        if not dash:
            raise ValueError("must be two times such as 22:00-07:00")
        return cls(quarter_of(start), quarter_of(end))


NO_QUIET = Quiet(0, 0)


def quarter_of(text: str) -> int:
    """Return the quarter hour that begins at `22:15`; `ValueError`."""
    hours, colon, minutes = text.partition(":")
    known = colon and len(text) == 5 and minutes in ("00", "15", "30", "45")
    if not known or not (hours.isascii() and hours.isdigit() and int(hours) < 24):
        raise ValueError("must be a time of day in quarter hours, such as 22:00 or 06:45")
    return int(hours) * 4 + int(minutes) // 15


def _clock(quarter: int) -> str:
    return f"{quarter // 4:02}:{quarter % 4 * 15:02}"


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a reader chose; None is left to the newsroom.

    `daily_limit` is alerts a day, `UNLIMITED` or up to `MOST_A_DAY`. `paused_until` is in seconds
    since 1970, kept in whole hours, 0 where nothing is paused.
    """

    quiet: Quiet | None = None
    daily_limit: int | None = None
    allow_breaking: bool = False
    paused_until: int = 0
    receipts: bool = True
    confirmed: bool = True

    def pack(self) -> bytes:
        """Return the five bytes kept in a record; a pause is rounded up to its hour.

        Begin and end of quiet hours take seven bits each, the limit four, flags six, a pause 16.
        """
        start, end = (_UNSAID, _UNSAID) if self.quiet is None else self.quiet
        limit = _NO_LIMIT_SAID if self.daily_limit is None else self.daily_limit
        flags = self.allow_breaking * _ALLOW_BREAKING
        flags |= (not self.receipts) * _NO_RECEIPTS
        flags |= (not self.confirmed) * _UNCONFIRMED
        paused = 0
        if self.paused_until:
            paused = min(max(-(-self.paused_until // _HOUR) - _PAUSES_FROM, 0), MOST_PAUSED)
        return _packed(start, end, limit, flags, paused)

    @classmethod
    @lru_cache(maxsize=4096)
    def unpack(cls, data: bytes) -> Preferences:
        """Read what `pack` wrote: for most readers the same five bytes."""
        bits = int.from_bytes(data, "big")
        start, end, limit = bits >> 33, bits >> 26 & 127, bits >> 22 & 15
        flags, paused = bits >> 16 & 63, bits & MOST_PAUSED
        return cls(
            quiet=None if start == _UNSAID else Quiet(start, end),
            daily_limit=None if limit == _NO_LIMIT_SAID else limit,
            allow_breaking=bool(flags & _ALLOW_BREAKING),
            paused_until=(paused + _PAUSES_FROM) * _HOUR if paused else 0,
            receipts=not flags & _NO_RECEIPTS,
            confirmed=not flags & _UNCONFIRMED,
        )


def _packed(start: int, end: int, limit: int, flags: int, paused: int) -> bytes:
    return (start << 33 | end << 26 | limit << 22 | flags << 16 | paused).to_bytes(5, "big")


def of_six_bytes(data: bytes) -> bytes:
    """Pack a `Choice` anew that records of version 2 have; what was left unsaid was 255 there."""
    start, end, limit, flags, paused = struct.unpack(">BBBBH", data)
    unsaid = min(start, _UNSAID), min(end, _UNSAID), min(limit, _NO_LIMIT_SAID)
    return _packed(*unsaid, flags, paused)


@dataclass(frozen=True, slots=True)
class NewsroomDefaults:
    """The newsroom's defaults for what readers leave to it."""

    quiet: Quiet
    daily_limit: int

    def quiet_of(self, preferences: Preferences) -> Quiet:
        """Return a reader's quiet hours."""
        return self.quiet if preferences.quiet is None else preferences.quiet

    def limit_of(self, preferences: Preferences) -> int:
        """Return how many alerts a day a reader wants at most, or `UNLIMITED`."""
        return self.daily_limit if preferences.daily_limit is None else preferences.daily_limit


class Hours(NamedTuple):
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
def hours(zone: str, quiet: Quiet, quarter: int) -> Hours:
    """Return what holds in the quarter hour `quarter`, counted from 1970, for a reader in `zone`.

    It is looked up quarter hour by quarter hour, so that a change of clocks in between is right.
    """
    if quiet.start == quiet.end:
        return Hours(0, 0)
    states = [quiet.covers(_quarter_there(zone, quarter + n)) for n in range(2 * _LONGEST_DAY)]
    until = states.index(False) if states[0] else 0
    after = states.index(True, until)
    return Hours(until and (quarter + until) * QUARTER, (quarter + after) * QUARTER)


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
