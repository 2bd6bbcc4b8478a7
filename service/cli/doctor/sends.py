"""The doctor's look at alerts that should go out and do not."""

from __future__ import annotations

from collections.abc import Iterator

from service.cli.doctor.findings import Finding, fail, ok
from service.model.language.graphemes import cut
from service.model.notifications import Notification, State
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime

_STUCK = 60.0  # seconds; workers take up what a dead one left within 15
_MOST_NAMED = 5  # alerts


def sends(runtime: Runtime) -> Iterator[Finding]:
    """Name alerts that no worker takes up, and scheduled ones that no clock started."""
    what, now = "Alerts", clock.time()
    if runtime.stops.holds():  # of which another finding speaks
        return
    under_way = [
        one
        for one in runtime.under_way.alerts()
        if one.state is State.SENDING and now <= one.last_start
    ]
    late = {one.id: _late(runtime, one, now) for one in under_way}
    stuck = [one for one in under_way if late[one.id] >= _STUCK]
    if stuck and runtime.store.gone.responses(now):
        stuck = []  # push services have answered within a minute: batches wait for their turn
    for one in stuck[:_MOST_NAMED]:
        progress = runtime.publishing.progress(one.id)
        left = progress.recipients - progress.done
        yield fail(
            what,
            f"Alert {one.id} “{_title(one)}” has been waiting for {span(late[one.id])}, and no"
            f" worker takes it up: {_waiting(left)}."
            " If workers are running, read their log and restart them.",
        )
    overdue = runtime.store.notifications.all(runtime.store.notifications.due(-_STUCK))
    for one in overdue[:_MOST_NAMED]:
        yield fail(
            what,
            f"Alert {one.id} “{_title(one)}” should have begun more than a minute ago, and no clock"
            " has started it: start stoppress clock, or read its log and restart it.",
        )
    if not stuck and not overdue:
        says = f"{len(under_way)} under way; none is stuck." if under_way else "None is stuck."
        yield ok(what, says)


def _late(runtime: Runtime, one: Notification, now: float) -> float:
    """Return for how many seconds a part of it could have been sent already."""
    looks = runtime.store.batches.looks(one.id).values()
    due = [-look.next_due / 1000 for look in looks if look.due]
    if not all(look.planned for look in looks):
        due.append(now - (one.started_at or one.created_at))
    return max(due, default=0.0)


def _waiting(left: int) -> str:
    return "1 reader waits" if left == 1 else f"{f'{left:,}' if left else 'all'} readers wait"


def _title(one: Notification) -> str:
    return cut(one.content.title, 40)
