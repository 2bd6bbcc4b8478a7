"""The API's calls about the newsroom as a whole: figures, totals, the log, the emergency stop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

from flask import Blueprint
from pydantic import Field

from service.api import paging
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import ResponseModel
from service.api.paging import SINCE, UNTIL, asked, days, one_of, parameter
from service.api.problems import Problem
from service.api.responses import Id, OrNull, Time
from service.current import runtime
from service.domain.alerts.alert_log import Search
from service.domain.alerts.figures import Figures, Row
from service.domain.operations.daily_totals import Clicks, Day, DayOfAlerts, today
from service.domain.readers.questions import STEPS as QUESTION_STEPS
from service.domain.sending.receipts import EVENTS, STEPS, Estimate, estimate, share_of
from service.model.alert_log import ACTIONS, ENTRY_ID, ToolName
from service.model.stop import Stop
from service.model.time.times import iso

bp = Blueprint("newsroom", __name__)

_LOG = f"^{ENTRY_ID}$"  # its cursors
_USUAL_DAYS, _MOST_DAYS = 28, 366


# Figures of an alert ------------------------------------------------------------------------------


class ReportedShown(ResponseModel):
    """How many browsers did something, estimated from their reports, and the standard error."""

    browsers: int
    error: int


class FiguresRow(ResponseModel):
    """What browsers of one push service, topic or language did with an alert.

    `accepted` is how many have it; by topic and language only those that report. Null means that
    it is not known, or that these browsers do not report it.
    """

    value: str
    accepted: int | None
    shown: ReportedShown | None
    clicked: ReportedShown | None
    dismissed: ReportedShown | None


class ClickedUntil(ResponseModel):
    """How many browsers had clicked by then: in minutes after the alert began, null for later."""

    minutes: int | None
    clicked: int


class FiguresShown(ResponseModel):
    """What readers did with an alert, as the desk's report says it.

    `handed_over` counts messages that push services accepted, those after quiet hours included;
    `may_report` those of them whose browsers report. `left` is how many readers unsubscribed after
    it. `clicked_at_hour` has the clicks of each hour of the readers' own clocks.
    """

    id: str
    handed_over: int
    may_report: int
    shown: ReportedShown | None
    clicked: ReportedShown | None
    dismissed: ReportedShown | None
    left: int
    by_service: list[FiguresRow]
    by_topic: list[FiguresRow]
    by_language: list[FiguresRow]
    clicked_until: list[ClickedUntil]
    clicked_at_hour: list[int]


@bp.get("/notifications/<int:id>/figures")
@call(by=tools("read"), gives={200: FiguresShown}, problems=(404,), conditional=True)
def figures(id: int) -> FiguresShown:
    """Show what readers did with an alert."""
    found = runtime().figures.of(runtime().publishing.get(id))
    return FiguresShown(
        id=str(id),
        handed_over=found.handed_over,
        may_report=found.may_report,
        **{event: _whole(found, event) for event in EVENTS},
        left=found.counted.left,
        by_service=_rows(found, "service", EVENTS),
        by_topic=_rows(found, "topic", EVENTS[:2]),
        by_language=_rows(found, "language", EVENTS[:2]),
        clicked_until=[
            ClickedUntil(minutes=until, clicked=n)
            for until, n in zip((*STEPS[1:], None), found.curve, strict=True)
        ],
        clicked_at_hour=found.hours,
    )


def _whole(found: Figures, event: str) -> ReportedShown | None:
    if not found.known:
        return None
    share = share_of(event, found.notification.reporting)
    return _reported(estimate(found.counted.events.get(event, 0), share))


def _rows(found: Figures, kind: str, events: Sequence[str]) -> list[FiguresRow]:
    return [_row(row) for row in found.rows(kind, events)]


def _row(row: Row) -> FiguresRow:
    reported = {event: _reported(row.reported.get(event)) for event in EVENTS}
    return FiguresRow(value=row.value, accepted=row.accepted, **reported)


def _reported(found: Estimate | None) -> ReportedShown | None:
    return found and ReportedShown(browsers=found.browsers, error=round(found.error))


# Totals -------------------------------------------------------------------------------------------


class EndedShown(ResponseModel):
    """How many subscriptions ended.

    `left`: their readers unsubscribed. `lost`: the browser took the permission back. `gone`: the
    push service said so. `unproven`: the push service's host seems to be made up.
    `retired`: the reader had not visited for long, was asked, and did not answer.
    """

    left: int
    lost: int
    gone: int
    unproven: int
    retired: int


class DayShown(ResponseModel):
    """One day, in UTC.

    `readers` are subscriptions at its end, or now. Null means that nobody counted on that day.
    `alerts` counts those that reached a browser.
    """

    date: str
    readers: int | None
    joined: int | None
    ended: EndedShown | None
    unconfirmed: int | None
    alerts: int
    handed_over: int
    may_report: int
    clicked: int


class ClicksShown(ResponseModel):
    """Alerts to followers of a topic (null: to everyone) or that began in an hour, and clicks."""

    topic: str | None
    hour: int | None
    alerts: int
    may_report: int
    clicked: int


class AskedShown(ResponseModel):
    """How often readers were asked on pages of a part of the site (null: all others), and said yes.

    `granted`: the browser asked and got the permission.
    """

    section: str | None
    shown: int
    yes: int
    granted: int
    subscribed: int
    confirmed: int


class TotalsShown(ResponseModel):
    """How many `readers` are subscribed now, and what happened on the last days.

    `by_topic` and `by_hour` (in UTC, in which they began) count the alerts of these days. `had`
    says how many readers had no alert on a day, one alert and so on, summed over these days; its
    last number is that of so many or more.
    """

    readers: int
    days: list[DayShown]
    by_topic: list[ClicksShown]
    by_hour: list[ClicksShown]
    had: list[int]
    asked: list[AskedShown]


@bp.get("/totals")
@call(
    by=tools("read"),
    gives={200: TotalsShown},
    parameters=(paging.in_query("days", type="integer", minimum=1, maximum=_MOST_DAYS),),
    conditional=True,
)
def totals() -> TotalsShown:
    """Count readers and alerts of the last days, 28 unless `days` says otherwise."""
    count = paging.number("days", _USUAL_DAYS, most=_MOST_DAYS)
    days = runtime().daily_totals.days(today(), count)
    alerts, asked = DayOfAlerts(), runtime().questions.between(today(), count)
    for day in days:
        alerts.add(day.alerts)
    by_topic = dict[str, Clicks]()
    for slug, clicks in alerts.topics.items():
        (now,) = runtime().topics.current([slug])  # topics may have been merged
        by_topic[now] = by_topic.get(now, Clicks()).plus(clicks)
    return TotalsShown(
        readers=runtime().subscriptions.count(),
        days=[_day(day) for day in days],
        by_topic=[_clicks(n, topic=slug or None) for slug, n in sorted(by_topic.items())],
        by_hour=[_clicks(n, hour=hour) for hour, n in sorted(alerts.hours.items())],
        had=alerts.had,
        asked=[
            AskedShown(section=page or None, **{step: counts[step] for step in QUESTION_STEPS})
            for page, counts in sorted(asked.items())
        ],
    )


def _clicks(found: Clicks, topic: str | None = None, hour: int | None = None) -> ClicksShown:
    return ClicksShown(topic=topic, hour=hour, **found._asdict())


def _day(day: Day) -> DayShown:
    names = EndedShown.model_fields
    return DayShown(
        date=day.date.isoformat(),
        readers=day.readers,
        joined=day.joined,
        ended=EndedShown(**{why: day.ended.get(why, 0) for why in names}) if day.ended else None,
        unconfirmed=day.unconfirmed,
        alerts=day.alerts.all.alerts,
        handed_over=day.alerts.handed_over,
        may_report=day.alerts.all.may_report,
        clicked=day.alerts.all.clicked,
    )


# The log ------------------------------------------------------------------------------------------


class EntryShown(ResponseModel):
    """What was done with an alert, or with all of them (`alert` is null).

    `by` is an editor's address or the name of a token (`tool`); null is the clock. `texts` has old
    and new text of each field that changed, `others` the names of other things that changed.
    """

    id: str
    at: Time
    alert: Annotated[Id | None, OrNull]
    title: str
    action: str
    by: Annotated[str | None, OrNull]
    tool: bool
    texts: dict[str, list[str]]
    others: list[str]


class LogList(ResponseModel):
    """The log of alerts, the latest entry first; `next_cursor` leads to older ones."""

    entries: list[EntryShown]
    next_cursor: str | None = Field(default=None)


@bp.get("/log")
@call(
    by=tools("read"),
    gives={200: LogList},
    parameters=(
        *paging.parameters(pattern=_LOG),
        *(parameter("title"), parameter("by"), parameter("action", enum=[*ACTIONS])),
        *(SINCE, UNTIL),
    ),
    conditional=True,
)
def log() -> LogList:
    """List what was done with alerts, who did it and when, the latest first.

    A part of an alert's `title`, of a name (`by`), an `action`, or days (UTC) narrow it down.
    """
    limit, before = paging.limit(), paging.cursor(_LOG)
    wanted = Search(asked("title"), asked("by"), one_of("action", ACTIONS), **days())
    found = [*islice(runtime().alert_log.found(wanted, before), limit + 1)]
    page, next_cursor = paging.cut(found, limit, lambda one: one.id)
    entries = [EntryShown.model_validate(one) for one in page]
    return LogList(entries=entries, next_cursor=next_cursor)


# The emergency stop -------------------------------------------------------------------------------


class StopShown(ResponseModel):
    """Whether everything is stopped: since when, and who did it."""

    stopped: bool
    at: str | None
    by: str | None


@bp.get("/stop")
@call(by=tools("read", "send"), gives={200: StopShown}, conditional=True)
def stop_state() -> StopShown:
    """Say whether everything is stopped."""
    return _stop(runtime().stops.current())


@bp.post("/stop")
@call(by=tools("send"), gives={200: StopShown})
def stop() -> StopShown:
    """Stop everything within a second; a stop that holds already stays as it is."""
    tool = calling_tool()
    return _stop(runtime().stops.hold(by=ToolName.of(tool.name, tool.by)))


@bp.delete("/stop")
@call(by=tools("send"), gives={204: None}, problems=(409,))
def release() -> None:
    """Send again; 409 for a stop that another tool or an editor has made: an editor ends that."""
    current, tool = runtime().stops.current(), calling_tool()
    if current is None:
        return
    if current.by != tool.name:
        raise Problem(
            409, f"{current.by} has stopped everything. An editor releases it at the desk."
        )
    runtime().stops.release(current.id, by=ToolName.of(tool.name, tool.by))


def _stop(one: Stop | None) -> StopShown:
    if one is None:
        return StopShown(stopped=False, at=None, by=None)
    return StopShown(stopped=True, at=iso(one.at), by=one.by)
