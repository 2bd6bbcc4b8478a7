"""A publisher's request and the response to it, the same for the same request again; refusals."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from service.model.notifications import Notification, State
from service.model.retention import IDEMPOTENCY_KEPT
from service.store import Store
from service.store.alerts.notifications import IdempotencyRecord


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
    kept: int = IDEMPOTENCY_KEPT  # seconds for which the response is kept

    @property
    def digest(self) -> str:
        """The key under which the store keeps the response."""
        return hashlib.sha256(f"{self.token} {self.key}".encode()).hexdigest()

    @property
    def body_digest(self) -> str:
        """What tells one body from another."""
        return hashlib.sha256(self.body).hexdigest()


def record(published: Published, idempotency: Idempotency | None) -> IdempotencyRecord | None:
    """Return what is stored, so that the same request again has the same response."""
    if idempotency is None:
        return None
    response = {
        "id": published.id,
        "recipients": published.recipients,
        "state": published.state.value,
        "body": idempotency.body_digest,
        "warnings": published.warnings,
    }
    return IdempotencyRecord(idempotency.digest, response, idempotency.kept)


class UnknownNotification(Exception):
    """There is no notification with this id."""


class Conflict(Exception):
    """The state of an alert does not allow what is asked; the message says why."""

    def __init__(self, id: int, message: str) -> None:
        super().__init__(message)
        self.id = id


class ChangedMeanwhile(Conflict):
    """A planned alert is not as the caller saw it: it was changed since."""


class KeyReused(Conflict):
    """An idempotency key that was used before with another body."""


class PlanWithdrawn(Exception):
    """The planned alert of this idempotency key was deleted or cancelled (decision 54)."""


def existing(store: Store, id: int) -> Notification:
    """Return a notification; `UnknownNotification`."""
    found = store.notifications.get(id)
    if found is None:
        raise UnknownNotification
    return found


class Responses:
    """The responses to requests that came with an idempotency key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def earlier(self, idempotency: Idempotency | None) -> Published | None:
        """Return the response to the same request before, if there was one.

        `KeyReused` if that had another body, `PlanWithdrawn` if its alert was planned
        and is withdrawn.
        """
        if idempotency is None:
            return None
        before = self._store.notifications.remembered(idempotency.digest)
        return None if before is None else self.same(before, idempotency)

    def sent_as(self, idempotency: Idempotency) -> int | None:
        """Return the alert that a request with this key has published, whatever its body was."""
        before = self._store.notifications.remembered(idempotency.digest)
        return None if before is None else int(before["id"])

    def same(self, before: dict[str, Any], idempotency: Idempotency) -> Published:
        """Return a response as it was stored; raises what `earlier` does."""
        id, then = int(before["id"]), State(before["state"])
        now = self._store.notifications.state(id)
        was_planned = then in (State.DRAFT, State.SCHEDULED)
        if now is None or (
            now is State.CANCELLED and was_planned and not self._store.progress(id).recipients
        ):
            raise PlanWithdrawn
        if before["body"] != idempotency.body_digest:
            raise KeyReused(
                id, f"This Idempotency-Key was used before with another body, for alert {id}."
            )
        warnings = tuple((field, words) for field, words in before.get("warnings", ()))
        return Published(id, int(before["recipients"]), then, warnings)
