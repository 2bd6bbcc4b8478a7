"""What is wrong with the installation now: one list for `/healthz/full`, the desk and the clock.

The causes are those of the alarm rules (docs/ops/alerts.yaml), as far as one look can tell. All
figures are those that the doctor and `/metrics` have. No cause names an origin, an alert or a
reader: it is sent to a chat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.domain.keys import Keys
from service.domain.operations.canary import Canary
from service.domain.operations.capacity import Capacity
from service.domain.operations.processes import SKEW, VITAL, differences, named
from service.domain.operations.under_way import UnderWay
from service.domain.sending.job_queue import FetchQueue, JobQueue
from service.model.inactive import NOBODY_FOR, TOO_LARGE_A_SHARE, Brake
from service.model.network.endpoints import EndpointPolicy
from service.model.operations.causes import URGENT, WARNING, Cause
from service.model.time import clock
from service.model.time.spans import span
from service.store import Store

_CLOCK_LATE = 15.0  # seconds
_JOB_LATE = 300.0  # seconds; while a send goes on, a job may wait for the end of another
_STOPPED_LONG = 3600.0  # seconds
_FULL = 0.8  # of `maxmemory`
_NAMES = {"google": "Google", "mozilla": "Mozilla", "apple": "Apple", "microsoft": "Microsoft"}


@dataclass(frozen=True, slots=True)
class Causes:
    """Looks for what is wrong."""

    store: Store
    jobs: JobQueue
    fetch: FetchQueue
    keys: Keys
    endpoints: EndpointPolicy
    canary: Canary
    capacity: Capacity
    under_way: UnderWay
    settings: Callable[[], dict[str, str]]  # those that must agree in all processes

    def now(self) -> list[Cause]:
        """Return what is wrong, what is urgent first; `RedisError`."""
        now = clock.time()
        found = [
            *self._clock(),
            *self._workers(),
            *self._alerts(now),
            *self._canary(now),
            *self._jobs(),
            *self._push_services(),
            *self._keys(),
            *self._redis(),
            *self._stop(now),
            *self._retiring(),
            *self._hosts(),
        ]
        return sorted(found, key=lambda one: not one.is_urgent)

    def _clock(self) -> Iterator[Cause]:
        age = self.store.installation.clock_age()
        if age > _CLOCK_LATE:
            run = "ever run" if age == float("inf") else f"run for {span(age)}"
            yield Cause(
                "no-clock",
                URGENT,
                f"No clock has {run}, so scheduled alerts wait.",
                "Start stoppress clock, best on two hosts; its log says why it ended.",
            )

    def _workers(self) -> Iterator[Cause]:
        if not self.jobs.workers():
            yield Cause(
                "no-workers",
                URGENT,
                "No worker runs, so no alert is sent.",
                "Start stoppress worker; its log says why it ended.",
            )
        elif (need := self.capacity.need()) is not None and need.missing:
            yield Cause(
                "too-few-workers",
                WARNING,
                f"{_of(need.missing, 'worker is', 'workers are')} missing for an alert to everyone"
                f" to keep the promise ({need.promise}).",
                "Start so many more, each with a core of its own; stoppress doctor says why.",
                lasts=900,
            )
        if not self.fetch.workers():
            yield Cause(
                "no-fetch",
                WARNING,
                "No fetch process runs: feeds are not read, webhooks not called, and forms not"
                " filled in from a link.",
                "Start stoppress fetch.",
                lasts=300,
            )

    def _alerts(self, now: float) -> Iterator[Cause]:
        if due := self.under_way.nothing_moves(now):
            yield Cause(
                "nothing-moves",
                URGENT,
                f"{_of(due, 'batch', 'batches')} of an alert could be sent, and no push service"
                " has answered for a minute.",
                "Read the log of the workers and restart them; stoppress doctor names what is"
                " wrong.",
                lasts=180,
            )
        if self.under_way.any_missed():
            yield Cause(
                "promise-missed",
                URGENT,
                "An alert under way is not handed over as fast as PROMISE says.",
                "Its page says what is slow: workers (add some), or a push service (wait).",
                lasts=0,
            )

    def _canary(self, now: float) -> Iterator[Cause]:
        health = self.canary.health()
        if health.is_missed(now) and not self.store.stops.holds():
            last = health.latest
            arrived = f"arrived for {span(now - last.arrived)}" if last else "ever arrived"
            yield Cause(
                "no-canary",
                URGENT,
                f"No canary has {arrived}, so alerts may not leave.",
                "Look at the workers, the clock and the way to SITE_URL; stoppress doctor names"
                " what is wrong.",
                lasts=120,
            )

    def _jobs(self) -> Iterator[Cause]:
        waits = self.jobs.oldest()
        if waits is not None and waits > _JOB_LATE and self.jobs.workers():
            yield Cause(
                "jobs-wait",
                WARNING,
                f"A job has waited for {span(waits)}, though workers run.",
                "See in their log whether they hang, and restart them.",
            )
        if failed := self.jobs.failed() + self.fetch.failed():
            yield Cause(
                "jobs-failed",
                WARNING,
                f"{_of(failed, 'job', 'jobs')} failed within a day; other jobs took over.",
                "Read the error in the log of that process, and report it if it is ours.",
                lasts=0,
            )

    def _push_services(self) -> Iterator[Cause]:
        resting = self.store.push_services.resting()
        for name in sorted(self._names(o for o, r in resting.items() if r.why == "credentials")):
            yield Cause(
                f"signature-refused {name}",
                URGENT,
                f"{name} rejects our signature, so its readers wait.",
                "Check VAPID_SUBJECT and the host's time, and run stoppress doctor --send.",
            )
        for name in sorted(self._names(o for o, r in resting.items() if r.why != "credentials")):
            yield Cause(
                f"push-service-fails {name}",
                WARNING,
                f"{name} fails or does not answer, so its readers wait.",
                "It is tried again by itself. If all push services fail, our network does.",
                lasts=300,
            )
        for name in sorted(self._names(self.store.push_services.doubted())):
            yield Cause(
                f"readers-doubted {name}",
                WARNING,
                f"{name} called so many readers gone at once that we doubt it.",
                "An editor decides at the desk whether they are gone; none is deleted until then.",
                lasts=300,
            )

    def _names(self, origins: Iterator[str] | dict[str, float]) -> set[str]:
        services = {self.endpoints.service(origin) for origin in origins}
        return {_NAMES.get(service, "Another push service") for service in services}

    def _keys(self) -> Iterator[Cause]:
        lost = [one for one in self.keys.uses() if one.place is None and one.readers]
        if lost:
            yield Cause(
                "key-missing",
                URGENT,
                f"{_of(sum(one.readers for one in lost), 'reader depends', 'readers depend')} on a"
                " VAPID key that is not set, and gets no alert.",
                "Put it back into VAPID_PRIVATE_KEY, behind the current one: stoppress keys list.",
                lasts=300,
            )

    def _redis(self) -> Iterator[Cause]:
        memory = self.store.memory()
        if memory is not None and memory.most and memory.used > _FULL * memory.most:
            yield Cause(
                "redis-fills-up",
                URGENT,
                f"Redis uses {100 * memory.used // memory.most} % of the memory that it may.",
                "Raise maxmemory. Once it is full, nobody can subscribe and nothing is published.",
                lasts=300,
            )
        if self.store.is_kept_on_disk() is False:
            yield Cause(
                "redis-keeps-nothing",
                URGENT,
                "Redis does not append its writes to a file, so a crash loses readers.",
                "Set appendonly yes, and see whether its disk is full.",
                lasts=300,
            )

    def _stop(self, now: float) -> Iterator[Cause]:
        stop = self.store.stops.current()
        if stop is not None and now - stop.at > _STOPPED_LONG:
            yield Cause(
                "stopped",
                WARNING,
                f"Everything has been stopped for {span(now - stop.at)}, so no alert leaves.",
                "Ask the editors, and release it at the desk or by stoppress stop --release.",
                lasts=0,
            )

    def _retiring(self) -> Iterator[Cause]:
        why = self.store.retiring.round().held
        if not why:
            return
        says = f"No reader was seen for {NOBODY_FOR} days"
        if why == Brake.TOO_MANY.value:
            share = f"{100 * TOO_LARGE_A_SHARE:.0f} %"
            says = f"More than {share} of the readers seem not to visit any more"
        yield Cause(
            "retiring-held",
            WARNING,
            f"{says}, so none is asked whether to keep the alerts, or retired.",
            "See by stoppress doctor --site whether your pages have our tag. If they have, begin"
            " with a longer RETIRE_AFTER_DAYS.",
            lasts=0,
        )

    def _hosts(self) -> Iterator[Cause]:
        alive = self.store.processes.alive()
        for name, _, who in differences(self.settings(), alive):
            if name in VITAL:
                yield Cause(
                    f"settings-differ {name}",
                    URGENT,
                    f"{name} of {named(who)} is another than here, and readers get what does not"
                    " work.",
                    "Give all processes the same settings, and restart them.",
                )
        if skewed := [one for one in alive if abs(one.ahead) >= SKEW]:
            yield Cause(
                "clocks-differ",
                WARNING,
                f"The clock of {named(skewed)} differs from that of Redis, by which alerts are"
                " sent.",
                "Set both by NTP.",
                lasts=300,
            )


def _of(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
