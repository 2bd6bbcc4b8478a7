"""Watching alerts at the desk: the list of them, the page of each, pausing and stopping it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.report import Report
from service.desk.words import describe, service_name
from service.domain.publishing import Conflict
from service.domain.receipts import estimates
from service.domain.waves import Held
from service.model.notifications import Audience, Notification

_PAGE = 30  # alerts on one page of the list


def report_of(notification: Notification, *, receipts: bool = True) -> Report:
    """Return an alert as the pages show it; without `receipts` as a list does."""
    publishing = runtime().publishing
    audience = "whoever has what it corrects"
    return Report(
        notification=notification,
        audience=audience if notification.corrects else describe_audience(notification.audience),
        progress=publishing.progress(notification.id),
        receipts=(
            estimates(publishing.receipts(notification.id), notification.reporting)
            if receipts
            else {}
        ),
        now=time.time(),
        limits=publishing.limits(notification) if receipts else [],
        held=publishing.held(notification) if notification.finished_at else Held(),
    )


def describe_audience(audience: Audience) -> str:
    """Say whom an audience means."""
    return describe(audience, runtime().store.topics.all())


@bp.get("/")
def alerts() -> ResponseReturnValue:
    """List what was sent, newest first, below what waits for a person's word."""
    return _alerts()


def _alerts(notice: str = "") -> str:
    before = request.args.get("before", type=int)
    found = runtime().publishing.started(_PAGE, before)
    planned = runtime().publishing.planned() if before is None else []
    service = runtime().endpoints.service
    return render_template(
        "desk/alerts.html",
        missed=[one for one in planned if one.missed],
        planned=[report_of(one, receipts=False) for one in planned if not one.missed],
        reports=[report_of(notification, receipts=False) for notification in found],
        older=found[-1].id if len(found) == _PAGE else None,
        doubts=[(service_name(service(one.origin)), one) for one in runtime().gone.doubts()],
        notice=notice,
    )


@bp.get("/alerts/<int:id>")
def alert(id: int) -> ResponseReturnValue:
    """Show how far an alert has come, or what became of it."""
    return _alert(id)


def _alert(id: int, notice: str = "") -> str:
    publishing = runtime().publishing
    one = publishing.get(id)
    if one.planned:
        return render_template("desk/planned.html", notice=notice, **_planned(one))
    report = report_of(one)
    return render_template(
        "desk/alert.html",
        report=report,
        brought=[
            (alert, sum(report.progress.brought[alert.id]))
            for alert in publishing.all(report.progress.brought)
        ],
        root=publishing.get(one.corrects) if one.corrects else None,
        corrections=[report_of(publishing.get(id), receipts=False) for id in one.corrections],
        notice=notice,
    )


def _planned(one: Notification) -> dict[str, Any]:
    reach = runtime().publishing.reach(one.audience)
    return {"report": report_of(one, receipts=False), "reach": reach}


@bp.get("/alerts/<int:id>/progress")
def progress(id: int) -> ResponseReturnValue:
    """Show the part of that page that follows the numbers; have it load anew for the rest."""
    one = runtime().publishing.get(id)
    report = report_of(one)
    same = request.args.get("stage", report.stage) == report.stage
    headers = {} if report.changing and same else {"HX-Refresh": "true"}
    if one.planned:
        return render_template("desk/planned_state.html", **_planned(one)), headers
    return render_template("desk/progress.html", report=report), headers


@bp.post("/alerts/<int:id>/cancel")
def cancel(id: int) -> ResponseReturnValue:
    """Stop an alert."""
    runtime().publishing.cancel(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/pause")
def pause(id: int) -> ResponseReturnValue:
    """Hold an alert."""
    runtime().publishing.pause(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/resume")
def resume(id: int) -> ResponseReturnValue:
    """Go on with an alert that is paused."""
    runtime().publishing.resume(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.errorhandler(Conflict)
def _conflict(conflict: Conflict) -> ResponseReturnValue:
    """Show the alert of this request as it is now, and why it cannot be done."""
    return _alert((request.view_args or {})["id"], str(conflict)), 409


# Deciding whether readers are gone --------------------------------------------------------------


@bp.post("/gone/confirm")
def confirm_gone() -> ResponseReturnValue:
    """Delete those whom a push service calls gone."""
    return _decide(runtime().gone.confirm)


@bp.post("/gone/take-back")
def take_back() -> ResponseReturnValue:
    """Count those whom a push service calls gone in again."""
    return _decide(runtime().gone.take_back)


def _decide(decide: Callable[[str], None]) -> ResponseReturnValue:
    origin = request.form.get("origin", "")
    if origin not in {doubt.origin for doubt in runtime().gone.doubts()}:
        return _alerts("Somebody has decided about that already."), 409
    decide(origin)
    return redirect(url_for("desk.alerts"), 303)
