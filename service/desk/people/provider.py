"""Signing in through a provider: the way there, and the way back.

Both are links and no forms: of a form, browsers would check where each redirect leads against our
Content-Security-Policy, which cannot name the places that a provider leads through.
"""

from __future__ import annotations

from flask import abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.api import rate_limits
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.sign_in import let_in
from service.desk.permissions import EVERYBODY, allowed
from service.desk.session import (
    WHY_SIGN_IN,
    browser_name,
    current_editor,
    provider_sign_in,
    show_once,
    start_provider_sign_in,
)
from service.domain.people.provider import Provider, ProviderError
from service.model.operations.process_log import is_due

_LONGEST_NEXT = 1000  # characters; browsers keep no cookie of more than 4096


@bp.get("/sign-in/provider")
@allowed(EVERYBODY)
def go_to_provider() -> ResponseReturnValue:
    """Lead to the provider.

    Who is signed in already signs in again, to do what an open desk is not enough for.
    """
    to = request.args.get("next", "")
    try:
        address, began = _provider().begin(anew=current_editor() is not None)
    except ProviderError as error:
        return _refused(error, to)
    start_provider_sign_in(began, to if len(to) <= _LONGEST_NEXT else "")
    return redirect(address, 303)


@bp.get("/sign-in/provider/back")
@allowed(EVERYBODY)
def back_from_provider() -> ResponseReturnValue:
    """Sign in the editor with whom the provider leads back; it is no way to become an editor."""
    provider, (kept, to) = _provider(), provider_sign_in()
    editors, network = runtime().editors, rate_limits.network()
    try:
        began = provider.expected(kept, request.args)
        # Any page of the web can lead browsers here, and those it leads are no attempts.
        editors.count_call(network)
        email, anew = provider.verified(began, request.args)
        session = editors.sign_in_by_provider(email, network, browser_name(), anew=anew)
        if session is None:
            raise provider.no_editor(email)
    except ProviderError as error:
        return _refused(error, to)
    return let_in(session, to)


def _provider() -> Provider:
    return runtime().provider or abort(404)


def _refused(error: ProviderError, to: str) -> ResponseReturnValue:
    """Show the sentence on the page of the sign-in, where other ways are open."""
    what = f"sign-in through the provider: {error.cause}"
    if is_due(what):  # any page of the web can lead browsers here
        current_app.logger.warning(what)
    show_once(WHY_SIGN_IN, str(error))
    return redirect(url_for("desk.sign_in", next=to), 303)
