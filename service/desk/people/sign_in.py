"""Signing in to the desk, by a password or a one-time link, and signing out."""

from __future__ import annotations

from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api import rate_limits
from service.current import runtime
from service.desk.blueprint import bp, local, notice
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed
from service.desk.session import (
    WHY_SIGN_IN,
    browser_name,
    end_session,
    shown_once,
    start_halfway,
    start_session,
)
from service.domain.people.editors import (
    EditorError,
    Halfway,
    PasswordRefused,
    TooManyGuesses,
)
from service.domain.people.passwords import SHORTEST_PASSWORD
from service.model.retention import MINUTE
from service.model.time.spans import span


@bp.route("/sign-in", methods=["GET", "POST"])
@allowed(EVERYBODY)
def sign_in() -> ResponseReturnValue:
    """Sign an editor in by e-mail address and password."""
    if request.method == "GET":
        return _sign_in_page("", shown_once(WHY_SIGN_IN)), 200
    email, password = request.form.get("email", ""), request.form.get("password", "")
    caller = (rate_limits.network(), browser_name())
    session = runtime().editors.sign_in(email, password, *caller)
    if session is None:
        error = "The e-mail address or the password is wrong."
        return _sign_in_page(email, error), 422
    return let_in(session, request.args.get("next", ""))


def let_in(session: str | Halfway, to: str) -> ResponseReturnValue:
    """Start a session, or ask for a code first, and lead to where the editor wanted to go."""
    if isinstance(session, Halfway):
        start_halfway(session)
        return redirect(url_for("desk.sign_in_code", next=to), 303)
    start_session(session)
    return redirect(local(to), 303)


def _sign_in_page(email: str, error: str) -> str:
    to = request.args.get("next", "")
    return render_template("desk/sign_in.html", email=email, error=error, next=to)


@bp.errorhandler(TooManyGuesses)
def _too_many(error: TooManyGuesses) -> ResponseReturnValue:
    text = f"Try again in {span(error.seconds)}."
    if error.seconds > MINUTE and request.endpoint == "desk.sign_in":
        text += (
            " If you cannot wait, ask an editor who manages the desk, or your operator, for a"
            " sign-in link, which works at once. The operator’s command is “stoppress editor add”"
            " with your e-mail address."
        )
    response = make_response(notice(429, "Too many attempts to sign in", text))
    response.headers["Retry-After"] = str(error.seconds)
    return response


@bp.route("/welcome/<token>", methods=["GET", "POST"])
@allowed(EVERYBODY)
def welcome(token: str) -> ResponseReturnValue:
    """Sign an editor in by a one-time link.

    Opening the link does not use it up, because mail programs preview links.
    """
    link = runtime().editors.find_link(token)
    error, status, of_password = None, 200, False
    if link is not None and request.method == "POST":
        given = (request.form.get("email", ""), request.form.get("password", ""))
        try:
            caller = (rate_limits.network(), browser_name())
            code = request.form.get("code", "")
            session = runtime().editors.use_link(link, *given, *caller, code)
        except EditorError as problem:
            error, status, of_password = str(problem), 422, isinstance(problem, PasswordRefused)
        else:
            if session is not None:
                start_session(session)
                first = not runtime().publishing.latest(1)
                return redirect(url_for("start.start" if first else "desk.alerts"), 303)
            link = None
    if link is None:
        return notice(
            410,
            "This link no longer works",
            "A sign-in link works once, within 24 hours, and only until there is a newer one or a"
            " new password. Ask an editor who manages the desk, or your operator, for another link."
            " The operator’s command is “stoppress editor add” with your e-mail address.",
        )
    page = render_template(
        "desk/welcome.html",
        link=link,
        email=request.form.get("email", ""),
        error=error,
        of_password=of_password,
        shortest=SHORTEST_PASSWORD,
    )
    return page, status


@bp.post("/sign-out")
@allowed(ANY_EDITOR)
def sign_out() -> ResponseReturnValue:
    """End the session."""
    end_session()
    return redirect(url_for("desk.sign_in"), 303)
