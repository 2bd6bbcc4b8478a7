"""What editors do with notifications: publish one now or later, watch it, stop it, correct it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from redis.exceptions import RedisError

from service.domain.planning import Dispatch
from service.domain.push_services import Limit, limits
from service.domain.waves import Held, held
from service.model.languages import SLEPT
from service.model.notifications import (
    MOST_LATE,
    QUIET,
    Audience,
    Content,
    Notification,
    Progress,
    SendAt,
    State,
    SubscriptionId,
)
from service.model.preferences import QUARTER
from service.store import Store
from service.store.notifications import IdempotencyRecord
from service.store.subscriptions import NotSubscribed

IDEMPOTENCY_KEPT = 24 * 3600  # seconds
EVENTS = ("shown", "clicked", "dismissed")
WAVE_TTL = 4 * 3600  # seconds for which what was held at night is good in the morning
# Browsers: a million that report within seconds that they have shown an alert are a load of their
# own. Of more than this about as many do.
MOST_REPORTING = 250_000
_LEAST_REPORTING = 0.0001
_MOST_PLANNED = 200  # drafts and scheduled notifications that are listed


class UnknownNotification(Exception):
    """There is no notification with that id."""


class Conflict(Exception):
    """What is asked does not fit what was asked before; the message says how."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is answered to a publisher; `recipients` is how many match at that moment."""

    id: int
    recipients: int
    state: State = State.SENDING


