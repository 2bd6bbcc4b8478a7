"""Changing, sending and deleting planned alerts: drafts, and alerts with a time."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace

from flask import abort, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.api import fields
from service.api.alerts import references
from service.api.alerts.notification_requests import CheckedAlert
from service.current import runtime
from service.desk.alerts.correcting import correction_page
from service.desk.alerts.correction_form import CorrectionForm
from service.desk.alerts.one_alert import report_of
from service.desk.blueprint import bp
from service.desk.fields import read_nonce
from service.desk.permissions import allowed, for_a_draft, may, to_keep_a_draft
from service.desk.session import signed_in
from service.desk.words import logged_by, logged_changes
from service.desk.writing.compose import (
    check,
    checked_change,
    compose_page,
    is_asked_in_vain,
    leaves_at,
    not_asked_page,
    review_page,
)
from service.desk.writing.forms import Form
from service.domain.alerts.publishing import Conflict, UnknownNotification
from service.domain.alerts.repeating import NothingNew
from service.model.notifications import Notification, State
from service.model.roles import Role

CHANGED = (
    "Another editor has changed this alert meanwhile. Your text is kept, but it is not in the"
    " alert. Review it to replace theirs."
)
ENDED = (
    "Another editor has deleted or cancelled this alert meanwhile. Nothing was sent. Review the"
    " form to send this text as a new alert."
)
_SENT = "This alert was sent meanwhile, without your changes."
_CORRECT_IT = f"{_SENT} To send them, correct the alert."
_SEND_ANOTHER = f"{_SENT} Review the form to send this text as a new alert."


@bp.get("/alerts/<int:id>/edit")
@allowed(for_a_draft)
def edit(id: int) -> ResponseReturnValue:
    """Lead to the form filled with a planned alert, or with this editor's unfinished changes."""
    before = runtime().publishing.to_change(id)
    if before.waits_for_undo:  # its page says how to take it back
        return redirect(url_for("desk.alert", id=id))
    if (form := runtime().unfinished.at(id, signed_in().email)) is not None:
        return redirect(url_for("desk.unfinished", key=form.key))
    return redirect(url_for("desk.unfinished", key=secrets.token_urlsafe(16), alert=id))


@bp.post("/alerts/<int:id>")
@allowed(to_keep_a_draft)
def save(id: int) -> ResponseReturnValue:
    """Change a planned alert, or send it; a second click only leads to its page."""
    return save_changes(id, Form.read(), read_nonce())


@bp.get("/alerts/<int:id>/send")
@allowed(Role.SENDS)
def confirm(id: int) -> ResponseReturnValue:
    """Ask whether to send a planned alert now."""
    before = runtime().publishing.to_change(id)
    if before.waits_for_undo:
        return redirect(url_for("desk.alert", id=id))
    form, key = replace(Form.of(before), when="now"), secrets.token_urlsafe(16)
    return review_page(form, key, back=url_for("desk.alert", id=id), before=before)


