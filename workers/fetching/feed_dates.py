"""Reads the dates of feeds, beside what feedparser reads by itself.

feedparser reads the beginning of a date that it does not know, and so a wrong one.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from time import struct_time
from typing import Any, Final

import feedparser

_LONGEST: Final = 50  # characters
_LATEST: Final = 4102444800.0  # 2100
_EARLIEST: Final = 631152000.0  # 1990; an earlier date is a program's way to say that it has none
# Of the names of time zones that RFC 822 does not know, those that mean one of them.
_ZONES: Final = {
    "wet": "+0000", "west": "+0100", "bst": "+0100", "cet": "+0100", "cest": "+0200",
    "mez": "+0100", "mesz": "+0200", "eet": "+0200", "eest": "+0300", "msk": "+0300",
    "jst": "+0900", "kst": "+0900", "hkt": "+0800", "sgt": "+0800", "awst": "+0800",
    "aest": "+1000", "aedt": "+1100", "nzst": "+1200", "nzdt": "+1300", "brt": "-0300",
    "sast": "+0200", "akst": "-0900", "akdt": "-0800", "hst": "-1000", "nst": "-0330",
}  # fmt: skip
# `2026/11/29`, `2026.11.29` and `20261129T120000`.
_DAY: Final = re.compile(r"\A(\d{4})[/.]?(\d\d)[/.]?(\d\d)(?!\d)")
_TIME: Final = re.compile(r"[T ](\d\d)(\d\d)(\d\d)(?!\d)")
_BEFORE_SHORT_HOUR: Final = re.compile(r"\A(\d{4}-\d\d-\d\d[T ])(?=\d:)")
_HALF_DAY: Final = re.compile(r"\b(\d\d?)(:\d\d(?::\d\d)?)\s?([ap])\.?m\b\.?", re.IGNORECASE)
_FROM_UTC: Final = re.compile(r"\b(?:GMT|UTC)([+-])(\d\d?)(?::?(\d\d))?\Z")
_NAMED: Final = re.compile(rf"\(?\b({'|'.join(_ZONES)})\b\)?(?=(?: \d{{4}})?\Z)", re.IGNORECASE)


def moment(text: str) -> struct_time | None:
    """Read a date of RFC 3339; None if it is none."""
    usual = re.sub(r"[.,]\d{1,12}", "", text.strip().upper()[:_LONGEST])
    usual = re.sub(r" ?([+-]\d\d):?(\d\d)$", r"\1:\2", usual.replace("Z", "+00:00"))
    try:
        made = datetime.fromisoformat(usual)
        return (made if made.tzinfo else made.replace(tzinfo=timezone.utc)).utctimetuple()
    except (ValueError, OverflowError):
        return None


def date_of(entry: dict[str, Any], name: str) -> float | None:
    """Return a date of an entry in seconds since 1970. Without a zone, it is of UTC."""
    # Not `entry.get`, because feedparser gives another date for one that is missing, and warns.
    found = dict.get(entry, f"{name}_parsed")
    if found is None:
        return None
    try:
        seconds = float(calendar.timegm(found))
    except (ValueError, OverflowError):  # of `0000-00-00`, as MySQL writes no date
        return None
    if _is_day(str(dict.get(entry, name))):
        seconds += 86399
    return seconds if _EARLIEST <= seconds < _LATEST else None


def _is_day(text: str) -> bool:
    """Whether a date has no time, or midnight, as programs write a day. It is over at its end."""
    times = re.findall(r"\d\d?:\d\d(?::\d\d)?|T\d{4,6}", text)
    return not times or re.fullmatch(r"[0:T]+", times[0]) is not None


def _in_another_spelling(date: str) -> struct_time | None:
    """Read a date that is not spelled as others are; None for one that is."""
    date = date.strip()[:_LONGEST]
    usual = _TIME.sub(r"T\1:\2:\3", _DAY.sub(r"\1-\2-\3", date))
    usual = _HALF_DAY.sub(lambda at: f"{int(at[1]) % 12 + 12 * (at[3] in 'pP')}{at[2]}", usual)
    usual = _BEFORE_SHORT_HOUR.sub(r"\g<1>0", usual)
    usual = _FROM_UTC.sub(lambda zone: f"{zone[1]}{zone[2]:0>2}{zone[3] or '00'}", usual)
    usual = _NAMED.sub(lambda zone: _ZONES[zone[1].lower()], usual)
    if usual == date:
        return None
    return moment(usual) or parsedate_to_datetime(usual).utctimetuple()


feedparser.registerDateHandler(_in_another_spelling)
