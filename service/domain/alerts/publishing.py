"""What editors do with notifications: publish them now or later, watch and stop them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from service.domain.alerts.audiences import AudienceConditions
from service.domain.alerts.corrections import Corrections
from service.domain.alerts.gate import Gate, authors_of, nobody, now_in_ms, remembering_hand_in
from service.domain.alerts.repeating import Repeating
from service.domain.alerts.requests import (
    ChangedMeanwhile,
    Conflict,
    Idempotency,
    KeyReused,
    PlanWithdrawn,
    Published,
    Responses,
    UnknownNotification,
    existing,
    record,
)
from service.domain.alerts.same_link import SameLink
from service.domain.alerts.stops import WAITS
from service.domain.sending.planning import Planning
from service.domain.sending.receipts import reporting
from service.domain.sending.waves import HeldSummary, held_summary, stoppable
from service.model import alert_log
from service.model.language.languages import texts
from service.model.notifications import (
    MOST_LATE,
    QUIET,
    Audience,
    Content,
    Notification,
    Progress,
    SendAt,
    State,
)
from service.model.operations import traces
from service.model.operations.process_log import request_id
from service.model.time import clock, occurrences
from service.model.time.clocks import QUARTER
from service.model.time.repeats import Repeat
from service.model.two_texts import SecondText
from service.store import Store
from service.store.alerts.notifications import IdempotencyRecord
from service.store.alerts.planned import Plan
from service.store.readers.reader_alerts import Place

__all__ = [
    "Conflict",
    "KeyReused",
    "PlanWithdrawn",
    "Publishing",
    "UnknownNotification",
]

_NO_REPEAT = "This alert does not repeat."
_CHANGED = "Another editor has changed this alert meanwhile. Look at it again."
WAVE_TTL = 4 * 3600  # seconds: how long after waking a reader still gets held alerts
MOST_PLANNED = 200  # drafts and scheduled notifications in a list
_A_CORRECTION = (
    "This is a correction that is not sent yet: take it back or delete it, then correct alert"
    " {root} again."
)


class Publishing:
    """What the desk, the API and the clock do with notifications."""

    def __init__(
        self,
        store: Store,
        planning: Planning,
        gate: Gate,
        corrections: Corrections,
        *,
        keeps_clicks: bool = False,
        fits: Callable[[Notification], bool] = lambda _one: True,
    ) -> None:
        self._store = store
        self._planning = planning
        self._gate = gate
        self._corrections = corrections
        self.responses = Responses(store)
        self.same_link = SameLink(store)
        self.conditions = AudienceConditions(store, keeps_clicks=keeps_clicks)
        self._repeating = Repeating(store, self.publish, fits)

    def publish(
        self,
        content: Content,
        audience: Audience,
        *,
        by: str,
        spread_minutes: int = 0,
        second_text: SecondText | None = None,
        send_at: SendAt | None = None,
        draft: bool = False,
        repeat: Repeat | None = None,
        idempotency: Idempotency | None = None,
        warnings: tuple[tuple[str, str], ...] = (),
        place: Place | None = None,
        follows: Notification | None = None,
        once_per_link: bool = False,
        link_parameters: str = "",
    ) -> Published:
        """Store a notification and wake a worker; a draft or a scheduled one is only stored.

        `by` names an editor or a tool, and is empty for a welcome and a reader's own test; such an
        alert needs a `place`, or raises `NoRoom`. `warnings` are added to the response. With
        `repeat` it is one of a series; the clock names the one it `follows`. `link_parameters`
        replace the newsroom's. `once_per_link`: `Conflict` if another alert of the day has this
        link. `KeyReused` and `PlanWithdrawn` come of `idempotency`; `EverythingStopped` of a test.
        """
        if (before := self.responses.earlier(idempotency)) is not None:
            return before
        recipients = self.reach(audience)
        leaves = self._gate.leaves(content, audience, recipients, send_at, draft=draft, by=by)
        id = self._store.notifications.new_id()
        span = traces.NOT_RECORDED if audience.subscription else traces.begin("publish alert")
        notification = Notification(
            id=id,
            content=content,
            audience=audience,
            state=leaves.state,
            created_at=now_in_ms(),
            created_by=by,
            spread_minutes=spread_minutes,
            second_text=second_text,
            send_at=leaves.send_at,
            reporting=reporting(recipients),
            authors=follows.authors if follows else authors_of(by),
            request=leaves.request,
            repeat=_in_series(repeat if follows else _planned(repeat, send_at), id),
            link_parameters=follows.link_parameters if follows else link_parameters,
            request_id=request_id.get(),
            trace=span.parent,
        )
        warnings = (*warnings, *leaves.warnings, *nobody(leaves, audience, recipients))
        published = Published(notification.id, recipients, notification.state, warnings)
        kept = record(published, idempotency)
        earlier = self._keep(notification, kept, place, "" if follows else by, once_per_link)
        if earlier is not None and idempotency is not None:
            return self.responses.same(earlier, idempotency)
        self._planning.begin(notification)
        span.note({traces.ALERT: id, "stoppress.recipients": recipients})
        span.end()
        return published

    def _keep(
        self,
        one: Notification,
        kept: IdempotencyRecord | None,
        place: Place | None,
        by: str,
        once_per_link: bool,
    ) -> dict[str, Any] | None:
        """Store a new alert and the first entry of its log; waves and tests have no log."""
        entry = None if one.wave or one.audience.subscription else alert_log.begun(one, by)
        if once_per_link:
            return self.same_link.publish(one, kept, entry)
        return self._store.notifications.publish(one, kept, place, entry)

    # -- planned notifications -------------------------------------------------------------------

    def planned(self, plan: Plan | None = None) -> list[Notification]:
        """Return the first `MOST_PLANNED` of a plan, or of that of now."""
        ids = (plan or self.plan()).ids
        return [one for one in self.all(ids[:MOST_PLANNED]) if one.planned]

    def plan(self) -> Plan:
        """Return the ids of all scheduled notifications and drafts."""
        return self._store.planned.read()

    def to_change(self, id: int) -> Notification:
        """Return a draft or a scheduled notification; `Conflict` if it was sent."""
        found = self.get(id)
        if found.planned and found.corrects is not None:
            raise Conflict(id, _A_CORRECTION.format(root=found.corrects))
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
        second_text: SecondText | None = None,
        send_at: SendAt | None = None,
        draft: bool = False,
        repeat: Repeat | None = None,
        once_per_link: bool = False,
    ) -> Published:
        """Replace a planned notification; send it if it is now neither a draft nor scheduled.

        `Conflict` if it was sent since `before` was read, `ChangedMeanwhile` if it was changed.
        With `repeat` the series goes on, also if this occurrence is sent now. `once_per_link`:
        `Conflict` if another alert of the day has this link.
        """
        if before.corrects is not None:
            self.to_change(before.id)
        leaves_now = not draft and (send_at is None or send_at.sent_at is not None)
        if repeat is not None and leaves_now:
            content, repeat = self._repeating.sent_early(before, content)
        elif repeat is None and before.repeats is None:
            repeat = before.repeat  # that it was an occurrence stays known
        else:
            repeat = _planned(repeat, send_at, before.repeats)
        recipients = self.reach(audience)
        leaves = self._gate.leaves(content, audience, recipients, send_at, draft=draft, by=by)
        after = dataclasses.replace(
            before,
            content=content,
            audience=audience,
            state=leaves.state,
            spread_minutes=spread_minutes,
            second_text=second_text,
            send_at=leaves.send_at,
            missed=False,
            reporting=reporting(recipients),
            authors=authors_of(by, before),
            request=leaves.request,
            approved_by="",
            repeat=_in_series(repeat, before.id),
            request_id=request_id.get() or before.request_id,
            trace=traces.here() or before.trace,
        )
        after = remembering_hand_in(before, after)
        published = Published(after.id, recipients, after.state, leaves.warnings)
        entry = alert_log.changed(before, after, by)
        stored = self.same_link if once_per_link else self._store.notifications
        if not stored.change(before, after, now_in_ms(), entry):
            self.to_change(before.id)
            raise ChangedMeanwhile(before.id, _CHANGED)
        self._planning.begin(after)
        return published

    def skip(self, id: int, changes: str, *, by: str) -> None:
        """Move a planned occurrence to the day of the one after it; `Conflict`.

        Once only for an occurrence that was changed so often, so that a second click skips none.
        """
        one = self.to_change(id)
        if one.repeats is None or one.send_at is None:
            raise Conflict(id, _NO_REPEAT)
        if changes != str(one.changes):
            return
        send_at, repeat = occurrences.following(one.repeats, one.send_at, clock.time())
        self.change(
            one,
            one.content,
            one.audience,
            by=by,
            spread_minutes=one.spread_minutes,
            second_text=one.second_text,
            send_at=send_at,
            repeat=repeat,
        )

    def approved(self, one: Notification, *, by: str) -> bool:
        """Send or schedule an alert that a second person approved; False if it waits no more."""
        self.conditions.check(one, one.send_at)
        leaves = self._gate.leaves_now(one.audience, one.send_at, by)
        after = dataclasses.replace(
            one,
            state=leaves.state,
            send_at=leaves.send_at,
            request=None,
            approved_by=by,
            request_id=request_id.get(),
            trace=traces.here(),
        )
        entry = alert_log.entry(one, "approved", by)
        done = self._store.notifications.approve(one, after, by, now_in_ms(), entry)
        if done:
            self._planning.begin(after)
        return done

    def send(self, id: int, *, by: str, changes: int | None = None) -> Published:
        """Send a planned notification now.

        `changes` is how often it had been changed when the caller saw it; None: however it is.
        `Conflict` if it was sent already, or if its audience is no longer known;
        `ChangedMeanwhile`.
        """
        one = self.to_change(id)
        if changes not in (None, one.changes):
            raise ChangedMeanwhile(id, _CHANGED)
        self.conditions.check(one, None)
        spread, other = one.spread_minutes, one.second_text
        content, audience, repeat = one.content, one.audience, one.repeats
        return self.change(
            one, content, audience, by=by, spread_minutes=spread, second_text=other, repeat=repeat
        )

    def skip_undo(self, id: int, *, by: str) -> None:
        """Start an alert that waits for an editor to take it back; no effect once it has begun."""
        one = self.get(id)
        if not one.waits_for_undo:
            return
        if self._gate.stops.holds():
            raise Conflict(id, WAITS)
        if one.corrects is not None:
            self._corrections.waiting.start(one)
            return
        self.conditions.check(one, None)
        after = dataclasses.replace(one, state=State.SENDING)
        entry = alert_log.entry(one, "started", by)
        if self._store.notifications.change(one, after, now_in_ms(), entry):
            self._planning.begin(after)

    def take_back(self, id: int, *, by: str) -> None:
        """Make a draft of an alert that can still be taken back; `Conflict` if it is too late."""
        one = self.get(id)
        if one.waits_for_undo and one.corrects is not None:
            self._corrections.waiting.put_back(one, "taken back", by)
        elif one.waits_for_undo:
            draft = dataclasses.replace(one, state=State.DRAFT, send_at=None, approved_by="")
            after = dataclasses.replace(draft, request=one.was_ready, was_ready=None)
            entry = alert_log.entry(one, "taken back", by)
            self._store.notifications.change(one, after, now_in_ms(), entry)
        found = self.get(id)
        if found.state is State.SCHEDULED:
            raise Conflict(id, "This alert is scheduled: change or delete it instead.")
        if found.state is not State.DRAFT:
            detail = f"It is too late to take this alert back: it is {found.state.value}."
            raise Conflict(id, detail)

    def remove(
        self, id: int, *, by: str, only_draft: bool = False, changes: int | None = None
    ) -> None:
        """Delete a draft or, unless `only_draft`, a scheduled one; `Conflict` if it was sent.

        `changes` as in `send`.
        """
        one, stored = self.get(id), self._store.notifications
        entry = alert_log.entry(one, "deleted", by)
        if stored.remove(id, entry, only_draft=only_draft, changes=changes):
            self._corrections.waiting.release(one)
        else:
            found = stored.get(id)
            if found is None:
                return  # deleted; if by this call, its reply was lost
            if found.planned and changes not in (None, found.changes):
                raise ChangedMeanwhile(id, _CHANGED)
            if found.state is State.SCHEDULED:
                raise Conflict(id, "This alert was scheduled meanwhile. Nothing was deleted.")
            detail = f"This alert is {found.state.value}; only an unsent one can be deleted."
            raise Conflict(id, detail)

    def send_due(self) -> None:
        """Send the scheduled notifications that are due, each once: what the clock does.

        One that cannot be sent now keeps no other one waiting.
        """
        if self._gate.stops.holds():
            return
        refused = [self._send_due(id) for id in self._store.notifications.due()]
        for error in filter(None, refused):
            raise error

    def _send_due(self, id: int) -> RedisError | None:
        """Start an alert that is due, or make a draft of it; return the error if Redis refused."""
        try:
            one = self._store.notifications.get(id)
            if one is not None and one.corrects is not None:
                self._corrections.waiting.start(one)
                return None
            if one is not None and not self._repeating.prepare(one):
                return None
            outdated = self.conditions.outdated(id)
            started = self._store.notifications.start(id, MOST_LATE, outdated=outdated)
            if started and (one := self._store.notifications.get(id)) is not None:
                self._planning.begin(one)
        except RedisError as error:
            return error
        return None

    def next_due(self) -> float | None:
        """Return when the next scheduled notification is due, in seconds since 1970."""
        return self._store.notifications.next_due()

    def wake_readers(self, now: float, front: str) -> None:
        """Send held alerts to readers whose quiet hours have ended: what the clock does.

        If no clock ran for `WAVE_TTL`, the alerts of the night are too old and are not sent.
        `front` is the link of the wave, which editors see as an alert.
        """
        if self._gate.stops.holds():
            return
        for quarter in self._store.held_alerts.due(int(now // QUARTER)):
            if now - quarter * QUARTER < WAVE_TTL:
                wave = Content(title=texts("en")["alerts"]["slept"], url=front, ttl=WAVE_TTL)
                once = Idempotency("waking", str(quarter), b"")
                self.publish(wave, Audience(waking=quarter), by="quiet hours", idempotency=once)
            self._store.held_alerts.forget(quarter)

    # -- notifications that were sent ------------------------------------------------------------

    def get(self, id: int) -> Notification:
        """Return a notification; `UnknownNotification`."""
        return existing(self._store, id)

    def all(self, ids: Iterable[int]) -> list[Notification]:
        """Return those of these notifications that exist."""
        return self._store.notifications.all(ids)

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return all notifications, newest first."""
        return self._store.notifications.latest(limit, before)

    def started(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return the notifications whose sending has begun, the latest start first."""
        return self._store.notifications.started(limit, before)

    def waves(self, limit: int) -> list[Notification]:
        """Return the waves, the latest first."""
        return self._store.notifications.waves(limit)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        return self._store.progress(id)

    def held(self, notification: Notification) -> HeldSummary:
        """Return for how many browsers it is held, and what its waves have sent."""
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
            cancelled = dataclasses.replace(self._repeating.go_on(one), state=State.CANCELLED)
            entry = alert_log.changed(one, cancelled, by)
            if self._store.notifications.change(one, cancelled, now_in_ms(), entry):
                self._corrections.waiting.release(one)
                self._planning.advance(id)
                return
        try:
            self._move(one, State.CANCELLED, stoppable(self._store, one), "cancelled", by)
        finally:  # also if an earlier call was cut off here, which makes this one a conflict
            self._corrections.cancel(id, by)
        self._planning.advance(id)

    def pause(self, id: int, *, by: str, anew: bool = False) -> None:
        """Pause a notification within a second; its time to live runs on.

        `anew`: also one that only a correction had paused.
        """
        possible = [State.SENDING, *([State.PAUSED] if anew else [])]
        self._move(self.get(id), State.PAUSED, possible, "paused", by)

    def resume(self, id: int, *, by: str) -> None:
        """Go on with a paused notification.

        Readers for whom it is held and whose quiet hours ended meanwhile get it by the next wave.
        """
        one = self.get(id)
        if one.state is State.PAUSED and self.progress(id).skipped(QUIET):
            self._store.held_alerts.wake_again(id)  # first, so that a call cut off is repeated
        self._move(one, State.SENDING, [State.PAUSED], "resumed", by)
        self._planning.advance(id)

    def _move(
        self, one: Notification, to: State, possible: list[State], done: str, by: str
    ) -> None:
        id, entry = one.id, alert_log.moved(one, done, by)
        if not self._store.notifications.move(id, to, possible_from=possible, entry=entry):
            found = self.get(id)
            already = "already " if found.over or found.state is to else ""
            detail = f"This alert is {already}{found.state.value}; it cannot be {done}."
            raise Conflict(id, detail)


def _planned(
    repeat: Repeat | None, send_at: SendAt | None, before: Repeat | None = None
) -> Repeat | None:
    return occurrences.planned(repeat, send_at, before) if repeat and send_at else None


def _in_series(repeat: Repeat | None, id: int) -> Repeat | None:
    """Return a repetition with the number of its series: the alert that began it."""
    return repeat and dataclasses.replace(repeat, series=repeat.series or id)
