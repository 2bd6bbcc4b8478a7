"""The installation that a benchmark measures: its own Redis, and runs of alerts in it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.domain.alerts.publishing import Conflict
from service.local import pretend_readers
from service.local.redis_server import answers, embedded_redis
from service.model.notifications import Audience, Content, Outcome, Progress
from workers.bench.figures import Bench, BenchError, Step
from workers.trials.installation import TrialInstallation, trial_settings
from workers.trials.processes import running, wait_for
from workers.trials.push_service import Sink
from workers.trials.redis_cluster import redis_cluster

TOPICS = ("world", "sport", "culture", "science")
EVERYONE = Audience(everyone=True)
CONTENT = Content(
    title="Parliament passes the coastal protection act",
    body="After eleven hours of debate, 212 members voted in favour.",
    url="https://www.newsroom.example/politics/coastal-protection-act",
)
_STALLED = 60.0  # seconds without progress after which a run is given up
_POLL = 0.02  # seconds between two checks of the progress


# Signals ----------------------------------------------------------------------------------------

_signals: list[int] = []


def exit_on_signal(number: int, _frame: object) -> None:
    """Handle a signal by an exception, so that every process is ended and every file removed."""
    _signals.append(number)
    sys.exit(1)


def hide_exit_within_fork(unraisable: sys.UnraisableHookArgs) -> None:
    """Print what Python cannot raise, except the exit by a signal: `check_signals` repeats it."""
    if not isinstance(unraisable.exc_value, SystemExit):
        sys.__unraisablehook__(unraisable)


def check_signals() -> None:
    """Exit if a signal came, since Python drops an exception that is raised during a fork."""
    if _signals:
        sys.exit(1)


def pause(seconds: float = _POLL) -> None:
    """Sleep between two checks."""
    time.sleep(seconds)
    check_signals()


# What processes use -----------------------------------------------------------------------------


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time that processes have used, user and system, in steps of 10 ms.

    Linux only.
    """
    ticks = 0
    for pid in pids:
        # The name may contain blanks and brackets; behind it utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def most_resident(*pids: int) -> float:
    """Return the largest peak of resident memory, in MB, among these processes; Linux only."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    found = [re.search(r"VmHWM:\s*(\d+) kB", text) for text in status]
    return max(int(row[1]) for row in found if row) / 1000


# Sending ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One alert, from publishing until its last outcome is recorded, or until `enough` are."""

    id: int
    messages: int  # with an outcome
    accepted: int
    seconds: float
    workers: float  # seconds of CPU
    redis: float  # seconds of CPU
    sinks: float  # seconds of CPU

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu(self) -> float:
        """CPU seconds of workers and Redis for one message."""
        return (self.workers + self.redis) / self.messages


