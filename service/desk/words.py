"""The words of the desk: outcomes, audiences, forecasts, numbers and times in English."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_decimal

from service.desk.times import (
    iso,
    seconds_of,
    time_element,
    time_with_word,
    time_words,
    wall_time,
    when,
)
from service.domain.alerts.forecast import Forecast
from service.domain.sending.receipts import Estimate
from service.model.alert_log import COMMAND_LINE, LogEntry
from service.model.language.graphemes import cut
from service.model.notifications import (
    LIMIT,
    OVER,
    PAUSED,
    QUIET,
    Audience,
    Outcome,
    SendAt,
    Topic,
)
from service.model.time.occurrences import wall_of
from service.model.time.repeats import each_day
from service.model.time.spans import span
from service.model.time.times import last_clock, next_for_all
from service.model.two_texts import Tried

_ENGLISH = Locale("en")
# Babel takes some 17 µs for a number or a time, and the list shows 200, mostly the same as before.
_REMEMBERED = 4096

SERVICES = {"google": "Google", "apple": "Apple", "mozilla": "Mozilla", "microsoft": "Microsoft"}
_BROWSERS = {
    **{"google": "Chrome and most others", "apple": "Safari", "mozilla": "Firefox"},
    "microsoft": "Edge",
}
OUTCOMES = {
    Outcome.ACCEPTED: "handed to {service}",
    Outcome.REFUSED: "rejected by {service}",
    Outcome.GONE: "no longer subscribed",
    Outcome.EXPIRED: "ran out of time",
    Outcome.SKIPPED: "{why}",
    Outcome.CANCELLED: "cancelled",
}
# What the log says of each action, after who it was.
LOGGED = {
    "written": "wrote a draft",
    "scheduled": "scheduled it",
    "sent": "sent it",
    "taken back": "took it back",
    "changed": "changed it",
    "deleted": "deleted it",
    "started": "began to send it",
    "missed": "made a draft of it, because its time had passed",
    "outdated": "made a draft of it, because its audience was no longer known",
    "paused": "paused it",
    "resumed": "went on sending it",
    "corrected": "corrected it",
    "cancelled": "cancelled it",
    "stopped": "stopped everything",
    "released": "released everything",
    "asked": "asked for a second person to send it",
    "approved": "approved it as the second person",
    "sent back": "sent it back",
    "chosen": "chose the text for all others",
    "skipped": "skipped it, since nothing was new",
    "overtaken": "made a draft of it, because the alert was corrected meanwhile",
    "handed in": "handed it in",
    "imported": "imported them",
    "refused": "was refused five times: the password or the code was wrong",
}
# What follows the word of a role, and of a scope of an API token.
_ROLES = {
    "writes": "drafts, which another editor sends",
    "sends": "alerts too, and corrects and stops them",
    "manages": "people, API tokens, webhooks, topics and settings too",
}
_SCOPES = {
    "send": "publish, change and stop alerts",
    "read": "lists, progress and figures for monitors",
    "topics": "make, change and delete topics",
    "webhooks": "say which programs hear of alerts, at which address",
}
_CHANGED = {
    **{"title": "title", "body": "text", "url": "link", "audience": "audience", "spread": "spread"},
    **{"time": "time", "icon": "icon", "badge": "badge", "image": "picture", "actions": "buttons"},
    **{"second text": "second text", "repetition": "how it repeats"},
    **{"kind": "kind", "urgency": "urgency", "ttl": "how long it is good for", "lang": "language"},
}
_WHY_SKIPPED = {
    QUIET: "held until their quiet hours end",
    LIMIT: "daily limit reached",
    PAUSED: "paused by the reader",
    OVER: "out of date for the reader by then",
}

# Outcomes, audiences and forecasts ----------------------------------------------------------------


def service_name(service: str) -> str:
    """Return the company behind a push service; `service` is its name in endpoints.py."""
    return SERVICES.get(service, "another push service")


def service_and_browsers(service: str) -> str:
    """Return the company behind a push service, and the browsers that use it."""
    browsers = _BROWSERS.get(service)
    return f"{service_name(service)} ({browsers})" if browsers else capital(service_name(service))


def outcome_words(outcome: Outcome, service: str) -> str:
    """Say how it ended for a browser; `service` is that of endpoints.py, or why it was skipped."""
    why = _WHY_SKIPPED.get(service, "quiet hours or limit")
    return OUTCOMES[outcome].format(service=service_name(service), why=why)


def logged_by(entry: LogEntry) -> str:
    """Say who did something with an alert."""
    if not entry.by:
        return "Stop Press"
    is_token = entry.tool and not entry.by.startswith(COMMAND_LINE)
    return f"{entry.by} (API token)" if is_token else entry.by


def logged_changes(entry: LogEntry) -> str:
    """Say what was changed: texts with the old and the new one, others by name; may be empty."""
    texts = [f"{_CHANGED[name]} “{old}” → “{new}”" for name, (old, new) in entry.texts.items()]
    return ", ".join([*texts, *(_CHANGED.get(name, name) for name in entry.others)])


def describe(
    audience: Audience, topics: dict[str, Topic], titles: Mapping[int, str] | None = None
) -> str:
    """Describe an audience, with the current names of its topics, and these titles of alerts."""
    if audience.subscription is not None:
        return "one browser, as a test"
    if audience.waking is not None:
        return "readers whose quiet hours have ended"

    words = "everyone" if audience.everyone else topic_names(audience.topics, topics)
    if audience.all_topics:
        followers = f"followers of {each_of(audience.all_topics, topics)}"
        words = followers if audience.everyone else f"{words}, only {followers}"
    if audience.exclude:
        words += f", except followers of {topic_names(audience.exclude, topics)}"
    if audience.locales:
        words += f", only readers of {either(map(language_name, audience.locales))}"
    if audience.story and words == "everyone":
        words += f", except readers who muted the story {audience.story}"
    elif audience.story:
        words += f", and followers of the story {audience.story}"
    return ", ".join([words, *_narrowing(audience, titles or {})])


def _narrowing(audience: Audience, titles: Mapping[int, str]) -> Iterator[str]:
    """Return the conditions that narrow the whole audience."""
    if audience.followers_of:
        yield f"only followers of the story {audience.followers_of}"
    if audience.last_seen_until:
        yield "only readers who have not visited for long"
    if days := audience.new_within_days:
        yield f"only readers who subscribed in the last {plural_days(days)}"
    if audience.clicked:
        yield f"only readers who clicked {alert_names(audience.clicked, titles)}"
    if audience.not_reached_by:
        yield f"without readers who got {alert_names(audience.not_reached_by, titles)}"


def plural_days(n: int) -> str:
    """Return what follows `in the last`: `day` or `7 days`."""
    return plural(n, "day", f"{n} days")


def alert_names(ids: Iterable[int], titles: Mapping[int, str]) -> str:
    """Return alerts by their titles, as far as they are given: `“Ferry aground” or alert 12`."""
    return either(f"“{cut(titles[id], 40)}”" if id in titles else f"alert {id}" for id in ids)


def each_of(slugs: Sequence[str], topics: dict[str, Topic]) -> str:
    """Return `both World and Sport`."""
    names = [*dict.fromkeys(topics[slug].name if slug in topics else slug for slug in slugs)]
    how_many = {1: "", 2: "both "}.get(len(names), "all of ")
    return how_many + format_list(names, style="standard", locale=_ENGLISH)


def topic_names(slugs: Iterable[str], topics: dict[str, Topic]) -> str:
    """Return the current names of topics: `World or Sport`."""
    names = (topics[slug].name if slug in topics else slug for slug in slugs)
    return either(dict.fromkeys(names))  # two may be one topic by now


def either(names: Iterable[str]) -> str:
    """Return `ada, ben, or eve`."""
    return format_list([*names], style="or", locale=_ENGLISH)


def language_name(tag: str) -> str:
    """Return the name of a language in English; the tag itself if it has none."""
    try:
        return Locale.parse(tag, sep="-").get_display_name(_ENGLISH) or tag
    except (ValueError, UnknownLocaleError):
        return tag


def forecast_words(forecast: Forecast, when: str) -> str:
    """Say when readers would get an alert: exactly for a few, `about 30 %` for many."""
    sampled = forecast.sampled
    never = forecast.paused + forecast.full
    right_away = sampled - forecast.held - never - forecast.late
    if right_away == sampled:
        return f"{'' if forecast.exact else 'nearly '}all {when}"
    parts = [
        (right_away, when),
        (forecast.held, "when their quiet hours end"),
        (never, "not at all, because the reader paused alerts or reached the daily limit"),
        (forecast.late, "not at all, because that time has passed in their time zone"),
    ]
    text = "; ".join(f"{_share(n, forecast)} {words}" for n, words in parts if n)
    if forecast.exact:
        return text
    return f"{text} (estimated from {number(sampled)} browsers, chosen at random)"


def late_words(forecast: Forecast, wall: str, now: float) -> str:
    """Say who gets nothing because a local time has passed there; empty if that is nobody."""
    if not forecast.some_late:
        return ""
    chosen, better = datetime.fromisoformat(wall), datetime.fromisoformat(next_for_all(wall, now))
    exact_one = forecast.exact and forecast.late == 1
    browsers = "browser" if exact_one else "browsers" if forecast.exact else "of the browsers"
    return (
        f"{capital(_share(forecast.late, forecast))} {browsers} will not get it, because"
        f" {chosen:%H:%M} has passed in {'its' if exact_one else 'their'} time zone. Choose"
        f" {format_date(better, 'EEE d MMM', locale=_ENGLISH)}, and nobody is missed."
    )


def reach_words(forecast: Forecast, when: str = "right away") -> str:
    """Say the same in few words; nothing if all get it right away."""
    held_back = forecast.held + forecast.paused + forecast.full + forecast.late
    parts = [
        (forecast.sampled - held_back, when),
        (forecast.held, "when quiet hours end"),
        (forecast.full, "not at all (daily limit)"),
        (forecast.paused, "not at all (paused)"),
        (forecast.late, "not at all (too late in their time zone)"),
    ]
    return ", ".join(f"{_share(n, forecast)} {words}" for n, words in parts if n) * bool(held_back)


def _share(n: int, forecast: Forecast) -> str:
    if forecast.exact:
        return number(n)
    percent = 100 * n / forecast.sampled
    if percent < 1:
        return "less than 1 %"
    return "nearly all" if percent > 99 else f"about {round(percent)} %"


# Two texts ---------------------------------------------------------------------------------------


def _points(share: float) -> str:
    return format_decimal(round(100 * share, 2 if share < 0.01 else 1), locale=_ENGLISH)


def difference_words(tried: Sequence[Tried]) -> str:
    """Say by how much more often one of two texts was clicked: `Text B was clicked by …`."""
    a, b = tried
    more, less, name = (b, a, "B") if b.share > a.share else (a, b, "A")
    if more.share == less.share:
        return "Both were clicked equally often."
    points = _points(more.share - less.share)
    return f"Text {name} is ahead by {points} percentage {'point' if points == '1' else 'points'}."


def chance_words(chance: float) -> str:
    """Say how often chance alone makes a difference at least as large as that of two texts."""
    if chance >= 0.4:
        often = f"in {round(10 * chance)} of 10 such tests" if chance < 0.95 else "nearly always"
    elif chance < 0.001:
        often = "in fewer than 1 of 1,000 such tests"
    else:
        often = f"in 1 of {number(round(1 / chance))} such tests"
    return f"A difference this large comes by chance {often}"


# Numbers ------------------------------------------------------------------------------------------


@lru_cache(maxsize=_REMEMBERED)
def number(value: float) -> str:
    """Return `12,004`."""
    return format_decimal(value, locale=_ENGLISH)


def percent(share: float) -> str:
    """Return a share no more exactly than it is read: `0.43 %`, `2.1 %`, `84 %`."""
    value = 100 * share
    if 0 < value < 0.01:
        return "less than 0.01 %"
    places = 2 if value < 1 else 1 if value < 10 else 0
    return f"{number(round(value, places))} %"


def plural(n: int, one: str, other: str) -> str:
    """Return the word that goes with a number: `browser` or `browsers`."""
    return one if _ENGLISH.plural_form(n) == "one" else other


def capital(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]


def estimate_words(estimate: Estimate) -> str:
    """Return a number no more exactly than it is known: `about 812,000 (± 7,000)`."""
    browsers, error = estimate
    if error < 0.5:
        return number(browsers)
    unit = 10 ** max(0, math.floor(math.log10(error)))
    about, least = round(browsers / unit) * unit, math.ceil(error / unit) * unit
    return f"about {number(about)} (± {number(least)})"


def _about(estimate: Estimate) -> str:
    """Return the same in fewer words: `about 812,000`."""
    return estimate_words(estimate).partition(" (")[0]


# Times --------------------------------------------------------------------------------------------
def repeat_words(weekdays: Sequence[str], next_at: SendAt) -> str:
    """Say when an alert repeats: `each Friday at 17:00 in Riga, next on Friday 5 December`."""
    wall, zone = wall_of(next_at), next_at.zone
    city = zone.rpartition("/")[2].replace("_", " ")
    where = "in each reader’s own time zone" if next_at.wall else f"in {city}"
    where = zone if zone == "UTC" and not next_at.wall else where
    return f"{each_day(weekdays)} at {wall:%H:%M} {where}, next on {wall:%A %-d %B}"


def short_date(day: date) -> str:
    """Return `29 Mar`."""
    return format_date(day, "d MMM", locale=_ENGLISH)


def _ahead(seconds: float) -> str:
    """Say how long it is until then, to the minute: `in 2 hours 13 minutes`."""
    if seconds < 60:
        return "in less than a minute" if seconds > 0 else "any moment now"
    return f"in {span(60 * round(seconds / 60))}"


def _seconds_ahead(seconds: float) -> str:
    """Say how long it is until then, to the second: `in 4 seconds`."""
    return f"in {span(math.ceil(seconds))}" if seconds > 0 else "any moment now"


# How an alert looks on each system: the class of its preview, and the caption.
PREVIEWS = {
    "windows": "Chrome, Windows",
    "firefox": "Firefox",
    "android": "Chrome, Android",
    "iphone": "Safari, iPhone",
    "mac": "Safari, Mac",
}
# How much of a title each of them shows, in characters.
TITLE_SHOWN = {"windows": 90, "android": 40, "firefox": 90, "mac": 40, "iphone": 60}


# What the fields of the form are called, where that is not the name of the field.
FIELDS = {
    "url": "Link",
    "body": "Text",
    "audience": "Who gets it",
    "image": "Picture",
    "actions": "Buttons",
    "locales": "Readers’ languages",
    "new_within_days": "New readers",
    "ttl": "Good for",
    "lang": "Language",
    "send_at": "Time",
    "spread_minutes": "Spread over",
    "repeat": "Repeat",
    "second_text": "Two texts",
    "second_text.title": "Title B",
    "second_text.body": "Text of B",
    "audience_name": "Name of the audience",
    "reached": "Browsers that have it",
    "template_name": "Name of the template",
    "slug": "Short name",
    "site_name": "Name",
    "site_origins": "Sites",
    "site_icon": "Icon",
    "ask_question": "Question",
    "ask_yes": "Button that subscribes",
    "ask_later": "Button for later",
    "ask_page_views": "Ask on page view",
    "ask_seconds": "After so many seconds",
    "quiet_hours": "Quiet hours",
    "daily_limit": "Alerts a day at most",
}
# What is typed into forms, by the names of the fields.
TYPED = {
    **FIELDS,
    "title": "Title",
    "name": "Name",
    "description": "Description",
    "address": "Address",
    "topics": "Topics",
    "topic_by_category": "Topics by category",
    "word": "Word to the author",
    "email": "E-mail",
}


def _logged(entry: LogEntry) -> str:
    """Return what was done in words; an action of a newer release by its name."""
    if entry.action == "started" and entry.by:
        return "did not wait"  # but pressed "Send now"; else the clock begins
    return LOGGED.get(entry.action, entry.action)


def _is_svg(link: str) -> bool:
    return urlsplit(link).path.lower().endswith((".svg", ".svgz"))


FILTERS: dict[str, Callable[..., str | bool | float]] = {
    "number": number,
    "percent": percent,
    "short_date": short_date,
    "service": service_and_browsers,
    "plural": plural,
    "capital": capital,
    "cut": cut,
    "iso": iso,
    "time": time_element,
    "at_time": time_with_word,
    "seconds": seconds_of,
    "time_words": time_words,
    "when": when,
    "wall_time": wall_time,
    "each_day": each_day,
    "repeated": repeat_words,
    "last_clock": last_clock,
    "ahead": _ahead,
    "seconds_ahead": _seconds_ahead,
    "span": span,
    "language": language_name,
    "is_svg": _is_svg,
    "service_name": service_name,
    "role": _ROLES.__getitem__,
    "scope": _SCOPES.__getitem__,
    "logged": _logged,
    "logged_by": logged_by,
    "logged_changes": logged_changes,
    "forecast": forecast_words,
    "reach": reach_words,
    "late": late_words,
    "estimate": estimate_words,
    "about": _about,
}
