"""Passkeys: editors add them on their own page, and sign in with them.

A script asks for what the browser needs, and sends the form with what the browser has answered.
"""

from __future__ import annotations

from flask import abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.api import rate_limits
from service.current import runtime
from service.desk.blueprint import bp, local
from service.desk.people.editors import NOT_ADDED, note
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed, for_oneself
from service.desk.session import (
    WHY_SIGN_IN,
    browser_name,
    challenge,
    show_once,
    signed_in,
    signed_in_lately,
    start_challenge,
    start_session,
)
from service.domain.people.passkeys import PasskeyError

_TOO_OLD = "Sign in again before you add a passkey: this page says how."


@bp.post("/sign-in/passkey/begin")
@allowed(EVERYBODY)
def begin_passkey_sign_in() -> ResponseReturnValue:
    """Return what a browser needs to use a passkey (JSON)."""
    options, began = runtime().passkeys.begin_to_sign_in()
    start_challenge(began)
    return options


@bp.post("/sign-in/passkey")
@allowed(EVERYBODY)
def sign_in_by_passkey() -> ResponseReturnValue:
    """Sign in the editor whose passkey has signed what this browser was given."""
    to, editors = request.args.get("next", ""), runtime().editors
    began, network = challenge(), rate_limits.network()
    editors.count_call(network)
    try:
        email = runtime().passkeys.accept(began, request.form.get("credential", ""))
    except PasskeyError as error:
        current_app.logger.warning("sign-in with a passkey: refused")
        show_once(WHY_SIGN_IN, str(error))
        return redirect(url_for("desk.sign_in", next=to), 303)
    session = editors.sign_in_by_passkey(email, network, browser_name())
    if session is None:  # removed in this moment
        return redirect(url_for("desk.sign_in", next=to), 303)
    start_session(session)
    return redirect(local(to), 303)


@bp.post("/account/passkeys/begin")
@allowed(ANY_EDITOR)
def begin_passkey() -> ResponseReturnValue:
    """Return what a browser needs to make a passkey (JSON)."""
    one = runtime().editors.with_id(signed_in().id)
    if not signed_in_lately(one):
        abort(403)
    options, began = runtime().passkeys.begin_to_add(one.email, runtime().config.site_name)
    start_challenge(began)
    return options


@bp.post("/account/passkeys")
@allowed(ANY_EDITOR)
def add_passkey() -> ResponseReturnValue:
    """Store the passkey that this browser has made for the editor who is signed in.

    Not in an old session: a stranger who has found it open could come back for ever.
    """
    began, one = challenge(), runtime().editors.with_id(signed_in().id)
    name, answer = request.form.get("name", ""), request.form.get("credential", "")
    try:
        if not signed_in_lately(one):
            raise PasskeyError(_TOO_OLD)
        added = runtime().passkeys.add(one.email, name or browser_name(), began, answer)
    except PasskeyError as error:
        show_once(NOT_ADDED, str(error))
    else:
        note(f"added the passkey “{added.name}”")
    return redirect(url_for("desk.person", id=one.id), 303)


@bp.post("/people/<id>/passkeys/remove")
@allowed(for_oneself)
def remove_passkey(id: str) -> ResponseReturnValue:
    """Remove a passkey; sessions that it began go on, and can be ended."""
    one = runtime().editors.with_id(id)
    gone = runtime().passkeys.remove(one.email, request.form.get("passkey", ""))
    if gone is not None:
        note(f"removed the passkey “{gone.name}” of {one.email}")
    return redirect(url_for("desk.person", id=id), 303)