@bp.post("/alerts/<int:id>/skip")
@allowed(Role.SENDS)
def skip(id: int) -> ResponseReturnValue:
    """Leave out the next time of an alert that repeats."""
    runtime().publishing.skip(id, request.form.get("changes", ""), by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/delete")
@allowed(for_a_draft)
def delete(id: int) -> ResponseReturnValue:
    """Delete a planned alert in the version that the page showed."""
    changes, only_draft = request.form.get("changes", type=int), not may(Role.SENDS)
    with suppress(UnknownNotification):  # the second of two clicks
        by = signed_in().email
        runtime().publishing.remove(id, by=by, only_draft=only_draft, changes=changes)
    return redirect(url_for("desk.alerts"), 303)


def save_changes(id: int, form: Form, key: str) -> ResponseReturnValue:
    """Change a planned alert as a form says, and send it if that says so."""
    before = _as_opened(id, form)
    if before is None:
        return overtaken(id, form, key)
    checked = check(form, before)
    if not isinstance(checked, CheckedAlert):
        return compose_page(form, key, before=before, errors=checked), 422
    if is_asked_in_vain(form, checked):
        return not_asked_page(form, key, checked, before)
    goes_on = form.when == "now" and form.weekdays and before.repeats
    checked = replace(
        checked,
        send_at=leaves_at(form, checked),
        draft=form.when == "draft",
        repeat=before.repeats if goes_on else checked.repeat,
    )
    try:
        references.change(runtime(), before, checked, signed_in().email)
    except NothingNew as conflict:
        return compose_page(form, key, before=before, errors={"repeat": str(conflict)}), 409
    except (Conflict, UnknownNotification):
        return overtaken(id, form, key)
    return _to_alert(id, key)


def read_form(key: str) -> tuple[Form, Notification | None]:
    """Read the form of this request, and the planned alert that it changes, if it changes one.

    If another editor has changed that alert since, the answer that says so ends the request.
    """
    form, alert = Form.read(), request.form.get("alert", type=int)
    if alert is None:
        return form, None
    before = _as_opened(alert, form)
    return form, before or abort(make_response(overtaken(alert, form, key)))


def _as_opened(id: int, form: Form) -> Notification | None:
    """Return the planned alert, if nobody has changed it since the form was opened."""
    try:
        found = runtime().publishing.get(id)
    except UnknownNotification:
        return None
    if not may(Role.SENDS) and found.state is not State.DRAFT:
        return None  # scheduled since the rule of this route has looked
    return found if found.planned and form.changes == str(found.changes) else None


def overtaken(id: int, form: Form, key: str, revision: int | None = None) -> ResponseReturnValue:
    """Answer a form whose alert has changed: lead to it if by this form, else say what happened.

    `revision` as in `compose_page`.
    """
    try:
        one = runtime().publishing.get(id)
    except UnknownNotification:
        return _as_a_new_one(form, ENDED)
    if _is_done(form, one):
        return _to_alert(id, key)
    if one.planned:
        changes = _others_changes(one, form)
        form = replace(form, changes=str(one.changes))
        page = compose_page(
            form, key, before=one, notice=CHANGED, changes=changes, revision=revision
        )
        return page, 409
    if may(Role.SENDS) and report_of(one).correctable:
        words = CorrectionForm(form.title, form.body, form.url)
        return correction_page(one, words, notice=_CORRECT_IT), 409
    return _as_a_new_one(form, ENDED if one.state is State.CANCELLED else _SEND_ANOTHER)


def others_did(alert: int, form: Form) -> tuple[str, list[str]]:
    """Say what other editors did with a planned alert since a form was opened, and each change."""
    try:
        one = runtime().publishing.get(alert)
    except UnknownNotification:
        return ENDED, []
    if not one.planned:
        return (ENDED if one.state is State.CANCELLED else _SENT), []
    changes = _others_changes(one, form)
    return (CHANGED if changes else ""), changes


def _others_changes(one: Notification, form: Form) -> list[str]:
    """Say what was changed in a planned alert since a form was opened, and who did it."""
    known = form.opened_version
    # What the clock did is no change.
    entries = [entry for entry in runtime().alert_log.of(one.id) if entry.by]
    later = entries[1:][known - one.changes :] if known < one.changes else []
    return [f"{logged_by(entry)}: {logged_changes(entry) or entry.action}" for entry in later]


def _as_a_new_one(form: Form, notice: str) -> ResponseReturnValue:
    return compose_page(form, secrets.token_urlsafe(16), notice=notice), 409


def _to_alert(id: int, key: str) -> ResponseReturnValue:
    runtime().unfinished.remove(key, signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


def _is_done(form: Form, one: Notification) -> bool:
    try:
        checked = checked_change(form, one)
    except fields.Invalid:
        return False
    contents = (checked.content, checked.audience, checked.spread_minutes, checked.second_text)
    if contents != (one.content, one.audience, one.spread_minutes, one.second_text):
        return False
    if form.when != "now" and not checked.is_repeated_as(one):
        return False
    if one.waits_for_approval and not one.is_ready and form.when != "draft":
        return True
    if form.when == "now":
        return one.waits_for_undo or not (one.planned or one.state is State.CANCELLED)
    send_at = one.send_at if one.state is State.SCHEDULED else None
    if send_at and checked.send_at and send_at.wall:
        # If some readers' clocks show that time already, the alert starts at once, so `at` moves.
        send_at = replace(send_at, at=checked.send_at.at)
    return one.planned and checked.send_at == send_at
