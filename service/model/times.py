"""Times as publishers write them: RFC 3339, or a wall clock's time with its zone (RFC 9557)."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from pydantic import TypeAdapter, ValidationError

from service.model.notifications import SendAt

_MOMENT = (
    r"(?P<wall>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)"
    r"(?P<offset>[Zz]|[+-]\d\d:\d\d)?(\[!?(?P<zone>[\w/+-]+)\])?"
)
_DATETIME = TypeAdapter(datetime)
_FIRST_CLOCK = 14 * 3600  # seconds by which the first clock on Earth is ahead of UTC


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(text: str) -> str:
    """Return the name of a time zone (IANA); `ValueError` for any other."""
    if text not in _zones():
        raise ValueError("must be the name of a time zone such as Europe/Riga")
    return text


def is_wall(text: str) -> bool:
    """Whether a time has neither offset nor zone."""
    said = re.fullmatch(_MOMENT, text, re.ASCII)
    return said is not None and not (said["offset"] or said["zone"])


def read_wall(text: str) -> SendAt:
    """Read a time that each reader's clock is to show, without offset or zone; `ValueError`."""
    if not is_wall(text):
        raise ValueError("must be a time without offset or zone, such as 2026-03-29T07:00")
    try:
        wall = _DATETIME.validate_python(text)
        first = wall.replace(tzinfo=timezone.utc).timestamp() - _FIRST_CLOCK
    except (ValidationError, OverflowError):
        raise ValueError("is a day or a time that does not exist") from None
    return SendAt(first, wall=wall.isoformat())


def read(text: str) -> SendAt:
    """Read a moment: with an offset, or with a zone instead or beside it; `ValueError`.

    A wall clock's time that does not exist moves forward; of one that comes twice the first is
    meant, unless its offset says which (datetime does so where `fold` is 0: PEP 495).
    """
    said = re.fullmatch(_MOMENT, text, re.ASCII)
    if said is None or not (said["offset"] or said["zone"]):
        raise ValueError(
            "must be a time such as 2026-03-29T18:00:00+02:00 or 2026-03-29T18:00[Europe/Berlin]"
        )
    name = zone(said["zone"]) if said["zone"] else ""
    try:
        wall = _DATETIME.validate_python(said["wall"])
        moment = wall.replace(tzinfo=ZoneInfo(name)) if name else wall
        if said["offset"]:
            exact = _DATETIME.validate_python(said["wall"] + said["offset"])
            there = exact.astimezone(moment.tzinfo) if name else exact
            # Z says nothing of what clocks show there (RFC 9557 section 2.2).
            if said["offset"] not in "Zz" and there.replace(tzinfo=None) != wall:
                raise ValueError("has an offset that is not the one of its zone at that time")
            moment = exact
        return SendAt(moment.timestamp(), name)
    except (ValidationError, OverflowError):
        raise ValueError("is a day or a time that does not exist") from None


def iso(seconds: float) -> str:
    """Return a moment in UTC, to the millisecond (RFC 3339)."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def write(send_at: SendAt) -> str:
    """Return a moment as `read`, or `read_wall`, takes it."""
    if send_at.wall:
        return send_at.wall
    moment = datetime.fromtimestamp(send_at.at, timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat()}Z{f'[{send_at.zone}]' if send_at.zone else ''}"
