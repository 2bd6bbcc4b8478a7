"""The running stories: the list with their followers, and closing one."""

from __future__ import annotations

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.model.roles import Role


@bp.get("/stories")
@allowed(ANY_EDITOR)
def stories() -> ResponseReturnValue:
    """List the running stories, the one with the latest alert first."""
    return render_template("desk/stories.html", stories=runtime().stories.running())


@bp.post("/stories/<slug>/close")
@allowed(Role.SENDS)
def close_story(slug: str) -> ResponseReturnValue:
    """Close a story; a second click changes nothing."""
    runtime().stories.close(slug)
    return redirect(url_for("desk.stories"), 303)
