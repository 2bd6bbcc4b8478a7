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
        # Only pages that ask for their editor prolong a session. Flask would prolong it with every
        # response, and then caches could share nothing that readers' browsers fetch.
        SESSION_REFRESH_EACH_REQUEST=False,
        # A form is accepted as long as the session lasts, so that an editor may think for an hour.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.extensions["stoppress.editors"] = runtime.editors
    app.jinja_env.globals["current_editor"] = current_editor


def start_session(editor: Editor) -> None:
    """Sign an editor in, in a new session that keeps nothing of the previous one."""
    session.clear()
    session.permanent = True
    session["editor"] = editor.session_id
    g.editor = editor


def end_session() -> None:
    """Sign the editor out."""
    session.clear()
    g.editor = None


def current_editor() -> Editor | None:
    """Return the editor who is signed in, if one is; looked up once in each request."""
    if "editor" not in g:
        session_id = session.get("editor")
        editors = current_app.extensions["stoppress.editors"]
        g.editor = editors.of_session(session_id) if session_id else None
        session.modified = session.modified or g.editor is not None
    editor: Editor | None = g.editor
    return editor


def signed_in() -> Editor:
    """Return the editor who is signed in, on a page that only editors reach."""
    editor = current_editor()
    assert editor is not None  # noqa: S101 - `_only_editors` has checked it
    return editor
