"""Stopping everything at the desk, and the band on each page while it holds."""

from __future__ import annotations

from flask import g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import allowed
from service.desk.session import current_editor, signed_in
from service.domain.alerts.alert_list import Waiting
from service.model.roles import Role
from service.model.stop import Stop


@bp.app_template_global("held_stop")
def held_stop() -> Stop | None:
    """Return the stop that holds, for an editor who is signed in; asked once for each request."""
    if current_editor() is None:
        return None
    if "stop" not in g:
        g.stop = runtime().stops.current()
    found: Stop | None = g.stop
    return found


@bp.app_template_global("waiting_alerts")
def waiting_alerts() -> Waiting:
    """Return what is sent at once when everything is released."""
    return runtime().alert_list.waiting()


@bp.post("/stop")
@allowed(Role.SENDS)
def stop() -> ResponseReturnValue:
    """Stop everything; a second editor who presses too finds it stopped by the first."""
    runtime().stops.hold(by=signed_in().email)
    return redirect(url_for("desk.alerts"), 303)


@bp.post("/release")
@allowed(Role.SENDS)
def release() -> ResponseReturnValue:
    """End the stop that the page showed, and no later one."""
    shown = request.form.get("stop", "")
    if shown:
        runtime().stops.release(shown, by=signed_in().email)
    return redirect(url_for("desk.alerts"), 303)
