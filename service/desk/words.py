"""The words of the desk: outcomes, forecasts, audiences, numbers and times in plain speech."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from service.domain.forecast import Forecast
from service.domain.push_services import Limit
from service.domain.receipts import Estimate
from service.model.notifications import LIMIT, OVER, PAUSED, QUIET, Audience, Outcome, Topic

_SERVICES = {"google": "Google", "apple": "Apple", "mozilla": "Mozilla", "microsoft": "Microsoft"}
OUTCOMES = {
    Outcome.ACCEPTED: "handed to {service}",
    Outcome.REFUSED: "rejected by {service}",
    Outcome.GONE: "no longer subscribed",
    Outcome.EXPIRED: "ran out of time",
    Outcome.SKIPPED: "{why}",
    Outcome.CANCELLED: "cancelled",
}


_WHY_SKIPPED = {
    QUIET: "held until their quiet hours end",
    LIMIT: "had as many today as they want",
    PAUSED: "paused by the reader",
    OVER: "what was held for them is over",
}


def limit_words(limit: Limit) -> str:
    """Say why a push service keeps readers waiting, and for how long if that is known."""
    name = service_name(limit.service)
    name = name[0].upper() + name[1:]
    wait = "1 browser waits" if limit.waiting == 1 else f"{limit.waiting:,} browsers wait"
    if limit.per_minute and limit.last_reader_at:
        said = (
            f"{name} takes {limit.per_minute:,} a minute from us at present. {wait}; the last one"
            f" has it about {_clock(limit.last_reader_at)}."
        )
        late = f" For {limit.will_expire:,} of them that is too late." if limit.will_expire else ""
        return said + late
    if limit.why == "credentials":
        return (
            f"{name} does not accept our signature (VAPID): whoever runs Stop Press has to look."
            f" {wait}, and nobody is lost."
        )
    does = {"no answer": "does not answer", "429": "asks us to wait"}.get(limit.why)
    again = f"at {_clock(limit.resting_until)}" if limit.resting_until else "now"
    return f"{name} {does or f'answers {limit.why}'}: it is tried again {again}. {wait}."


def forecast_words(forecast: Forecast) -> str:
    """Say when readers would have an alert: exactly of a few, `About 30 %` of many."""
    ahead, asked = forecast, forecast.asked
    away = ahead.paused + ahead.full
    at_once = asked - ahead.held - away - ahead.late
    if at_once == asked:
        return "All as soon as it is sent" if ahead.exact else "As good as all once it is sent"
    said = [
        (at_once, "as soon as it is sent"),
        (ahead.held, "when their quiet hours end"),
        (away, "not at all: they paused, or had as many today as they want"),
        (ahead.late, "not at all: that time is over by their clocks"),
    ]
    shares = [(_share(n, asked, exact=ahead.exact), words) for n, words in said if n]
    text = "; ".join(f"{share} {words}" for share, words in shares)
    drawn = "" if ahead.exact else f" (from {asked:,} of them, drawn at random)"
    return text[0].upper() + text[1:] + drawn


def _share(n: int, of: int, *, exact: bool) -> str:
    if exact:
        return f"{n:,}"
    percent = 100 * n / of
    if percent < 1:
        return "less than 1 %"
    return "nearly all" if percent > 99 else f"about {round(percent)} %"


def outcome_words(outcome: Outcome, service: str) -> str:
    """Say what became of a browser; `service` as endpoints.py names it, or why it was skipped."""
    why = _WHY_SKIPPED.get(service, "quiet hours or limit")
    return OUTCOMES[outcome].format(service=service_name(service), why=why)


def service_name(service: str) -> str:
    """Say whose push service it is; `service` is its name in endpoints.py."""
    return _SERVICES.get(service, "another push service")


def estimate_words(estimate: Estimate) -> str:
    """Say a number no more exactly than it is known: `about 812,000 (± 7,000)`."""
    browsers, error = estimate
    if error < 0.5:
        return f"{browsers:,}"
    unit = 10 ** max(0, math.floor(math.log10(error)))
    return f"about {round(browsers / unit) * unit:,} (± {math.ceil(error / unit) * unit:,})"


def describe(audience: Audience, topics: dict[str, Topic]) -> str:
    """Say whom an audience means, in the names of the topics as they are now."""
    if audience.subscription is not None:
        return "one browser, as a test"
    if audience.waking is not None:
        return "those whose quiet hours have ended: what was held for them"
    names = [topics[slug].name if slug in topics else slug for slug in audience.topics]
    said = "everyone" if audience.everyone else " or ".join(names)
    if audience.exclude:
        without = [topics[slug].name if slug in topics else slug for slug in audience.exclude]
        said += f", but not {' or '.join(without)}"
    if audience.locales:
        said += f", reading {' or '.join(audience.locales)}"
    if audience.story and said == "everyone":
        said += f" but who muted the story {audience.story}"
    elif audience.story:
        said += f", and whoever follows the story {audience.story}"
    return said


def _datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _number(value: int) -> str:
    return f"{value:,}"


def _iso(seconds: float) -> str:
    return f"{_datetime(seconds):%Y-%m-%dT%H:%M:%SZ}"


def _utc(seconds: float) -> str:
    return f"{_datetime(seconds):%-d %b %Y, %H:%M} UTC"


def _clock(seconds: float) -> str:
    return f"{_datetime(seconds):%H:%M} UTC"


def _wall(seconds: float, zone: str) -> str:
    """Say what the clocks of a zone show then; the editor's own, or UTC, which is said."""
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    return f"{moment:%a %-d %b, %H:%M}{' UTC' if zone == 'UTC' else ''}"


def _clock_time(wall: str) -> str:
    """Say a time that every reader's clock is to show (ISO 8601): `07:00 on 29 Mar 2026`."""
    return f"{datetime.fromisoformat(wall):%H:%M on %-d %b %Y}"


def _ahead(seconds: float) -> str:
    """Say how long it is until then, by the minute: `in 2 h 13 min`."""
    if seconds < 60:
        return "in less than a minute" if seconds > 0 else "any moment now"
    days, rest = divmod(round(seconds / 60), 1440)
    hours, minutes = divmod(rest, 60)
    spans = ((days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min"))
    return "in " + " ".join([f"{n} {unit}" for n, unit in spans if n][:2])


def _brief(seconds: float) -> str:
    """Say how long something took, `0.4 s` or `2 min 5 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"


def _duration(seconds: int) -> str:
    """Say a span in the largest unit that it is a whole number of."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}{'' if seconds == length else 's'}"
    return f"{seconds} seconds"


FILTERS: dict[str, Callable[..., str]] = {
    "number": _number,
    "iso": _iso,
    "utc": _utc,
    "wall": _wall,
    "clock_time": _clock_time,
    "ahead": _ahead,
    "brief": _brief,
    "duration": _duration,
    "limit": limit_words,
    "forecast": forecast_words,
    "estimate": estimate_words,
}
