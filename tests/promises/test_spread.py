"""A spread send keeps its pace after a pause, or after a time without workers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from service.model.notifications import Audience, Notification
from service.store.sending.batches import part_key
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.usefixtures("one_partition")

READERS = 1200
MINUTE = 60_000  # ms
FAR = 10**9  # ms


@pytest.fixture
def spread(installation: Installation) -> Iterator[Notification]:
    """An alert spread over a minute, 20 readers a second: planned, and nothing of it sent."""
    installation.seed(READERS)
    id = publish(installation)
    installation.runtime.planning.plan(installation.runtime.publishing.get(id))
    yield installation.runtime.publishing.get(id)


def publish(installation: Installation, ttl: int = 14_400) -> int:
    publishing = installation.runtime.publishing
    wanted = content(ttl=ttl)
    return publishing.publish(wanted, Audience(everyone=True), by="a test", spread_minutes=1).id


def dues(installation: Installation, id: int) -> dict[str, float]:
    """When each batch is due, in ms since 1970."""
    rows = installation.runtime.store.redis.zrange(
        part_key(0, id, "batches"), 0, -1, withscores=True
    )
    return {name.decode(): due for name, due in rows}


def let_pass(installation: Installation, id: int, ms: float) -> None:
    """Let so much time pass for every batch of an alert."""
    installation.runtime.store.redis.zadd(
        part_key(0, id, "batches"), {name: due - ms for name, due in dues(installation, id).items()}
    )


def gaps(dues: dict[str, float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(dues.values())]


def put_off(
    installation: Installation, id: int, *, late_ms: int = 5000, within_ms: int = FAR
) -> bool:
    return installation.runtime.store.batches.put_off(id, late_ms=late_ms, within_ms=within_ms)


def test_batches_a_little_late_are_not_put_off(
    installation: Installation, spread: Notification
) -> None:
    let_pass(installation, spread.id, 4000)
    before = dues(installation, spread.id)
    assert not put_off(installation, spread.id, late_ms=MINUTE)
    assert dues(installation, spread.id) == before


@pytest.mark.redis
def test_late_batches_go_on_from_now_at_the_same_pace(
    installation: Installation, spread: Notification
) -> None:
    before = dues(installation, spread.id)
    assert len(before) > 50
    let_pass(installation, spread.id, MINUTE)
    now = time.time() * 1000
    assert put_off(installation, spread.id)
    after = dues(installation, spread.id)
    assert list(after) == list(before)
    assert gaps(after) == gaps(before)
    assert now - 1 <= min(after.values()) <= time.time() * 1000
    late = put_off(installation, spread.id, late_ms=MINUTE)
    assert not late, "they are not late any more"


@pytest.mark.redis
def test_batches_already_begun_are_not_put_off(
    installation: Installation, spread: Notification
) -> None:
    let_pass(installation, spread.id, MINUTE)
    sending = installation.runtime.store.batches
    held, back = (sending.claim(spread.id, 0, name, MINUTE) for name in ("one", "two"))
    assert held is not None
    assert back is not None
    assert sending.release(spread.id, back.batch, "two", wait_ms=-1000)
    before = dues(installation, spread.id)
    assert put_off(installation, spread.id)
    after = dues(installation, spread.id)
    begun = {str(held.batch), str(back.batch)}
    assert {name for name in before if after[name] == before[name]} == begun
    left = {name: due for name, due in after.items() if name not in begun}
    assert gaps(left) == gaps({name: before[name] for name in left})


@pytest.mark.redis
def test_late_batches_come_faster_if_the_deadline_is_near(
    installation: Installation, spread: Notification
) -> None:
    let_pass(installation, spread.id, MINUTE)
    before = dues(installation, spread.id)
    assert put_off(installation, spread.id, within_ms=20_000)
    after = dues(installation, spread.id)
    assert list(after) == list(before)
    first, last = min(after.values()), max(after.values())
    assert 19_990 <= last - first <= 20_000
    share = (last - first) / (max(before.values()) - min(before.values()))
    assert all(
        abs(new - share * old) <= 2 for new, old in zip(gaps(after), gaps(before), strict=True)
    )


def test_alert_planned_late_is_spread_over_the_time_that_is_left(
    installation: Installation,
) -> None:
    installation.seed(READERS)
    id = publish(installation, ttl=120)
    key = f"{{g}}:n:{id}"
    installation.runtime.store.redis.hset(key, "started_at", repr(time.time() - 30))
    alert = installation.runtime.publishing.get(id)
    installation.runtime.planning.plan(alert)
    due = dues(installation, id).values()
    assert max(due) / 1000 < alert.last_start
    assert max(due) - min(due) > 15_000


@pytest.mark.soak
def test_paused_spread_send_does_not_catch_up_all_at_once(
    installation: Installation, push: PushService
) -> None:
    installation.seed(READERS)
    publishing = installation.runtime.publishing
    id = publish(installation)
    installation.worker()
    installation.clock()
    push.wait_for(40, timeout=60)
    publishing.pause(id, by="a test")
    store = installation.runtime.store
    wait_until(lambda: not store.redis.hlen(part_key(0, id, "leases")))
    before = len(push.received)
    let_pass(installation, id, MINUTE)
    resumed = time.monotonic()
    publishing.resume(id, by="a test")
    push.wait_for(before + 120, timeout=60)
    # 1,200 in 60 s are 20 a second. A busy machine may be late, and catches up then.
    for number, message in enumerate(push.received[before : before + 120]):
        assert number <= 20 * (message.at - resumed) + 40
    publishing.cancel(id, by="a test")
    installation.over(id)
    assert len({message.path for message in push.received}) == len(push.received)
