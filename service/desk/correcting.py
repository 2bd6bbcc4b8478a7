"""Correcting an alert at the desk."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from service.api import fields, notification_requests
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.forms import CorrectionForm, read_nonce
from service.desk.session import signed_in
from service.domain.publishing import Conflict, Idempotency
from service.model.notifications import Notification

_USED = (
    "This form has corrected the alert already, with other words. Nothing was changed just now."
    " Send it again to make these words another correction."
)


@bp.get("/alerts/<int:id>/correct")
def write_correction(id: int) -> ResponseReturnValue:
    """Show the form for another text, with what readers are sent now."""
    root = runtime().publishing.root(id)
    return correction_page(root, CorrectionForm.of(root.text))


@bp.post("/alerts/<int:id>/correct")
def correct(id: int) -> ResponseReturnValue:
    """Correct it, once however often this arrives: the form's nonce stands for the intention."""
    form, nonce = CorrectionForm.read(), read_nonce()
    root = runtime().publishing.root(id)
    if form.reached == "leave" and root.over and not runtime().publishing.held(root).waiting:
        notice = "By now it is over: whoever gets it has the old words. They can only be replaced."
        return correction_page(root, form, notice=notice), 409
    said = json.dumps(asdict(form)).encode()
    key = Idempotency(f"desk {signed_in().email}", nonce, f"correct {root.id} ".encode() + said)
    try:
        wanted = fields.parse(notification_requests.Correction, said, runtime())
        published = runtime().publishing.correct(
            root.id,
            title=wanted.title,
            body=wanted.body,
            url=wanted.url,
            replace=wanted.reached == "replace",
            by=signed_in().email,
            idempotency=key,
            check=lambda root: wanted.check(root, runtime()),
        )
    except fields.Invalid as invalid:
        return correction_page(root, form, nonce=nonce, errors=form.complaints(invalid)), 422
    except Conflict as conflict:
        used = runtime().store.notifications.remembered(key.digest) is not None
        return correction_page(root, form, notice=_USED if used else str(conflict)), 409
    to = root.id if wanted.reached == "leave" else published.id
    return redirect(url_for("desk.alert", id=to), 303)


def correction_page(
    root: Notification,
    form: CorrectionForm,
    *,
    nonce: str = "",
    errors: dict[str, str] | None = None,
    notice: str = "",
) -> str:
    """Show the form for another text of what was sent."""
    progress = runtime().publishing.progress(root.id)
    return render_template(
        "desk/correct.html",
        root=root,
        form=form,
        nonce=nonce or secrets.token_urlsafe(16),
        errors=errors or {},
        notice=notice,
        reached=runtime().publishing.reached(root),
        waiting=0 if root.over else progress.recipients - progress.done,
        held=runtime().publishing.held(root).waiting if root.over else 0,
    )
