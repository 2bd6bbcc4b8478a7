"""Does what workers do at night and in the morning, for tests without one: hold, then deliver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from service.model.notifications import Outcome
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.sending.held_alerts import WaveDelivery

_WORKER = "a test "


def hold(runtime: Runtime, id: int, sleepers: Mapping[int, int]) -> None:
    """Send an alert, but hold it for some readers: how many, by the quarter hour they wake in."""

    left = dict(sleepers)

    def results(pending: Sequence[int]) -> dict[Result, Sequence[int]]:
        found: dict[Result, Sequence[int]] = {}
        awake = pending
        for quarter, count in left.items():
            asleep = Result(Outcome.SKIPPED, "quiet", 0, wakes=quarter, is_held=True)
            found[asleep], awake = awake[:count], awake[count:]
            left[quarter] -= len(found[asleep])
        found[Result(Outcome.ACCEPTED, "google", 1, 0)] = awake
        return found

    _work(runtime, id, results)


def deliver(runtime: Runtime, quarter: int, *alerts: int) -> int:
    """Let a quarter hour begin, and its wave deliver these alerts; return the wave's id."""
    runtime.publishing.wake_readers(quarter * QUARTER, "https://paper.example")
    wave = runtime.publishing.waves(1)[0].id
    delivery = WaveDelivery(tuple((id, 0) for id in alerts), alerts, alerts)
    came = Result(Outcome.ACCEPTED, "google", 1, 0, delivery=delivery)
    _work(runtime, wave, lambda pending: {came: pending})
    return wave


def _work(
    runtime: Runtime, id: int, results: Callable[[list[int]], Mapping[Result, Sequence[int]]]
) -> None:
    sending = runtime.store.batches
    runtime.planning.plan(runtime.publishing.get(id))
    for partition in runtime.store.partitions:  # each time in the same order
        while claim := sending.claim(id, partition, _WORKER, 60_000):
            runtime.store.outcomes.record(id, claim.batch, _WORKER, 60_000, results(claim.pending))
            sending.release(id, claim.batch, _WORKER, wait_ms=None)
    runtime.planning.advance(id)
