"""API tokens: which programs may call the API, made and revoked at the desk."""

from __future__ import annotations

from contextlib import suppress

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.session import show_once, shown_once, signed_in, typed
from service.domain.people.api_tokens import TokenError
from service.model.roles import Role
from service.model.tokens import SCOPES

_ONCE = "token"
_NOTHING = "Choose at least one thing that the token may do."
_TAKEN = "A token has this name already, and the log of alerts names tools by it. Choose another."


@bp.get("/tokens")
@allowed(Role.MANAGES)
def tokens() -> ResponseReturnValue:
    """List the API tokens; not the tokens themselves, which are not kept."""
    return _tokens({})


def _tokens(errors: dict[str, str]) -> str:
    form = typed()
    return render_template(
        "desk/tokens.html",
        tokens=runtime().api_tokens.all(),
        name=form.get("name", ""),
        chosen=form.getlist("scope"),
        scopes=SCOPES,
        token=shown_once(_ONCE),
        errors=errors,
    )


@bp.post("/tokens")
@allowed(Role.MANAGES, lately="desk.tokens")
def add_token() -> ResponseReturnValue:
    """Make an API token; the page that follows shows it, and no later one does."""
    name = request.form.get("name", "").strip()
    scopes = [scope for scope in SCOPES if scope in request.form.getlist("scope")]
    if not scopes:
        return _tokens({"scope": _NOTHING}), 422
    if name in {one.name for one in runtime().api_tokens.all()}:
        return _tokens({"name": _TAKEN}), 422
    try:
        token = runtime().api_tokens.add(name, scopes, by=signed_in().email)
    except TokenError as error:
        return _tokens({"name": str(error)}), 422
    note(f"made the API token {name!a}, which may {', '.join(scopes)}")
    show_once(_ONCE, token)
    return redirect(url_for("desk.tokens"), 303)


@bp.post("/tokens/<id>/revoke")
@allowed(Role.MANAGES)
def revoke_token(id: str) -> ResponseReturnValue:
    """Let no program call the API with a token any more."""
    with suppress(TokenError):  # the second of two clicks
        one = runtime().api_tokens.revoke(id)
        note(f"revoked the API token {one.id} ({one.name!a})")
    return redirect(url_for("desk.tokens"), 303)
