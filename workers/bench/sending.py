"""How fast alerts are sent: ordinary and breaking ones, and with slow push services."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

from service.model.notifications import Audience
from service.store import Store
from service.store.redis_servers.connection import servers
from workers.bench import peers
from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import (
    CONTENT,
    EVERYONE,
    BenchInstallation,
    Run,
    follow,
    installation,
    most_resident,
    pause,
)
from workers.trials.push_service import Behaviour, any_sink, own_sink

LATE = 0.1  # seconds
BREAKING = replace(CONTENT, kind="breaking")
_FEW = 10_000  # recipients, for a worker's memory with a small audience
_ROUNDS = 3  # the best one counts, because other work of the machine only slows a round
# Budgets: how many times the CPU of our message a peer's message takes at least.
_LEAST = {"pywebpush, one session": 6, "webpush-go, one HTTP/2 client": 1.2}
_ALERTS = 5  # breaking alerts that are published during an ordinary one


def _cpu(run: Run, most: float | None) -> Iterator[Figure]:
    yield Figure("CPU a message: workers and Redis", run.cpu * 1e6, "µs", most=most)
    for name, seconds in (("workers", run.workers), ("Redis", run.redis), ("sink", run.sinks)):
        yield Figure(f"  {name}", seconds / run.messages * 1e6, "µs")


def fanout(bench: Bench) -> Iterator[Figure]:
    """Measure ordinary alerts: immediate responses, keys derived when they are needed.

    First with all workers, to a small and a large audience; then with one worker and the peers, in
    turn.
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
            many += [_send_some(ours, bench) for _ in range(1, _ROUNDS)]
        ready, absent = _peers(bench, ours)
        runs: list[Run] = []
        theirs: dict[str, list[float]] = {name: [] for name in ready}
        with ours.workers(1):
            for _ in range(_ROUNDS):
                runs.append(_send_some(ours, bench))
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


def _send_some(ours: BenchInstallation, bench: Bench) -> Run:
    return ours.send("sending to some", enough=min(bench.recipients, 2 * _FEW))


def _peers(bench: Bench, ours: BenchInstallation) -> tuple[dict[str, peers.Measure], list[Figure]]:
    """Prepare the other senders; a figure for each one that is missing says why."""
    ready: dict[str, peers.Measure] = {}
    absent = []
    for name, make_ready in bench.peers.items():
        try:
            ready[name] = make_ready(ours, bench)
        except peers.Absent as why:  # noqa: PERF203 (three of them)
            absent.append(Figure(f"{name}: CPU a message", absent=f"not present: {why}"))
    return ready, absent


def latency(bench: Bench) -> Iterator[Figure]:
    """Measure responses after 100 ms beside immediate ones: the window must stay full.

    With one worker, so that the push service has a core of its own and is not the limit.
    """
    with (
        own_sink(bench.folder) as at_once,
        own_sink(bench.folder, Behaviour(LATE)) as late,
        installation(bench, [at_once, late], PREPARE_KEYS="no") as ours,
    ):
        ours.seed(bench.recipients, at_once, topics=["world"])
        ours.seed(bench.recipients, late, topics=["sport"])
        with ours.workers(1):
            soon = ours.send("immediate responses", audience=Audience(topics=("world",)))
            slow = ours.send("responses after 100 ms", audience=Audience(topics=("sport",)))
        most = ours.runtime.config.push_window / LATE
    yield Figure("immediate responses, 1 worker", soon.per_second, "/s")
    yield Figure("responses after 100 ms", slow.per_second, "/s")
    yield Figure("  window ÷ delay", most, "/s")
    share = slow.per_second / min(soon.per_second, most)
    yield Figure("  to the smaller of these two", 100 * share, "%", least=90)
    yield Figure("  CPU a message, to immediate", slow.cpu / soon.cpu, "×")


def slow(bench: Bench) -> Iterator[Figure]:
    """Measure the rate to one push service, alone and while another one never responds."""
    count, stretch = bench.recipients, 900
    with (
        any_sink(bench.folder) as fast,
        own_sink(bench.folder, Behaviour(None)) as hanging,
        installation(bench, [fast, hanging], PREPARE_KEYS="no") as ours,
    ):
        with bench.bar("seeding", count) as step:
            for stored in range(0, count, stretch):
                # Mixed, so that every batch has readers of both.
                ours.seed_more(min(stretch, count - stored), [fast.origin], ["world"])
                ours.seed_more(stretch // 9, [hanging.origin], ["sport"])
                step(stored)
        with ours.workers(bench.workers):
            alone = ours.send("without the slow one", audience=Audience(topics=("world",)))
            beside = ours.send("a tenth never responds", enough=count)
            os.kill(hanging.pid, signal.SIGTERM)  # so that workers no longer wait for responses
    yield Figure("rate of the others, alone", alone.per_second, "/s")
    yield Figure("  beside one that never responds", beside.per_second, "/s")
    share = beside.per_second / alone.per_second
    yield Figure("  beside to alone", 100 * share, "%", least=90)


def _key_memory(store: Store) -> int:
    """Return the bytes that all prepared keys take in Redis, with their share of its tables."""
    return sum(
        server.memory_usage(name, samples=0) or 0
        for server in servers(store.redis)
        for name in server.scan_iter(match="{*}:k:*", count=1000)
    )


def breaking(bench: Bench) -> Iterator[Figure]:
    """Measure breaking alerts, with every key derived in idle time before."""
    with any_sink(bench.folder) as sink, installation(bench, [sink]) as ours:
        ours.seed(bench.recipients)
        store = ours.runtime.store
        with ours.workers(bench.workers) as pids:
            before, start = store.prepared_keys.ready(), time.monotonic()
            if before >= bench.recipients:
                raise BenchError("all keys were prepared too early; set more --recipients")
            with bench.bar("preparing keys", bench.recipients) as step:
                ready = follow(store.prepared_keys.ready, bench.recipients, step)
            filled = time.monotonic() - start
            per_key = _key_memory(store) / ready
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
    """Measure the first push of breaking alerts that are published during an ordinary one."""
    took = []
    with (
        any_sink(bench.folder) as sink,
        installation(bench, [sink], PREPARE_KEYS="no") as ours,
    ):
        ours.seed(bench.recipients)
        publishing = ours.runtime.publishing
        with ours.workers(bench.workers), bench.bar("breaking during another", _ALERTS) as step:
            news = publishing.publish(CONTENT, EVERYONE, by="bench").id
            ours.first_accepted(news)
            for number in range(_ALERTS):
                start = time.monotonic()
                alert = publishing.publish(BREAKING, EVERYONE, by="bench").id
                took.append(ours.first_accepted(alert) - start)
                ours.cancel(alert)
                step(number + 1)
                pause(0.3)
            during_another = not publishing.get(news).over
            ours.cancel(news)
    if during_another:
        yield Figure("first push recorded, worst of 5", max(took) * 1e3, "ms", most=1000)
        yield Figure("  median", sorted(took)[_ALERTS // 2] * 1e3, "ms")
    else:
        why = "the ordinary alert was over too early; set more --recipients"
        yield Figure("first push recorded, worst of 5", absent=why)
