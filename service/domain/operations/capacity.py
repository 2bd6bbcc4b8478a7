"""How many workers an alert to everyone needs, and how many of them are missing now."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.domain.sending.job_queue import JobQueue
from service.domain.sending.planning import BATCH_RECIPIENTS
from service.model.notifications import Audience
from service.model.operations.capacity import Speed, workers_needed
from service.model.operations.promises import Promise
from service.store import Store


@dataclass(frozen=True, slots=True)
class Need:
    """What an alert to everyone needs, so that the promise is kept."""

    readers: int
    promise: Promise
    speed: Speed
    rate: float  # messages a second that one worker sends
    needed: int  # workers
    running: int

    @property
    def missing(self) -> int:
        """How many workers are missing."""
        return max(0, self.needed - self.running)


class Capacity:
    """Compares the workers that run with those that the promise needs."""

    def __init__(self, store: Store, jobs: JobQueue, promise: Promise | None, window: int) -> None:
        self._store = store
        self._jobs = jobs
        self._promise = promise
        self._window = window

    def need(self) -> Need | None:
        """Return what an alert to everyone needs; None if nothing is promised."""
        if self._promise is None:
            return None
        readers = self._store.audiences.count(Audience(everyone=True))
        speed = self._store.counted.speed()
        partitions = len(self._store.partitions)
        batches = partitions * math.ceil(readers / partitions / BATCH_RECIPIENTS)
        return Need(
            readers=readers,
            promise=self._promise,
            speed=speed,
            rate=speed.rate(self._window),
            needed=workers_needed(readers, self._promise, self._window, batches, speed),
            running=self._jobs.workers(),
        )
