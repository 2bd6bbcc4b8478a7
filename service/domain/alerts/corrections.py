"""Corrections: alerts with another text, for readers who have the first one or are to get it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from service.domain.alerts.gate import NEEDED, Gate, authors_of, now_in_ms
from service.domain.alerts.requests import (
    Conflict,
    Idempotency,
    Published,
    Responses,
    existing,
    record,
)
from service.domain.alerts.waiting_corrections import CORRECTION_CHANGED, Undo, WaitingCorrections
from service.domain.sending.planning import Planning
from service.domain.sending.receipts import reporting
from service.domain.sending.waves import held_summary, stoppable
from service.model import alert_log
from service.model.notifications import Content, Notification, State
from service.model.operations import traces
from service.model.operations.process_log import request_id
from service.store import Store
from service.store.alerts.notifications import IdempotencyRecord

_CORRECTED_SINCE = (
    "This alert was corrected since the correction was asked for. Delete it, and write another one"
    " that begins with the text of now."
)


class Corrections:
    """What the desk and the API do to correct alerts."""

    def __init__(self, store: Store, planning: Planning, gate: Gate) -> None:
        self._store = store
        self._planning = planning
        self._gate = gate
        self._responses = Responses(store)
        self.waiting = WaitingCorrections(store, planning, self._reached_of)

    def correct(
        self,
        id: int,
        *,
        title: str | None,
        body: str | None,
        url: str | None,
        replace: bool,
        by: str,
        idempotency: Idempotency | None = None,
        check: Callable[[Notification], tuple[tuple[str, str], ...]] = lambda _root: (),
        bare: bool = False,
        undo: Undo | None = None,
        draft: Notification | None = None,
    ) -> Published:
        """Correct the text of a notification; None leaves a part of it unchanged.

        `bare`: the new text has no picture and no buttons. With `undo` it can be taken back. It is
        made of `draft`, if that is one.

        Browsers not reached yet get the new text instead of the old one. With `replace`, browsers
        that have the alert get the correction as a notification of its own, which takes its place
        on the screen. `check` gets the notification as it is now, and may raise; it returns the
        warnings that belong to the response. Where so many are concerned that a second person has
        to approve it, it waits as a draft (`approved`).
        """
        while True:
            root = self.root(id)
            # After reading the root: a request that is sent twice must not correct its own result.
            if (before := self._responses.earlier(idempotency)) is not None:
                return before
            warnings = (*check(root), *self._gate.stops.warnings())
            reached = self._reached_of(root)
            content = root.text.changed(title=title, body=body, url=url, bare=bare)
            correction = self._correction(root, content, reached, by, draft)
            if not replace:
                correction = dataclasses.replace(correction, state=State.SENT)
            # A retraction goes to nobody else.
            concerned = reached if bare else self.concerned(root, reached)
            asked = self._gate.asked_to_correct(correction, root.revision, concerned)
            browsers = reached if replace else 0
            state = State.SCHEDULED if undo else correction.state
            published = Published(correction.id, browsers, state, warnings)
            if asked is not None:
                warnings = (*warnings, ("status", NEEDED))
                published = Published(asked.id, reached, asked.state, warnings)
            kept = record(published, idempotency)
            if asked is not None:
                stored = self._ask(asked, kept, draft)
            elif undo is not None:
                stored = self.waiting.keep(root, correction, undo, kept, draft)
            else:
                stored = self._correct(root, correction, kept, draft)
            if isinstance(stored, dict) and idempotency is not None:
                return self._responses.same(stored, idempotency)
            if stored:
                return published

    def _correction(
        self, root: Notification, text: Content, reached: int, by: str, draft: Notification | None
    ) -> Notification:
        return Notification(
            id=draft.id if draft else self._store.notifications.new_id(),
            content=text,
            audience=root.audience,
            state=State.SENDING,
            created_at=now_in_ms(),
            created_by=by,
            corrects=root.id,
            reporting=reporting(reached),
            authors=authors_of(by, draft),
            changes=draft.changes if draft else 0,
            link_parameters=root.link_parameters,
            request_id=request_id.get(),
            trace=traces.here(),
        )

    def _ask(
        self, asked: Notification, kept: IdempotencyRecord | None, draft: Notification | None
    ) -> dict[str, Any] | bool:
        """Store a correction that waits for a second person; or the earlier response."""
        entry = alert_log.begun(asked, asked.created_by)
        if draft is None:
            return self._store.notifications.publish(asked, kept, None, entry) or True
        if not self._store.notifications.change(draft, asked, now_in_ms(), entry):
            raise Conflict(draft.id, CORRECTION_CHANGED)
        return True

    def _correct(
        self,
        root: Notification,
        correction: Notification,
        kept: IdempotencyRecord | None,
        draft: Notification | None,
    ) -> dict[str, Any] | bool:
        """Correct an alert at once; False if another correction came first."""
        entry = alert_log.corrected(root, correction.content, correction.created_by)
        waited = (draft, None) if draft else None
        stored = self._store.notifications.correct(root, correction, kept, entry, waited)
        if isinstance(stored, dict):
            return stored
        if stored < 0:
            raise Conflict(correction.id, CORRECTION_CHANGED)
        if stored:
            self._planning.begin(correction)
        return bool(stored)

    def approved(self, waiting: Notification, *, by: str) -> bool:
        """Send a correction that waited for a second person; False if it does not wait any more.

        It keeps its id, so that those who wrote it can follow it. `Conflict` as in `correct`.
        """
        assert waiting.corrects is not None  # noqa: S101 - see `Approvals`
        assert waiting.request is not None  # noqa: S101
        root, request = self.root(waiting.corrects), waiting.request
        if request.revision not in (None, root.revision):
            raise Conflict(waiting.id, _CORRECTED_SINCE)
        correction = dataclasses.replace(
            waiting,
            state=State.SENT if request.leave else State.SENDING,
            created_at=now_in_ms(),
            reporting=reporting(self._reached_of(root)),
            request=None,
            approved_by=by,
            request_id=request_id.get(),
            trace=traces.here(),
        )
        entry = alert_log.corrected(root, correction.content, waiting.created_by)
        approval = (waiting, alert_log.entry(waiting, "approved", by))
        stored = self._store.notifications.correct(root, correction, None, entry, approval)
        if not stored:
            raise Conflict(waiting.id, _CORRECTED_SINCE)
        if stored == 1:
            self._planning.begin(correction)
        return stored == 1

    def cancel(self, id: int, by: str) -> None:
        """Cancel the corrections of an alert that is cancelled; what waits is a draft again."""
        root = existing(self._store, id)
        if root.state is not State.CANCELLED:
            return
        for correction in self._store.notifications.all(root.corrections):
            possible = stoppable(self._store, correction)
            self._store.notifications.move(correction.id, State.CANCELLED, possible_from=possible)
        for one in self.waiting.of(id):
            self.waiting.put_back(one, "taken back", by)

    def root(self, id: int) -> Notification:
        """Return the notification that a correction of `id` would correct; `Conflict` if none."""
        one = existing(self._store, id)
        root = one if one.corrects is None else existing(self._store, one.corrects)
        if root.planned:
            detail = f"This alert is {root.state.value}: change it instead of correcting it."
            raise Conflict(root.id, detail)
        if root.wave:
            detail = "This is a wave of held alerts: correct the alerts themselves."
            raise Conflict(root.id, detail)
        if root.audience.subscription is not None:
            detail = "This was a test to one browser: there is nothing to correct."
            raise Conflict(root.id, detail)
        return root

    def reached(self, notification: Notification) -> int:
        """Return how many browsers would get a correction of a notification now."""
        return self._store.recipients.reached(notification.id, notification.revision + 1)

    def concerned(self, root: Notification, reached: int) -> int:
        """Return how many browsers have an alert (`reached`), or would yet get its text."""
        held = held_summary(self._store, root).waiting  # they get the text that is the latest then
        if root.over:
            return reached + held
        progress = self._store.progress(root.id)
        # Its audience may not be frozen yet.
        to_come = (
            max(progress.recipients, self._store.audiences.count(root.audience)) - progress.done
        )
        return reached + held + to_come

    def _reached_of(self, root: Notification) -> int:
        """Return how many browsers have an alert; `Conflict` if it is over and none has it."""
        reached = self.reached(root)
        # Until it is finished, answers may come that are not counted yet.
        is_done = root.over and root.finished_at is not None
        if is_done and not (reached or held_summary(self._store, root).waiting):
            raise Conflict(
                root.id,
                "Nobody has this alert on screen: it reached nobody, or that was more than"
                " seven days ago. Publish a new alert instead.",
            )
        return reached
