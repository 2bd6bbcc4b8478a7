"""Two-step sign-in: the code after the password, and the page on which editors switch it on."""

from __future__ import annotations

import pyotp
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api import rate_limits
from service.current import runtime
from service.desk.blueprint import bp, local
from service.desk.people.editors import note, person_page
from service.desk.people.qr_code import qr_code
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed
from service.desk.session import (
    browser_name,
    halfway,
    own_session,
    show_once,
    shown_once,
    signed_in,
    start_session,
)
from service.domain.people.editors import WRONG_CODE, TooLate
from service.model.roles import Role

_CODES = "recovery codes"
_WRONG_PASSWORD = "The password is wrong."  # noqa: S105

_OWN = "To switch two-step sign-in off for yourself, open its page and enter a code."


@bp.route("/sign-in/code", methods=["GET", "POST"])
@allowed(EVERYBODY)
def sign_in_code() -> ResponseReturnValue:
    """Ask an editor whose password was right for a code."""
    began, error, to = halfway(), "", request.args.get("next", "")
    if began is None:
        return redirect(url_for("desk.sign_in", next=to), 303)
    if request.method == "POST":
        caller = (rate_limits.network(), browser_name())
        try:
            session = runtime().editors.sign_in_by_code(
                began, request.form.get("code", ""), *caller
            )
        except TooLate:
            return redirect(url_for("desk.sign_in", next=to), 303)
        if session is not None:
            start_session(session)
            return redirect(local(to), 303)
        error = WRONG_CODE
    page = render_template("desk/sign_in_code.html", email=began.email, error=error)
    return page, 422 if error else 200


@bp.get("/account/two-step")
@allowed(ANY_EDITOR)
def two_step() -> ResponseReturnValue:
    """Show how to switch it on or off, and the recovery codes to an editor who has just done it."""
    return _two_step()


def _two_step(error: str = "") -> str:
    email = signed_in().email
    secret = runtime().editors.two_step.begun(email)
    return render_template(
        "desk/two_step.html",
        on=runtime().editors.two_step.is_on(email),
        secret=secret,
        picture=_picture(email, secret) if secret else "",
        codes=shown_once(_CODES).split(),
        error=error,
    )


def _picture(email: str, secret: str) -> str:
    """Return what an app for codes reads."""
    issuer = f"Stop Press {runtime().config.site_name}"
    address = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)
    return qr_code(address, "QR code for your app")


@bp.post("/account/two-step/begin")
@allowed(ANY_EDITOR)
def begin_two_step() -> ResponseReturnValue:
    """Make a secret for an editor who gives the password once more."""
    email, password = signed_in().email, request.form.get("password", "")
    if runtime().editors.with_password(email, password, rate_limits.network()) is None:
        return _two_step(_WRONG_PASSWORD), 422
    runtime().editors.two_step.begin(email)
    return redirect(url_for("desk.two_step"), 303)


@bp.post("/account/two-step")
@allowed(ANY_EDITOR)
def switch_on_two_step() -> ResponseReturnValue:
    """Switch it on for an editor whose app shows the right code; end all other sessions."""
    one, code = signed_in(), request.form.get("code", "")
    two_step = runtime().editors.two_step
    if not two_step.accepts_first(one.email, code):
        return _two_step(WRONG_CODE), 422
    # First, so that it is not on beside sessions that began without a code.
    sessions = runtime().editors.with_id(one.id).sessions
    runtime().editors.end_sessions([it for it in sessions if it.digest != own_session()])
    if (codes := two_step.switch_on(one.email, code)) is None:
        return _two_step(WRONG_CODE), 422
    note("switched two-step sign-in on")
    show_once(_CODES, " ".join(codes))
    return redirect(url_for("desk.two_step"), 303)


@bp.post("/account/two-step/off")
@allowed(ANY_EDITOR)
def switch_off_two_step() -> ResponseReturnValue:
    """Switch it off for an editor who gives a code."""
    email, code = signed_in().email, request.form.get("code", "")
    if not runtime().editors.accepts_code(email, code, rate_limits.network()):
        return _two_step(WRONG_CODE), 422
    runtime().editors.two_step.switch_off(email)
    note("switched two-step sign-in off")
    return redirect(url_for("desk.two_step"), 303)


@bp.post("/people/<id>/two-step/off")
@allowed(Role.MANAGES, lately="desk.person")
def switch_off_for(id: str) -> ResponseReturnValue:
    """Switch it off for another editor, who has lost the phone and the recovery codes."""
    one = runtime().editors.with_id(id)
    if one.email == signed_in().email:
        return person_page(one, _OWN), 409
    runtime().editors.two_step.switch_off(one.email)
    note(f"switched two-step sign-in off for {one.email}")
    return redirect(url_for("desk.person", id=id), 303)
