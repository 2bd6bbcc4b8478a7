"""What a sender takes care of: its own faults, a push service's, the pace it was asked for."""

from __future__ import annotations

import time
import zlib
from collections import Counter

import pytest

from service.domain import planning
from service.model.notifications import Audience, Content, Notification, State
from tests.support.installation import House, content, wait_until
from tests.support.push_service import Answer, Message, PushService


def part(message: Message) -> int:
    """A number below 100 that follows from the endpoint."""
    return zlib.crc32(message.path.encode()) % 100


def stored(house: House, said: Content, **options: object) -> int:
    """Publish with options that no route takes; nobody is woken, the clock does it."""
    notifications = house.runtime.store.notifications
    id = notifications.new_id()
    given = {"created_at": time.time(), **options}
    everyone = Audience(everyone=True)
    notifications.publish(
        Notification(id, said, everyone, State.SENDING, created_by="a test", **given)  # type: ignore[arg-type]
    )
    return id


def test_a_fault_of_ours_pauses_the_push_service_and_no_reader_is_lost(
    house: House, push: PushService
) -> None:
    house.seed(400)
    house.worker()
    house.clock()
    house.over(house.publish())
    push.answer_with(lambda _message: Answer(403, body=b'{"reason":"BadJwtToken"}'))
    id = house.publish()
    services = house.runtime.store.services
    (why,) = wait_until(lambda: [rest.why for rest in services.resting().values()])
    assert why == "credentials"
    # What was under way when it was found out still comes; then it is left in peace.
    wait_until(lambda: time.monotonic() - push.received[-1].at > 2)
    assert len(push.received) < 2 * 400, "not everybody was tried"
    assert house.outcomes(id) == {}

    push.answer_with(lambda _message: None)

    assert house.over(id).state is State.SENT
    assert house.outcomes(id) == {"accepted": 400}
    assert services.resting() == {}


def test_planted_subscriptions_that_are_always_rejected_pause_nobody(
    house: House, push: PushService
) -> None:
    house.seed(600)
    push.answer_with(lambda message: Answer(401) if part(message) < 30 else None)
    house.worker()
    house.clock()
    for _ in range(2):
        id = house.publish()
        resting: list[str] = []
        while house.runtime.publishing.get(id).finished_at is None:
            resting += house.runtime.store.services.resting()
            time.sleep(0.02)
        assert resting == []
        outcomes = house.outcomes(id)
        assert outcomes["accepted"] + outcomes["refused"] == 600
        assert outcomes["refused"] > 100
    assert house.runtime.publishing.reach(Audience(everyone=True)) == 600


def test_the_ttl_of_a_late_retry_is_the_time_that_is_left(house: House, push: PushService) -> None:
    house.seed(20)
    times: Counter[str] = Counter()

    def busy_at_first(message: Message) -> Answer | None:
        times[message.path] += 1
        return Answer(503, {"retry-after": "3"}) if times[message.path] == 1 else None

    push.answer_with(busy_at_first)
    house.worker()
    house.clock()
    house.over(house.publish(ttl=300))
    first: dict[str, Message] = {}
    for message in push.received:
        before = first.setdefault(message.path, message)
        if before is not message:
            passed = message.at - before.at
            assert passed >= 3
            shorter = int(before.headers["ttl"]) - int(message.headers["ttl"])
            # The header is kept for a second; and a message may wait to leave, on a busy machine.
            assert abs(shorter - passed) <= 2
    assert len(times) == 20


def test_a_spread_send_goes_out_evenly(house: House, push: PushService) -> None:
    house.seed(600)
    house.worker()
    house.clock()
    id = stored(house, content("Slowly"), spread_minutes=1)
    push.wait_for(100, timeout=60)
    start = push.received[0].at
    time.sleep(max(0.0, start + 12 - time.monotonic()))
    house.runtime.publishing.cancel(id)
    by_second = Counter(int(message.at - start) for message in push.received)
    # 600 in 60 s are 10 a second.
    in_ten = sum(by_second[second] for second in range(10))
    assert 70 <= in_ten <= 130
    assert max(by_second[second] for second in range(12)) <= 40


def test_a_paused_send_stops_within_a_second_and_goes_on_where_it_was(
    house: House, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.seed(3000)
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    id = house.publish()
    # Many batches are due when it is paused, as of a large audience.
    monkeypatch.setattr(planning, "BATCH_RECIPIENTS", 128)
    house.runtime.dispatch.plan(house.runtime.publishing.get(id))
    house.worker()
    house.clock()
    push.wait_for(500, timeout=30)
    notifications = house.runtime.store.notifications
    assert notifications.move(id, State.PAUSED, possible_from=[State.SENDING])
    time.sleep(1)
    paused_at = len(push.received)
    time.sleep(1.5)
    assert len(push.received) == paused_at < 3000
    assert house.outcomes(id) == {"accepted": paused_at}
    assert notifications.move(id, State.SENDING, possible_from=[State.PAUSED])
    house.over(id)
    assert house.outcomes(id) == {"accepted": 3000}
    assert len(push.received) == 3000, "nobody twice"
