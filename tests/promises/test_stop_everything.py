"""Stopping everything: nothing more leaves within a second, and all of it goes on when released."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from service.domain.alerts.publishing import MOST_LATE
from service.model.notifications import Audience, SendAt, State
from service.model.time import clock
from service.model.time.clocks import QUARTER
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.seeded import FRONT, READERS, sent_at_night, silence, wake

WINDOW = 64
EVERYONE = Audience(everyone=True)
A, B = "ada@paper.example", "bo@paper.example"


def stop(installation: Installation) -> None:
    installation.runtime.stops.hold(by=A)


def after_a_second(push: PushService) -> int:
    """Let the second pass in which it may still send; return how many have come in the end.

    Until then the push service has held its answers. A worker that does not know yet that all is
    stopped would go on now.
    """
    time.sleep(1.0)
    push.go_on()
    return silence(push)


def release(installation: Installation) -> None:
    assert installation.runtime.stops.release(by=A)


def under_way(installation: Installation, push: PushService, readers: int, received: int) -> int:
    """Begin a send to many readers by two workers, and return once so many have it.

    The others are answered once the test says so, by `push.go_on()`.
    """
    installation.environment["PUSH_WINDOW"] = str(WINDOW)
    installation.seed(readers)
    push.answer_with(lambda _message: Answer(201, delay=0.05))
    push.hold_after(received)
    for _ in range(2):
        installation.worker()
    installation.clock()
    id = installation.publish()
    push.wait_for(received, timeout=60)
    return id


def times_received(push: PushService) -> set[int]:
    return set(Counter(message.path for message in push.received).values())


def test_nothing_more_arrives_within_a_second_and_a_release_sends_the_rest_once(
    installation: Installation, push: PushService
) -> None:
    id = under_way(installation, push, 1500, 400)
    stop(installation)
    assert after_a_second(push) <= 400 + 2 * WINDOW
    assert installation.runtime.publishing.get(id).state is State.SENDING
    wait_until(lambda: installation.outcomes(id) == {"accepted": len(push.received)})
    release(installation)
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 1500}
    assert len(push.received) == 1500
    assert times_received(push) == {1}


@pytest.mark.soak
def test_a_worker_killed_meanwhile_and_all_processes_begun_anew_change_nothing(
    installation: Installation, push: PushService
) -> None:
    id = under_way(installation, push, 2000, 300)
    stop(installation)
    installation.end(installation.processes[0], signal.SIGKILL)
    received = after_a_second(push)
    assert received <= 300 + 2 * WINDOW
    for process in list(installation.processes):
        installation.end(process)
    installation.worker()
    installation.clock()
    wait_until(lambda: installation.runtime.store.installation.clock_age() < 2)
    assert silence(push) == received
    release(installation)
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 2000}
    repeats = len(push.received) - len({message.path for message in push.received})
    assert repeats <= WINDOW, "only the killed worker's window may come twice"


@pytest.mark.soak
def test_it_holds_after_a_restart_of_redis(
    own_redis: RedisServer, push: PushService, tmp_path: Path
) -> None:
    with Installation(own_redis.url, push, tmp_path) as installation:
        id = under_way(installation, push, 2000, 300)
        stop(installation)
        received = after_a_second(push)  # in which Redis writes its file, every second
        own_redis.restart()
        wait_until(lambda: installation.runtime.store.installation.clock_age() < 2)
        assert silence(push) == received
        held = installation.runtime.stops.current()
        assert held
        assert held.by == A
        release(installation)
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 2000}


def test_scheduled_alerts_wait_and_those_much_too_late_become_drafts(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    installation.worker()
    stop(installation)
    installation.clock()
    publishing = installation.runtime.publishing

    def plan(ahead: float) -> int:
        at = SendAt(clock.time() + ahead)
        return publishing.publish(content(), EVERYONE, by=A, send_at=at).id

    soon, late = plan(0.5), plan(-MOST_LATE - 5)
    assert silence(push) == 0
    assert publishing.get(soon).state is publishing.get(late).state is State.SCHEDULED
    release(installation)
    assert installation.over(soon).state is State.SENT
    missed = wait_until(lambda: publishing.get(late).missed and publishing.get(late))
    assert missed.state is State.DRAFT
    assert len(push.received) == 10


def test_what_is_published_meanwhile_is_kept_and_sent_once_after_the_release(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    first = installation.publish()
    installation.worker()
    installation.clock()
    installation.over(first)
    stop(installation)
    published = installation.runtime.publishing.publish(content(), EVERYONE, by=A)
    assert published.state is State.SCHEDULED
    assert "Everything is stopped" in published.warnings[0][1]
    correction = installation.correct(first, "Corrected")
    draft = installation.runtime.publishing.publish(content(), EVERYONE, by=A, draft=True)
    assert draft.warnings == ()
    installation.runtime.publishing.send(draft.id, by=A)
    assert silence(push) == 10
    release(installation)
    for id in (published.id, correction.id, draft.id):
        assert installation.over(id).state is State.SENT
    assert times_received(push) == {4}


def test_waves_of_held_alerts_wait(reading: Installation, push: PushService) -> None:
    sent_at_night(reading, READERS, "Late news")
    stop(reading)
    (quarter,) = reading.runtime.store.held_alerts.due(1 << 40)
    reading.runtime.publishing.wake_readers(quarter * QUARTER, FRONT)
    assert reading.runtime.publishing.waves(5) == []
    assert push.received == []
    release(reading)
    assert len(wake(reading, push)) == READERS


def test_an_alert_whose_time_runs_out_meanwhile_expires(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    id = installation.publish(ttl=61)  # no message starts in its last half minute
    installation.runtime.store.redis.hset(f"{{g}}:n:{id}", "started_at", clock.time() - 60)
    stop(installation)
    installation.worker()
    installation.clock()
    assert installation.over(id).state is State.EXPIRED
    assert installation.outcomes(id) == {"expired": 10}
    assert push.received == []


@pytest.mark.redis
def test_two_who_press_at_once_have_one_stop_and_one_release(installation: Installation) -> None:
    stops = installation.runtime.stops
    both = threading.Barrier(2)
    held = []

    def press(by: str) -> None:
        both.wait()
        held.append(stops.hold(by=by))

    threads = [threading.Thread(target=press, args=(by,)) for by in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(held)) == 1
    assert stops.current() == held[0]
    assert [stops.release(held[0].id, by=by) for by in (A, B)] == [True, False]
    log = list(installation.runtime.store.alert_log.all())
    assert [(one.action, one.by) for one in log] == [("released", A), ("stopped", held[0].by)]


def test_a_page_of_an_earlier_stop_does_not_release_a_later_one(
    installation: Installation,
) -> None:
    stops = installation.runtime.stops
    earlier = stops.hold(by=A)
    stops.release(by=B)
    later = stops.hold(by=B)
    assert not stops.release(earlier.id, by=A)
    assert stops.current() == later


def test_a_full_redis_keeps_nobody_from_stopping(
    own_redis: RedisServer, push: PushService, tmp_path: Path
) -> None:
    with Installation(own_redis.url, push, tmp_path) as installation:
        with own_redis.full():
            stop(installation)
            assert installation.runtime.planning.sending() == []
            release(installation)
        assert [one.action for one in installation.runtime.store.alert_log.all()] == [
            "released",
            "stopped",
        ]
