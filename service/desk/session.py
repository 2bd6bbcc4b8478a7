"""Sessions of editors at the desk: a signed cookie that no script can read."""

from __future__ import annotations

from flask import Flask, current_app, g, session

from service.domain.editors import Editor
from service.model.retention import SESSION_KEPT
from service.runtime import Runtime


def init_app(app: Flask, runtime: Runtime) -> None:
    """Set up sessions for the editors of `runtime`."""
    app.secret_key = runtime.config.secret_key
    app.config.update(
        SESSION_COOKIE_NAME="stoppress",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=runtime.config.public_url.startswith("https:"),
        PERMANENT_SESSION_LIFETIME=SESSION_KEPT,
        # Only pages that look for their editor prolong a session. Flask would do it with every
        # response, and nothing that readers' browsers fetch could be cached for all.
        SESSION_REFRESH_EACH_REQUEST=False,
        # As long as the session: what was typed must not be lost to an hour's thought.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.extensions["stoppress.editors"] = runtime.editors
    app.jinja_env.globals["current_editor"] = current_editor


def start_session(editor: Editor) -> None:
    """Sign an editor in, in a session that has nothing of the one before."""
    session.clear()
    session.permanent = True
    session["editor"] = editor.session_id
    g.editor = editor


def end_session() -> None:
    """Sign the editor out."""
    session.clear()
    g.editor = None


def current_editor() -> Editor | None:
    """Return who is signed in, looked up once a request; None where nobody is."""
    if "editor" not in g:
        session_id = session.get("editor")
        editors = current_app.extensions["stoppress.editors"]
        g.editor = editors.of_session(session_id) if session_id else None
        session.modified = session.modified or g.editor is not None
    editor: Editor | None = g.editor
    return editor


def signed_in() -> Editor:
    """Return who is signed in, on a page that nobody else can reach."""
    editor = current_editor()
    assert editor is not None  # noqa: S101 - the desk's `before_request` has asked
    return editor
