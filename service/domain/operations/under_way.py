"""Alerts under way as operators see them: whether they wait for workers, and keep the promise."""

from __future__ import annotations

from service.domain.operations.promises import Promises
from service.model.notifications import Notification, Progress, State
from service.model.time import clock
from service.store import Store


class UnderWay:
    """The alerts of one installation that are not over."""

    def __init__(self, store: Store, promises: Promises) -> None:
        self._store = store
        self._promises = promises

    def alerts(self) -> list[Notification]:
        """Return them, with waves and tests, and without the canary."""
        found = self._store.notifications.all(self._store.notifications.active())
        return [one for one in found if not one.audience.canary]

    def due(self, one: Notification) -> int:
        """Return how many batches of an alert wait for a worker; one for each unplanned part."""
        late = clock.time() > one.last_start
        if one.state is not State.SENDING or late or self._store.stops.holds():
            return 0
        looks = self._store.batches.looks(one.id).values()
        return sum(look.due if look.planned else 1 for look in looks)

    def promise(self, one: Notification, progress: Progress) -> str:
        """Return how an alert does by the promise: open, kept or missed; empty: not measured."""
        report = self._promises.of(one, progress)
        if report is None or report.is_interrupted:
            return ""
        return {True: "kept", False: "missed", None: "open"}[report.is_kept]

    def any_missed(self) -> bool:
        """Whether one of them has missed the promise."""
        return any(
            self.promise(one, self._store.outcomes.progress(one.id)) == "missed"
            for one in self.alerts()
        )

    def nothing_moves(self, now: float) -> int:
        """Return how many batches could be sent, if no push service has answered for a minute."""
        began = [one for one in self.alerts() if (one.started_at or now) < now - 60]
        due = sum(self.due(one) for one in began)
        return due if due and not self._store.gone.responses(now) else 0
