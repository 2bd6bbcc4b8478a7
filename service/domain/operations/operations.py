"""How the installation works now: what the operations page of the desk and the API show.

Every figure is one that `/metrics`, the doctor or an alert's page has; here they are read together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from service.domain.alerts.alert_list import AlertList, AlertRow
from service.domain.operations.canary import Canary, CanaryHealth
from service.domain.operations.capacity import Capacity, Need
from service.domain.operations.causes import Causes
from service.domain.operations.promises import PromiseReport, Promises
from service.domain.operations.under_way import UnderWay
from service.domain.sending.job_queue import Failure, FetchQueue, JobQueue, Running, UnknownJob
from service.domain.sending.push_services import PushServices, Retried, SlowService
from service.model.network.endpoints import EndpointPolicy
from service.model.operations.causes import Cause
from service.model.operations.measures import PROMISES, PUSH_ANSWERS, PUSH_RETRIES, Histogram, Key
from service.model.time import clock
from service.store import Store
from service.store.operations.processes import Process
from service.store.redis_servers.memory import Following, Memory

_MOST = 0.9  # of the answers


@dataclass(frozen=True, slots=True)
class Seen:
    """A process; times in seconds since 1970, 0 is not known."""

    kind: str  # web, worker, clock or fetch
    host: str
    pid: int
    version: str  # empty: it does not say
    began_at: float
    leads: bool = False  # a clock
    job_since: float = 0.0  # when it took the job that it works on; 0: it waits for one
    alerts: tuple[int, ...] = ()  # of which a worker has batches


class Waits(NamedTuple):
    """Jobs that wait."""

    jobs: int
    oldest: float | None  # seconds


@dataclass(frozen=True, slots=True)
class Send:
    """An alert under way, and what keeps it."""

    row: AlertRow
    due: int  # batches that could be sent and that no worker has
    promise: PromiseReport | None
    slowing: list[SlowService]
    retried: list[Retried]


@dataclass(frozen=True, slots=True)
class Service:
    """A push service, as workers have met it since Redis was started."""

    name: str  # as `EndpointPolicy.service` names it
    answers: int
    mean: float  # seconds until an answer
    most_within: float  # seconds in which nine of ten answers came
    retries: dict[str, int]  # messages that were tried again, by why
    resting: dict[str, int]  # origins that rest now, by why
    paces: list[int]  # messages a minute that origins allow us now
    doubted: int  # origins whose "gone" waits for an editor


@dataclass(frozen=True, slots=True)
class Overview:
    """How the installation works at one moment."""

    at: float
    causes: list[Cause]
    processes: list[Seen]
    jobs: Waits
    fetch_jobs: Waits
    need: Need | None
    window: int  # PUSH_WINDOW
    sends: list[Send]
    services: list[Service]
    memory: Memory | None
    is_kept_on_disk: bool | None
    following: Following | None
    clock_age: float
    canary: CanaryHealth
    kept: dict[str, int]  # alerts that kept the promise, `yes`, and those that did not, `no`
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class Operations:
    """Reads how the installation works, and looks after jobs that failed."""

    store: Store
    jobs: JobQueue
    fetch: FetchQueue
    endpoints: EndpointPolicy
    canary: Canary
    capacity: Capacity
    causes: Causes
    under_way: UnderWay
    promises: Promises
    push_services: PushServices
    alert_list: AlertList
    window: int

    def overview(self) -> Overview:
        """Return how it works now."""
        counted = self.store.counted.read()
        return Overview(
            at=clock.time(),
            causes=self.causes.now(),
            processes=self.processes(),
            jobs=Waits(self.jobs.queued(), self.jobs.oldest()),
            fetch_jobs=Waits(self.fetch.queued(), self.fetch.oldest()),
            need=self.capacity.need(),
            window=self.window,
            sends=self._sends(),
            services=self._services(counted),
            memory=self.store.memory(),
            is_kept_on_disk=self.store.is_kept_on_disk(),
            following=self.store.following(),
            clock_age=self.store.installation.clock_age(),
            canary=self.canary.health(),
            kept={word: counted.get((PROMISES.name, word), [0])[0] for word in ("yes", "no")},
            failures=self.failures(),
        )

    def processes(self) -> list[Seen]:
        """Return the processes that gave a sign of life lately, by kind and host."""
        working = {(one.host, one.pid): one for one in self.jobs.running()}
        held = self.store.batches.held_by(sorted(self.store.notifications.active()))
        leader = self.store.installation.leader()
        found = [
            _seen(one, working.pop((one.host, one.pid), None), held, leader)
            for one in self.store.processes.alive()
        ]
        # One that runs but has not said its version yet.
        found += [_running("worker", one, held) for one in working.values()]
        found += [_running("fetch", one, {}) for one in self.fetch.running()]
        order = ("worker", "clock", "web", "fetch")
        return sorted(found, key=lambda one: (order.index(one.kind), one.host, one.began_at))

    def _sends(self) -> list[Send]:
        rows = self.alert_list.rows(self.alert_list.unfinished())
        return [
            Send(
                row,
                self.under_way.due(row.notification),
                self.promises.of(row.notification, row.progress),
                self.push_services.slowing(row.notification),
                self.push_services.retried(row.notification),
            )
            for row in rows
        ]

    def _services(self, counted: dict[Key, list[int]]) -> list[Service]:
        resting, paced = self.push_services.resting(), self.push_services.paced()
        doubted = self.store.push_services.doubted()
        answers: dict[str, list[int]] = {}
        retries: dict[str, dict[str, int]] = {}
        for (measure, *labels), row in counted.items():
            if measure == PUSH_ANSWERS.name:
                before = answers.get(labels[0], [0] * PUSH_ANSWERS.places)
                answers[labels[0]] = [a + b for a, b in zip(before, row, strict=True)]
            elif measure == PUSH_RETRIES.name:
                retries.setdefault(labels[0], {})[labels[1]] = row[0]
        by_origin = [self.endpoints.service(one) for one in (*resting, *paced, *doubted)]
        found = []
        for name in sorted({*answers, *by_origin}):
            rests: dict[str, int] = {}
            for origin, rest in resting.items():
                if self.endpoints.service(origin) == name:
                    rests[rest.why] = rests.get(rest.why, 0) + 1
            ours = [one for origin, one in paced.items() if self.endpoints.service(origin) == name]
            number, mean, most = _times(answers.get(name, [0] * PUSH_ANSWERS.places))
            found.append(
                Service(
                    name,
                    number,
                    mean,
                    most,
                    retries.get(name, {}),
                    rests,
                    [one.per_minute for one in ours],
                    sum(self.endpoints.service(origin) == name for origin in doubted),
                )
            )
        return found

    # -- jobs that failed --------------------------------------------------------------------------

    def failures(self) -> list[Failure]:
        """Return the jobs of both queues that failed within a day, the latest first."""
        found = [*self.jobs.failures(), *self.fetch.failures()]
        return sorted(found, key=lambda one: -one.failed_at)

    def retry(self, id: str) -> None:
        """Have a failed job of ours done again; `UnknownJob`, `ForeignJob`."""
        self._queue_of(id).retry(id)

    def throw_away(self, id: str) -> None:
        """Forget a failed job; `UnknownJob`."""
        self._queue_of(id).throw_away(id)

    def _queue_of(self, id: str) -> JobQueue | FetchQueue:
        if self.jobs.has_failed(id):
            return self.jobs
        if self.fetch.has_failed(id):
            return self.fetch
        raise UnknownJob


def _seen(one: Process, working: Running | None, held: dict[str, set[int]], leader: str) -> Seen:
    return Seen(
        one.kind,
        one.host,
        one.pid,
        one.version,
        one.began_at or (working.began_at if working else 0.0),
        leads=one.kind == "clock" and leader.startswith(f"{one.host}:{one.pid}:"),
        job_since=working.job_since if working else 0.0,
        alerts=tuple(sorted(held.get(working.name, ()))) if working else (),
    )


def _running(kind: str, one: Running, held: dict[str, set[int]]) -> Seen:
    return Seen(
        kind,
        one.host,
        one.pid,
        one.release,
        one.began_at,
        job_since=one.job_since,
        alerts=tuple(sorted(held.get(one.name, ()))),
    )


def _times(row: list[int]) -> tuple[int, float, float]:
    """Return how many answers came, after how many seconds, and in how many most of them did."""
    histogram = Histogram.of(row)
    number = histogram.up_to[-1]
    if not number:
        return 0, 0.0, 0.0
    bounds = (*PUSH_ANSWERS.bounds, math.inf)
    most = next(b for b, n in zip(bounds, histogram.up_to, strict=True) if n >= _MOST * number)
    return number, histogram.seconds / number, most
