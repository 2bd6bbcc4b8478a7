"""The overview: readers and alerts over weeks, as charts, tables and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timezone
from itertools import accumulate
from typing import NamedTuple

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.charts import DAY, Chart, Column, Line, columns, lines
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.tables import table
from service.desk.times import asked_zone
from service.desk.words import number, percent, plural, short_date
from service.domain.operations.daily_totals import (
    ENDED,
    EVERYONE,
    Clicks,
    Day,
    DayOfAlerts,
    counted_on,
    sum_of,
    today,
)
from service.domain.readers.questions import STEPS
from service.model.time.clocks import zone_of

PERIODS = {28: "4 weeks", 91: "3 months", 364: "a year"}  # by days
_LEAST_HAD = 7  # alerts in a day, up to which a row is shown
_MOST_IMPORTS = 5  # days with imports that are named
_WEEKS_FROM = 364  # days; shown by the week, so that a chart has room for them


class Part(NamedTuple):
    """A part of the page as a table."""

    names: Sequence[str]  # of its columns
    rows: Iterable[Sequence[object]]


@bp.get("/overview")
@allowed(ANY_EDITOR)
def overview() -> ResponseReturnValue:
    """Show how readers and alerts have developed."""
    period, zone = _period(), asked_zone()
    days = runtime().daily_totals.days(today(), period)
    shown = _grouped(days)
    alerts = sum_of(days).alerts
    return render_template(
        "desk/overview.html",
        period=period,
        periods=PERIODS,
        zone=zone,
        days=shown,
        by_week=period >= _WEEKS_FROM,
        whole=sum_of(days),
        readers=runtime().subscriptions.count(),
        imports=[day for day in days if day.imported][-_MOST_IMPORTS:],
        readers_chart=_readers_chart(shown),
        changes_chart=_changes_chart(shown),
        alerts_chart=_alerts_chart(shown),
        had=_had(alerts),
        had_chart=_had_chart(alerts),
        had_words=_had_words(alerts),
        had_last=len(alerts.had) - 1,  # so many alerts, or more
        counted_on=counted_on(today()),
        had_days=sum(1 for day in days if day.alerts.had),
        hours=_hours(alerts, zone, today()),
        minutes_past=_minutes_ahead(zone, today()) % 60,
        hours_chart=_hours_chart(_hours(alerts, zone, today())),
        topics=_topics(alerts),
        questions=(questions := _questions(period)),
        all_questions=[sum(column) for column in zip(*(row for _, row in questions), strict=True)],
    )


@bp.get("/overview/<part>.csv")
@allowed(ANY_EDITOR)
def export_overview(part: str) -> ResponseReturnValue:
    """Give out a part of the overview as a table, days by days."""
    if part not in _PARTS:
        abort(404)
    days = runtime().daily_totals.days(today(), _period())
    names, rows = _PARTS[part](days)
    return table(f"overview-{part}", names, rows)


def _readers_part(days: Sequence[Day]) -> Part:
    names = ("date", "readers", "joined", *ENDED, "unconfirmed", "imported")
    return Part(names, map(_readers_row, days))


def _alerts_part(days: Sequence[Day]) -> Part:
    rows = (
        (day.date.isoformat(), all.alerts, day.alerts.handed_over, all.may_report, all.clicked)
        for day in days
        for all in (day.alerts.all,)
    )
    return Part(("date", "alerts", "handed over", "may report clicks", "clicked"), rows)


def _day_part(days: Sequence[Day]) -> Part:
    counted = [day for day in days if day.alerts.had]
    names = [f"readers with {name}" for name in _names(sum_of(days).alerts)]
    return Part(("date", *names), ((day.date.isoformat(), *day.alerts.had) for day in counted))


def _hours_part(days: Sequence[Day]) -> Part:
    hours = _hours(sum_of(days).alerts, asked_zone(), today())
    return Part(("hour", *_CLICKS), ((name, *clicks) for name, clicks in hours))


def _topics_part(days: Sequence[Day]) -> Part:
    topics = _topics(sum_of(days).alerts)
    return Part(("topic", *_CLICKS), ((name, *clicks) for name, clicks in topics))


def _growth_part(days: Sequence[Day]) -> Part:
    return Part(("section", *STEPS), ((page, *n) for page, n in _questions(len(days))))


_CLICKS = ("alerts", "may report clicks", "clicked")
_PARTS: dict[str, Callable[[Sequence[Day]], Part]] = {
    "readers": _readers_part,
    "alerts": _alerts_part,
    "day": _day_part,
    "growth": _growth_part,
    "hours": _hours_part,
    "topics": _topics_part,
}


def _period() -> int:
    asked = request.args.get("days", "")
    return next((days for days in PERIODS if str(days) == asked), next(iter(PERIODS)))


def _grouped(days: Sequence[Day]) -> list[Day]:
    size = 7 if len(days) >= _WEEKS_FROM else 1
    return [sum_of(days[at : at + size]) for at in range(0, len(days), size)]


# Readers ------------------------------------------------------------------------------------------


def _readers_chart(days: Sequence[Day]) -> Chart | None:
    values = [day.readers for day in days]
    if len(values) - values.count(None) < 2:  # one makes no line
        return None
    return lines([short_date(day.date) for day in days], [Line(values)], from_zero=False)


def _changes_chart(days: Sequence[Day]) -> Chart | None:
    if not any(day.joined or sum(day.ended.values()) for day in days):
        return None
    return columns([_change(day) for day in days])


def _change(day: Day) -> Column:
    ended, joined = sum(day.ended.values()), day.joined or 0
    label = short_date(day.date)
    came = f" ({number(day.imported)} by an import)" if day.imported else ""
    words = f"{label}: {number(joined)} joined{came}, {number(ended)} ended"
    return Column(label, joined, ended, words)


def _readers_row(day: Day) -> tuple[object, ...]:
    ended = [day.ended.get(why, "") for why in ENDED]
    known = ("" if n is None else n for n in (day.readers, day.joined))
    return (day.date.isoformat(), *known, *ended, _or_empty(day.unconfirmed), day.imported)


def _or_empty(n: int | None) -> object:
    return "" if n is None else n


# Alerts -------------------------------------------------------------------------------------------


def _alerts_chart(days: Sequence[Day]) -> Chart | None:
    if not any(day.alerts.all.alerts for day in days):
        return None
    return columns([_alerts(day) for day in days])


def _alerts(day: Day) -> Column:
    n, label = day.alerts.all.alerts, short_date(day.date)
    return Column(label, n, words=f"{label}: {number(n)} {plural(n, 'alert', 'alerts')}")


def _names(alerts: DayOfAlerts) -> list[str]:
    """Return what each number of `had` stands for."""
    last = len(alerts.had) - 1
    return [f"{n} or more" if n == last else str(n) for n in range(len(alerts.had))]


def _had(alerts: DayOfAlerts) -> list[tuple[str, float]]:
    """Return which share of the days of all readers had so many alerts."""
    total = sum(alerts.had)
    if not sum(alerts.had[1:]):  # nobody got one
        return []
    last = max(_LEAST_HAD, *(n for n, count in enumerate(alerts.had) if count))
    return [(name, alerts.had[n] / total) for n, name in enumerate(_names(alerts)[: last + 1])]


def _had_chart(alerts: DayOfAlerts) -> Chart | None:
    rows = _had(alerts)
    given = [Column(name, share, words=f"{name}: {percent(share)}") for name, share in rows]
    return columns(given, percent) if rows else None


def _had_words(alerts: DayOfAlerts) -> tuple[int, int] | None:
    """Return how many alerts a reader had on half of the days, and on nine of ten, at most."""
    total = sum(alerts.had)
    if not sum(alerts.had[1:]):
        return None
    sums = [*accumulate(alerts.had)]
    half, most = (
        next(n for n, upto in enumerate(sums) if upto >= part * total) for part in (0.5, 0.9)
    )
    return half, most


# Clicks -------------------------------------------------------------------------------------------


def _hours(alerts: DayOfAlerts, zone: str, day: date) -> list[tuple[str, Clicks]]:
    """Return clicks by the hour in which the alerts began, on a clock in this zone."""
    ahead = _minutes_ahead(zone, day) // 60
    there = {(hour + ahead) % 24: clicks for hour, clicks in alerts.hours.items()}
    return [(f"{hour:02}:00", there.get(hour, Clicks())) for hour in range(24)]


def _minutes_ahead(zone: str, day: date) -> int:
    """Return by how many minutes clocks in this zone are ahead of UTC on this day."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)
    offset = noon.astimezone(zone_of(zone)).utcoffset()
    return round(offset.total_seconds() // 60) if offset else 0


def _hours_chart(hours: Sequence[tuple[str, Clicks]]) -> Chart | None:
    if not any(clicks.clicked for _, clicks in hours):
        return None
    given = [
        Column(name, clicks.rate or 0, words=f"{name}: {percent(clicks.rate or 0)}")
        for name, clicks in hours
    ]
    return columns(given, percent, DAY)


def _topics(alerts: DayOfAlerts) -> list[tuple[str, Clicks]]:
    """Return clicks by topic, the highest rate first; those of merged topics are added up."""
    known, found = runtime().topics.named(), dict[str, Clicks]()
    for slug, clicks in alerts.topics.items():
        topic = known[slug].slug if slug in known else slug
        found[topic] = found.get(topic, Clicks()).plus(clicks)
    rows = [
        ("Everyone" if slug == EVERYONE else known[slug].name if slug in known else slug, clicks)
        for slug, clicks in found.items()
    ]
    return sorted(rows, key=lambda row: (-(row[1].rate or 0), row[0]))


# Growth -------------------------------------------------------------------------------------------


def _questions(days: int) -> list[tuple[str, list[int]]]:
    """Return how often each step of the question was reached, by page, the most shown first."""
    found = runtime().questions.between(today(), days)
    rows = [(page or "Others", [counts[step] for step in STEPS]) for page, counts in found.items()]
    return sorted(rows, key=lambda row: (-row[1][0], row[0]))
