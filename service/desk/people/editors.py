"""People: who may use the desk, in which role, and where each of them is signed in."""

from __future__ import annotations

from contextlib import suppress

from flask import current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import allowed, for_oneself
from service.desk.session import (
    own_session,
    show_once,
    shown_once,
    signed_in,
    signed_in_lately,
    typed,
)
from service.desk.words import number, plural
from service.domain.people.editors import Editor, EditorError, UnknownEditor
from service.model.roles import ROLES, Role

NOT_ADDED = "passkey"  # what `shown_once` calls the sentence why no passkey was added
_STILL_WORK = "tokens"  # what it calls the sentence that tokens outlive the role of their maker
_NO_ROLE = "Choose what the editor may do."


@bp.get("/people")
@allowed(Role.MANAGES)
def people() -> ResponseReturnValue:
    """List the editors."""
    return _people()


def _people(error: str = "") -> str:
    form = typed()
    return render_template(
        "desk/people.html",
        editors=runtime().editors.all(),
        roles=ROLES,
        email=form.get("email", ""),
        chosen=form.get("role", Role.SENDS.word),
        done=shown_once(_STILL_WORK),
        error=error,
    )


@bp.post("/people")
@allowed(Role.MANAGES, lately="desk.people")
def invite() -> ResponseReturnValue:
    """Add an editor, and lead to the page that shows the sign-in link."""
    email = request.form.get("email", "").strip().lower()
    role = ROLES.get(request.form.get("role", ""))
    if role is None:
        return _people(_NO_ROLE), 422
    try:
        link = runtime().editors.invite(email, role, by=signed_in().email)
    except EditorError as error:
        return _people(str(error)), 422
    note(f"invited {email}, who {role.word}")
    return _with_link(Editor(email, "", role).id, link)


@bp.get("/people/<id>")
@allowed(for_oneself)
def person(id: str) -> ResponseReturnValue:
    """Show an editor: role, sessions, and what may be changed."""
    return person_page(runtime().editors.with_id(id), shown_once(NOT_ADDED))


def person_page(one: Editor, error: str) -> str:
    """Return the page of an editor."""
    return render_template(
        "desk/person.html",
        person=one,
        own=one.email == signed_in().email,
        own_session=own_session(),
        browsers=runtime().paired_browsers.of(one.email),
        passkeys=runtime().passkeys.of(one.email),
        tokens=runtime().api_tokens.made_by(one.email),
        done=shown_once(_STILL_WORK),
        lately=signed_in_lately(one),
        roles=ROLES,
        chosen=typed().get("role", one.role.word),
        link=shown_once(one.id),
        error=error,
    )


@bp.post("/people/<id>/role")
@allowed(Role.MANAGES, lately="desk.person")
def set_role(id: str) -> ResponseReturnValue:
    """Let an editor do more or less, also in sessions that are open."""
    one, role = runtime().editors.with_id(id), ROLES.get(request.form.get("role", ""))
    if role is None:
        return person_page(one, _NO_ROLE), 422
    try:
        runtime().editors.set_role(one.email, role)
    except EditorError as error:
        return person_page(one, str(error)), 409
    note(f"changed the role of {one.email}, who {role.word} now and {one.role.word} before")
    if role is not Role.MANAGES:
        _say_which_tokens_still_work(one)
    return redirect(url_for("desk.person", id=id), 303)


@bp.post("/people/<id>/link")
@allowed(Role.MANAGES, lately="desk.person")
def new_link(id: str) -> ResponseReturnValue:
    """Make a new sign-in link for an editor; the earlier one works no longer."""
    one = runtime().editors.with_id(id)
    link = runtime().editors.new_link(one)
    note(f"made a sign-in link for {one.email}")
    return _with_link(id, link)


@bp.post("/people/<id>/sessions/end")
@allowed(for_oneself)
def end_sessions(id: str) -> ResponseReturnValue:
    """End one session of an editor, all, or all but the one of this request."""
    one, which = runtime().editors.with_id(id), request.form.get("which", "")
    ended = [
        session
        for session in one.sessions
        if which in ("all", session.id) or (which == "others" and session.digest != own_session())
    ]
    runtime().editors.end_sessions(ended)
    note(f"ended {len(ended)} sessions of {one.email}")
    return redirect(url_for("desk.person", id=id), 303)


@bp.post("/people/<id>/remove")
@allowed(Role.MANAGES)
def remove(id: str) -> ResponseReturnValue:
    """Remove an editor, who is signed out everywhere at once."""
    with suppress(UnknownEditor):  # the second of two clicks
        one = runtime().editors.with_id(id)
        by = signed_in().email
        try:
            runtime().editors.remove(one.email)
        except EditorError as error:
            return person_page(one, str(error)), 409
        current_app.logger.warning("%s removed %s, who %s", by, one.email, one.role.word)
        _say_which_tokens_still_work(one)
    return redirect(url_for("desk.people"), 303)


def _say_which_tokens_still_work(one: Editor) -> None:
    """Tell who manages: programs may need these tokens, so nothing revokes them by itself."""
    if n := len(runtime().api_tokens.made_by(one.email)):
        made = plural(n, "token that {} made still works", "tokens that {} made still work")
        show_once(_STILL_WORK, f"{number(n)} API {made.format(one.email)}. Look at “Tokens”.")


def note(what: str) -> None:
    """Write into the log of the process what the editor of this request has done."""
    # A lower level than this one is not written.
    current_app.logger.warning("%s %s", signed_in().email, what)


def _with_link(id: str, link: str) -> ResponseReturnValue:
    show_once(id, link)
    return redirect(url_for("desk.person", id=id), 303)
