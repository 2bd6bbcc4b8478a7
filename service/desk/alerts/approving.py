"""A second person approves an alert that waits for one, or sends it back."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import allowed
from service.desk.session import signed_in
from service.model.roles import Role

_LONGEST_WORD = 500  # characters


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
