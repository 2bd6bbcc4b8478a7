"""Careful sending: faults of ours, faults of a push service, spread and paused sends."""

from __future__ import annotations

import time
import zlib
from collections import Counter

import pytest

from service.model.notifications import Audience, Content, Notification, State
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.seeded import silence

STREAMS = 200  # of a worker to one push service


def part(message: Message) -> int:
    """A number below 100, computed from the endpoint."""
    return zlib.crc32(message.path.encode()) % 100


def stored(installation: Installation, text: Content, **options: object) -> int:
    """Publish with options that no route takes; the clock wakes a worker."""
    notifications = installation.runtime.store.notifications
    id = notifications.new_id()
    given = {"created_at": time.time(), **options}
    everyone = Audience(everyone=True)
    notifications.publish(
        Notification(id, text, everyone, State.SENDING, created_by="a test", **given)  # type: ignore[arg-type]
    )
    return id


def test_fault_of_our_credentials_pauses_the_push_service_and_loses_no_reader(
    installation: Installation, push: PushService
) -> None:
    installation.seed(400)
    installation.worker()
    installation.clock()
    installation.over(installation.publish())
    push.answer_with(lambda _message: Answer(403, body=b'{"reason":"BadJwtToken"}'))
    id = installation.publish()
    services = installation.runtime.store.push_services
    (why,) = wait_until(lambda: [rest.why for rest in services.resting().values()])
    assert why == "credentials"
    # Messages that were under way still arrive; then the push service rests.
    wait_until(lambda: time.monotonic() - push.received[-1].at > 2)
    assert len(push.received) < 2 * 400, "not every reader was tried"
    assert installation.outcomes(id) == {}

    push.answer_with(lambda _message: None)

    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 400}
    assert services.resting() == {}


@pytest.mark.soak
def test_planted_subscriptions_that_are_always_rejected_pause_no_service(
    installation: Installation, push: PushService
) -> None:
    installation.seed(300)
    push.answer_with(lambda message: Answer(401) if part(message) < 30 else None)
    installation.worker()
    installation.clock()
    for _ in range(2):
        id = installation.publish()
        resting: list[str] = []
        while installation.runtime.publishing.get(id).finished_at is None:
            resting += installation.runtime.store.push_services.resting()
            time.sleep(0.02)
        assert resting == []
        outcomes = installation.outcomes(id)
        assert outcomes["accepted"] + outcomes["refused"] == 300
        assert outcomes["refused"] > 50
    assert installation.runtime.publishing.reach(Audience(everyone=True)) == 300


@pytest.mark.soak
def test_ttl_of_a_retry_is_the_time_that_is_left(
    installation: Installation, push: PushService
) -> None:
    installation.seed(20)
    times: Counter[str] = Counter()

    def busy_at_first(message: Message) -> Answer | None:
        times[message.path] += 1
        return Answer(503, {"retry-after": "3"}) if times[message.path] == 1 else None

    push.answer_with(busy_at_first)
    installation.worker()
    installation.clock()
    over = installation.over(installation.publish(ttl=300))
    deadline = time.monotonic() + over.deadline - time.time()
    first: dict[str, Message] = {}
    for message in push.received:
        before, ttl = first.setdefault(message.path, message), int(message.headers["ttl"])
        # The header is cached for a second, and a busy machine may delay a message.
        assert ttl >= deadline - message.at - 2
        if before is not message:
            assert message.at - before.at >= 3
            assert ttl <= deadline - (before.at + 3) + 2
    assert len(times) == 20


def test_spread_send_goes_out_evenly(installation: Installation, push: PushService) -> None:
    installation.seed(1200)
    installation.worker()
    installation.clock()
    began = time.monotonic()
    id = stored(installation, content("Slowly"), spread_minutes=1)
    push.wait_for(140, timeout=60)
    installation.runtime.publishing.cancel(id, by="a test")
    # 1,200 in 60 s are 20 a second. A busy machine may be late, and catches up then.
    for number, message in enumerate(push.received):
        assert number <= 20 * (message.at - began) + 60


def test_paused_send_stops_within_a_second_and_goes_on_where_it_was(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.seed(1500)
    push.answer_with(lambda _message: Answer(201, delay=0.2))
    push.hold_after(100)
    id = installation.publish()
    # As in a large send, many batches are due when it is paused.
    monkeypatch.setattr("service.domain.sending.planning.BATCH_RECIPIENTS", 128)
    installation.runtime.planning.plan(installation.runtime.publishing.get(id))
    installation.worker()
    installation.clock()
    push.wait_for(100, timeout=30)
    notifications = installation.runtime.store.notifications
    assert notifications.move(id, State.PAUSED, possible_from=[State.SENDING])
    silence(push)  # the worker has noticed, which looks once a second
    push.go_on()
    paused_at = silence(push)
    assert paused_at <= 100 + STREAMS
    assert installation.outcomes(id) == {"accepted": paused_at}
    assert notifications.move(id, State.SENDING, possible_from=[State.PAUSED])
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 1500}
    assert len(push.received) == 1500, "no reader twice"
