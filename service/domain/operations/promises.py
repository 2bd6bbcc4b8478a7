"""Measures how fast alerts are, and whether they keep the newsroom's promise, such as 90 % in 60 s.

The clock looks at the counts of each alert under way every second, so a time is right to about a
second, and never too early. Workers do nothing for it (decision 102). Who finishes an alert counts
it for the figures (decision 116).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from redis import RedisError

from service.domain.counting import Counting
from service.model.notifications import Notification, Progress, State
from service.model.operations.measures import ALERT_TIMES, ALERTS_ENDED, PROMISES
from service.model.operations.promises import Measured, Promise, is_promised, share_of
from service.model.time import clock
from service.store import Store

_SHARES = (50, 90)  # percent whose times are counted


@dataclass(frozen=True, slots=True)
class PromiseReport:
    """How an alert does, or did, by the promise; seconds are those since it began."""

    share: int  # percent, as promised
    seconds: int  # as promised
    passed: float  # seconds that it has taken so far, or took
    now: int  # percent that is handed over so far, or was in the end
    after: float | None = None  # seconds until the promised share was handed over
    then: int | None = None  # percent when the promised time was over
    is_over: bool = False  # nothing more is sent
    is_interrupted: bool = False  # it was paused, stopped or cancelled, so that nothing is measured

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise was kept; None: that is not decided, or was not measured."""
        if self.is_interrupted:
            return None
        if self.after is not None:
            return self.after <= self.seconds
        return False if self.is_over or self.passed > self.seconds else None


class Promises:
    """Measures and reports."""

    def __init__(self, store: Store, promise: Promise | None, counting: Counting) -> None:
        self._store = store
        self._promise = promise
        self._counting = counting
        self._noted: dict[int, set[int]] = {}  # shares, by alert under way

    def measure(self) -> None:
        """Look at the alerts under way: what the clock does every second."""
        noted = {}
        for one in self._store.notifications.all(self._store.notifications.active()):
            if is_promised(one) and one.started_at is not None and one.finished_at is None:
                noted[one.id] = self._noted.get(one.id, set())
                self._measure(one, one.started_at, noted[one.id])
        self._noted = noted

    def _measure(self, one: Notification, began: float, noted: set[int]) -> None:
        known, row = self._store.promises.read(one.id)
        before = known
        if before is None and self._promise is not None:
            before = Measured(self._promise.share, self._promise.seconds)
        over = before is None or before.reached_at is not None or before.is_interrupted
        if over and noted.issuperset(_SHARES):
            return
        now, share = clock.time(), share_of(self._store.outcomes.progress(one.id)) or 0
        self._note_times(one, share, now, noted)
        if before is None or over:
            return
        after = before
        if share >= before.share:
            after = replace(after, reached_at=now)
        elif before.share_then is None and (one.state is not State.SENDING or self._is_stopped()):
            after = replace(after, is_interrupted=True)
        if before.share_then is None and now - began >= before.seconds:
            after = replace(after, share_then=share)
        if after != known:
            self._store.promises.keep(one.id, after, row)

    def _note_times(self, one: Notification, share: int, now: float, noted: set[int]) -> None:
        """Note when half and most of an alert was handed over, unless it was interrupted."""
        for wanted in _SHARES:
            if share >= wanted and wanted not in noted:
                self._store.promises.reached(one.id, wanted, now)
                noted.add(wanted)
        if not noted.issuperset(_SHARES) and (one.state is not State.SENDING or self._is_stopped()):
            self._store.promises.interrupted(one.id)
            noted.update(_SHARES)

    def count_ended(self, one: Notification, progress: Progress) -> None:
        """Count an alert that this process has just finished."""
        self._counting.count(ALERTS_ENDED, one.state.value)
        with suppress(RedisError):  # the alert is over all the same
            report = self.of(one, progress)
            if report is not None and report.is_kept is not None:
                self._counting.count(PROMISES, "yes" if report.is_kept else "no")
            self._count_times(one, progress)
            self._counting.add_to(self._store.counted)

    def _count_times(self, one: Notification, progress: Progress) -> None:
        began, ended = one.started_at, one.finished_at
        if began is None or ended is None or one.state is not State.SENT or not is_promised(one):
            return
        times = self._store.promises.times(one.id, _SHARES)
        if times is None:
            return
        share = share_of(progress) or 0
        for wanted, at in times.items():
            if at is not None or share >= wanted:
                passed = max(0.0, (at or ended) - began)
                self._counting.observe(ALERT_TIMES, passed, str(wanted))
        self._counting.observe(ALERT_TIMES, max(0.0, ended - began), "all")

    def _is_stopped(self) -> bool:
        return self._store.stops.holds()

    def of(self, one: Notification, progress: Progress) -> PromiseReport | None:
        """Return how an alert does; None if no promise holds for it, or nobody has measured it."""
        # While no worker has looked for its recipients, nobody has it.
        unplanned = one.finished_at is None and not progress.recipients
        share = 0 if unplanned else share_of(progress)
        if one.started_at is None or share is None or not is_promised(one):
            return None
        passed = (one.finished_at or clock.time()) - one.started_at
        measured = self._store.promises.get(one.id)
        if measured is None:
            if self._promise is None or passed > self._promise.seconds:
                return None  # it was sent before there was a promise, or no clock ran
            measured = Measured(self._promise.share, self._promise.seconds)
        at = measured.reached_at
        if at is None and one.finished_at is not None and share >= measured.share:
            at = one.finished_at  # since the clock looked last
        return PromiseReport(
            share=measured.share,
            seconds=measured.seconds,
            passed=passed,
            now=share,
            after=None if at is None else max(0.0, at - one.started_at),
            then=measured.share_then,
            is_over=one.finished_at is not None,
            is_interrupted=measured.is_interrupted or (one.state is State.CANCELLED and at is None),
        )
