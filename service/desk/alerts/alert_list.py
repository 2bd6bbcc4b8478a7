"""The list of alerts, which refreshes itself, and the decisions above it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.alerts.report import Report
from service.desk.alerts.stopping import held_stop
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed, may
from service.desk.session import signed_in
from service.desk.words import SERVICES, describe
from service.domain.alerts.alert_list import AlertRow
from service.domain.alerts.publishing import MOST_PLANNED
from service.model.notifications import Notification, Topic
from service.model.roles import Role
from service.model.time import clock

PAGE = 30  # alerts on one page of the list
_SOON = 60.0  # seconds before an alert leaves in which the list is refreshed often
_OFTEN, _SELDOM = 3, 20  # seconds between two refreshes


@bp.get("/")
@allowed(ANY_EDITOR)
def alerts() -> ResponseReturnValue:
    """List sent alerts, newest first, below the planned ones and what an editor has to decide."""
    return _alerts()


@bp.get("/list")
@allowed(ANY_EDITOR)
def live_list() -> ResponseReturnValue:
    """Return the parts of the list that refresh themselves; nothing if the page has just these."""
    stop = held_stop()
    if request.args.get("stop", "") != (stop.id if stop else ""):
        return "", {"HX-Refresh": "true"}  # the band, and the button that stops everything
    live = _live()
    if request.args.get("seen") == live.seen:
        return "", 204
    return render_template("desk/alerts_live.html", live=live)


@dataclass(frozen=True, slots=True)
class _Live:
    """The first page of the list, as far as it refreshes itself."""

    sending: str  # HTML of each part, as a template has made it
    rows: str
    every: int  # seconds until it is refreshed

    @property
    def seen(self) -> str:
        """A text that is another one when the page is."""
        text = f"{self.every} {self.sending} {self.rows}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _live() -> _Live:
    publishing, now = runtime().publishing, clock.time()
    found, plan = publishing.started(PAGE), publishing.plan()
    planned = publishing.planned(plan)
    unfinished = runtime().alert_list.unfinished()
    ids = {one.id for one in unfinished}
    reports = reports_of([*unfinished, *(one for one in found if one.id not in ids)])
    sending, over = reports[: len(unfinished)], reports[len(unfinished) :]
    topics, in_time = runtime().topics.named(), [one for one in planned if not one.missed]
    due = [one.send_at.at for one in in_time if one.send_at]
    return _Live(
        sending=render_template("desk/alerts_sending.html", reports=sending),
        rows=render_template(
            "desk/alerts_rows.html",
            sending=sending,
            missed=[one for one in planned if one.missed],
            planned=[_report(AlertRow(one), topics, now) for one in in_time],
            more=len(plan.ids) - MOST_PLANNED,
            reports=over,
            older=found[-1].id if len(found) == PAGE else None,
        ),
        every=_OFTEN if unfinished or any(at - now < _SOON for at in due) else _SELDOM,
    )


def _alerts(notice: str = "") -> str:
    before = request.args.get("before", type=int)
    found = [] if before is None else runtime().publishing.started(PAGE, before)
    return render_template(
        "desk/alerts.html",
        live=_live() if before is None else None,
        unfinished=runtime().unfinished.of(signed_in().email) if before is None else [],
        doubts=[(_push_service(one.origin), one) for one in runtime().gone.doubts()],
        ended_webhooks=runtime().webhooks.ended() if may(Role.MANAGES) else [],
        reports=reports_of(found),
        older=found[-1].id if len(found) == PAGE else None,
        nobody=before is None and not runtime().subscriptions.count(),
        notice=notice,
    )


def reports_of(notifications: Sequence[Notification]) -> list[Report]:
    """Return alerts as a list shows them."""
    now, topics = clock.time(), runtime().topics.named()
    return [_report(row, topics, now) for row in runtime().alert_list.rows(notifications)]


def _report(row: AlertRow, topics: dict[str, Topic], now: float) -> Report:
    """Return an alert as a list shows it."""
    one = row.notification
    audience = "browsers that got the original alert"
    return Report(
        notification=one,
        audience=audience if one.corrects else describe(one.audience, topics),
        progress=row.progress,
        receipts={"clicked": row.clicks} if row.clicks else {},
        now=now,
        held=row.held,
        stopped=held_stop() is not None,
    )


def _push_service(origin: str) -> str:
    """Return the name of a push service that has one, else its host."""
    service = runtime().endpoints.service(origin)
    return SERVICES.get(service) or origin.partition("://")[2]


# Deciding whether readers are gone ----------------------------------------------------------------


@bp.post("/gone/confirm")
@allowed(Role.SENDS)
def confirm_gone() -> ResponseReturnValue:
    """Delete the readers that a push service reports as gone."""
    return _decide(runtime().gone.confirm)


@bp.post("/gone/take-back")
@allowed(Role.SENDS)
def take_back() -> ResponseReturnValue:
    """Keep the readers that a push service reports as gone."""
    return _decide(runtime().gone.take_back)


def _decide(decide: Callable[[str], None]) -> ResponseReturnValue:
    origin = request.form.get("origin", "")
    if origin not in {doubt.origin for doubt in runtime().gone.doubts()}:
        return _alerts("Another editor has already decided this."), 409
    decide(origin)
    return redirect(url_for("desk.alerts"), 303)
