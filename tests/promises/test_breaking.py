"""Keys derived in idle time are what the next alert is sent with, each of them once."""

from __future__ import annotations

import time

import pytest

from service.model.notifications import Audience, Batch, SubscriptionId
from service.store.outcomes import Outcomes
from tests.support.installation import House, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.seeded import around_now, choose
from workers import jobs
from workers.sending.fanout import MOST_LEASES
from workers.sending.prepared_keys import Pool

WINDOW = 256


def used(push: PushService) -> list[bytes]:
    """The sender's public keys in the bodies that came, without their 0x04 (RFC 8188, `keyid`)."""
    return [message.body[22:86] for message in push.received]


def filled(house: House, count: int) -> set[bytes]:
    """Let a worker fill the pool, and return the public keys that are in it."""
    worker = house.worker()
    wait_until(lambda: house.runtime.store.prepared.ready() == count)
    house.end(worker)
    return peek(house)


def peek(house: House) -> set[bytes]:
    pool, ready = Pool(house.runtime), set()
    for bucket in range(4):
        keys = pool.take(0, bucket)
        ready |= {key.public for key in keys.values()}
        assert not keys or pool.put_back(0, bucket, keys)
    return ready


def test_an_alert_takes_the_keys_that_are_ready_and_none_of_them_twice(
    house: House, push: PushService
) -> None:
    house.seed(1000)
    ready = filled(house, 1000)
    assert len(ready) == 1000
    workers = [house.worker() for _ in range(2)]
    house.clock()
    house.over(house.publish())
    assert set(used(push)) == ready
    for number in range(2):
        house.over(house.publish(title=f"Soon after, {number}"))
    assert push.refusals == []
    assert len(used(push)) == len(set(used(push))) == 3000
    for worker in workers:
        house.end(worker)


def test_a_test_to_one_browser_leaves_all_keys_where_they_are(
    house: House, push: PushService
) -> None:
    house.seed(1000)
    ready = filled(house, 1000)
    id = house.publish(Audience(subscription=SubscriptionId(0, 300)))
    worker = house.worker()
    house.clock()
    wait_until(lambda: house.runtime.publishing.progress(id).done == 1)
    house.end(worker)
    (key,) = used(push)
    assert key not in ready
    assert ready == peek(house)


def test_switched_off_no_key_is_derived_beforehand_and_what_there_was_is_dropped(
    house: House, push: PushService
) -> None:
    house.seed(1000)
    ready = filled(house, 1000)
    house.environment["PREPARE_KEYS"] = "no"
    worker = house.worker()
    house.clock()
    house.over(house.publish())
    assert not set(used(push)) & ready
    assert house.runtime.store.prepared.ready() == 0
    house.end(worker)


@pytest.mark.alone
def test_a_breaking_alert_comes_before_whatever_of_a_large_one_was_not_started_yet(
    house: House, push: PushService
) -> None:
    house.seed(50_000)
    house.seed(500, topics=["breaking"], first=50_000)
    push.answer_with(lambda _message: Answer(delay=0.5))
    for _ in range(2):
        house.worker()
    house.clock()
    large = house.publish(urgency="normal")
    push.wait_for(6 * WINDOW, timeout=60)
    breaking = house.publish(Audience(topics=("breaking",)), kind="breaking", urgency="high")
    published_at = time.monotonic()

    house.over(breaking)

    assert house.runtime.publishing.get(large).finished_at is None
    assert house.outcomes(breaking) == {"accepted": 500}
    urgent, others = [], []
    for message in push.received:
        (urgent if message.headers["urgency"] == "high" else others).append(message.at)
    started = sum(published_at < at < urgent[0] for at in others)
    assert started <= 2 * WINDOW, "a window of each worker's"
    assert len(others) < 50_000


def test_a_breaking_alert_for_which_all_sleep_is_written_down_as_it_goes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million sleepers the first batches would else be another worker's before that."""
    house.seed(160)
    choose(house, range(160), quiet=around_now())
    id, sending = house.publish(kind="breaking"), house.runtime.store.sending
    house.runtime.store.recipients.freeze(id, 0, Audience(everyone=True))
    sending.lay_out(id, 0, [(Batch(0, at, at + 7), 0) for at in range(0, 160, 8)])
    fan_out = jobs._new_fan_out(house.runtime)
    leases = []

    def record(*args: object) -> bool:
        leases.append(len(fan_out._leases))
        return Outcomes.record(house.runtime.store.outcomes, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(house.runtime.store.outcomes, "record", record)
    fan_out.run(lambda: True)
    fan_out.close()
    assert max(leases) == MOST_LEASES
    assert house.outcomes(id) == {"skipped": 160}