class RunningStory(NamedTuple):
    """A story that is open, its latest alert, and how many browsers follow it."""

    slug: str
    latest: Notification
    followers: int


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An `Idempotency-Key` within the token that sent it, and the body it came with."""

    token: str
    key: str
    body: bytes

    @property
    def digest(self) -> str:
        """Return what the store keeps it under."""
        return hashlib.sha256(f"{self.token} {self.key}".encode()).hexdigest()

    @property
    def body_digest(self) -> str:
        """Return what tells one body from another."""
        return hashlib.sha256(self.body).hexdigest()


class Publishing:
    """What an editor can do with a notification, at the desk or through the API."""

    def __init__(self, store: Store, dispatch: Dispatch) -> None:
        self._store = store
        self._dispatch = dispatch

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
    ) -> Published:
        """Store a notification and wake a worker, or plan it: as a draft, or to be sent later.

        `by` is the name of an editor or a tool, nothing where a reader tries their own browser.
        Conflict for an idempotency key used with another body.
        """
        if (before := self.answered(idempotency)) is not None:
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
        published = Published(notification.id, recipients, notification.state)
        said = self._store.notifications.publish(notification, _memory(published, idempotency))
        if said is not None and idempotency is not None:
            return _same_answer(said, idempotency)
        self._wake(notification)
        return published

    def answered(self, idempotency: Idempotency | None) -> Published | None:
        """Return what was answered to the same wish before; Conflict if that was another one."""
        if idempotency is None:
            return None
        before = self._store.notifications.remembered(idempotency.digest)
        return None if before is None else _same_answer(before, idempotency)

    def _wake(self, notification: Notification) -> None:
        if notification.state is State.SENDING:
            with suppress(RedisError):  # stored is stored: the clock wakes whoever was not woken
                self._dispatch.wake(1, at_front=notification.urgent)
                if notification.story:
                    self._store.stories.close_silent()

    # -- what is planned -------------------------------------------------------------------------

    def planned(self) -> list[Notification]:
        """Return what was not sent yet: the soonest first, drafts last."""
        return self._store.notifications.planned(_MOST_PLANNED)

    def to_change(self, id: int) -> Notification:
        """Return a draft, or one that is scheduled; Conflict for what was sent."""
        found = self.get(id)
        if not found.planned:
            raise Conflict(f"This alert is {found.state.value}; it can only be corrected now.")
        return found

    def change(
        self,
        before: Notification,
        content: Content,
        audience: Audience,
        *,
        spread_minutes: int = 0,
        send_at: SendAt | None = None,
        draft: bool = False,
    ) -> Published:
        """Replace what is planned, all of it; sends it where it is neither a draft nor for later.

        Conflict where it was sent, or changed by somebody else, since `before` was read.
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
        if not self._store.notifications.change(before, after, _now()):
            self.to_change(before.id)
            raise Conflict("Somebody else has changed this alert meanwhile. Look at it again.")
        self._wake(after)
        return published

    def send(self, id: int) -> None:
        """Send what is planned now; Conflict for what was sent already."""
        one = self.to_change(id)
        self.change(one, one.content, one.audience, spread_minutes=one.spread_minutes)

    def remove(self, id: int) -> None:
        """Forget a draft, or one that is scheduled; Conflict for what was sent."""
        if not self._store.notifications.remove(id):
            found = self.get(id)
            raise Conflict(f"This alert is {found.state.value}; only what was not sent can go.")

    def send_due(self) -> None:
        """Send what is scheduled for now, each once, however many ask: what the clock does."""
        for id in self._store.notifications.due():
            if self._store.notifications.start(id, MOST_LATE):
                self._wake(self.get(id))

    def wake_readers(self, now: float, front: str) -> None:
        """Send what was held for those whose quiet hours have ended: what the clock does.

        Where nobody was there to do it for hours, it is too late for what was new at night. Editors
        see a wave as an alert that leads to `front`.
        """
        for quarter in self._store.held.due(int(now // QUARTER)):
            if now - quarter * QUARTER < WAVE_TTL:
                wave = Content(title=SLEPT["en"], url=front, ttl=WAVE_TTL)
                once = Idempotency("waking", str(quarter), b"")
                self.publish(wave, Audience(waking=quarter), by="quiet hours", idempotency=once)
            self._store.held.forget(quarter)

    # -- what was sent ---------------------------------------------------------------------------

    def get(self, id: int) -> Notification:
        """Return a notification; UnknownNotification."""
        found = self._store.notifications.get(id)
        if found is None:
            raise UnknownNotification
        return found

    def all(self, ids: Iterable[int]) -> list[Notification]:
        """Return those of these notifications that there are."""
        return self._store.notifications.all(ids)

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return all notifications, newest first."""
        return self._store.notifications.latest(limit, before)

    def started(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return those that are or were sent, the latest start first."""
        return self._store.notifications.started(limit, before)

    def waves(self, limit: int) -> list[Notification]:
        """Return those that bring or brought what was held, the latest first."""
        return self._store.notifications.waves(limit)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        return self._store.notifications.report(id) or self._store.outcomes.progress(id)

    def limits(self, notification: Notification) -> list[Limit]:
        """Return which push services keep its readers waiting."""
        return limits(self._store, notification, time.time())

    def held(self, notification: Notification) -> Held:
        """Return who waits for it until their quiet hours end, and what came of others who did."""
        if not self.progress(notification.id).skipped(QUIET):
            return Held()
        return held(self._store, notification)

    def receipts(self, id: int) -> dict[str, int]:
        """Return what browsers reported, each counted once (`reports.estimates`: what it means)."""
        return self._store.notifications.receipts(id, EVENTS)

    def count_receipts(
        self, receipts: Collection[tuple[int, SubscriptionId, str]], *, kept_days: int
    ) -> None:
        """Count what browsers report of notifications that we know; another counts nothing.

        Nor does what is reported of a reader who left, or wants nothing counted. One who has yet to
        confirm has by now: whatever it was, it came and was seen.
        """
        known: dict[int, bool] = {}
        choices = self._store.subscriptions.choices({one for _, one, _ in receipts})
        seen = {one for _, one, event in receipts if event in ("shown", "clicked")}
        for subscription in seen & choices.keys():
            if not choices[subscription].confirmed:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(subscription)
        for id, subscription, event in receipts:
            if id not in known:
                known[id] = self._store.notifications.state(id) is not None
            willing = subscription in choices and choices[subscription].receipts
            if known[id] and willing and event in EVENTS:
                self._store.notifications.count_receipt(
                    id, event, str(subscription), kept_days * 86_400
                )

    def stories(self) -> list[RunningStory]:
        """Return the stories that are open, the one with the latest alert first."""
        found = self._store.stories.open()
        followers = self._store.stories.followers(list(found))
        latest = {
            one.id: one for one in self._store.notifications.all(i for i, _ in found.values())
        }
        return [
            RunningStory(slug, latest[id], count)
            for (slug, (id, _)), count in zip(found.items(), followers, strict=True)
            if id in latest
        ]

    def reach(self, audience: Audience) -> int:
        """Return how many browsers an audience has at this moment."""
        return self._store.audiences.count(audience)

    def cancel(self, id: int) -> None:
        """Stop a notification and its corrections; Conflict when nothing more of it would come.

        A second from now no message of it leaves, nor is it brought to whom it is held for.
        """
        one = self.get(id)
        if one.state is State.SCHEDULED:
            cancelled = dataclasses.replace(one, state=State.CANCELLED)
            if self._store.notifications.change(one, cancelled, _now()):
                self._dispatch.advance(id)
                return
        try:
            self._move(id, State.CANCELLED, self._stoppable(one), "cancelled")
        finally:  # also after a call that was cut off between the two, and now is a conflict
            self._cancel_corrections(id)
        self._dispatch.advance(id)

    def _cancel_corrections(self, id: int) -> None:
        """Stop the corrections of a notification, if it was stopped itself."""
        root = self.get(id)
        if root.state is not State.CANCELLED:
            return
        for correction in self._store.notifications.all(root.corrections):
            possible = self._stoppable(correction)
            self._store.notifications.move(correction.id, State.CANCELLED, possible_from=possible)

    def _stoppable(self, notification: Notification) -> list[State]:
        """Return the states in which something of it may still come."""
        if notification.over and self.held(notification).waiting:
            return [State.SENT, State.EXPIRED]
        return [State.SENDING, State.PAUSED]

    def pause(self, id: int) -> None:
        """Let no message leave from a second from now on until it is resumed; its time runs on."""
        self._move(id, State.PAUSED, [State.SENDING], "paused")

    def resume(self, id: int) -> None:
        """Go on where it was paused."""
        self._move(id, State.SENDING, [State.PAUSED], "resumed")
        self._dispatch.advance(id)

    def _move(self, id: int, to: State, possible: list[State], done: str) -> None:
        if not self._store.notifications.move(id, to, possible_from=possible):
            found = self.get(id)
            already = "already " if found.over or found.state is to else ""
            raise Conflict(f"This alert is {already}{found.state.value}; it cannot be {done}.")

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
        check: Callable[[Notification], None] = lambda _root: None,
    ) -> Published:
        """Correct a notification: those not reached yet get the new text, and so do the others.

        The latter by a notification of its own, which replaces on the screen what it corrects;
        with `replace` False they keep what they have. None leaves a part of the text as it is.
        `check` is given the notification as it is, and may refuse.
        """
        while True:
            root = self.root(id)
            # Asked of the same wish after the text that it may have changed was read.
            if (before := self.answered(idempotency)) is not None:
                return before
            text = root.text
            check(root)
            reached = self.reached(root)
            correction = Notification(
                id=self._store.notifications.new_id(),
                content=dataclasses.replace(
                    text,
                    title=text.title if title is None else title,
                    body=text.body if body is None else body,
                    url=text.url if url is None else url,
                ),
                audience=root.audience,
                state=State.SENDING if replace else State.SENT,
                created_at=_now(),
                created_by=by,
                corrects=root.id,
                reporting=reporting(reached),
            )
            if root.over and not (reached or self.held(root).waiting):
                raise Conflict(
                    "Nobody has this alert on screen: it reached nobody, or that is more than"
                    " seven days ago. Publish a new one instead."
                )
            published = Published(correction.id, reached if replace else 0, correction.state)
            memory = _memory(published, idempotency)
            stored = self._store.notifications.correct(root, correction, memory)
            if isinstance(stored, dict) and idempotency is not None:
                return _same_answer(stored, idempotency)
            if stored:
                break
        self._wake(correction)
        return published

    def reached(self, notification: Notification) -> int:
        """Return how many browsers would get a correction of a notification, as of now."""
        return self._store.recipients.reached(notification.id, notification.revision + 1)

    def root(self, id: int) -> Notification:
        """Return what a correction of `id` corrects; Conflict where there is nothing to correct."""
        one = self.get(id)
        root = one if one.corrects is None else self.get(one.corrects)
        if root.planned:
            raise Conflict(f"This alert is {root.state.value}: change it instead of correcting it.")
        if root.wave:
            raise Conflict("This brought what was held for readers: correct the alerts themselves.")
        if root.audience.subscription is not None:
            raise Conflict("This was a test to one browser: there is nothing to correct.")
        return root


def _now() -> float:
    """Return the time as it is stored and said: to the millisecond, the rest cut off."""
    return int(time.time() * 1000) / 1000


def reporting(recipients: int) -> float:
    """Return with which probability each of so many browsers is to report what it shows.

    In steps of a ten-thousandth, which is what the payload has room for.
    """
    share = round(MOST_REPORTING / max(recipients, MOST_REPORTING), 4)
    return max(share, _LEAST_REPORTING)


def _state(send_at: SendAt | None, draft: bool) -> State:
    if draft:
        return State.DRAFT
    return State.SCHEDULED if send_at is not None else State.SENDING


def _memory(published: Published, idempotency: Idempotency | None) -> IdempotencyRecord | None:
    if idempotency is None:
        return None
    answer = {
        "id": published.id,
        "recipients": published.recipients,
        "state": published.state.value,
        "body": idempotency.body_digest,
    }
    return IdempotencyRecord(idempotency.digest, answer, IDEMPOTENCY_KEPT)


def _same_answer(before: dict[str, object], idempotency: Idempotency) -> Published:
    if before["body"] != idempotency.body_digest:
        raise Conflict("This Idempotency-Key was used before, with another body.")
    return Published(
        int(str(before["id"])), int(str(before["recipients"])), State(str(before["state"]))
    )
