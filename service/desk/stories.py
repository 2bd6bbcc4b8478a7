"""The running stories at the desk: what there is, who follows it, and its end."""

from __future__ import annotations

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp


@bp.get("/stories")
def stories() -> ResponseReturnValue:
    """List the running stories, the one with the latest alert first."""
    return render_template("desk/stories.html", stories=runtime().publishing.stories())


@bp.post("/stories/<slug>/close")
def close_story(slug: str) -> ResponseReturnValue:
    """End a story; a second click finds that done."""
    runtime().store.stories.close(slug)
    return redirect(url_for("desk.stories"), 303)
