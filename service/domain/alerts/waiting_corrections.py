"""Corrections that an editor can still take back: for some seconds they are scheduled alerts.

Meanwhile nothing more of the old text leaves. One script decides between taking a correction back
and starting it (decision 113).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from service.domain.alerts.gate import now_in_ms
from service.domain.alerts.requests import Conflict
from service.domain.sending.planning import Planning
from service.domain.sending.receipts import reporting
from service.domain.sending.waves import stoppable
from service.model import alert_log
from service.model.notifications import QUIET, Audience, Mends, Notification, SendAt, State
from service.store import Store
from service.store.alerts.notifications import IdempotencyRecord, Move

LONGEST_WAIT = 60.0  # seconds, as the settings allow
CORRECTION_CHANGED = "This correction was changed, sent or deleted meanwhile. Nothing was sent."
_ANOTHER = (
    "{by} has just sent another correction of this alert, which can still be taken back. Nothing"
    " was changed. Wait until it has left, or take it back."
)


@dataclass(frozen=True, slots=True)
class Undo:
    """For how long a correction can be taken back, and what it makes of the alert then."""

    seconds: float
    then: State | None = None  # `SENDING` or `CANCELLED`; None: leave it as it is


class WaitingCorrections:
    """Keeps corrections until nobody can take them back any more, and starts them."""

    def __init__(
        self,
        store: Store,
        planning: Planning,
        reached_of: Callable[[Notification], int],
    ) -> None:
        self._store = store
        self._planning = planning
        self._reached_of = reached_of

    def of(self, root: int) -> list[Notification]:
        """Return the corrections of an alert that wait, one at most but for a race."""
        soon = self._store.notifications.all(self._store.notifications.due(ahead=LONGEST_WAIT))
        return [one for one in soon if one.corrects == root and one.waits_for_undo]

    def keep(
        self,
        root: Notification,
        correction: Notification,
        undo: Undo,
        record: IdempotencyRecord | None,
        draft: Notification | None,
    ) -> dict[str, Any] | bool:
        """Store a correction that can be taken back, then pause what is being sent of the alert.

        Returns True, or the earlier response to the same idempotency key. `Conflict` if another
        one waits, or if `draft`, of which it is made, was changed meanwhile.
        """
        for other in self.of(root.id):
            # This very request may have come twice at once.
            if before := record and self._store.notifications.remembered(record.digest):
                return before
            raise Conflict(root.id, _ANOTHER.format(by=other.created_by))
        running = [one.id for one in self._family(root) if one.state is State.SENDING]
        then = undo.then or (State.SENDING if root.id in running else None)
        mends = Mends(
            revision=root.revision,
            leave=correction.state is State.SENT,
            then=then.value if then else "",
            paused=tuple(running),
        )
        now = now_in_ms()
        waiting = dataclasses.replace(
            correction,
            state=State.SCHEDULED,
            # An earlier release would start it as an alert of its own: then nobody gets it.
            audience=Audience(),
            send_at=SendAt(now + undo.seconds, sent_at=now),
            mends=mends,
        )
        entry = alert_log.begun(waiting, waiting.created_by)
        if draft is not None:
            if not self._store.notifications.change(draft, waiting, now, entry):
                raise Conflict(draft.id, CORRECTION_CHANGED)
        elif earlier := self._store.notifications.publish(waiting, record, None, entry):
            return earlier
        for id in running:
            self._store.notifications.move(id, State.PAUSED, possible_from=[State.SENDING])
        return True

    def start(self, one: Notification) -> None:
        """Start a correction, once however many processes ask; it is a draft again if it cannot.

        That is so if the alert was corrected meanwhile, or if nobody has it any more.
        """
        if not one.waits_for_undo:
            return  # taken back
        root = self._store.notifications.get(one.corrects or 0)
        if root is None or one.mends is None or root.revision != one.mends.revision:
            self.put_back(one, "overtaken")
            return
        try:
            reached = self._reached_of(root)
        except Conflict:
            self.put_back(one, "outdated")
            return
        started = dataclasses.replace(
            one,
            audience=root.audience,
            state=State.SENT if one.mends.leave else State.SENDING,
            created_at=now_in_ms(),
            reporting=reporting(reached),
        )
        entry, then = alert_log.corrected(root, one.content, one.created_by), self._then(root, one)
        if self._store.notifications.correct(root, started, None, entry, (one, None), then) == 1:
            self._planning.begin(started)
            if then is not None:
                self._planning.advance(root.id)

    def _then(self, root: Notification, one: Notification) -> Move | None:
        """Return the next state of the alert when its correction starts; None: it stays."""
        if one.mends is None or not one.mends.then:
            return None
        by = one.created_by
        if one.mends.then == State.CANCELLED.value:
            cancelled = alert_log.moved(root, "cancelled", by)
            return Move(State.CANCELLED, stoppable(self._store, root), cancelled)
        self._wake_held(root)
        # If only the correction had paused the alert, neither pause nor resumption is logged.
        noted = root.id not in one.mends.paused
        entry = alert_log.moved(root, "resumed", by) if noted else None
        return Move(State.SENDING, [State.PAUSED], entry)

    def put_back(
        self, one: Notification, action: str, by: str = "", *, goes_on: bool = True
    ) -> bool:
        """Make a draft of a correction that waits; False if it does not wait any more.

        The alert goes on as before unless it is to stay paused.
        """
        mends = one.mends and dataclasses.replace(one.mends, paused=())
        after = dataclasses.replace(one, state=State.DRAFT, send_at=None, mends=mends)
        entry = alert_log.entry(one, action, by)
        done = self._store.notifications.change(one, after, now_in_ms(), entry)
        if done and goes_on:
            self.release(one)
        return done

    def release(self, one: Notification) -> None:
        """Resume the alerts that this correction had paused: it is deleted, or a draft again."""
        for paused in self._store.notifications.all(one.mends.paused if one.mends else ()):
            if paused.state is State.PAUSED:
                self._wake_held(paused)
                to, before = State.SENDING, [State.PAUSED]
                self._store.notifications.move(paused.id, to, possible_from=before)
                self._planning.advance(paused.id)

    def _wake_held(self, one: Notification) -> None:
        """Let the next wave bring a paused alert to readers whose quiet hours ended meanwhile."""
        if one.state is State.PAUSED and self._store.outcomes.progress(one.id).skipped(QUIET):
            self._store.held_alerts.wake_again(one.id)

    def _family(self, root: Notification) -> Iterable[Notification]:
        return [root, *self._store.notifications.all(root.corrections)]