class BenchInstallation(TrialInstallation):
    """An installation that sends to sinks and measures what that takes."""

    def __init__(
        self, bench: Bench, settings: dict[str, str], redis: tuple[int, ...], sinks: Sequence[Sink]
    ) -> None:
        """Use the Redises with the process ids `redis`."""
        super().__init__(settings, TOPICS)
        self.redis = redis
        self.sinks = sinks
        self._bench = bench
        self._seeded = 0
        self._workers: tuple[int, ...] = ()

    # -- readers ---------------------------------------------------------------------------------

    def seed(
        self,
        count: int,
        sink: Sink | None = None,
        topics: Sequence[str] = TOPICS,
        choose: Callable[[int], pretend_readers.Chosen] = pretend_readers.undisturbed,
    ) -> None:
        """Add pretend readers at one sink, by default the first."""
        with self._bench.bar("seeding", count) as step:
            origins = [(sink or self.sinks[0]).origin]
            self.seed_more(count, origins, topics, step, choose)

    def seed_more(
        self,
        count: int,
        origins: Sequence[str],
        topics: Sequence[str] = TOPICS,
        step: Step = lambda _: None,
        choose: Callable[[int], pretend_readers.Chosen] = pretend_readers.undisturbed,
    ) -> None:
        """Add pretend readers, spread over the sinks at `origins`, without a bar of their own."""
        for stored in self.add_readers(count, origins, topics, first=self._seeded, choose=choose):
            step(stored)
        self._seeded += count

    # -- sending ---------------------------------------------------------------------------------

    @contextmanager
    def workers(self, number: int) -> Iterator[tuple[int, ...]]:
        """Run this number of workers and a clock; yield the process ids of the workers."""
        started = [*(self.worker() for _ in range(number)), self.clock()]
        wait_for(lambda: self.runtime.job_queue.workers() == number, *started)
        self._workers = tuple(process.pid for process in started)
        try:
            yield self._workers[:number]
        finally:
            self._workers = ()
            for process in started:
                self.end(process)

    def send(
        self,
        what: str,
        content: Content = CONTENT,
        audience: Audience = EVERYONE,
        *,
        enough: int | None = None,
    ) -> Run:
        """Publish and wait for the last outcome.

        With `enough`, wait for this number of accepted messages and cancel the rest.
        """
        publishing = self.runtime.publishing
        parts = (self._workers, self.redis, tuple(sink.pid for sink in self.sinks))
        before = [cpu_seconds(*pids) for pids in parts]
        start = time.monotonic()
        published = publishing.publish(content, audience, by="bench")
        total = published.recipients if enough is None else min(enough, published.recipients)

        def done_so_far() -> int:
            now = publishing.progress(published.id)
            return now.done if enough is None else now.of(Outcome.ACCEPTED)

        with self._bench.bar(what, total) as step:
            done = follow(done_so_far, total, step)
        seconds = time.monotonic() - start
        cpu = [cpu_seconds(*pids) - was for pids, was in zip(parts, before, strict=True)]
        accepted = publishing.progress(published.id).of(Outcome.ACCEPTED)
        if enough is not None:
            self.cancel(published.id)
        return Run(published.id, done, accepted, seconds, *cpu)

    def cancel(self, id: int) -> None:
        """Cancel an alert, unless it is over."""
        with suppress(Conflict):
            self.runtime.publishing.cancel(id, by="the bench")

    def stop(self, id: int) -> None:
        """Cancel an alert and wait until no message of it is under way."""
        self.cancel(id)
        deadline = time.monotonic() + _STALLED
        while self.runtime.publishing.get(id).finished_at is None:
            if time.monotonic() > deadline:
                raise BenchError(
                    f"an alert was still being sent {_STALLED:.0f} s after it was cancelled"
                )
            pause()

    def first_accepted(self, id: int) -> float:
        """Wait until a message of an alert is recorded as accepted; return the monotonic time."""

        def progress() -> Progress:
            return self.runtime.publishing.progress(id)

        deadline = time.monotonic() + _STALLED
        while not progress().of(Outcome.ACCEPTED):
            if time.monotonic() > deadline:
                raise BenchError(f"no message was accepted within {_STALLED:.0f} s")
            pause(0.002)
        return time.monotonic()


def follow(done_so_far: Callable[[], int], total: int, step: Step) -> int:
    """Wait until `total` are done and return how many are; `BenchError` if progress stalls."""
    done = done_so_far()
    changed = time.monotonic()
    while done < total:
        pause()
        now = done_so_far()
        if now != done:
            done, changed = now, time.monotonic()
            step(done)
        elif time.monotonic() - changed > _STALLED:
            raise BenchError(f"no progress for {_STALLED:.0f} s, at {done:,} of {total:,}")
    return done


@contextmanager
def installation(
    bench: Bench, sinks: Sequence[Sink] = (), **more: str
) -> Iterator[BenchInstallation]:
    """Run a Redis with an installation that sends to these sinks; `more` are settings."""
    with ExitStack() as stack:
        redis = stack.enter_context(embedded_redis(bench.folder))
        server = stack.enter_context(running(redis.argv, {"LC_ALL": "C"}, [redis.lock]))
        wait_for(lambda: answers(redis.url), server)
        settings = trial_settings(
            redis.url,
            bench.folder,
            [sink.origin for sink in sinks],
            sinks[0].ca_file if sinks else None,
        )
        pids: tuple[int, ...] = (server.pid,)
        if bench.masters:
            settings["STORE_URL"], nodes = stack.enter_context(
                redis_cluster(bench.folder, bench.masters)
            )
            pids += nodes
        yield stack.enter_context(BenchInstallation(bench, {**settings, **more}, pids, sinks))
