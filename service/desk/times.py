"""Times in words, in the one way in which all pages write them.

`14:02` is a time of today; else it is `Sat 28 Nov, 14:02`, with the year if that is another one. A
page gives it in UTC, and `desk.js` rewrites it for the editor's own time zone.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from functools import lru_cache

from babel import Locale
from babel.dates import format_datetime
from flask import request
from markupsafe import Markup

from service.model.time import clock, times
from service.model.time.clocks import moment, zone_of

_ENGLISH = Locale("en")
_REMEMBERED = 4096  # Babel takes some 17 µs for each, and the list shows 200, mostly the same


def time_words(seconds: float, zone: str = "UTC") -> str:
    """Return a time in a zone; UTC, which may not be the editor's own, is named."""
    return _in_words(seconds, zone, datetime.fromtimestamp(clock.time(), zone_of(zone)).date())


def when(seconds: float, zone: str) -> str:
    """Return the same with the word before it: `at 14:02`, `on Sat 28 Nov, 14:02`."""
    words = time_words(seconds, zone)
    return f"{'at' if words[0].isdigit() else 'on'} {words}"


@lru_cache(maxsize=_REMEMBERED)
def _in_words(seconds: float, zone: str, today: date) -> str:
    at = datetime.fromtimestamp(seconds, zone_of(zone))
    words = f"{at:%H:%M}" if at.date() == today else _of_day(at, today.year)
    return f"{words} UTC" if zone == "UTC" else words


def _of_day(at: datetime, this_year: int) -> str:
    year = "" if at.year == this_year else " y"
    return format_datetime(at, f"EEE d MMM{year}, HH:mm", tzinfo=at.tzinfo, locale=_ENGLISH)


@lru_cache(maxsize=_REMEMBERED)
def iso(seconds: float, zone: str = "UTC") -> str:
    """Return a time as programs read it (ISO 8601), with the offset of its zone."""
    at = datetime.fromtimestamp(int(seconds), zone_of(zone))
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if zone == "UTC" else at.isoformat()


def time_element(seconds: float) -> Markup:
    """Return a time as an element of a page."""
    return Markup('<time class="figures" datetime="{}">{}</time>').format(
        iso(seconds), time_words(seconds)
    )


def time_with_word(seconds: float) -> Markup:
    """Return the same with the word before it, which `desk.js` rewrites too."""
    return Markup('<time class="figures" datetime="{}" data-word>{}</time>').format(
        iso(seconds), when(seconds, "UTC")
    )


def seconds_of(text: str) -> float:
    """Return the seconds since 1970 of a time in UTC as the API writes it."""
    return datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc).timestamp()


def wall_time(wall: str) -> str:
    """Return a time without a zone (ISO 8601), which each reader's own clock shows."""
    return _of_day(datetime.fromisoformat(wall), date.fromtimestamp(clock.time()).year)


def asked_zone() -> str:
    """Return the time zone that the page's address names; UTC if none that is known here."""
    return times.browser_zone(request.args.get("zone", "")[:100]) or "UTC"


def asked_days(since: str, until: str) -> dict[str, float]:
    """Return when the first of these days begins and the last one ends, in the zone asked for.

    What names no day is left out.
    """
    limits = {"since": _midnight(since), "until": _midnight(until, 1)}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _midnight(day: str, later: int = 0) -> float | None:
    """Return when the day begins that is so many days later."""
    try:
        begins = datetime.strptime(day, "%Y-%m-%d") + timedelta(later)
        return moment(asked_zone(), begins.isoformat())
    except (ValueError, OverflowError):
        return None
