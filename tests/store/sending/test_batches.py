"""Sends in the store: leases, checkpoints, and each outcome counted once, however late."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError

from service.domain.alerts.corrections import Corrections
from service.domain.alerts.gate import Gate, TwoPersonRule
from service.domain.alerts.publishing import Conflict, Publishing
from service.domain.alerts.stops import Stops
from service.domain.sending.job_queue import JobQueue
from service.domain.sending.planning import BATCH_RECIPIENTS, Planning, cut, cut_beside
from service.local import pretend_readers
from service.model.notifications import Audience, Batch, Content, Notification, Outcome, State
from service.model.retention import CLOSED_SEND_KEPT
from service.store import Store, connect
from service.store.alerts.outcomes import Result
from service.store.layout.records import BUCKET
from service.store.sending.batches import Claim, Retry, part_key
from tests.support.processes.installation import wait_until

pytestmark = pytest.mark.redis

LEASE_MS = 60_000


@pytest.fixture
def store(redis_url: str) -> Store:
    store = Store(connect(redis_url), 1)
    list(
        pretend_readers.seed(store, 1000, origins=["https://127.0.0.1:9"], vapid_key="k", topics=())
    )
    return store


@pytest.fixture
def planning(store: Store) -> Planning:
    return Planning(store, JobQueue(store.redis))


@pytest.fixture
def corrections(store: Store, planning: Planning) -> Corrections:
    return Corrections(store, planning, Gate(Stops(store), TwoPersonRule()))


@pytest.fixture
def publishing(store: Store, planning: Planning, corrections: Corrections) -> Publishing:
    gate = Gate(Stops(store), TwoPersonRule())
    return Publishing(store, planning, gate, corrections)


def planned(publishing: Publishing, planning: Planning) -> int:
    """Publish to everyone and plan it; no worker sends."""
    content = Content("Late news", "https://paper.example/")
    id = publishing.publish(content, Audience(everyone=True), by="a test").id
    planning.plan(publishing.get(id))
    return id


def claimed(store: Store, id: int, worker: str, lease_ms: int) -> Claim:
    claim = store.batches.claim(id, 0, worker, lease_ms)
    assert claim is not None
    return claim


def counts(store: Store, id: int) -> dict[str, int]:
    return {outcome.value: n for (outcome, _), n in store.outcomes.progress(id).outcomes.items()}


def test_batch_is_leased_to_one_worker_until_its_lease_ends(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    claim = store.batches.claim(id, 0, "first", LEASE_MS)
    assert claim is not None
    batch = claim.batch
    assert store.batches.claim(id, 0, "second", LEASE_MS) is None
    assert store.outcomes.record(id, batch, "first", 1, {})  # now it ends in a millisecond
    again = wait_until(lambda: store.batches.claim(id, 0, "second", LEASE_MS))
    assert again.batch == batch
    assert not store.outcomes.record(id, batch, "first", LEASE_MS, {})
    assert store.outcomes.record(id, batch, "second", LEASE_MS, {})
    assert not store.batches.release(id, batch, "first", wait_ms=None)
    assert store.batches.release(id, batch, "second", wait_ms=None)


def test_late_checkpoint_counts_only_recipients_without_an_outcome(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "first", 50).batch
    time.sleep(0.1)
    store.batches.claim(id, 0, "second", LEASE_MS)
    accepted, gone = (Result(outcome, "google", 1) for outcome in (Outcome.ACCEPTED, Outcome.GONE))
    store.outcomes.record(id, batch, "second", LEASE_MS, {accepted: list(range(500))})
    store.outcomes.record(
        id, batch, "first", LEASE_MS, {accepted: list(range(400, 600)), gone: [600, 0]}
    )
    assert counts(store, id) == {"accepted": 600, "gone": 1}
    store.batches.release(id, batch, "second", wait_ms=0)
    assert claimed(store, id, "third", LEASE_MS).pending == list(range(601, 1000))


def test_leased_send_is_not_closed_and_a_closed_one_counts_nothing(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    publishing.cancel(id, by="a test")
    assert publishing.get(id).finished_at is None, "messages on their way are still counted"
    result = {Result(Outcome.ACCEPTED, "google", 1): list(range(300))}
    store.outcomes.record(id, batch, "worker", LEASE_MS, result)
    store.batches.release(id, batch, "worker", wait_ms=0)
    planning.advance(id)
    final = {"accepted": 300, "cancelled": 700}
    assert counts(store, id) == final
    assert publishing.get(id).finished_at is not None
    assert not store.outcomes.record(
        id, batch, "worker", LEASE_MS, {Result(Outcome.GONE, "", 0): [999]}
    )
    assert counts(store, id) == final
    assert store.audiences.count(Audience(everyone=True)) == 1000
    assert store.batches.claim(id, 0, "worker", LEASE_MS) is None


def test_cancelled_alert_never_ends_as_sent(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    store.notifications.move(id, State.CANCELLED, possible_from=[State.SENDING])
    store.batches.close(id, [0], Outcome.CANCELLED)
    # A clock that read the state just before finishes the alert as sent.
    progress, history = store.outcomes.progress(id), store.notifications.history()
    store.outcomes.finish(id, State.SENT, time.time(), progress, history)
    assert publishing.get(id).state is State.CANCELLED


def test_cancelling_again_after_an_interruption_stops_the_corrections(
    store: Store,
    publishing: Publishing,
    corrections: Corrections,
    planning: Planning,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id = planned(publishing, planning)
    correction = corrections.correct(
        id, title="Good news", body=None, url=None, replace=True, by="a test"
    ).id
    with monkeypatch.context() as cut_off:

        def gone(*_: object) -> None:
            raise ConnectionError("Redis went away")

        cut_off.setattr(store.notifications, "all", gone)
        with pytest.raises(ConnectionError):
            publishing.cancel(id, by="a test")
    assert publishing.get(id).state is State.CANCELLED
    with pytest.raises(Conflict, match="already cancelled"):
        publishing.cancel(id, by="a test")
    assert publishing.get(correction).state is State.CANCELLED


def test_recipients_of_an_alert_that_was_not_planned_in_time_expire(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = store.notifications.new_id()
    content = Content("Late news", "https://paper.example/", ttl=60)
    long_ago = time.time() - 100
    everyone = Audience(everyone=True)
    store.notifications.publish(
        Notification(id, content, everyone, State.SENDING, long_ago, "a test")
    )
    planning.advance(id)
    assert publishing.get(id).state is State.EXPIRED
    assert counts(store, id) == {"expired": 1000}


def test_recipients_of_a_correction_that_was_not_planned_in_time_expire(
    store: Store,
    publishing: Publishing,
    corrections: Corrections,
    planning: Planning,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    reached = {Result(Outcome.ACCEPTED, "google", 1, revision=0): list(range(300))}
    store.outcomes.record(id, batch, "worker", LEASE_MS, reached)
    correction = corrections.correct(
        id, title="Good news", body=None, url=None, replace=True, by="a test"
    ).id
    later = time.time() + 5 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    planning.advance(correction)
    assert publishing.get(correction).state is State.EXPIRED
    assert counts(store, correction) == {"expired": 300}


def test_finished_send_leaves_its_counts_for_some_days_and_no_bitmap(
    store: Store, publishing: Publishing, planning: Planning, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = planned(publishing, planning)
    apple = Result(Outcome.ACCEPTED, "apple", 1)
    while (claim := store.batches.claim(id, 0, "worker", LEASE_MS)) is not None:
        store.outcomes.record(id, claim.batch, "worker", LEASE_MS, {apple: claim.pending})
        store.batches.release(id, claim.batch, "worker", wait_ms=None)
    finish = store.outcomes.finish

    def lose_reply(*args: Any) -> bool:
        finish(*args)
        raise ConnectionError

    with monkeypatch.context() as cut_off, pytest.raises(ConnectionError):
        cut_off.setattr(store.outcomes, "finish", lose_reply)
        planning.advance(id)
    planning.advance(id)
    assert publishing.get(id).state is State.SENT
    assert counts(store, id) == {"accepted": 1000}
    assert 0 < store.redis.ttl(part_key(0, id)) <= CLOSED_SEND_KEPT
    assert store.notifications.active() == []
    assert list(store.redis.scan_iter(f"*:n:{id}:*")) == []


def test_released_batch_is_due_again_after_its_wait_with_its_retries(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    retry = {7: Retry(3, 2, 200), 8: Retry(3, 1, 100), 9: Retry(4, 1, 90_000)}
    began = time.monotonic()
    store.batches.release(id, batch, "worker", wait_ms=200, retries=retry, undone=1000)
    again = wait_until(lambda: store.batches.claim(id, 0, "other", LEASE_MS), every=0.01)
    assert time.monotonic() - began > 0.19
    assert again.batch == batch
    assert {n: one.attempts for n, one in again.retries.items()} == {7: 2, 8: 1, 9: 1}
    assert again.retries[7].in_ms <= 0
    assert 80_000 < again.retries[9].in_ms < 90_000


def test_batch_with_more_undone_than_its_worker_knows_is_due_at_once(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    accepted = {Result(Outcome.ACCEPTED, "", 0): list(range(600))}
    store.outcomes.record(id, batch, "worker", LEASE_MS, accepted)
    store.redis.setbit(part_key(0, id, "done"), 7, 0)
    store.batches.release(id, batch, "worker", wait_ms=60_000, undone=400)
    again = claimed(store, id, "worker", LEASE_MS)
    assert again.pending == [7, *range(600, 1000)]
    store.batches.release(id, batch, "worker", wait_ms=None)
    assert claimed(store, id, "worker", LEASE_MS).pending == again.pending, "it is not finished"
    store.batches.release(id, batch, "worker", wait_ms=60_000, undone=401)
    assert store.batches.claim(id, 0, "worker", LEASE_MS) is None, "the worker knows of all"


def test_recipient_without_outcome_and_batch_gets_a_batch_again(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    planning.advance(id)
    assert store.batches.looks(id)[0].due == 0, "a worker holds it"
    store.outcomes.record(
        id, batch, "worker", LEASE_MS, {Result(Outcome.ACCEPTED, "", 0): list(range(990))}
    )
    store.redis.delete(part_key(0, id, "batches"), part_key(0, id, "leases"))
    planning.advance_all()
    assert claimed(store, id, "other", LEASE_MS).pending == list(range(990, 1000))


def test_only_recipients_count_and_none_of_a_forgotten_alert(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    accepted = {Result(Outcome.ACCEPTED, "", 0): [999, 1000]}
    store.outcomes.record(id, batch, "one whose lease is forgotten", LEASE_MS, accepted)
    assert counts(store, id) == {"accepted": 1}
    forgotten = id + 1
    assert not store.outcomes.record(forgotten, batch, "worker", LEASE_MS, accepted)
    assert list(store.redis.scan_iter(f"{{0}}:n:{forgotten}*")) == []


def test_planning_twice_changes_nothing(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    id = planned(publishing, planning)
    batch = claimed(store, id, "worker", LEASE_MS).batch
    store.outcomes.record(
        id, batch, "worker", LEASE_MS, {Result(Outcome.ACCEPTED, "", 0): [0, 1, 2]}
    )
    list(
        pretend_readers.seed(
            store, 50, origins=["https://127.0.0.1:9"], vapid_key="k", topics=(), first=1000
        )
    )
    planning.plan(publishing.get(id))
    assert store.outcomes.progress(id).recipients == 1000
    assert counts(store, id) == {"accepted": 3}
    assert store.batches.claim(id, 0, "other", LEASE_MS) is None


def test_alert_that_was_cancelled_before_planning_is_never_planned(
    store: Store, publishing: Publishing, planning: Planning
) -> None:
    content = Content("Late news", "https://paper.example/")
    id = publishing.publish(content, Audience(everyone=True), by="a test").id
    publishing.cancel(id, by="a test")
    planning.plan(publishing.get(id))
    assert publishing.get(id).state is State.CANCELLED
    assert store.outcomes.progress(id).recipients == 0
    assert store.batches.claim(id, 0, "worker", LEASE_MS) is None


@given(st.lists(st.integers(0, 40_000), unique=True, max_size=400), st.integers(0, 5000))
def test_batches_have_every_recipient_once_and_are_not_too_large(
    scattered: list[int], dense: int
) -> None:
    recipients = sorted({*scattered, *range(10_000, 10_000 + dense)})
    bits = bytearray(5001)
    for number in recipients:
        bits[number // 8] |= 0x80 >> number % 8
    batches = [batch for batch, _ in cut(0, bytes(bits), len(recipients))]
    held = [[n for n in recipients if batch.start <= n <= batch.end] for batch in batches]
    assert [n for group in held for n in group] == recipients
    assert all(0 < len(group) <= BATCH_RECIPIENTS for group in held)
    assert all(earlier.end < later.start for earlier, later in itertools.pairwise(batches))
    assert all(Batch.parse(0, str(batch)) == batch for batch in batches)


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(0, 64), st.integers(1, 256))
def test_batches_beside_hundreds_of_others_fill_the_gaps_and_no_bucket_is_walked_twice(
    unfinished: list[bool], more: int, dense: int
) -> None:
    width = BUCKET // 8
    bucket = ((1 << dense) - 1).to_bytes(width, "big")
    audience = bucket * len(unfinished) + b"\xff" * more
    names = [
        f"{at * BUCKET}-{at * BUCKET + BUCKET - 1}" for at, one in enumerate(unfinished) if one
    ]
    walked: list[int] = []

    def walk(*bounds: int) -> range:
        walked.extend(range(*bounds))
        return range(*bounds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.domain.sending.planning.range", walk, raising=False)
        found = [batch for batch, _ in cut_beside([*names, "recent"], 0, audience, 10_000, 0, 0.0)]
    assert len(walked) == len({*walked})
    taken = [n for batch in found for n in range(batch.start, batch.end + 1)]
    assert len(taken) == len({*taken}), "they overlap"
    missing = {n // BUCKET for n in range(8 * len(audience))} - {n // BUCKET for n in taken}
    assert missing == {at for at, one in enumerate(unfinished) if one}
    for batch in found:
        held = audience[batch.start // 8 : batch.end // 8 + 1]
        assert 0 < int.from_bytes(held, "big").bit_count() <= BATCH_RECIPIENTS


def test_deadline_of_a_short_alert_leaves_time_to_send_it() -> None:
    def alert(ttl: int) -> Notification:
        content = Content("Late news", "https://paper.example/", ttl=ttl)
        return Notification(1, content, Audience(everyone=True), State.SENDING, 1000.0, "a test")

    assert alert(60).last_start == 1030
    assert alert(120).last_start == 1060
    assert alert(3600).last_start == 4540


def test_alerts_that_start_in_the_same_millisecond_are_listed_by_id(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.domain.alerts.publishing.now_in_ms", lambda: 1_790_000_000.123)
    ferry = Content(title="Ferry aground", url="https://paper.example/ferry")
    ids = [publishing.publish(ferry, Audience(everyone=True), by="a test").id for _ in range(12)]
    assert [one.id for one in publishing.started(12)] == sorted(ids, reverse=True)


@given(st.integers(1, 5000), st.integers(1000, 3_600_000))
def test_partitions_of_a_spread_send_take_turns(recipients: int, spread_ms: int) -> None:
    audience = ((1 << recipients) - 1 << -recipients % 8).to_bytes(-(-recipients // 8), "big")
    parts = [[*cut(at, audience, recipients, spread_ms, at / 12)] for at in range(12)]
    dues = [[due for _, due in part] for part in parts]
    assert dues[0][0] == 0
    assert all(due < spread_ms for part in dues for due in part)
    assert all(part == sorted(part) for part in dues)
    first = [part[0] for part in dues]
    size = min(recipients, parts[0][0][0].end + 1)  # of a first batch
    assert first[-1] >= spread_ms * size / recipients * 11 / 12 - 1
    assert first == sorted(first)
