"""Does what workers do, for tests without one: send, hold for the morning, deliver then."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from service.model.notifications import Audience, Outcome
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.sending.batches import Claim
from service.store.sending.held_alerts import WaveDelivery
from tests.support.processes.installation import content

_WORKER = "a test "


def send(runtime: Runtime, is_gone: Callable[[int], bool]) -> int:
    """Send an alert to everyone; return how many are gone, by their places in a row."""
    places, all_gone = itertools.count(), 0

    def results(claim: Claim) -> dict[Result, Sequence[int]]:
        nonlocal all_gone
        kinds: dict[bool, list[int]] = {True: [], False: []}
        for number in claim.pending:
            kinds[is_gone(next(places))].append(number)
        all_gone += len(kinds[True])
        found = {
            Result(Outcome.GONE, "google", 1): kinds[True],
            Result(Outcome.ACCEPTED, "google", 1, revision=0): kinds[False],
        }
        return {result: numbers for result, numbers in found.items() if numbers}

    one = runtime.publishing.publish(content(), Audience(everyone=True), by="a test")
    record_all(runtime, one.id, results)
    runtime.planning.advance(one.id)
    assert runtime.publishing.get(one.id).finished_at is not None
    return all_gone


def hold(runtime: Runtime, id: int, sleepers: Mapping[int, int]) -> None:
    """Send an alert, but hold it for some readers: how many, by the quarter hour they wake in."""

    left = dict(sleepers)

    def results(claim: Claim) -> dict[Result, Sequence[int]]:
        found: dict[Result, Sequence[int]] = {}
        awake: Sequence[int] = claim.pending
        for quarter, count in left.items():
            asleep = Result(Outcome.SKIPPED, "quiet", 0, wakes=quarter, is_held=True)
            found[asleep], awake = awake[:count], awake[count:]
            left[quarter] -= len(found[asleep])
        found[Result(Outcome.ACCEPTED, "google", 1, 0)] = awake
        return found

    record_all(runtime, id, results)
    runtime.planning.advance(id)


def deliver(runtime: Runtime, quarter: int, *alerts: int) -> int:
    """Let a quarter hour begin, and its wave deliver these alerts; return the wave's id."""
    runtime.publishing.wake_readers(quarter * QUARTER, "https://paper.example")
    wave = runtime.publishing.waves(1)[0].id
    delivery = WaveDelivery(tuple((id, 0) for id in alerts), alerts, alerts)
    came = Result(Outcome.ACCEPTED, "google", 1, 0, delivery=delivery)
    record_all(runtime, wave, lambda claim: {came: claim.pending})
    runtime.planning.advance(wave)
    return wave


def record_all(
    runtime: Runtime, id: int, results: Callable[[Claim], Mapping[Result, Sequence[int]]]
) -> None:
    """Record what `results` says of each batch, for all readers who get the alert now."""
    sending = runtime.store.batches
    runtime.planning.plan(runtime.publishing.get(id))
    for partition in runtime.store.partitions:  # each time in the same order
        while claim := sending.claim(id, partition, _WORKER, 60_000):
            runtime.store.outcomes.record(id, claim.batch, _WORKER, 60_000, results(claim))
            sending.release(id, claim.batch, _WORKER, wait_ms=None)
