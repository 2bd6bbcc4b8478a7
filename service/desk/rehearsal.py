"""The page of the real desk on which an editor starts, opens and ends a rehearsal."""

from __future__ import annotations

import re

from flask import current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.words import number
from service.local import rehearsal
from service.local.rehearsal import LONGEST, MOST_READERS, READERS, Rehearsal, RehearsalError

PREFIX = "/rehearsal"  # of the address of the rehearsal's desk
_FEWEST = 100  # pretend readers


@bp.get("/rehearsal")
@allowed(ANY_EDITOR)
def rehearse() -> ResponseReturnValue:
    """Offer a rehearsal, show how its preparation goes, or lead to its desk."""
    return _page()


@bp.post("/rehearsal")
@allowed(ANY_EDITOR)
def start_rehearsal() -> ResponseReturnValue:
    """Start a rehearsal."""
    text = re.sub(r"[\s,.]", "", request.form.get("readers", ""))
    readers = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not _FEWEST <= readers <= MOST_READERS:
        return _page(
            f"Choose from {number(_FEWEST)} to {number(MOST_READERS)} pretend readers."
        ), 422
    topics = runtime().topics.all().values()
    try:
        rehearsal.start(runtime().config, readers, topics)
    except RehearsalError as error:
        return _page(str(error)), 409
    return redirect(url_for("desk.rehearse"), 303)


@bp.get("/rehearsal/progress")
@allowed(ANY_EDITOR)
def rehearsal_progress() -> ResponseReturnValue:
    """Show how many pretend readers exist; lead to the rehearsal's desk when it is ready."""
    found = find_rehearsal()
    if found is None:
        return "", {"HX-Refresh": "true"}
    headers = {"HX-Redirect": f"{PREFIX}/desk/"} if found.ready else {}
    return render_template("desk/rehearsal_progress.html", rehearsal=found), headers


@bp.post("/rehearsal/end")
@allowed(ANY_EDITOR)
def end_rehearsal() -> ResponseReturnValue:
    """End the rehearsal and delete all that belongs to it."""
    rehearsal.end(runtime().config.data_dir)
    return redirect(url_for("desk.rehearse"), 303)


def find_rehearsal() -> Rehearsal | None:
    """Return the rehearsal that is running beside this desk, if one is."""
    return rehearsal.find(current_app.config["STOPPRESS"].data_dir)


def _page(error: str = "") -> str:
    found = find_rehearsal()
    return render_template(
        "desk/rehearsal.html",
        rehearsal=found,
        desk=f"{PREFIX}/desk/",
        readers=request.form.get("readers", READERS),
        fewest=_FEWEST,
        most=MOST_READERS,
        longest=LONGEST,
        error=error,
        trouble="" if found else rehearsal.trouble(runtime().config.data_dir),
    )
