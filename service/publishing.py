"""What editors do with notifications: publish one, watch it, stop it."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError

from service.dispatch import Dispatch
from service.models import Audience, Content, Notification, Progress, State, SubscriptionId
from service.store import Store

IDEMPOTENCY_KEPT = 24 * 3600  # seconds
EVENTS = ("shown", "clicked", "dismissed")


class UnknownNotification(Exception):
    """There is no notification with that id."""


class Conflict(Exception):
    """What is asked does not fit what was asked before; the message says how."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is answered to a publisher; `recipients` is how many match at that moment."""

    id: int
    recipients: int


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
        idempotency: Idempotency | None = None,
    ) -> Published:
        """Store a notification and wake a worker; Conflict for a key used with another body."""
        notifications = self._store.notifications
        if idempotency is not None:
            before = notifications.remembered(idempotency.digest)
            if before is not None:
                return _same_answer(before, idempotency)
        published = Published(notifications.new_id(), self.reach(audience))
        notification = Notification(
            id=published.id,
            content=content,
            audience=audience,
            state=State.SENDING,
            created_at=time.time(),
            created_by=by,
        )
        if idempotency is None:
            notifications.publish(notification)
        else:
            answer = {
                "id": published.id,
                "recipients": published.recipients,
                "body": idempotency.body_digest,
            }
            kept = (idempotency.digest, answer, IDEMPOTENCY_KEPT)
            before = notifications.publish(notification, kept)
            if before is not None:
                return _same_answer(before, idempotency)
        with suppress(RedisError):  # stored is stored: the clock wakes whoever was not woken
            self._dispatch.wake(1, at_front=notification.urgent)
        return published

    def get(self, id: int) -> Notification:
        """Return a notification; UnknownNotification."""
        found = self._store.notifications.get(id)
        if found is None:
            raise UnknownNotification
        return found

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return notifications, newest first."""
        return self._store.notifications.latest(limit, before)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        return self._store.notifications.report(id) or self._store.sending.progress(id)

    def receipts(self, id: int) -> dict[str, int]:
        """Return what browsers reported, each browser counted once."""
        return self._store.notifications.receipts(id, EVENTS)

    def count_receipt(self, id: int, event: str, subscription: SubscriptionId) -> None:
        """Count what a browser reports of a notification we know; another counts nothing."""
        if event in EVENTS and self._store.notifications.state(id) is not None:
            self._store.notifications.count_receipt(id, event, str(subscription))

    def reach(self, audience: Audience) -> int:
        """Return how many browsers an audience has at this moment."""
        return self._store.audiences.count(audience)

    def cancel(self, id: int) -> None:
        """Stop a notification: no message leaves a second from now; Conflict when it is over."""
        state = self._store.notifications.state(id)
        if state is None:
            raise UnknownNotification
        possible = [State.SENDING, State.PAUSED]
        if not self._store.notifications.move(id, State.CANCELLED, possible_from=possible):
            state = self._store.notifications.state(id) or state
            raise Conflict(f"This alert is already {state.value}; it cannot be cancelled.")
        self._dispatch.advance(id)


def _same_answer(before: dict[str, object], idempotency: Idempotency) -> Published:
    if before["body"] != idempotency.body_digest:
        raise Conflict("This Idempotency-Key was used before, with another body.")
    return Published(int(str(before["id"])), int(str(before["recipients"])))
