"""A spread send that was paused, or that nobody was there for, goes on at its even pace."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from service.model.notifications import Audience, Notification
from service.store.batches import part_key
from tests.support.installation import House, content, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.redis

READERS = 1200
MINUTE = 60_000  # ms
FAR = 10**9  # ms


@pytest.fixture
def spread(house: House) -> Iterator[Notification]:
    """An alert spread over a minute, 20 readers a second, planned and not begun with."""
    house.seed(READERS)
    id = publish(house)
    house.runtime.dispatch.plan(house.runtime.publishing.get(id))
    yield house.runtime.publishing.get(id)


def publish(house: House, ttl: int = 14_400) -> int:
    publishing = house.runtime.publishing
    wanted = content(ttl=ttl)
    return publishing.publish(wanted, Audience(everyone=True), by="a test", spread_minutes=1).id


def dues(house: House, id: int) -> dict[str, float]:
    """When each batch is due, in ms since 1970."""
    rows = house.runtime.store.redis.zrange(part_key(0, id, "batches"), 0, -1, withscores=True)
    return {name.decode(): due for name, due in rows}


def let_pass(house: House, id: int, ms: float) -> None:
    """Make it so much later for every batch of an alert."""
    house.runtime.store.redis.zadd(
        part_key(0, id, "batches"), {name: due - ms for name, due in dues(house, id).items()}
    )


def gaps(dues: dict[str, float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(dues.values())]


def put_off(house: House, id: int, within_ms: int = FAR) -> bool:
    return house.runtime.store.sending.put_off(id, 0, late_ms=5000, within_ms=within_ms)


def test_what_is_hardly_late_stays_as_it_is(house: House, spread: Notification) -> None:
    let_pass(house, spread.id, 4000)
    before = dues(house, spread.id)
    assert not put_off(house, spread.id)
    assert dues(house, spread.id) == before


def test_what_is_late_goes_on_from_now_with_the_same_distances(
    house: House, spread: Notification
) -> None:
    before = dues(house, spread.id)
    assert len(before) > 50
    let_pass(house, spread.id, MINUTE)
    now = time.time() * 1000
    assert put_off(house, spread.id)
    after = dues(house, spread.id)
    assert list(after) == list(before)
    assert gaps(after) == gaps(before)
    assert now - 1 <= min(after.values()) <= time.time() * 1000
    assert not put_off(house, spread.id), "once is enough"


def test_what_was_begun_with_is_not_put_off(house: House, spread: Notification) -> None:
    let_pass(house, spread.id, MINUTE)
    sending = house.runtime.store.sending
    held, back = (sending.claim(spread.id, 0, name, MINUTE) for name in ("one", "two"))
    assert held is not None
    assert back is not None
    assert sending.release(spread.id, back.batch, "two", wait_ms=-1000)
    before = dues(house, spread.id)
    assert put_off(house, spread.id)
    after = dues(house, spread.id)
    begun = {str(held.batch), str(back.batch)}
    assert {name for name in before if after[name] == before[name]} == begun
    left = {name: due for name, due in after.items() if name not in begun}
    assert gaps(left) == gaps({name: before[name] for name in left})


def test_the_rest_is_drawn_together_where_its_deadline_is_near(
    house: House, spread: Notification
) -> None:
    let_pass(house, spread.id, MINUTE)
    before = dues(house, spread.id)
    assert put_off(house, spread.id, within_ms=20_000)
    after = dues(house, spread.id)
    assert list(after) == list(before)
    first, last = min(after.values()), max(after.values())
    assert 19_990 <= last - first <= 20_000
    share = (last - first) / (max(before.values()) - min(before.values()))
    assert all(
        abs(new - share * old) <= 2 for new, old in zip(gaps(after), gaps(before), strict=True)
    )


def test_what_is_planned_late_is_spread_over_the_time_that_is_left(house: House) -> None:
    house.seed(READERS)
    id = publish(house, ttl=120)
    key = f"{{g}}:n:{id}"
    house.runtime.store.redis.hset(key, "started_at", repr(time.time() - 30))
    alert = house.runtime.publishing.get(id)
    house.runtime.dispatch.plan(alert)
    due = dues(house, id).values()
    assert max(due) / 1000 < alert.last_start
    assert max(due) - min(due) > 15_000


def test_a_spread_send_that_was_paused_does_not_send_what_was_due_meanwhile_at_once(
    house: House, push: PushService
) -> None:
    house.seed(READERS)
    publishing = house.runtime.publishing
    id = publish(house)
    house.worker()
    house.clock()
    push.wait_for(40, timeout=60)
    publishing.pause(id)
    store = house.runtime.store
    wait_until(lambda: not store.redis.hlen(part_key(0, id, "leases")))
    before = len(push.received)
    let_pass(house, id, MINUTE)
    publishing.resume(id)
    push.wait_for(before + 120, timeout=60)
    arrived = [message.at for message in push.received[before : before + 120]]
    whole = arrived[-1] - arrived[0]
    parts = [
        sum(whole * n / 4 <= at - arrived[0] <= whole * (n + 1) / 4 for at in arrived)
        for n in range(4)
    ]
    assert min(parts) >= 10, "30 in each quarter of the time, had the machine nothing else to do"
    publishing.cancel(id)
    house.over(id)
    assert len({message.path for message in push.received}) == len(push.received)
