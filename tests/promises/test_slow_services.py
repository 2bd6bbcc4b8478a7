"""Push services that are slow, or slow to connect to: no reader gets an alert twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.network.relay import Relay
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService
from workers import jobs
from workers.http.transport import Transport
from workers.trials.processes import free_port


class Watched:
    """Records which push services rest, and why, until its block ends."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.rests: set[tuple[str, str, int]] = set()  # origin, why, attempts

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            for origin, rest in self._installation.runtime.store.push_services.resting().items():
                self.rests.add((origin, rest.why, rest.attempts))


def answered(push: PushService) -> Counter[int]:
    """How many readers got how many messages with a response, by number of messages."""
    times = Counter(message.path for message in push.received if message.status)
    return Counter(times.values())


def each_message_arrives_once(installation: Installation, readers: int) -> None:
    """Send an alert; the push service never rests for a lack of responses."""
    installation.seed(readers)
    with fan_out_of(installation) as fan_out, Watched(installation) as watched:
        id = installation.publish()
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"accepted": readers}
    assert answered(installation.push) == {1: readers}
    assert watched.rests == set()


@pytest.fixture(params=[0.3, pytest.param(1.0, marks=[pytest.mark.long, pytest.mark.soak])])
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """How much of the time everything takes: the answers, and until a message is given up."""
    monkeypatch.setattr(jobs, "Transport", partial(Transport, timeout=15.0 * request.param))
    return float(request.param)


def test_http_1_1_service_that_answers_after_a_second_gets_each_message_once(
    redis_url: str, tmp_path: Path, pace: float
) -> None:
    # 16 connections take 14 messages a second. If the transport took all 256 of the window, the
    # last would wait for more than the 15 s after which a message is given up.
    with PushService(http2=False) as push, Installation(redis_url, push, tmp_path) as installation:
        push.answer_with(lambda _message: Answer(delay=1.1 * pace))
        each_message_arrives_once(installation, 350)


@pytest.mark.processes
def test_http_2_service_that_answers_after_seconds_gets_each_message_once(
    redis_url: str, push: PushService, tmp_path: Path, pace: float
) -> None:
    # Two connections have 200 streams, a fifth of this window.
    with Installation(redis_url, push, tmp_path, PUSH_WINDOW="1024") as installation:
        push.answer_with(lambda _message: Answer(delay=random.uniform(4.0, 6.0) * pace))
        each_message_arrives_once(installation, 850)


@pytest.fixture
def relay(push: PushService) -> Relay:
    """A relay to the push service that starts with its `with`.

    It connects two seconds after all others have the alert.
    """
    return Relay(push.origin, wait=2.0, after=lambda: len(push.received) >= 150)


@pytest.fixture
def installation(
    redis_url: str, push: PushService, relay: Relay, tmp_path: Path
) -> Iterator[Installation]:
    services = f"{push.origin} {relay.origin}"
    with Installation(redis_url, push, tmp_path, PUSH_SERVICES=services) as installation:
        yield installation


def test_slow_handshake_delays_only_that_service_and_uses_no_cpu(
    installation: Installation, push: PushService, relay: Relay
) -> None:
    installation.seed(300, origins=[push.origin, relay.origin])
    fan_out = jobs._new_fan_out(installation.runtime)
    with relay, Watched(installation) as watched:
        id = installation.publish()
        began, used = time.monotonic(), time.thread_time()
        send_all(installation, fan_out, id)
        took, used = time.monotonic() - began, time.thread_time() - used
        fan_out.close()
    assert installation.outcomes(id) == {"accepted": 300}
    assert answered(push) == {1: 300}
    assert watched.rests == set()
    of_relay = [m.at for m in push.received if m.endpoint.startswith(relay.origin)]
    others = [m.at for m in push.received if not m.endpoint.startswith(relay.origin)]
    assert len(of_relay) == len(others) == 150
    assert max(others) < min(of_relay)
    assert took >= 2.0
    assert used < took / 2, "the worker sleeps while it waits for the connection"


@pytest.mark.soak
def test_unreachable_service_rests_longer_each_time_and_then_gets_each_message_once(
    installation: Installation, push: PushService, relay: Relay
) -> None:
    installation.seed(300, origins=[push.origin, relay.origin])
    installation.worker()
    installation.clock()
    rests = installation.runtime.store.push_services.resting
    id = installation.publish()
    wait_until(lambda: installation.outcomes(id) == {"accepted": 150})
    wait_until(lambda: relay.origin in rests() and rests()[relay.origin].attempts >= 3)
    rest = rests()[relay.origin]
    assert rest.why == "no answer"
    assert rest.until - rest.since > 1.9, "4 s, of which the second half is random"
    assert push.origin not in rests()
    with relay:
        installation.over(id)
    assert installation.outcomes(id) == {"accepted": 300}
    assert answered(push) == {1: 300}
    assert relay.origin not in rests()


def test_no_connection_is_tried_while_an_unreachable_service_rests(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with Relay(f"https://127.0.0.1:{free_port()}") as relay:
        services = f"{push.origin} {relay.origin}"
        with Installation(redis_url, push, tmp_path, PUSH_SERVICES=services) as installation:
            installation.seed(300, origins=[push.origin, relay.origin])
            installation.worker()
            installation.clock()
            rests = installation.runtime.store.push_services.resting
            id = installation.publish()

            def attempts() -> int:
                return rests()[relay.origin].attempts if relay.origin in rests() else 0

            wait_until(lambda: attempts() >= 3)
            # Once for each rest; one that has just begun is counted when it has failed.
            wait_until(lambda: relay.taken == attempts())
            assert installation.outcomes(id) == {"accepted": 150}


def test_service_with_an_unknown_host_name_rests_and_is_retried_until_the_end(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    # No label may have 64 characters, so that the resolver refuses it without a query.
    nowhere = f"https://{'x' * 64}.invalid"
    services = f"{push.origin} {nowhere}"
    with Installation(redis_url, push, tmp_path, PUSH_SERVICES=services) as installation:
        installation.seed(40, origins=[push.origin, nowhere])
        installation.worker()
        installation.clock()
        rests = installation.runtime.store.push_services.resting
        id = installation.publish()
        wait_until(lambda: nowhere in rests() and rests()[nowhere].attempts >= 2)
        assert rests()[nowhere].why == "no answer"
        assert installation.outcomes(id) == {"accepted": 20}
        installation.runtime.publishing.cancel(id, by="a test")
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 20, "cancelled": 20}


def test_only_unanswered_messages_of_a_dead_connection_are_sent_again(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    relay = Relay(push.origin)
    seen: Counter[str] = Counter()
    silent: set[str] = set()

    def rule(message: Message) -> Answer | None:
        seen[message.path] += 1
        if len(silent) < 60 and len(seen) % 3 == 0 and seen[message.path] == 1:
            silent.add(message.path)
            return Answer(hang=True)
        return None

    with relay, Installation(redis_url, push, tmp_path, PUSH_SERVICES=relay.origin) as installation:
        installation.seed(300, origins=[relay.origin])
        push.answer_with(rule)
        installation.worker()
        installation.clock()
        id = installation.publish()
        wait_until(lambda: installation.outcomes(id) == {"accepted": 240})
        relay.cut()
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 300}
    assert len(silent) == 60
    assert answered(push) == {1: 300}
    assert {path for path, times in seen.items() if times > 1} == silent
