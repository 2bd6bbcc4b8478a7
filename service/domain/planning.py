"""From a published notification to its end: plan it, find what is due, wake workers, finish it.

The truth is in the store; a queued job only says that there is work, so that a lost, doubled or
late one costs nothing. `advance` looks at a notification and does the next thing there is to do:
workers call it when they have finished something, the clock calls it every second.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import cast

from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from service.model.endpoints import origin_of
from service.model.notifications import Batch, Notification, Outcome, State, SubscriptionId
from service.store import Store
from service.store.records import BUCKET

QUEUE = "stoppress"
BATCH_RECIPIENTS = 2048  # measured: docs/decisions.md, 5
_LATEST = 20  # alerts looked through for who was accepted recently
# Seconds after which no message is under way any more that was started before: a push service's
# 15 to answer, a worker's half to notice, and as much again for a machine that is too busy.
_UNDER_WAY = 30.0
# Seconds by which a spread send may come late before the rest of it is put off by as much. Another
# clock takes four to take over.
_LATE = 5.0
_TO_SPARE = 5.0  # seconds between the last batch of a spread send and its deadline
_PACE_KEPT = 86_400.0  # seconds
_SILENT = 20.0  # seconds without a sign of life after which a worker counts as dead
_JOB_TIMEOUT = 600  # seconds; a job gives its place up long before


class Dispatch:
    """What workers and the clock do with notifications that are being sent."""

    def __init__(self, store: Store, queue: Redis) -> None:
        self._store = store
        self._queue = Queue(QUEUE, connection=queue, serializer=JSONSerializer)

    def plan(self, notification: Notification) -> None:
        """Freeze the audience and cut it into batches, whatever of it was not done before."""
        sending, id = self._store.sending, notification.id
        root = self._store.notifications.get(notification.corrects or 0)
        # Until then somebody may still get the text that is corrected, and then the correction.
        settled = root is None or self._is_settled(notification, root)
        for partition in sending.partitions:
            count = self._freeze(notification, root, partition)
            undone = self._store.recipients.undone(id, partition)
            spread_ms = min(notification.spread_minutes * 60_000, _time_left_ms(notification))
            batches = cut(partition, undone, count, spread_ms)
            sending.lay_out(id, partition, batches, final=settled)

    def _freeze(self, notification: Notification, root: Notification | None, partition: int) -> int:
        """Fix who will receive a notification, a correction of `root` perhaps; return how many."""
        recipients, id = self._store.recipients, notification.id
        if root is None:
            return recipients.freeze(id, partition, notification.audience)
        return recipients.freeze_reached(id, partition, root.id, root.revision)

    def _is_settled(self, correction: Notification, root: Notification) -> bool:
        started = correction.started_at or correction.created_at
        if time.time() > started + _UNDER_WAY:
            return True
        active = self._store.notifications.all(self._store.notifications.active())
        return root.finished_at is not None and not any(one.wave for one in active)

    def sending(self) -> list[tuple[Notification, bool]]:
        """Return what is being sent, and whether batches of it are due; plans what is not yet."""
        found = []
        sending = self._store.sending
        for id in self._store.notifications.active():
            notification = self._store.notifications.get(id)
            if notification is None or notification.state is not State.SENDING:
                continue
            if time.time() > notification.last_start:
                continue  # whoever is left has run out of time, and `advance` counts them
            if notification.spread_minutes:
                self._keep_even(notification)
            looks = [sending.look(id, partition) for partition in sending.partitions]
            if not all(look.planned for look in looks):
                self.plan(notification)
                looks = [sending.look(id, partition) for partition in sending.partitions]
            found.append((notification, any(look.due for look in looks)))
        return found

    def _keep_even(self, notification: Notification) -> None:
        """After a pause, or an hour without workers, go on at the same pace."""
        within_ms = _time_left_ms(notification)
        for partition in self._store.sending.partitions:
            self._store.sending.put_off(
                notification.id, partition, late_ms=int(_LATE * 1000), within_ms=within_ms
            )

    def accepted_recently(self, ids: Collection[SubscriptionId]) -> bool:
        """Whether any of these subscriptions took one of the latest alerts."""
        return any(
            self._store.recipients.accepted_any(one.id, one.revision, ids)
            for one in self._store.notifications.started(_LATEST)
        )

    def answers_in_a_minute(self, origin: str) -> int:
        """Return how many recipients have got their outcome at an origin in the last minute."""
        bases = self._bases(origin)
        answers = self._store.farewells.answers(time.time()).items()
        return sum(n for base, (n, _) in answers if base in bases)

    def _bases(self, origin: str) -> list[int]:
        bases = self._store.installation.bases.all()
        return [number for url, number in bases.items() if origin_of(url) == origin]

    def advance(self, id: int) -> None:
        """Do the next thing there is to do for a notification; safe to call at any time."""
        sending = self._store.sending
        notification = self._store.notifications.get(id)
        if notification is None:
            return
        looks = {partition: sending.look(id, partition) for partition in sending.partitions}
        stopped = notification.state is State.CANCELLED
        expired = time.time() > notification.last_start
        undone = Outcome.CANCELLED if stopped else Outcome.EXPIRED if expired else None
        if undone or all(look.planned for look in looks.values()):
            if expired and not stopped:
                root = self._store.notifications.get(notification.corrects or 0)
                for partition in (p for p, look in looks.items() if not look.planned):
                    # Nobody was there to plan it in time: whom it missed is counted all the same.
                    self._freeze(notification, root, partition)
            if undone is None and any(look.open and not look.batches for look in looks.values()):
                self.plan(notification)
            idle = [p for p, look in looks.items() if undone or not look.batches]
            closed = [p for p in idle if sending.close(id, p, undone)]
            if len(closed) == len(looks):
                self._finish(notification)
                return
        if undone is None and notification.state is State.SENDING:
            work = sum(look.due if look.planned else 1 for look in looks.values())
            self.wake(work, at_front=notification.urgent)

    def end_paces(self, now: float) -> None:
        """Stop keeping to a pace that has not been exceeded for a day: Chrome's least penalty."""
        since = now - _PACE_KEPT
        for origin, pace in self._store.services.paced().items():
            if pace.since < since:
                self._store.services.unpace(origin, since)

    def advance_all(self) -> None:
        """Look after every notification that is not finished: what the clock does each second."""
        self._try_released(time.time())
        for id in self._store.notifications.active():
            self.advance(id)

    def _try_released(self, now: float) -> None:
        """Let nobody wait for push services that a person released.

        Again and again for a while: some are in a worker's hands, who gives them back to wait.
        """
        services = self._store.services
        for origin, at in services.released().items():
            if now > at + _UNDER_WAY or origin in services.resting():
                services.forget_release(origin)
                continue
            for id in self._store.notifications.active():
                for partition in self._store.sending.partitions:
                    self._store.sending.try_now(id, partition, self._bases(origin))

    def wake(self, work: int, *, at_front: bool) -> None:
        """Let as many jobs wait as there are workers to take them, and pieces of work."""
        # All that are registered: to send fast must not hang on hosts whose time is right.
        workers = max(1, Worker.count(queue=self._queue))
        for _ in range(min(work, workers) - self.queued()):
            self._queue.enqueue(
                "workers.jobs.send",
                at_front=at_front,
                job_timeout=_JOB_TIMEOUT,
                result_ttl=0,
                failure_ttl=24 * 3600,
            )

    def workers(self) -> int:
        """Return how many workers gave a sign of life lately."""
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for key in Worker.all_keys(queue=self._queue):
                pipe.hget(key, "last_heartbeat")
            rows = cast("list[bytes | None]", pipe.execute())
        since = time.time() - _SILENT
        return sum(utcparse(row.decode()).timestamp() > since for row in rows if row)

    def queued(self) -> int:
        """Return how many jobs wait for a worker."""
        return self._queue.connection.llen(self._queue.key)

    def _finish(self, notification: Notification) -> None:
        progress = self._store.outcomes.progress(notification.id)
        state = notification.state
        if state is not State.CANCELLED:
            missed = progress.of(Outcome.EXPIRED) and not progress.of(Outcome.ACCEPTED)
            state = State.EXPIRED if missed else State.SENT
        self._store.notifications.finish(notification.id, state, time.time(), progress)
        self._store.outcomes.forget(notification.id)


def _time_left_ms(notification: Notification) -> int:
    """Return the ms within which all batches of a spread send must be due."""
    return max(0, int((notification.last_start - _TO_SPARE - time.time()) * 1000))


def cut(
    partition: int, audience: bytes, recipients: int, spread_ms: int = 0
) -> Iterator[tuple[Batch, int]]:
    """Cut a frozen audience of so many recipients into batches, each with its ms until due.

    Of about `BATCH_RECIPIENTS` each and in whole buckets, all due at once; or over `spread_ms`,
    then smaller ones, a second apart.
    """
    step, most = BUCKET // 8, BATCH_RECIPIENTS
    if spread_ms:
        step, most = 1, min(most, max(1, recipients * 1000 // spread_ms))
    start: int | None = None
    before = here = 0
    for at in range(0, len(audience), step):
        more = int.from_bytes(audience[at : at + step], "big").bit_count()
        if not more:
            continue
        if start is not None and here + more > most:
            yield Batch(partition, start, at * 8 - 1), spread_ms * before // recipients
            start, before, here = None, before + here, 0
        if start is None:
            start = at * 8
        here += more
    if start is not None:
        end = -(-len(audience) // step) * step * 8 - 1
        yield Batch(partition, start, end), spread_ms * before // recipients
