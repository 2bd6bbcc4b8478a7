"""The log of alerts: who did what with each, to be searched and exported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from flask import render_template, request
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.tables import table
from service.desk.times import asked_days, asked_zone, iso
from service.desk.words import LOGGED, logged_changes
from service.domain.alerts.alert_log import Search
from service.model.alert_log import ENTRY_ID, LogEntry

_PAGE = 100  # entries
_FIELDS = ("title", "by", "action", "since", "until")
_COLUMNS = ("time", "alert", "title", "action", "by", "with an API token", "changes")


@bp.get("/log")
@allowed(ANY_EDITOR)
def log() -> ResponseReturnValue:
    """List what was done with alerts, the latest first."""
    given = _given()
    found = list(islice(runtime().alert_log.found(_search(given), _before()), _PAGE + 1))
    older = found[_PAGE - 1].id if len(found) > _PAGE else ""
    shown = found[:_PAGE]
    there = {one.id for one in runtime().publishing.all({entry.alert for entry in shown})}
    return render_template(
        "desk/log.html",
        entries=shown,
        there=there,
        older=older,
        given=given,
        actions=LOGGED,
        kept_days=runtime().config.alert_log_kept_days,
    )


@bp.get("/log.csv")
@allowed(ANY_EDITOR)
def export_log() -> ResponseReturnValue:
    """Give out the entries that are looked for as a table (RFC 4180)."""
    entries = runtime().alert_log.found(_search(_given()))
    zone = asked_zone()
    return table("alert-log", _COLUMNS, (_row(one, zone) for one in entries))


def _row(one: LogEntry, zone: str) -> Sequence[object]:
    tool = "yes" if one.tool else ""
    begins = (iso(one.at, zone), one.alert or "", one.title, one.action, one.by or "clock")
    return (*begins, tool, logged_changes(one))


def _before() -> str:
    """Return the entry after which the page begins, if the address names one."""
    before = request.args.get("before", "")
    return before if re.fullmatch(ENTRY_ID, before) else ""


def _given() -> dict[str, str]:
    given = {name: request.args.get(name, "").strip()[:200] for name in _FIELDS}
    return {**given, "zone": asked_zone()}


def _search(given: dict[str, str]) -> Search:
    action = given["action"] if given["action"] in LOGGED else ""
    return Search(given["title"], given["by"], action, **asked_days(given["since"], given["until"]))
