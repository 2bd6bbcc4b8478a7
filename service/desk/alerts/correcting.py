"""Correcting an alert at the desk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.api import fields
from service.api.alerts.correction_requests import Correction
from service.current import runtime
from service.desk.alerts.correction_form import (
    CorrectionForm,
    check_of,
    draft_of,
    text_page,
)
from service.desk.alerts.one_alert import TAKEN_BACK
from service.desk.blueprint import bp
from service.desk.fields import read_nonce
from service.desk.permissions import allowed
from service.desk.session import shown_once, signed_in
from service.domain.alerts.publishing import Conflict, KeyReused, PlanWithdrawn
from service.domain.alerts.requests import Idempotency
from service.domain.alerts.waiting_corrections import Undo
from service.model.notifications import Notification, State
from service.model.roles import Role

_TOO_LATE = "Sending has ended meanwhile, so the old text can only be replaced."
NOBODY_NEEDED = (
    "Nothing was changed. Fewer browsers have the alert now, so that no second person is needed:"
    " press the button again."
)
WITHDRAWN = (
    "You have already sent this form, and what waited was deleted meanwhile. Nothing was changed"
    " this time. Send it again to begin anew."
)
_USED = (
    "You have already sent this form with a different text. Nothing was changed this time. Send it"
    " again to correct the alert once more, with this text."
)


@bp.get("/alerts/<int:id>/correct")
@allowed(Role.SENDS)
def write_correction(id: int) -> ResponseReturnValue:
    """Show the form for a correction, filled with the current text."""
    root = runtime().corrections.root(id)
    if draft := draft_of(root):
        if draft.state is not State.DRAFT:
            return redirect(url_for("desk.alert", id=draft.id))
        return correction_page(root, CorrectionForm.of_draft(draft), done=shown_once(TAKEN_BACK))
    reached = "leave" if request.args.get("reached") == "leave" else "replace"
    return correction_page(root, replace(CorrectionForm.of(root.text), reached=reached))


@bp.post("/alerts/<int:id>/correct")
@allowed(Role.SENDS)
def correct(id: int) -> ResponseReturnValue:
    """Correct the alert, once however often the form arrives: its nonce makes it one request."""
    form, nonce = CorrectionForm.read(), read_nonce()
    root = runtime().corrections.root(id)
    if form.reached == "leave" and root.over and not runtime().publishing.held(root).waiting:
        return correction_page(root, form, notice=_TOO_LATE), 409
    if "asked" in request.form and not _asks(root):
        return correction_page(root, form, notice=NOBODY_NEEDED), 409
    if (draft := draft_of(root)) and draft.state is not State.DRAFT:
        return redirect(url_for("desk.alert", id=draft.id), 303)  # the second of two clicks
    body, seconds = form.as_json(), runtime().config.undo_for(root.text.kind)
    goes_on = form.go_on and root.state is State.PAUSED
    key = Idempotency(f"desk {signed_in().email}", nonce, f"correct {root.id} ".encode() + body)
    try:
        requested = fields.parse(Correction, body, runtime())
        published = runtime().corrections.correct(
            root.id,
            **requested.texts(),
            replace=requested.reached == "replace",
            by=signed_in().email,
            idempotency=key,
            check=check_of(requested),
            undo=Undo(seconds, State.SENDING if goes_on else None) if seconds else None,
            draft=draft,
        )
    except fields.Invalid as invalid:
        return correction_page(root, form, nonce=nonce, errors=form.complaints(invalid)), 422
    except KeyReused:
        return correction_page(root, form, notice=_USED), 409
    except PlanWithdrawn:
        return correction_page(root, form, notice=WITHDRAWN), 409
    except Conflict as conflict:
        return correction_page(root, form, notice=str(conflict)), 409
    waits = published.state in (State.DRAFT, State.SCHEDULED)
    if form.go_on and not waits:
        runtime().mending.go_on(root.id, by=signed_in().email)
    to = root.id if requested.reached == "leave" and not waits else published.id
    return redirect(url_for("desk.alert", id=to), 303)


def correction_page(root: Notification, form: CorrectionForm, **said: Any) -> str:
    """Show the form for a correction; `said` as in `text_page`."""
    progress = runtime().publishing.progress(root.id)
    return text_page(
        "desk/correct.html",
        root,
        form,
        **said,
        sends="desk.correct",
        content=replace(root.text, title=form.title, body=form.body, url=form.url),
        reached=runtime().corrections.reached(root),
        asks=_asks(root),
        paused=root.state is State.PAUSED,
        waiting=0 if root.over else progress.recipients - progress.done,
        held=runtime().publishing.held(root).waiting if root.over else 0,
    )


def _asks(root: Notification) -> bool:
    """Whether a correction needs a second person."""
    corrections = runtime().corrections
    browsers = corrections.concerned(root, corrections.reached(root))
    return runtime().approvals.needed(root.text, browsers)
