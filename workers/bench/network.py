"""How fast alerts are sent over a real network: late responses, few streams, connections that end.

Loopback has none of that, so our own push service adds it: it responds after 40 to 300 ms, allows
100 streams a connection, and ends one after 1,000 requests, as nginx does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

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
from workers.bench.limits import ecdh
from workers.bench.sending import BREAKING
from workers.trials.push_service import Behaviour, own_sink

LIFELIKE = Behaviour(delay=0.1, spread=0.5, between=(0.04, 0.3), streams=100, requests=1000)
_SERVICES = ("Chrome's", "Apple's", "Mozilla's")
_SHARES = (75, 18, 7)  # of a hundred readers, those at each of them
_MOST_CPU = 1.3  # a message with a prepared key to ECDH
_ECDH = 60e-6  # seconds of CPU; where it takes longer, so may a million readers
_MOST_AMID = 1.2  # the time of a breaking alert during an ordinary one to its time alone
_UNDER_WAY = 1.0  # seconds of the ordinary alert before the breaking one is published
_LOST = 0.01  # of the connections, those that are cut instead of ended
_MOST_LOST = 1.05  # the time then to the time without


def network(bench: Bench) -> Iterator[Figure]:
    """Measure breaking and ordinary alerts, then with HTTP/1.1 and with lost connections."""
    agreement = ecdh()
    with _newsroom(bench, "lifelike", *[LIFELIKE] * 3) as (ours, workers):
        breaking = _send(ours, bench, "breaking")
        connections = [_connections(sink.origin) for sink in ours.sinks]
        first, amid = _amid_another(ours, bench)
        ordinary = ours.send("ordinary", CONTENT)
        memory = most_resident(*workers)
    with _newsroom(bench, "HTTP/1.1", LIFELIKE, LIFELIKE, replace(LIFELIKE, http1=True)) as (
        old,
        _,
    ):
        http1 = _send(old, bench, f"{_SERVICES[2]} with HTTP/1.1")
    with _newsroom(bench, "lost", *[replace(LIFELIKE, lost=_LOST)] * 3) as (unlucky, _):
        lost = _send(unlucky, bench, "connections lost")
    minute = 60 * max(1.0, agreement / _ECDH) if breaking.messages == 1_000_000 else None
    yield Figure(f"rate, {bench.workers} workers, keys prepared", breaking.per_second, "/s")
    yield Figure(f"  {breaking.messages:,} readers", breaking.seconds, "s", most=minute)
    yield Figure("CPU a message: workers and Redis", breaking.cpu * 1e6, "µs")
    yield Figure("  to ECDH", breaking.cpu / agreement, "×", most=_MOST_CPU)
    yield Figure("  the sinks'", breaking.sinks / breaking.messages * 1e6, "µs")
    yield Figure("a worker's memory", memory, "MB", most=150)
    for name, number in zip(_SERVICES, connections, strict=True):
        yield Figure(f"connections to {name}", number)
    yield Figure("breaking during another: first push", first * 1e3, "ms", most=1000)
    yield Figure("  time to alone", amid / breaking.seconds, "×", most=_MOST_AMID)
    yield Figure("an ordinary alert, no keys prepared", ordinary.per_second, "/s")
    yield Figure("  CPU a message", ordinary.cpu * 1e6, "µs")
    yield Figure(f"{_SERVICES[2]} with HTTP/1.1", http1.per_second, "/s")
    yield Figure("one connection in a hundred lost", lost.per_second, "/s")
    yield Figure("  time to without", lost.seconds / breaking.seconds, "×", most=_MOST_LOST)


@contextmanager
def _newsroom(
    bench: Bench, name: str, *behaviours: Behaviour
) -> Iterator[tuple[BenchInstallation, tuple[int, ...]]]:
    """Run an installation with readers at three push services; yield it and its workers."""
    folder = bench.folder / name.replace("/", "-")
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        sinks = [stack.enter_context(own_sink(folder, one)) for one in behaviours]
        ours = stack.enter_context(installation(replace(bench, folder=folder), sinks))
        # Mixed, so that every batch has readers of each.
        pairs = zip(sinks, _SHARES, strict=True)
        origins = [sink.origin for sink, share in pairs for _ in range(share)]
        random.Random(1).shuffle(origins)  # noqa: S311
        with bench.bar("seeding", bench.recipients) as step:
            ours.seed_more(bench.recipients, origins, step=step)
        yield ours, stack.enter_context(ours.workers(bench.workers))


def _prepare(ours: BenchInstallation, bench: Bench) -> None:
    """Wait until idle workers have prepared a key for each reader."""
    with bench.bar("preparing keys", bench.recipients) as step:
        follow(ours.runtime.store.prepared_keys.ready, bench.recipients, step)


def _amid_another(ours: BenchInstallation, bench: Bench) -> tuple[float, float]:
    """Send a breaking alert during another; return the seconds to its first and last push."""
    _prepare(ours, bench)
    publishing = ours.runtime.publishing
    news = publishing.publish(CONTENT, EVERYONE, by="bench").id
    ours.first_accepted(news)
    pause(_UNDER_WAY)
    start = time.monotonic()
    alert = publishing.publish(BREAKING, EVERYONE, by="bench").id
    first = ours.first_accepted(alert) - start
    with bench.bar("breaking during another", bench.recipients) as step:
        follow(lambda: publishing.progress(alert).done, bench.recipients, step)
    seconds = time.monotonic() - start
    ours.stop(news)
    return first, seconds


def _send(ours: BenchInstallation, bench: Bench, name: str) -> Run:
    """Send a breaking alert once every key is prepared; `BenchError` if a reader missed it."""
    _prepare(ours, bench)
    run = ours.send(name, BREAKING)
    if run.accepted != bench.recipients:
        raise BenchError(f"{name}: {bench.recipients - run.accepted:,} readers got nothing")
    return run


def _connections(origin: str) -> int:
    """Count the connections to a sink that are open."""
    port = f":{urlsplit(origin).port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)
