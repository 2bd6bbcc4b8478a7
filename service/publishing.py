"""The life of an update: publish, plan, watch, cancel, finish. The only one that wakes workers.

The truth is in the store; a queued job only says that there is work, so that a lost, doubled or
late one costs nothing. `advance` looks at a notification and does the next thing there is to do:
workers call it when they have finished something, the clock calls it every second.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from service.models import (
    Audience,
    Batch,
    Content,
    Notification,
    Outcome,
    Progress,
    State,
    SubscriptionId,
)
from service.store import Store
from service.store.subscriptions import BUCKET

QUEUE = "stoppress"
BATCH_RECIPIENTS = 2048  # measured: docs/decisions.md, 5
IDEMPOTENCY_KEPT = 24 * 3600  # seconds
_JOB_TIMEOUT = 600  # seconds; a job gives its place up long before
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
    """Every step of a notification's life; shared by the API, the desk, workers and the clock."""

    def __init__(self, store: Store, queue: Redis) -> None:
        self._store = store
        self._queue = Queue(QUEUE, connection=queue, serializer=JSONSerializer)

    # -- what editors do -------------------------------------------------------------------------

    def publish(
        self,
        content: Content,
        audience: Audience,
        *,
        by: str,
        idempotency: Idempotency | None = None,
    ) -> Published:
        """Store a notification and wake a worker; Conflict for a key used with another body."""
        sending = self._store.sending
        if idempotency is not None:
            before = sending.remembered(idempotency.digest)
            if before is not None:
                return _same_answer(before, idempotency)
        published = Published(sending.new_id(), sending.count(audience))
        notification = Notification(
            id=published.id,
            content=content,
            audience=audience,
            state=State.SENDING,
            created_at=time.time(),
            created_by=by,
        )
        if idempotency is None:
            sending.publish(notification)
        else:
            answer = {
                "id": published.id,
                "recipients": published.recipients,
                "body": idempotency.body_digest,
            }
            before = sending.publish(notification, (idempotency.digest, answer, IDEMPOTENCY_KEPT))
            if before is not None:
                return _same_answer(before, idempotency)
        with suppress(RedisError):  # stored is stored: the clock wakes whoever was not woken
            self._wake_plan(published.id)
        return published

    def get(self, id: int) -> Notification:
        """Return a notification; UnknownNotification."""
        found = self._store.sending.get(id)
        if found is None:
            raise UnknownNotification
        return found

    def latest(self, limit: int, before: int | None = None) -> list[Notification]:
        """Return notifications, newest first."""
        return self._store.sending.latest(limit, before)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come."""
        return self._store.sending.progress(id)

    def receipts(self, id: int) -> dict[str, int]:
        """Return what browsers reported, each browser counted once."""
        return self._store.sending.receipts(id, EVENTS)

    def count_receipt(self, id: int, event: str, subscription: SubscriptionId) -> None:
        """Count what a browser reports of a notification we know; another counts nothing."""
        if event in EVENTS and self._store.sending.state(id) is not None:
            self._store.sending.count_receipt(id, event, str(subscription))

    def reach(self, audience: Audience) -> int:
        """Return how many browsers an audience has at this moment."""
        return self._store.sending.count(audience)

    def cancel(self, id: int) -> None:
        """Stop a notification: no message leaves a second from now; Conflict when it is over."""
        state = self._store.sending.state(id)
        if state is None:
            raise UnknownNotification
        possible = [State.SENDING, State.PAUSED]
        if not self._store.sending.move(id, State.CANCELLED, possible_from=possible):
            state = self._store.sending.state(id) or state
            raise Conflict(f"This alert is already {state.value}; it cannot be cancelled.")
        self.advance(id)

    # -- what workers and the clock do -----------------------------------------------------------

    def plan(self, id: int) -> None:
        """Freeze the audience and cut it into batches, whatever of it was not done before."""
        notification = self._store.sending.get(id)
        if notification is None or notification.over:
            return
        for partition in self._store.sending.partitions:
            self._store.sending.freeze(id, partition, notification.audience)
            audience = self._store.sending.audience(id, partition)
            self._store.sending.lay_out(id, partition, cut(partition, audience))
        self.advance(id)

    def advance(self, id: int) -> None:
        """Do the next thing there is to do for a notification; safe to call at any time."""
        sending = self._store.sending
        notification = sending.get(id)
        if notification is None:
            return
        looks = {partition: sending.look(id, partition) for partition in sending.partitions}
        stopped = notification.state is State.CANCELLED
        expired = time.time() > notification.last_start
        if stopped or expired or all(look.planned for look in looks.values()):
            undone = Outcome.CANCELLED if stopped else Outcome.EXPIRED if expired else None
            if expired and not stopped:
                for partition in (p for p, look in looks.items() if not look.planned):
                    # Nobody was there to plan it in time: whom it missed is counted all the same.
                    sending.freeze(id, partition, notification.audience)
            idle = [p for p, look in looks.items() if undone or not look.batches]
            closed = [p for p in idle if sending.close(id, p, undone)]
            if len(closed) == len(looks):
                self._finish(notification)
            elif undone is None and notification.state is State.SENDING:
                self._wake_batches(notification, sum(look.due for look in looks.values()))
        else:
            self._wake_plan(id)

    def advance_all(self) -> None:
        """Look after every notification that is not finished: what the clock does each second."""
        for id in self._store.sending.active():
            self.advance(id)

    def others_waiting(self, id: int) -> bool:
        """Whether a job for anything but this notification waits in the queue."""
        ours = _job_prefix(id)
        return any(not job.startswith(ours) for job in self._queued())

    def workers(self) -> int:
        """Return how many workers are registered."""
        return Worker.count(queue=self._queue)

    def _finish(self, notification: Notification) -> None:
        sending = self._store.sending
        state = notification.state
        if state is not State.CANCELLED:
            progress = sending.progress(notification.id)
            missed = progress.of(Outcome.EXPIRED) and not progress.of(Outcome.ACCEPTED)
            state = State.EXPIRED if missed else State.SENT
        sending.finish(notification.id, state, time.time())

    def _wake_plan(self, id: int) -> None:
        waiting = self._waiting(f"plan-{id}-")
        if not waiting:
            self._enqueue("workers.jobs.plan", f"plan-{id}-", id, at_front=True)

    def _wake_batches(self, notification: Notification, due: int) -> None:
        """Let as many jobs wait as there are workers to take them, and batches to be taken."""
        prefix = _job_prefix(notification.id)
        wanted = min(due, max(1, self.workers())) - self._waiting(prefix)
        for _ in range(wanted):
            self._enqueue(
                "workers.jobs.send_batch", prefix, notification.id, at_front=notification.urgent
            )

    def _waiting(self, prefix: str) -> int:
        return sum(job.startswith(prefix) for job in self._queued())

    def _queued(self) -> list[str]:
        ids = cast(list[bytes], self._queue.connection.lrange(self._queue.key, 0, -1))
        return [id.decode() for id in ids]

    def _enqueue(self, job: str, prefix: str, id: int, *, at_front: bool) -> None:
        self._queue.enqueue(
            job,
            id,
            job_id=prefix + uuid.uuid4().hex[:12],
            at_front=at_front,
            job_timeout=_JOB_TIMEOUT,
            result_ttl=0,
            failure_ttl=24 * 3600,
        )


def cut(partition: int, audience: bytes) -> Iterator[Batch]:
    """Cut a frozen audience into batches of about `BATCH_RECIPIENTS`, whole buckets each."""
    step = BUCKET // 8
    start: int | None = None
    recipients = 0
    for at in range(0, len(audience), step):
        here = int.from_bytes(audience[at : at + step], "big").bit_count()
        if not here:
            continue
        if start is not None and recipients + here > BATCH_RECIPIENTS:
            yield Batch(partition, start, at * 8 - 1)
            start, recipients = None, 0
        if start is None:
            start = at * 8
        recipients += here
    if start is not None:
        yield Batch(partition, start, -(-len(audience) // step) * BUCKET - 1)


def _job_prefix(id: int) -> str:
    return f"send_batch-{id}-"


def _same_answer(before: dict[str, object], idempotency: Idempotency) -> Published:
    if before["body"] != idempotency.body_digest:
        raise Conflict("This Idempotency-Key was used before, with another body.")
    return Published(int(str(before["id"])), int(str(before["recipients"])))
