"""How fast alerts are sent: the ordinary path, late answers, slow services, prepared keys."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

from service.model.notifications import Audience
from workers.bench import peers
from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import (
    CONTENT,
    EVERYONE,
    BenchInstallation,
    Run,
    follow,
    installation,
    look_again,
    most_resident,
)
from workers.trials.push_service import any_sink, own_sink

LATE = 0.1  # seconds
BREAKING = replace(CONTENT, kind="breaking")
_FEW = 10_000  # recipients of the small audience with which a worker's memory is compared
_ROUNDS = 3  # of which the best counts: whatever else a machine does makes it slower
_LEAST = {"pywebpush, one session": 6, "webpush-go, one HTTP/2 client": 1.2}  # to ours
_SEVERAL = 5  # breaking alerts amid an ordinary one


def _cpu(run: Run, most: float | None = None) -> Iterator[Figure]:
    yield Figure("CPU a message: workers and Redis", run.cpu * 1e6, "µs", most=most)
    for name, seconds in (("workers", run.workers), ("Redis", run.redis), ("sink", run.sinks)):
        yield Figure(f"  {name}", seconds / run.messages * 1e6, "µs")


def fanout(bench: Bench) -> Iterator[Figure]:
    """Measure the ordinary path: answers at once, keys derived as they are needed.

    On one core beside the peers, each in turn; then on all, while an audience grows tenfold.
    """
    few = min(_FEW, -(-bench.recipients // 10))
    with (
        any_sink(bench.folder) as sink,
        installation(bench, [sink], PREPARE_KEYS="no") as ours,
    ):
        ours.seed(few)
        with ours.workers(bench.workers) as pids:
            ours.send(f"sending to {few:,}")
            small = most_resident(*pids)
            ours.seed(bench.recipients - few)
            many = [ours.send(f"sending, {bench.workers} workers")]
            large = most_resident(*pids)
            many += [_some(ours, bench) for _ in range(1, _ROUNDS)]
        ready, absent = _peers(bench, ours)
        runs: list[Run] = []
        theirs: dict[str, list[float]] = {name: [] for name in ready}
        with ours.workers(1):
            for _ in range(_ROUNDS):
                runs.append(_some(ours, bench))
                for name, measure in ready.items():
                    theirs[name].append(measure())
    one = min(runs, key=lambda run: run.cpu)
    yield from _cpu(one, most=220)
    for name, took in theirs.items():
        yield Figure(f"{name}: CPU a message", min(took) * 1e6, "µs")
        yield Figure("  to ours", min(took) / one.cpu, "×", least=_LEAST.get(name))
    yield from absent
    rates = [max(run.per_second for run in rounds) for rounds in (runs, many)]
    yield Figure("rate, 1 worker", rates[0], "/s")
    if bench.workers > 1:
        yield Figure(f"rate, {bench.workers} workers", rates[1], "/s")
        gain = rates[1] / rates[0]
        yield Figure(f"  {bench.workers} workers to 1", gain, "×", least=0.9 * bench.workers)
    yield Figure(f"a worker's memory, {few:,} readers", small, "MB", most=150)
    yield Figure(f"  {bench.recipients:,} readers", large, "MB", most=150)


def _some(ours: BenchInstallation, bench: Bench) -> Run:
    return ours.send("sending to some", enough=min(bench.recipients, 2 * _FEW))


def _peers(bench: Bench, ours: BenchInstallation) -> tuple[dict[str, peers.Measure], list[Figure]]:
    """Make the other senders ready; figures of those that are not here say why."""
    ready: dict[str, peers.Measure] = {}
    absent = []
    for name, make_ready in bench.peers.items():
        try:
            ready[name] = make_ready(ours, bench)
        except peers.Absent as why:  # noqa: PERF203 (three of them)
            absent.append(Figure(f"{name}: CPU a message", absent=f"not present: {why}"))
    return ready, absent


def latency(bench: Bench) -> Iterator[Figure]:
    """Measure answers 100 ms late beside the same at once: a window must stay full.

    One worker, so that the push service has a core of its own and does not limit it.
    """
    with (
        own_sink(bench.folder) as at_once,
        own_sink(bench.folder, LATE) as late,
        installation(bench, [at_once, late], PREPARE_KEYS="no") as ours,
    ):
        ours.seed(bench.recipients, at_once, topics=["world"])
        ours.seed(bench.recipients, late, topics=["sport"])
        with ours.workers(1):
            soon = ours.send("answers at once", audience=Audience(topics=("world",)))
            slow = ours.send("answers 100 ms late", audience=Audience(topics=("sport",)))
        most = ours.runtime.config.push_window / LATE
    yield Figure("answers at once, 1 worker", soon.per_second, "/s")
    yield Figure("answers 100 ms late", slow.per_second, "/s")
    yield Figure("  window ÷ delay", most, "/s")
    share = slow.per_second / min(soon.per_second, most)
    yield Figure("  to the smaller of at once and that", 100 * share, "%", least=90)
    yield Figure("  CPU a message, to that at once", slow.cpu / soon.cpu, "×")


def slow(bench: Bench) -> Iterator[Figure]:
    """One push service never answers: the rate of the others beside the same without it."""
    count, stretch = bench.recipients, 900
    with (
        any_sink(bench.folder) as fast,
        own_sink(bench.folder, None) as hanging,
        installation(bench, [fast, hanging], PREPARE_KEYS="no") as ours,
    ):
        with bench.bar("seeding", count) as step:
            for stored in range(0, count, stretch):
                # Mixed, so that every batch has some of both.
                ours.seed_more(min(stretch, count - stored), fast, ["world"])
                ours.seed_more(stretch // 9, hanging, ["sport"])
                step(stored)
        with ours.workers(bench.workers):
            alone = ours.send("without the slow one", audience=Audience(topics=("world",)))
            beside = ours.send("a tenth never answers", enough=count)
            os.kill(hanging.pid, signal.SIGTERM)  # so that nothing waits for its answers any more
    yield Figure("rate of the others, alone", alone.per_second, "/s")
    yield Figure("  beside one that never answers", beside.per_second, "/s")
    share = beside.per_second / alone.per_second
    yield Figure("  beside to alone", 100 * share, "%", least=90)


def breaking(bench: Bench) -> Iterator[Figure]:
    """Measure the breaking path: every key derived in idle time before the alert is published."""
    with any_sink(bench.folder) as sink, installation(bench, [sink]) as ours:
        ours.seed(bench.recipients)
        store = ours.runtime.store
        with ours.workers(bench.workers) as pids:
            before, memory, start = (
                store.prepared_keys.ready(),
                ours.used_memory(),
                time.monotonic(),
            )
            if before >= bench.recipients:
                raise BenchError("all keys were prepared before it could look: more --recipients")
            with bench.bar("preparing keys", bench.recipients) as step:
                ready = follow(store.prepared_keys.ready, bench.recipients, step)
            filled = time.monotonic() - start
            per_key = (ours.used_memory() - memory) / (ready - before)
            run = ours.send("breaking", BREAKING)
            taken = ready - store.prepared_keys.ready()
            resident = most_resident(*pids)
    yield from _cpu(run, most=90)
    yield Figure(f"rate, {bench.workers} workers", run.per_second, "/s")
    yield Figure(f"{run.messages:,} readers, all recorded", run.seconds, "s", most=_minute(run))
    yield Figure("  of them with prepared keys", 100 * taken / run.messages, "%")
    yield Figure("a worker's memory", resident, "MB", most=150)
    yield Figure("a prepared key in Redis", per_key, "bytes", most=115)
    yield Figure(f"keys prepared, {bench.workers} idle workers", (ready - before) / filled, "/s")


def _minute(run: Run) -> float | None:
    return 60 if run.messages == 1_000_000 else None


def overtaking(bench: Bench) -> Iterator[Figure]:
    """Publish breaking alerts in the middle of an ordinary one; the time to their first push."""
    took = []
    with (
        any_sink(bench.folder) as sink,
        installation(bench, [sink], PREPARE_KEYS="no") as ours,
    ):
        ours.seed(bench.recipients)
        publishing = ours.runtime.publishing
        with ours.workers(bench.workers), bench.bar("breaking amid another", _SEVERAL) as step:
            news = publishing.publish(CONTENT, EVERYONE, by="bench").id
            ours.first_accepted(news)
            for number in range(_SEVERAL):
                start = time.monotonic()
                alert = publishing.publish(BREAKING, EVERYONE, by="bench").id
                took.append(ours.first_accepted(alert) - start)
                ours.cancel(alert)
                step(number + 1)
                look_again(0.3)
            in_the_middle = not publishing.get(news).over
            ours.cancel(news)
    if in_the_middle:
        yield Figure("first push recorded, worst of 5", max(took) * 1e3, "ms", most=1000)
        yield Figure("  median", sorted(took)[_SEVERAL // 2] * 1e3, "ms")
    else:
        why = "the ordinary alert was over before; it needs more --recipients"
        yield Figure("first push recorded, worst of 5", absent=why)
