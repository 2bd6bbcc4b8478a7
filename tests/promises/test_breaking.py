"""Breaking news: keys prepared in idle time, each used once, and overtaking a running send."""

from __future__ import annotations

import time

import pytest

from service.model.notifications import Audience, Batch
from service.store.alerts.outcomes import Outcomes
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.seeded import around_now, choose
from workers import jobs
from workers.sending.fanout import MOST_LEASES
from workers.sending.prepared_keys import Pool

WINDOW = 256


def used(push: PushService) -> list[bytes]:
    """The sender's public keys in the received bodies, without their 0x04 (RFC 8188, `keyid`)."""
    return [message.body[22:86] for message in push.received]


def filled(installation: Installation, count: int) -> set[bytes]:
    """Let a worker fill the pool of prepared keys; return their public halves."""
    worker = installation.worker()
    wait_until(lambda: installation.runtime.store.prepared_keys.ready() == count)
    installation.end(worker)
    return peek(installation)


def peek(installation: Installation) -> set[bytes]:
    pool, ready = Pool(installation.runtime), set()
    for partition in installation.runtime.store.partitions:
        for bucket in range(4):
            keys = pool.take(partition, bucket)
            ready |= {key.public for key in keys.values()}
            assert not keys or pool.put_back(partition, bucket, keys)
    return ready


def test_alert_uses_prepared_keys_and_none_of_them_twice(
    installation: Installation, push: PushService
) -> None:
    installation.seed(400)
    ready = filled(installation, 400)
    assert len(ready) == 400
    workers = [installation.worker() for _ in range(2)]
    installation.clock()
    installation.over(installation.publish())
    assert set(used(push)) == ready
    for number in range(2):
        installation.over(installation.publish(title=f"Soon after, {number}"))
    assert push.refusals == []
    assert len(used(push)) == len(set(used(push))) == 3 * 400
    for worker in workers:
        installation.end(worker)


def test_test_to_one_browser_uses_no_prepared_key(
    installation: Installation, push: PushService
) -> None:
    installation.seed(400)
    ready = filled(installation, 400)
    id = installation.publish(Audience(subscription=installation.reader(300)))
    worker = installation.worker()
    installation.clock()
    wait_until(lambda: installation.runtime.publishing.progress(id).done == 1)
    installation.end(worker)
    (key,) = used(push)
    assert key not in ready
    assert ready == peek(installation)


def test_switched_off_no_key_is_prepared_and_the_pool_is_dropped(
    installation: Installation, push: PushService
) -> None:
    installation.seed(400)
    ready = filled(installation, 400)
    installation.environment["PREPARE_KEYS"] = "no"
    worker = installation.worker()
    installation.clock()
    installation.over(installation.publish())
    assert not set(used(push)) & ready
    wait_until(lambda: installation.runtime.store.prepared_keys.ready() == 0)
    installation.end(worker)


@pytest.mark.alone
def test_breaking_alert_starts_before_the_rest_of_a_running_send(
    installation: Installation, push: PushService
) -> None:
    installation.environment["PUSH_WINDOW"] = str(WINDOW)
    installation.seed(10_000)
    installation.seed(500, topics=["breaking"], first=10_000)
    push.answer_with(lambda _message: Answer(delay=0.5))
    for _ in range(2):
        installation.worker()
    installation.clock()
    large = installation.publish(urgency="normal")
    push.wait_for(6 * WINDOW, timeout=60)
    breaking = installation.publish(Audience(topics=("breaking",)), kind="breaking", urgency="high")
    published_at = time.monotonic()

    installation.over(breaking)

    assert installation.runtime.publishing.get(large).finished_at is None
    assert installation.outcomes(breaking) == {"accepted": 500}
    urgent, others = [], []
    for message in push.received:
        (urgent if message.headers["urgency"] == "high" else others).append(message.at)
    started = sum(published_at < at < urgent[0] for at in others)
    assert started <= 2 * WINDOW, "one window for each worker"
    assert len(others) < 10_000


@pytest.mark.usefixtures("one_partition")
def test_breaking_alert_to_sleeping_readers_is_recorded_before_many_batches_are_held(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a million sleepers, the leases of the first batches would end before the record."""
    installation.seed(160)
    choose(installation, range(160), quiet=around_now())
    id, sending = installation.publish(kind="breaking"), installation.runtime.store.batches
    installation.runtime.store.recipients.freeze(id, Audience(everyone=True), [0], 1.0)
    sending.lay_out(id, {0: [(Batch(0, at, at + 7), 0) for at in range(0, 160, 8)]})
    fan_out = jobs._new_fan_out(installation.runtime)
    leases = []

    def record(*args: object) -> bool:
        leases.append(len(fan_out._leases))
        return Outcomes.record(installation.runtime.store.outcomes, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(installation.runtime.store.outcomes, "record", record)
    fan_out.run(lambda: True)
    fan_out.close()
    assert max(leases) == MOST_LEASES
    assert installation.outcomes(id) == {"skipped": 160}
