"""A writer hands a draft in; a second person approves what waits for one, or sends it back."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import allowed, for_a_draft, may
from service.desk.session import signed_in
from service.model.roles import Role

_LONGEST_WORD = 500  # characters


@bp.app_template_global("waiting_drafts")
def waiting_drafts() -> int:
    """Return how many drafts wait for this editor, who sends."""
    return runtime().approvals.waiting() if may(Role.SENDS) else 0


@bp.post("/alerts/<int:id>/hand-in")
@allowed(for_a_draft)
def hand_in(id: int) -> ResponseReturnValue:
    """Say that a draft is ready to be sent."""
    runtime().approvals.hand_in(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/approve")
@allowed(Role.SENDS)
def approve(id: int) -> ResponseReturnValue:
    """Send what this editor has just seen."""
    seen = request.form.get("digest", "")
    runtime().approvals.approve(id, seen, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/send-back")
@allowed(Role.SENDS)
def send_back(id: int) -> ResponseReturnValue:
    """Make an ordinary draft of it, and say why."""
    seen, word = request.form.get("digest", ""), request.form.get("word", "").strip()
    runtime().approvals.send_back(id, seen, word[:_LONGEST_WORD], by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)
