"""Times as publishers write them: RFC 3339, or a wall clock's time with its zone (RFC 9557)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from service.model.notifications import ROUND_THE_WORLD, SendAt

# The parts are read here, because datetime.fromisoformat takes other forms in each Python.
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?P<offset>[Zz]|[+-]\d\d:[0-5]\d)?(\[!?(?P<zone>[\w/+-]+)\])?",
    re.ASCII,
)
# The same as a regular expression of ECMA-262, for the API's description.
PATTERN = f"^{re.sub(r'[?]P<[a-z]+>', '', _TIME.pattern)}$"
_NO_SUCH_TIME = "is a day or a time that does not exist"
_FIRST_CLOCK = 14 * 3600  # seconds by which the first clock on Earth is ahead of UTC


# What a browser calls its zone where it knows no name: `+05:30`, in some `GMT+5:30`.
_OFFSET_ZONE = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(00|15|30|45))?", re.ASCII | re.I)
_FARTHEST_OFFSETS = -12 * 60, 14 * 60  # minutes


@cache
def _zones() -> dict[str, str]:
    """Return every zone's name by itself in lower case."""
    # Two names say nothing of where a clock is, though hosts have files for them.
    return {name.lower(): name for name in available_timezones() - {"Factory", "localtime"}}


def zone(text: str) -> str:
    """Return the name of a time zone (IANA); `ValueError` for any other text."""
    if _zones().get(text.lower()) != text:
        raise ValueError("must be the name of a time zone such as Europe/Riga")
    return text


def browser_zone(text: str) -> str:
    """Return the zone that a browser means: a name, or an offset such as `+05:30`; else empty."""
    text = text.strip()
    if known := _zones().get(text.lower()):
        return known
    found = _OFFSET_ZONE.fullmatch(text)
    if found is None:
        return ""
    minutes = int(f"{found[1]}1") * (int(found[2]) * 60 + int(found[3] or 0))
    if not _FARTHEST_OFFSETS[0] <= minutes <= _FARTHEST_OFFSETS[1]:
        return ""
    return f"{found[1]}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "UTC"


def is_wall(text: str) -> bool:
    """Whether a text is a time with neither offset nor zone."""
    found = _TIME.fullmatch(text)
    return found is not None and not (found["offset"] or found["zone"])


def read_wall(text: str) -> SendAt:
    """Read a time that each reader's clock is to show, without offset or zone; `ValueError`."""
    found = _TIME.fullmatch(text)
    if found is None or found["offset"] or found["zone"]:
        raise ValueError("must be a time without offset or zone, such as 2026-03-29T07:00")
    try:
        wall = _wall(found)
        first = wall.replace(tzinfo=timezone.utc).timestamp() - _FIRST_CLOCK
    except (ValueError, OverflowError):
        raise ValueError(_NO_SUCH_TIME) from None
    return SendAt(first, wall=wall.isoformat())


def next_for_all(wall: str, now: float) -> str:
    """Return this time on the first day on which no clock on Earth has passed it."""
    while read_wall(wall).at < now:
        wall = (datetime.fromisoformat(wall) + timedelta(days=1)).isoformat()
    return wall


def last_clock(wall: str) -> float:
    """Return when the last clock on Earth shows this time, in seconds since 1970 UTC."""
    return read_wall(wall).at + ROUND_THE_WORLD


def read(text: str) -> SendAt:
    """Read a time with an offset, a zone, or both; `ValueError`.

    A wall clock's time that does not exist moves forward. Of one that comes twice the first counts,
    unless the offset says which (datetime does so while `fold` is 0: PEP 495).
    """
    found = _TIME.fullmatch(text)
    if found is None or not (found["offset"] or found["zone"]):
        raise ValueError(
            "must be a time such as 2026-03-29T18:00:00+02:00 or 2026-03-29T18:00[Europe/Berlin]"
        )
    name = zone(found["zone"]) if found["zone"] else ""
    try:
        wall = _wall(found)
        exact = wall.replace(tzinfo=_offset(found["offset"]) if found["offset"] else ZoneInfo(name))
        shown = exact.astimezone(ZoneInfo(name)).replace(tzinfo=None) if name else wall
        at = exact.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(_NO_SUCH_TIME) from None
    # Z says nothing of what clocks show there (RFC 9557 section 2.2).
    if found["offset"] and found["offset"] not in "Zz" and shown != wall:
        raise ValueError("has an offset that is not the one of its zone at that time")
    return SendAt(at, name)


def _wall(found: re.Match[str]) -> datetime:
    """Return what a clock shows; nanoseconds are dropped."""
    year, month, day, hour, minute, second, fraction = found.groups()[:7]
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    whole = int(year), int(month), int(day), int(hour), int(minute), int(second or 0)
    return datetime(*whole, microsecond)


def _offset(text: str) -> timezone:
    if text in "Zz":
        return timezone.utc
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[4:])))


def iso(seconds: float) -> str:
    """Return a time in UTC, to the millisecond (RFC 3339); `seconds` since 1970."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def write(send_at: SendAt) -> str:
    """Return a time as `read`, or `read_wall`, takes it."""
    if send_at.wall:
        return send_at.wall
    moment = datetime.fromtimestamp(send_at.at, timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat()}Z{f'[{send_at.zone}]' if send_at.zone else ''}"
