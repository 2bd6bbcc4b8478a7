"""Watching an alert at the desk: its page, pausing and cancelling."""

from __future__ import annotations

from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.alerts.figures import figures_of
from service.desk.alerts.report import Report
from service.desk.alerts.stopping import held_stop
from service.desk.alerts.two_texts import trial_of
from service.desk.alerts.watching import watched
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.session import show_once, shown_once, signed_in
from service.desk.words import describe, late_words
from service.domain.alerts.forecast import Forecast
from service.domain.alerts.publishing import Conflict
from service.domain.sending.receipts import estimates
from service.domain.sending.waves import HeldSummary
from service.model.notifications import Audience, Notification, State
from service.model.roles import Role
from service.model.time import clock

TAKEN_BACK = "an alert taken back"  # what the page says once, after that


def report_of(notification: Notification, *, receipts: bool = True) -> Report:
    """Return an alert as its page shows it, or without `receipts` as a list shows it."""
    publishing = runtime().publishing
    audience = "browsers that got the original alert"
    return Report(
        notification=notification,
        audience=audience if notification.corrects else describe_audience(notification.audience),
        progress=publishing.progress(notification.id),
        receipts=(
            estimates(runtime().receipts.of(notification.id), notification.reporting)
            if receipts
            else {}
        ),
        now=clock.time(),
        slowing=runtime().push_services.slowing(notification) if receipts else [],
        held=publishing.held(notification) if notification.finished_at else HeldSummary(),
        stopped=held_stop() is not None,
    )


def describe_audience(audience: Audience) -> str:
    """Describe an audience, with the current names of its topics and the titles of its alerts."""
    ids = (*audience.not_reached_by, *audience.clicked)
    titles = {one.id: one.text.title for one in runtime().publishing.all(ids)} if ids else {}
    return describe(audience, runtime().topics.named(), titles)


@bp.get("/alerts/<int:id>")
@allowed(ANY_EDITOR)
def alert(id: int) -> ResponseReturnValue:
    """Show an alert: its plan, its progress, or its report."""
    return _alert(id)


def _alert(id: int, notice: str = "") -> str:
    publishing = runtime().publishing
    one = publishing.get(id)
    if one.planned:
        log = runtime().alert_log.of(id)
        shown = _planned(one)
        shown |= _to_approve(one, shown["reach"], shown.get("delivery"))
        done = shown_once(TAKEN_BACK)
        return render_template("desk/planned.html", notice=notice, done=done, log=log, **shown)
    report = report_of(one)
    return render_template(
        "desk/alert.html",
        report=report,
        watched=watched(report),
        trial=trial_of(one),
        delivered=[
            (alert, sum(report.progress.delivered[alert.id]))
            for alert in publishing.all(report.progress.delivered)
        ],
        root=publishing.get(one.corrects) if one.corrects else None,
        asked=runtime().approvals.corrections(id),
        log=runtime().alert_log.of(one.corrects or id),
        corrections=[report_of(publishing.get(id), receipts=False) for id in one.corrections],
        readers=None if report.live else figures_of(one),
        notice=notice,
    )


def _planned(one: Notification) -> dict[str, Any]:
    publishing = runtime().publishing
    report = report_of(one, receipts=False)
    if one.corrects is not None:
        root = publishing.get(one.corrects)
        reach = runtime().corrections.reached(root)
        own = {"root": root, "reach": reach, "leaves_out": True}
        return {"report": report, **own, "write_on": write_on(one), "retracts": _retracts(one)}
    at = one.send_at if report.scheduled or one.waits_for_approval else None
    now = clock.time()
    delivery = runtime().forecaster.forecast(one.content, one.audience, at, now)
    return {
        "report": report,
        "root": None,
        "reach": delivery.recipients,
        "delivery": delivery,
        "leaves_out": one.audience.leaves_out,
        "later": at is not None and not one.waits_for_undo,
        "late": late_words(delivery, one.wall, now),
    }


def _to_approve(one: Notification, reach: int, delivery: Forecast | None) -> dict[str, Any]:
    """Return what a second person sees beside the alert itself, as on the page before sending."""
    if not one.waits_for_approval:
        return {}
    return {
        "forecast": delivery if delivery and delivery.recipients else None,
        "same_link": runtime().publishing.same_link.latest(
            one.content.url, but=one.corrects or one.id
        ),
        "own": signed_in().email in one.authors,
        # Else an editor who sends takes the usual way, with its confirmation and its undo.
        "asks": not one.is_ready or runtime().approvals.needed(one.content, reach),
    }


@bp.get("/alerts/<int:id>/progress")
@allowed(ANY_EDITOR)
def progress(id: int) -> ResponseReturnValue:
    """Return the part of an alert's page with its numbers, or have the whole page reloaded."""
    one = runtime().publishing.get(id)
    report = report_of(one)
    same = request.args.get("stage", report.stage) == report.stage
    headers = {} if report.changing and same else {"HX-Refresh": "true"}
    if one.planned:
        return render_template("desk/planned_state.html", **_planned(one)), headers
    trial, seen = trial_of(one), watched(report, request.args.get("seen", ""))
    page = render_template("desk/progress.html", report=report, trial=trial, watched=seen)
    return page, headers


@bp.post("/alerts/<int:id>/cancel")
@allowed(Role.SENDS)
def cancel(id: int) -> ResponseReturnValue:
    """Cancel an alert."""
    runtime().publishing.cancel(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/pause")
@allowed(Role.SENDS)
def pause(id: int) -> ResponseReturnValue:
    """Pause an alert."""
    runtime().publishing.pause(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/resume")
@allowed(Role.SENDS)
def resume(id: int) -> ResponseReturnValue:
    """Resume a paused alert."""
    runtime().publishing.resume(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/take-back")
@allowed(Role.SENDS)
def undo(id: int) -> ResponseReturnValue:
    """Make a draft again of an alert that an editor has just sent."""
    runtime().publishing.take_back(id, by=signed_in().email)
    show_once(TAKEN_BACK, "Taken back. Nobody has seen it.")
    return redirect(write_on(runtime().publishing.get(id)), 303)


def write_on(one: Notification) -> str:
    """Return the page of an alert that is a draft again: of a correction its form."""
    if one.corrects is None:
        return url_for("desk.alert", id=one.id)
    form = "desk.write_retraction" if _retracts(one) else "desk.write_correction"
    return url_for(form, id=one.corrects, draft=one.id)


def _retracts(one: Notification) -> bool:
    return one.mends is not None and one.mends.then == State.CANCELLED.value


@bp.post("/alerts/<int:id>/send-now")
@allowed(Role.SENDS)
def skip_undo(id: int) -> ResponseReturnValue:
    """Send an alert without waiting until nobody can take it back any more."""
    runtime().publishing.skip_undo(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.errorhandler(Conflict)
def _conflict(conflict: Conflict) -> ResponseReturnValue:
    """Show the alert in its current state, and why the request does not fit it."""
    return _alert((request.view_args or {})["id"], str(conflict)), 409
