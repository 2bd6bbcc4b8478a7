"""The page of the desk's keys."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed


@bp.get("/shortcuts")
@allowed(ANY_EDITOR)
def shortcuts() -> ResponseReturnValue:
    """Show which keys do what; the key `?` leads here."""
    return render_template("desk/shortcuts.html")
