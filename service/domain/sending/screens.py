"""Measures how soon alerts are on readers' screens, by the browsers that report it (decision 123).

It is beside the promise, which counts what push services accept. Counted are the browsers that
showed an alert within ten minutes. The others slept or were closed, and how late they are says
nothing of us.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.counting import Counting
from service.model.notifications import Notification
from service.model.operations.measures import PUBLISH_TO_SCREEN, SCREEN_PROMISES
from service.model.operations.promises import Promise, is_promised
from service.model.operations.screen import OnScreen, patience, step
from service.model.time import clock
from service.store import Store
from service.store.alerts.receipt_counts import ReceiptRow, Tally

_EVENT, _KIND = "shown", "screen"  # of the tallies
_EVERY = 15.0  # seconds between two looks
_LOOKS_BACK = 3600.0  # seconds for which an alert waits for a clock that looks


class Screens:
    """Counts and reports."""

    def __init__(self, store: Store, promise: Promise | None, counting: Counting) -> None:
        self._store = store
        self._promise = promise
        self._counting = counting
        self._looked = 0.0
        self._decided: set[int] = set()  # alerts that some clock has counted

    def tally(self, seconds: float) -> Tally:
        """Return the tally of a browser that showed an alert so long after its beginning."""
        return Tally(_EVENT, _KIND, step(seconds, self._promise))

    def count(self, rows: Sequence[ReceiptRow], added: Sequence[int]) -> None:
        """Count for the figures what each receipt has added: nothing if it came once more."""
        for row, n in zip(rows, added, strict=True):
            if row.seconds is not None:
                self._counting.observe(PUBLISH_TO_SCREEN, row.seconds, times=n)

    def of(self, one: Notification) -> OnScreen | None:
        """Return how soon an alert was on screens; None if no browser says, or it was paused."""
        if one.started_at is None or not is_promised(one):
            return None
        tallies = self._store.receipt_counts.all([one.id], ())[0].tallies
        steps = {tally.value: n for tally, n in tallies.items() if tally.kind == _KIND}
        measured, interrupted = self._store.promises.look(one.id)
        if interrupted or not steps:
            return None
        passed = (one.finished_at or clock.time()) - one.started_at
        ours = self._promise
        # Else it was sent before there was a promise.
        held = ours is not None and passed <= ours.seconds
        return OnScreen.of(steps, measured or (ours if held else None))

    def decide(self, now: float) -> None:
        """Count whether alerts kept the promise on screens: what the clock does now and then."""
        if self._promise is None or 0 <= now - self._looked < _EVERY:
            return
        self._looked = now
        until = now - patience(self._promise.seconds)
        begun = self._store.notifications.begun(until - _LOOKS_BACK, until)
        for one in begun:
            if one.id not in self._decided and self._store.promises.first_on_screens(one.id):
                found = self.of(one)
                if found is not None and found.is_kept is not None:
                    self._counting.count(SCREEN_PROMISES, "yes" if found.is_kept else "no")
        self._decided = {one.id for one in begun}
