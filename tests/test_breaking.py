"""Keys derived in idle time are what the next alert is sent with, each of them once."""

from __future__ import annotations

from service.models import Audience, SubscriptionId
from tests.house import House, wait_until
from tests.push_service import PushService
from workers.prepare import Pool


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
