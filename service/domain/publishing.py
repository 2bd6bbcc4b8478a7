"""What editors do with notifications: publish them now or later, watch, stop and correct them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from service.domain.job_queue import JobQueue
from service.domain.planning import Planning
from service.domain.receipts import reporting
from service.domain.waves import HeldSummary, held_summary
from service.model import alert_log, clock
from service.model.clocks import QUARTER
from service.model.languages import texts
from service.model.notifications import (
    MOST_LATE,
    QUIET,
    Audience,
    Content,
    Notification,
    Outcome,
    Progress,
    SendAt,
    State,
)
from service.model.retention import IDEMPOTENCY_KEPT
from service.store import Store
from service.store.notifications import IdempotencyRecord
from service.store.reader_alerts import Place

WAVE_TTL = 4 * 3600  # seconds: how long after waking a reader still gets held alerts
_MOST_PLANNED = 200  # drafts and scheduled notifications in a list
_MOST_SENT_BEFORE = 100  # alerts among which one with the same link is looked for


class UnknownNotification(Exception):
    """There is no notification with this id."""


class Conflict(Exception):
    """The state of an alert does not allow what is asked; the message says why."""

    def __init__(self, id: int, message: str) -> None:
        super().__init__(message)
        self.id = id


class KeyReused(Conflict):
    """An idempotency key that was used before with another body."""


class PlanWithdrawn(Exception):
    """The planned alert of this idempotency key was deleted or cancelled (decision 54)."""


@dataclass(frozen=True, slots=True)
class Published:
    """The response to a publisher."""

    id: int
    recipients: int  # browsers in the audience at this moment
    state: State = State.SENDING
    # Field and sentence of each: what the publisher should know of the texts as readers see them.
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An `Idempotency-Key` and the request that it came with."""

    token: str  # of the caller: two callers may use the same key
    key: str
    body: bytes

    @property
    def digest(self) -> str:
        """The key under which the store keeps the response."""
        return hashlib.sha256(f"{self.token} {self.key}".encode()).hexdigest()

    @property
    def body_digest(self) -> str:
        """What tells one body from another."""
        return hashlib.sha256(self.body).hexdigest()


