"""What readers choose about when to be alerted, and the newsroom's defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import NamedTuple

_DAY = 96  # quarter hours
_HOUR = 3600  # seconds
# A pause is kept as the hours from here to its end, in 16 bits: until June 2033.
_PAUSES_FROM = int(datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()) // _HOUR
_LONGEST_PAUSE = (1 << 16) - 1
MOST_A_DAY = 14  # alerts; a limit takes four bits, and 15 stands for no choice
UNLIMITED = 0
# No choice: the newsroom's default applies.
_NO_TIME_CHOSEN, _NO_LIMIT_CHOSEN = 127, 15
_ALLOW_BREAKING, _NO_RECEIPTS, _UNCONFIRMED = 1, 2, 4


class Quiet(NamedTuple):
    """Quiet hours by the reader's own clock, in quarter hours; none if both are the same."""

    start: int
    end: int

    def covers(self, quarter: int) -> bool:
        """Whether this quarter hour of a day is quiet."""
        return (quarter - self.start) % _DAY < (self.end - self.start) % _DAY

    def __str__(self) -> str:
        return f"{_clock(self.start)}-{_clock(self.end)}"

    @classmethod
    def parse(cls, text: str) -> Quiet:
        """Read `22:00-07:00`; an empty text means none; `ValueError`."""
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
    """What a reader chose; None: the newsroom's default applies."""

    quiet: Quiet | None = None
    daily_limit: int | None = None  # alerts a day, up to `MOST_A_DAY`, or `UNLIMITED`
    allow_breaking: bool = False  # breaking news may come in quiet hours
    paused_until: int = 0  # seconds since 1970, in whole hours; 0: not paused
    receipts: bool = True  # the browser may report what it shows
    confirmed: bool = True  # False: nothing but tests and the welcome is sent

    def pack(self) -> bytes:
        """Return the five bytes kept in a record; the end of a pause is rounded up to an hour.

        Begin and end of quiet hours take seven bits each, the limit four, flags six, a pause 16.
        """
        start, end = (_NO_TIME_CHOSEN, _NO_TIME_CHOSEN) if self.quiet is None else self.quiet
        limit = _NO_LIMIT_CHOSEN if self.daily_limit is None else self.daily_limit
        flags = self.allow_breaking * _ALLOW_BREAKING
        flags |= (not self.receipts) * _NO_RECEIPTS
        flags |= (not self.confirmed) * _UNCONFIRMED
        paused = 0
        if self.paused_until:
            paused = min(max(-(-self.paused_until // _HOUR) - _PAUSES_FROM, 0), _LONGEST_PAUSE)
        bits = start << 33 | end << 26 | limit << 22 | flags << 16 | paused
        return bits.to_bytes(5, "big")

    @classmethod
    @lru_cache(maxsize=4096)
    def unpack(cls, data: bytes) -> Preferences:
        """Read what `pack` wrote; cached, since most readers have the same five bytes."""
        bits = int.from_bytes(data, "big")
        start, end, limit = bits >> 33, bits >> 26 & 127, bits >> 22 & 15
        flags, paused = bits >> 16 & 63, bits & _LONGEST_PAUSE
        return cls(
            quiet=None if start == _NO_TIME_CHOSEN else Quiet(start, end),
            daily_limit=None if limit == _NO_LIMIT_CHOSEN else limit,
            allow_breaking=bool(flags & _ALLOW_BREAKING),
            paused_until=(paused + _PAUSES_FROM) * _HOUR if paused else 0,
            receipts=not flags & _NO_RECEIPTS,
            confirmed=not flags & _UNCONFIRMED,
        )


@dataclass(frozen=True, slots=True)
class NewsroomDefaults:
    """What applies to readers who made no choice."""

    quiet: Quiet
    daily_limit: int

    def quiet_of(self, preferences: Preferences) -> Quiet:
        """Return the quiet hours that apply to a reader."""
        return self.quiet if preferences.quiet is None else preferences.quiet

    def limit_of(self, preferences: Preferences) -> int:
        """Return the daily limit that applies to a reader, or `UNLIMITED`."""
        return self.daily_limit if preferences.daily_limit is None else preferences.daily_limit
