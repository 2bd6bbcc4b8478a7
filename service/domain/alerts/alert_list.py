"""The list of alerts: what it shows of each, read for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.sending.receipts import Estimate, estimates
from service.domain.sending.waves import HeldSummary, held_summaries
from service.model.notifications import MOST_LATE, QUIET, Notification, Progress, State
from service.model.retention import HELD_KEPT
from service.model.time import clock
from service.store import Store


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert with its numbers."""

    notification: Notification
    progress: Progress = field(default_factory=lambda: Progress(0, {}))
    held: HeldSummary = field(default_factory=HeldSummary)
    clicks: Estimate | None = None  # None: browsers reported nothing, or it is not kept any more


class Waiting(NamedTuple):
    """What is sent at once when everything is released."""

    alerts: int
    browsers: int  # in their audiences now, as far as they have not got them


class AlertList:
    """The rows of the list, for one installation."""

    def __init__(self, store: Store, receipts_kept: float) -> None:
        """Totals of receipts are kept for so many seconds after the last one."""
        self._store = store
        self._receipts_kept = receipts_kept

    def unfinished(self) -> list[Notification]:
        """Return the alerts that are being sent, the latest start first."""
        ids = self._store.alert_rows.unfinished()
        return [one for one in self._store.notifications.all(ids) if one.finished_at is None]

    def waiting(self) -> Waiting:
        """Return what waits while everything is stopped."""
        notifications, audiences = self._store.notifications, self._store.audiences
        begun = [one for one in self.unfinished() if one.state is State.SENDING]
        earliest = clock.time() - MOST_LATE  # what was due before becomes a draft
        due = [
            one
            for one in notifications.all(notifications.due())
            if one.send_at and (one.wall or one.send_at.at >= earliest)
        ]
        browsers = sum(audiences.count(one.audience) for one in due)
        for one in begun:
            progress = self._progress(one)
            browsers += max(0, progress.recipients - progress.done)
        return Waiting(len(due) + len(begun), browsers)

    def rows(self, notifications: Sequence[Notification]) -> list[AlertRow]:
        """Return alerts with their numbers."""
        ids, now = [one.id for one in notifications], clock.time()
        finished = self._store.alert_rows.reports(ids)
        progress = {
            one.id: report or self._progress(one)
            for one, report in zip(notifications, finished, strict=True)
        }
        held = [one for one in notifications if _may_be_held(one, progress[one.id], now)]
        summaries = dict(
            zip((one.id for one in held), held_summaries(self._store, held), strict=True)
        )
        clicks = self._clicks(notifications, now)
        return [
            AlertRow(
                one,
                progress[one.id],
                summaries.get(one.id, HeldSummary()),
                clicks[one.id],
            )
            for one in notifications
        ]

    def _progress(self, one: Notification) -> Progress:
        return Progress(0, {}) if one.planned else self._store.outcomes.progress(one.id)

    def _clicks(
        self, notifications: Sequence[Notification], now: float
    ) -> dict[int, Estimate | None]:
        reported = self._store.alert_rows.reported([one.id for one in notifications])
        found: dict[int, Estimate | None] = {}
        for one, (clicked, anything) in zip(notifications, reported, strict=True):
            # Of an alert that is older than receipts are kept, 0 may mean that they are gone.
            is_old = now - (one.started_at or one.created_at) > self._receipts_kept
            known = clicked or (anything and not is_old)
            found[one.id] = estimates({"clicked": clicked}, 1.0)["clicked"] if known else None
        return found


def _may_be_held(one: Notification, progress: Progress, now: float) -> bool:
    """Whether readers in their quiet hours may still wait for an alert."""
    recently = one.finished_at is not None and now - one.finished_at < HELD_KEPT
    return recently and progress.skipped(QUIET) > 0
