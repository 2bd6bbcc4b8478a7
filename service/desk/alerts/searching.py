"""The search of alerts."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.alerts.alert_list import PAGE, reports_of
from service.desk.alerts.report import STATES
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.times import asked_days, asked_zone
from service.domain.alerts.alert_search import Search
from service.model.notifications import DEFAULT_TTL, State

_FIELDS = ("text", "state", "kind", "topic", "by", "since", "until")


@bp.get("/search")
@allowed(ANY_EDITOR)
def search() -> ResponseReturnValue:
    """List the alerts that are looked for, planned ones first, then the latest."""
    given = {name: request.args.get(name, "").strip()[:200] for name in _FIELDS}
    found = runtime().alert_search.found(_search(given))
    before = request.args.get("before", type=int)
    first = found.index(before) + 1 if before in found else 0
    shown = runtime().publishing.all(found[first : first + PAGE])
    return render_template(
        "desk/search.html",
        given={**given, "zone": asked_zone()},
        found=len(found),
        first=first,
        reports=reports_of(shown),
        older=found[first + PAGE - 1] if len(found) > first + PAGE else None,
        states=STATES,
        kinds=DEFAULT_TTL,
        topics=runtime().topics.all().values(),
    )


def _search(given: dict[str, str]) -> Search:
    """Return what is looked for; what makes no sense in the address is left out."""
    state = given["state"]
    return Search(
        text=given["text"],
        state=State(state) if state in {one.value for one in State} else None,
        kind=given["kind"] if given["kind"] in DEFAULT_TTL else "",
        topic=given["topic"],
        by=given["by"],
        **asked_days(given["since"], given["until"]),
    )
