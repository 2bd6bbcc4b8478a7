"""What readers did with an alert, on its page and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.charts import DAY, Chart, Column, Line, columns, lines
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.tables import table
from service.desk.words import (
    capital,
    language_name,
    number,
    percent,
    plural,
    service_and_browsers,
    topic_names,
)
from service.domain.alerts.figures import Figures, Row, Usual, topics_of
from service.domain.sending.receipts import EVENTS, STEPS, estimates
from service.model.notifications import Notification
from service.model.time import clock
from service.model.time.spans import span

# How many alerts there must be to say what is usual.
_FEWEST = 3
_KINDS = {"service": "Push service", "topic": "Topic", "language": "Language"}
_COLUMNS = (
    *("by", "value", "handed over", "can report", "shown", "shown, standard error"),
    *("clicked", "clicked, standard error", "dismissed", "dismissed, standard error", "left"),
)


def figures_of(one: Notification) -> dict[str, Any] | None:
    """Return what the page of an alert shows of its readers; None if it reached no browser."""
    figures = runtime().figures.of(one)
    if not figures.handed_over or one.audience.subscription is not None:
        return None
    usual = runtime().figures.usual(one)
    known = usual if usual is not None and usual.alerts >= _FEWEST else None
    begun = figures.steps(clock.time())
    return {
        "figures": figures,
        "usual": known,
        "alike": "of the same topic" if topics_of(one) else "to everyone",
        "usual_clicks": known.click_rates[begun - 1] if known else None,
        "young": begun < len(STEPS),
        "curve": _curve(figures, known, begun),
        "steps": _steps(figures, begun),
        "hours": _hours(figures),
        "tables": [(title, _named(kind, figures)) for kind, title in _KINDS.items()],
        "conversions": runtime().receipts.conversions(one.id),
        "asked": clock.time(),
    }


@bp.get("/alerts/<int:id>/report.csv")
@allowed(ANY_EDITOR)
def export_report(id: int) -> ResponseReturnValue:
    """Give out the figures of an alert as a table."""
    figures = runtime().figures.of(runtime().publishing.get(id))
    rows = [*_rows(figures), *_on_screen(figures.notification), *_conversions(id)]
    return table(f"alert-{id}", _COLUMNS, rows)


def _named(kind: str, figures: Figures) -> list[tuple[str, Row]]:
    """Return the rows of a table with their names."""
    events = EVENTS if kind == "service" else EVENTS[:2]
    topics = runtime().topics.named() if kind == "topic" else {}

    def name(value: str) -> str:
        if kind == "service":
            return service_and_browsers(value)
        if kind == "topic":
            return topic_names([value], topics)
        return capital(language_name(value)) if value else "Not known"

    return [(name(row.value), row) for row in figures.rows(kind, events)]


def _curve(figures: Figures, usual: Usual | None, begun: int) -> Chart | None:
    """Draw which share of the browsers had clicked by the end of each step of the first day."""
    if not (figures.known and figures.curve[-1]):
        return None
    day = len(STEPS) - 1
    mine = [rate if at < begun else None for at, rate in enumerate(figures.click_rates[:day])]
    given = [Line(mine)]
    if usual is not None:
        given.insert(0, Line(usual.click_rates[:day], "usual"))
    return lines([_after(minute) for minute in STEPS[:day]], given, percent)


def _steps(figures: Figures, begun: int) -> list[tuple[str, int, float]]:
    """Return the rows of the curve's table: time, clicks until then, share of all."""
    curve = figures.curve
    total = max(1, curve[-1])
    steps = [*zip(STEPS, curve, strict=True)][:begun]
    return [(_after(minute), n, n / total) for minute, n in steps]


def _after(minute: int) -> str:
    """Return the end of a step."""
    at = STEPS.index(minute)
    return span(60 * STEPS[at + 1]) if at + 1 < len(STEPS) else "later"


def _hours(figures: Figures) -> Chart | None:
    if not any(figures.hours):
        return None
    given = [
        Column(f"{hour:02}:00", n, words=_clicks(hour, n)) for hour, n in enumerate(figures.hours)
    ]
    return columns(given, labels=DAY)


def _clicks(hour: int, n: int) -> str:
    return f"{hour:02}:00: {number(n)} {plural(n, 'click', 'clicks')}"


def _rows(figures: Figures) -> Iterator[Sequence[object]]:
    total = estimates(figures.counted.events, figures.notification.reporting)
    whole: Row = Row("", figures.handed_over, {**total} if figures.known else {})
    yield ("all", "", *_cells(whole, EVENTS), figures.counted.left)
    for kind in _KINDS:
        events = EVENTS if kind == "service" else EVENTS[:2]
        for row in figures.rows(kind, events):
            yield (kind, row.value, *_cells(row, events, by_service=kind == "service"))
    for minute, n in zip(STEPS, figures.curve, strict=True):
        yield ("clicks until", _after(minute), *[""] * 4, n)
    for hour, n in enumerate(figures.hours):
        yield ("hour of the reader", hour, *[""] * 4, n)


def _conversions(id: int) -> Iterator[Sequence[object]]:
    for name, n in runtime().receipts.conversions(id).items():
        yield ("converted", name, *[""] * 4, n)


def _on_screen(one: Notification) -> Iterator[Sequence[object]]:
    found = runtime().screens.of(one)
    for seconds, n in found.up_to.items() if found else ():
        until = "later" if math.isinf(seconds) else span(seconds)
        yield ("on the screen until", until, "", "", n)


def _cells(row: Row, events: Sequence[str], *, by_service: bool = True) -> list[object]:
    """Return a row's numbers; an empty cell stands for what is not reported."""
    accepted = "" if row.accepted is None else row.accepted
    cells: list[object] = [accepted, ""] if by_service else ["", accepted]
    for event in EVENTS:
        found = row.reported.get(event) if event in events else None
        cells += ["", ""] if found is None else [found.browsers, round(found.error)]
    return cells