class Publishing:
    """What the desk, the API and the clock do with notifications."""

    def __init__(self, store: Store, planning: Planning, jobs: JobQueue) -> None:
        self._store = store
        self._planning = planning
        self._jobs = jobs

    def publish(
        self,
        content: Content,
        audience: Audience,
        *,
        by: str,
        spread_minutes: int = 0,
        send_at: SendAt | None = None,
        draft: bool = False,
        idempotency: Idempotency | None = None,
        warnings: tuple[tuple[str, str], ...] = (),
        place: Place | None = None,
    ) -> Published:
        """Store a notification and wake a worker; a draft or a scheduled one is only stored.

        `by` names an editor or a tool; it is empty for a welcome or a test that a reader asked
        for. `KeyReused` for an idempotency key that came before with another body, `PlanWithdrawn`
        for one whose alert was planned and withdrawn. `warnings` belong to the response. An alert
        to one reader takes a `place`; `NoRoom`.
        """
        if (before := self.earlier_response(idempotency)) is not None:
            return before
        recipients = self.reach(audience)
        notification = Notification(
            id=self._store.notifications.new_id(),
            content=content,
            audience=audience,
            state=_state(send_at, draft),
            created_at=_now(),
            created_by=by,
            spread_minutes=spread_minutes,
            send_at=send_at,
            reporting=reporting(recipients),
        )
        published = Published(notification.id, recipients, notification.state, warnings)
        record = _record(published, idempotency)
        noted = not (notification.wave or audience.subscription)
        entry = alert_log.begun(notification, by) if noted else None
        earlier = self._store.notifications.publish(notification, record, place, entry)
        if earlier is not None and idempotency is not None:
            return self._same_response(earlier, idempotency)
        self._wake(notification)
        return published

    def earlier_response(self, idempotency: Idempotency | None) -> Published | None:
        """Return the response to the same request before, if there was one.

        `KeyReused` if that had another body, `PlanWithdrawn` if its alert was planned
        and is withdrawn.
        """
        if idempotency is None:
            return None
        before = self._store.notifications.remembered(idempotency.digest)
        return None if before is None else self._same_response(before, idempotency)

    def sent_as(self, idempotency: Idempotency) -> int | None:
        """Return the alert that a request with this key has published, whatever its body was."""
        before = self._store.notifications.remembered(idempotency.digest)
        return None if before is None else int(before["id"])

    def _same_response(self, before: dict[str, Any], idempotency: Idempotency) -> Published:
        id, then = int(before["id"]), State(before["state"])
        now = self._store.notifications.state(id)
        was_planned = then in (State.DRAFT, State.SCHEDULED)
        if now is None or (
            now is State.CANCELLED and was_planned and not self.progress(id).recipients
        ):
            raise PlanWithdrawn
        if before["body"] != idempotency.body_digest:
            raise KeyReused(
                id, f"This Idempotency-Key was used before with another body, for alert {id}."
            )
        warnings = tuple((field, words) for field, words in before.get("warnings", ()))
        return Published(id, int(before["recipients"]), then, warnings)

    def _wake(self, notification: Notification) -> None:
        if notification.state is State.SENDING:
            with suppress(RedisError):  # it is stored by now: the clock wakes workers instead
                self._jobs.wake(1, at_front=notification.urgent)
                if notification.story:
                    self._store.stories.close_silent()

    # -- planned notifications -------------------------------------------------------------------

    def planned(self) -> list[Notification]:
        """Return the scheduled notifications, the soonest first, then the drafts."""
        return self._store.notifications.planned(_MOST_PLANNED)

    def to_change(self, id: int) -> Notification:
        """Return a draft or a scheduled notification; `Conflict` if it was sent."""
        found = self.get(id)
        if not found.planned:
            raise Conflict(id, f"This alert is {found.state.value}; it can only be corrected now.")
        return found

    def change(
        self,
        before: Notification,
        content: Content,
        audience: Audience,
        *,
        by: str,
        spread_minutes: int = 0,
        send_at: SendAt | None = None,
        draft: bool = False,
    ) -> Published:
        """Replace a planned notification; send it if it is now neither a draft nor scheduled.

        `Conflict` if it was sent, or changed by another editor, since `before` was read.
        """
        recipients = self.reach(audience)
        after = dataclasses.replace(
            before,
            content=content,
            audience=audience,
            state=_state(send_at, draft),
            spread_minutes=spread_minutes,
            send_at=send_at,
            missed=False,
            reporting=reporting(recipients),
        )
        published = Published(after.id, recipients, after.state)
        entry = alert_log.changed(before, after, by)
        if not self._store.notifications.change(before, after, _now(), entry):
            self.to_change(before.id)
            detail = "Another editor has changed this alert meanwhile. Look at it again."
            raise Conflict(before.id, detail)
        self._wake(after)
        return published

    def send(self, id: int, *, by: str) -> None:
        """Send a planned notification now; `Conflict` if it was sent already."""
        one = self.to_change(id)
        self.change(one, one.content, one.audience, by=by, spread_minutes=one.spread_minutes)

    def skip_undo(self, id: int, *, by: str) -> None:
        """Start an alert that waits for an editor to take it back; no effect once it has begun."""
        one = self.get(id)
        if one.waits_for_undo:
            after = dataclasses.replace(one, state=State.SENDING)
            entry = alert_log.entry(one, "started", by)
            if self._store.notifications.change(one, after, _now(), entry):
                self._wake(after)

    def take_back(self, id: int, *, by: str) -> None:
        """Make a draft of an alert that waits for this; `Conflict` if readers get it by now."""
        one = self.get(id)
        if one.waits_for_undo:
            after = dataclasses.replace(one, state=State.DRAFT, send_at=None)
            entry = alert_log.entry(one, "taken back", by)
            self._store.notifications.change(one, after, _now(), entry)
        found = self.get(id)
        if found.state is State.SCHEDULED:
            raise Conflict(id, "This alert is scheduled: change or delete it instead.")
        if found.state is not State.DRAFT:
            detail = f"It is too late to take this alert back: it is {found.state.value}."
            raise Conflict(id, detail)

    def remove(self, id: int, *, by: str) -> None:
        """Delete a draft or a scheduled notification; `Conflict` if it was sent."""
        one = self.get(id)
        if not self._store.notifications.remove(id, alert_log.entry(one, "deleted", by)):
            found = self.get(id)
            detail = f"This alert is {found.state.value}; only an unsent one can be deleted."
            raise Conflict(id, detail)

    def send_due(self) -> None:
        """Send the scheduled notifications that are due, each once: what the clock does."""
        for id in self._store.notifications.due():
            started = self._store.notifications.start(id, MOST_LATE)
            if started and (one := self._store.notifications.get(id)) is not None:
                self._wake(one)

    def next_due(self) -> float | None:
        """Return when the next scheduled notification is due, in seconds since 1970."""
        return self._store.notifications.next_due()

    def wake_readers(self, now: float, front: str) -> None:
        """Send held alerts to readers whose quiet hours have ended: what the clock does.

        If no clock ran for `WAVE_TTL`, the alerts of the night are too old and are not sent.
        `front` is the link of the wave, which editors see as an alert.
        """
        for quarter in self._store.held_alerts.due(int(now // QUARTER)):
            if now - quarter * QUARTER < WAVE_TTL:
                wave = Content(title=texts("en")["alerts"]["slept"], url=front, ttl=WAVE_TTL)
                once = Idempotency("waking", str(quarter), b"")
                self.publish(wave, Audience(waking=quarter), by="quiet hours", idempotency=once)
            self._store.held_alerts.forget(quarter)

    # -- notifications that were sent ------------------------------------------------------------

    def get(self, id: int) -> Notification:
        """Return a notification; `UnknownNotification`."""
        found = self._store.notifications.get(id)
        if found is None:
            raise UnknownNotification
        return found

    def all(self, ids: Iterable[int]) -> list[Notification]:
        """Return those of these notifications that exist."""
        return self._store.notifications.all(ids)

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return all notifications, newest first."""
        return self._store.notifications.latest(limit, before)

    def started(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return the notifications whose sending has begun, the latest start first."""
        return self._store.notifications.started(limit, before)

    def with_link(self, url: str, *, but: int | None = None) -> Notification | None:
        """Return the latest alert that was or will be sent with this link, if there is one.

        Drafts do not count, nor alerts that ended before they reached anybody, nor the alert `but`.
        A link with another fragment, or without the slash at its end, leads to the same page.
        """
        page = _page(url)
        scheduled = (one for one in self.planned() if one.state is State.SCHEDULED)
        for one in (*scheduled, *self.started(_MOST_SENT_BEFORE)):
            is_same = one.id != but and one.corrects is None and _page(one.text.url) == page
            if is_same and not self._ended_unseen(one):
                return one
        return None

    def _ended_unseen(self, one: Notification) -> bool:
        if one.state not in (State.CANCELLED, State.EXPIRED):
            return False
        return not self.progress(one.id).of(Outcome.ACCEPTED)

    def waves(self, limit: int) -> list[Notification]:
        """Return the waves, the latest first."""
        return self._store.notifications.waves(limit)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        return self._store.notifications.report(id) or self._store.outcomes.progress(id)

    def held(self, notification: Notification) -> HeldSummary:
        """Return for how many browsers it is held, and what its waves have sent."""
        if not self.progress(notification.id).skipped(QUIET):
            return HeldSummary()
        return held_summary(self._store, notification)

    def reach(self, audience: Audience) -> int:
        """Return how many browsers an audience has at this moment."""
        return self._store.audiences.count(audience)

    def cancel(self, id: int, *, by: str) -> None:
        """Cancel a notification and its corrections; `Conflict` if it is over already.

        Takes effect within a second. Held copies are dropped too.
        """
        one = self.get(id)
        if one.state is State.SCHEDULED:
            cancelled = dataclasses.replace(one, state=State.CANCELLED)
            entry = alert_log.changed(one, cancelled, by)
            if self._store.notifications.change(one, cancelled, _now(), entry):
                self._planning.advance(id)
                return
        try:
            self._move(one, State.CANCELLED, self._stoppable(one), "cancelled", by)
        finally:  # also if an earlier call was cut off here, which makes this one a conflict
            self._cancel_corrections(id)
        self._planning.advance(id)

    def _cancel_corrections(self, id: int) -> None:
        root = self.get(id)
        if root.state is not State.CANCELLED:
            return
        for correction in self._store.notifications.all(root.corrections):
            possible = self._stoppable(correction)
            self._store.notifications.move(correction.id, State.CANCELLED, possible_from=possible)

    def _stoppable(self, notification: Notification) -> list[State]:
        """Return the states in which it may still reach a reader."""
        if notification.over and self.held(notification).waiting:
            return [State.SENT, State.EXPIRED]
        return [State.SENDING, State.PAUSED]

    def pause(self, id: int, *, by: str) -> None:
        """Pause a notification within a second; its time to live runs on."""
        self._move(self.get(id), State.PAUSED, [State.SENDING], "paused", by)

    def resume(self, id: int, *, by: str) -> None:
        """Go on with a paused notification."""
        self._move(self.get(id), State.SENDING, [State.PAUSED], "resumed", by)
        self._planning.advance(id)

    def _move(
        self, one: Notification, to: State, possible: list[State], done: str, by: str
    ) -> None:
        id, entry = one.id, alert_log.entry(one, done, by)
        if not self._store.notifications.move(id, to, possible_from=possible, entry=entry):
            found = self.get(id)
            already = "already " if found.over or found.state is to else ""
            detail = f"This alert is {already}{found.state.value}; it cannot be {done}."
            raise Conflict(id, detail)

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
    ) -> Published:
        """Correct the text of a notification; None leaves a part of it unchanged.

        Browsers not reached yet get the new text instead of the old one. With `replace`, browsers
        that have the alert get the correction as a notification of its own, which takes its place
        on the screen. `check` gets the notification as it is now, and may raise; it returns the
        warnings that belong to the response.
        """
        while True:
            root = self.root(id)
            # After reading the root: a request that is sent twice must not correct its own result.
            if (before := self.earlier_response(idempotency)) is not None:
                return before
            warnings = check(root)
            reached = self.reached(root)
            if root.over and not (reached or self.held(root).waiting):
                raise Conflict(
                    root.id,
                    "Nobody has this alert on screen: it reached nobody, or that was more than"
                    " seven days ago. Publish a new alert instead.",
                )
            correction = Notification(
                id=self._store.notifications.new_id(),
                content=_changed(root.text, title=title, body=body, url=url),
                audience=root.audience,
                state=State.SENDING if replace else State.SENT,
                created_at=_now(),
                created_by=by,
                corrects=root.id,
                reporting=reporting(reached),
            )
            published = Published(
                correction.id, reached if replace else 0, correction.state, warnings
            )
            record = _record(published, idempotency)
            entry = alert_log.corrected(root, correction.content, by)
            stored = self._store.notifications.correct(root, correction, record, entry)
            if isinstance(stored, dict) and idempotency is not None:
                return self._same_response(stored, idempotency)
            if stored:
                break
        self._wake(correction)
        return published

    def reached(self, notification: Notification) -> int:
        """Return how many browsers would get a correction of a notification now."""
        return self._store.recipients.reached(notification.id, notification.revision + 1)

    def root(self, id: int) -> Notification:
        """Return the notification that a correction of `id` would correct; `Conflict` if none."""
        one = self.get(id)
        root = one if one.corrects is None else self.get(one.corrects)
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


def _now() -> float:
    """Return the time to the millisecond, rounded down, as it is stored and shown."""
    return int(clock.time() * 1000) / 1000


def _state(send_at: SendAt | None, draft: bool) -> State:
    if draft:
        return State.DRAFT
    return State.SCHEDULED if send_at is not None else State.SENDING


def _changed(text: Content, **parts: str | None) -> Content:
    """Return the text with these parts changed; None leaves a part as it is."""
    changes: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
    return dataclasses.replace(text, **changes)


def _page(url: str) -> str:
    return url.partition("#")[0].rstrip("/")


def _record(published: Published, idempotency: Idempotency | None) -> IdempotencyRecord | None:
    if idempotency is None:
        return None
    response = {
        "id": published.id,
        "recipients": published.recipients,
        "state": published.state.value,
        "body": idempotency.body_digest,
        "warnings": published.warnings,
    }
    return IdempotencyRecord(idempotency.digest, response, IDEMPOTENCY_KEPT)
