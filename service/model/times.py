"""Times as publishers write them: RFC 3339, or a wall clock's time with its zone (RFC 9557)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from service.model.notifications import SendAt

# The parts are read here, because datetime.fromisoformat takes other forms in each Python.
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?P<offset>[Zz]|[+-]\d\d:[0-5]\d)?(\[!?(?P<zone>[\w/+-]+)\])?",
    re.ASCII,
)
_NO_SUCH_TIME = "is a day or a time that does not exist"
_FIRST_CLOCK = 14 * 3600  # seconds by which the first clock on Earth is ahead of UTC


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(text: str) -> str:
    """Return the name of a time zone (IANA); `ValueError` for any other text."""
    if text not in _zones():
        raise ValueError("must be the name of a time zone such as Europe/Riga")
    return text


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
