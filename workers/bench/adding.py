"""How fast an alert is sent while workers are added to it, beside what the doctor's formula says.

Push services answer after 100 ms. A worker has fewer messages under way than by default: otherwise
one or two would use all cores of a small machine, and more of them would show nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import EVERYONE, BenchInstallation, follow, installation
from workers.bench.sending import BREAKING, LATE
from workers.trials.processes import wait_for
from workers.trials.push_service import Behaviour, own_sink

WORKERS = (1, 2, 4, 8)
WINDOW = 128  # messages of one worker, which is 1,280 a second
_MOST = 0.9  # of the readers: at the end of a send, workers have no batch left
_SETTLED = 1 / 3  # of the messages with so many workers, before their rate is measured


def adding(bench: Bench) -> Iterator[Figure]:
    """Measure with one worker, and each time after more of them were started."""
    with (
        own_sink(bench.folder, Behaviour(LATE)) as late,
        installation(bench, [late], PUSH_WINDOW=str(WINDOW)) as ours,
    ):
        ours.seed(bench.recipients)
        with ours.workers(WORKERS[0]):
            with bench.bar("preparing keys", bench.recipients) as step:
                follow(ours.runtime.store.prepared_keys.ready, bench.recipients, step)
            alert = ours.runtime.publishing.publish(BREAKING, EVERYONE, by="bench").id
            rates = [_rate(ours, bench, alert, number) for number in WORKERS]
            ours.stop(alert)
    alone, _ = rates[0]
    for number, (measured, predicted) in zip(WORKERS, rates, strict=True):
        yield Figure(f"rate, {number} worker{'s' if number > 1 else ''}", measured, "/s")
        yield Figure("  to 1 worker", measured / alone, "×")
        yield Figure("  by the doctor's formula", predicted, "/s")


def _rate(ours: BenchInstallation, bench: Bench, alert: int, number: int) -> tuple[float, float]:
    """Let so many workers send; return the messages a second, measured and predicted."""

    def done() -> int:
        return ours.runtime.publishing.progress(alert).done

    jobs = ours.runtime.job_queue
    for _ in range(number - jobs.workers()):
        ours.worker()
    wait_for(lambda: jobs.workers() == number, *ours.processes)
    share = sum(one for one in WORKERS if one <= number) / sum(WORKERS)
    began, end = done(), int(bench.recipients * _MOST * share)
    if began >= end:
        raise BenchError("the alert was over too early; set more --recipients")
    settled = began + int((end - began) * _SETTLED)
    with bench.bar(f"sending, {number} workers", end) as step:
        first = follow(done, settled, step)
        start = time.monotonic()
        last = follow(done, end, step)
        seconds = time.monotonic() - start
    speed = ours.runtime.store.counted.speed()
    return (last - first) / seconds, number * speed.rate(WINDOW)
