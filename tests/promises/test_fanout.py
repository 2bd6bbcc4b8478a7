"""Promises of the fan-out, with real workers and a strict push service."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from service.domain.sending.job_queue import QUEUE
from service.local import pretend_readers
from service.model.notifications import Audience, Notification, Outcome, State
from service.model.subscriptions import SubscriptionId
from service.store.layout.records import BUCKET, records_key
from tests.support.processes.installation import TOPICS, Installation, content, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.seeded import begin_send, silence

WINDOW = 256  # messages under way where answers come at once
MOST = 2048


class Mixed:
    """Answers of every kind, chosen by the endpoint; `outcome` says what must follow."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @staticmethod
    def fate(path: str) -> int:
        return zlib.crc32(path.encode()) % 100

    def outcome(self, path: str) -> Outcome:
        fate = self.fate(path)
        return Outcome.GONE if fate < 4 else Outcome.REFUSED if fate < 6 else Outcome.ACCEPTED

    def __call__(self, message: Message) -> Answer | None:
        fate = self.fate(message.path)
        with self._lock:
            self._seen[message.path] += 1
            first = self._seen[message.path] == 1
        if fate < 6:
            return Answer((404, 404, 410, 410, 413, 400)[fate])
        if fate < 8 and first:
            return Answer(429, {"retry-after": "1"})
        if fate < 10 and first:
            return Answer(500)
        if fate == 10:
            return Answer(201, delay=0.2)
        return None


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("recipients", "kills"), [(2000, 2), pytest.param(50_000, 10, marks=pytest.mark.soak)]
)
def test_every_recipient_has_one_outcome_though_workers_are_killed(
    installation: Installation, push: PushService, recipients: int, kills: int
) -> None:
    installation.environment["PUSH_WINDOW"] = str(WINDOW)
    installation.seed(recipients)
    mixed = Mixed()
    push.answer_with(mixed)
    workers = [installation.worker() for _ in range(2)]
    installation.clock()
    id = installation.publish()
    for kill in range(kills):
        push.wait_for(recipients * (kill + 1) // (kills + 2), timeout=120)
        time.sleep(random.random() / 5)
        installation.end(workers.pop(random.randrange(2)), signal.SIGKILL)
        workers.append(installation.worker())

    over = installation.over(id)

    assert over.state is State.SENT
    assert push.refusals == []
    asked = {message.path for message in push.received}
    assert len(asked) == recipients
    expected = Counter(mixed.outcome(path).value for path in asked)
    assert installation.outcomes(id) == dict(expected)
    assert sum(installation.outcomes(id).values()) == recipients
    accepted = Counter(m.path for m in push.received if m.status and 200 <= m.status < 300)
    assert set(accepted) == {path for path in asked if mixed.outcome(path) is Outcome.ACCEPTED}
    assert sum(times - 1 for times in accepted.values()) <= WINDOW * kills
    # Only readers who are gone have left the audiences.
    still = recipients - expected["gone"]
    reach = installation.runtime.publishing.reach
    assert reach(Audience(everyone=True)) == still
    assert reach(Audience(topics=TOPICS[:4])) == still


@pytest.mark.soak
def test_work_of_a_killed_worker_is_taken_up_by_another(
    installation: Installation, push: PushService
) -> None:
    installation.environment["PUSH_WINDOW"] = str(WINDOW)
    installation.seed(600)
    push.answer_with(lambda _message: Answer(201, delay=0.5))
    push.hold_after(WINDOW // 2)
    doomed = installation.worker()
    id = installation.publish()
    push.wait_for(WINDOW // 2, timeout=30)
    installation.end(doomed, signal.SIGKILL)
    killed_at = time.monotonic()
    push.go_on()
    sent_before = len(push.received)
    installation.worker()
    installation.clock()

    installation.over(id)

    assert installation.outcomes(id) == {"accepted": 600}
    resumed = [message.at for message in push.received[sent_before:] if message.at > killed_at]
    assert min(resumed) - killed_at < 15, "resumed within 15 seconds"
    repeats = Counter(message.path for message in push.received)
    assert sum(times - 1 for times in repeats.values()) <= WINDOW


@pytest.mark.soak
def test_late_push_service_gets_more_messages_at_once_and_a_kill_repeats_no_others(
    installation: Installation, push: PushService
) -> None:
    """As many are under way as its delay needs, which is more than where answers come at once."""
    delay, readers = 4.0, 2000  # so late that a slow machine too needs more than the least window
    installation.seed(readers)
    push.answer_with(lambda _message: Answer(201, delay=delay))
    push.hold_after(readers * 2 // 3)
    doomed = installation.worker()
    installation.clock()
    id = installation.publish()
    push.wait_for(readers * 2 // 3, timeout=60)
    wait_until(lambda: installation.outcomes(id) == {"accepted": readers * 2 // 3})
    answered = {message.path for message in push.received}
    installation.end(doomed, signal.SIGKILL)
    killed_at = time.monotonic()
    push.go_on()
    installation.worker()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": readers}
    times = sorted(message.at for message in push.received if message.at <= killed_at)
    under_way = max(n + 1 - bisect_left(times, at - delay) for n, at in enumerate(times))
    assert 1.2 * WINDOW < under_way <= MOST
    came = Counter(message.path for message in push.received)
    repeated = {path for path, times in came.items() if times > 1}
    assert repeated
    assert not repeated & answered
    assert len(repeated) <= MOST


# A process that publishes as the web does, and is killed before it wakes a worker.
KILLED_BEFORE_WAKING = """
import os, signal
from service.config import Config
from service.model.notifications import Audience, Content
from service.runtime import Runtime
runtime = Runtime.open(Config.read(os.environ))
runtime.job_queue.wake = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
content = Content("Stored, then silence", "https://paper.example/story")
runtime.publishing.publish(content, Audience(everyone=True), by="a test")
"""


def test_alert_of_a_web_process_killed_before_waking_workers_is_sent(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    argv = [sys.executable, "-c", KILLED_BEFORE_WAKING]
    died = subprocess.run(argv, env=installation.environment, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    (stored,) = installation.runtime.publishing.latest(10)
    assert installation.runtime.job_queue.queued() == 0, "no worker was woken"
    installation.worker()
    installation.clock()
    installation.over(stored.id)
    assert installation.outcomes(stored.id) == {"accepted": 10}


def test_job_delivered_many_times_sends_nothing_twice(
    installation: Installation, push: PushService
) -> None:
    installation.seed(600)
    push.answer_with(lambda _message: Answer(201, delay=0.05))
    id = installation.publish()
    queue = Queue(QUEUE, connection=installation.runtime.store.redis, serializer=JSONSerializer)
    for _ in range(20):
        queue.enqueue("workers.jobs.send")
    for _ in range(2):
        installation.worker()
    installation.clock()
    installation.over(id)
    for _ in range(5):
        queue.enqueue("workers.jobs.send")
    wait_until(lambda: not installation.runtime.job_queue.queued())
    time.sleep(0.5)
    assert installation.outcomes(id) == {"accepted": 600}
    assert len(push.received) == len({message.path for message in push.received}) == 600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_worker_that_is_stopped_records_all_answers_and_exits_with_0(
    number: signal.Signals, installation: Installation, push: PushService
) -> None:
    installation.seed(1200)
    push.answer_with(lambda _message: Answer(201, delay=0.2))
    push.hold_after(100)
    worker = installation.worker()
    id = installation.publish()
    push.wait_for(100, timeout=30)

    worker.send_signal(number)
    push.go_on()
    assert installation.end(worker, number) == 0

    answered = {message.path for message in push.received}
    assert 100 <= len(answered) < 1200
    assert installation.outcomes(id) == {"accepted": len(answered)}
    installation.worker()
    installation.clock()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 1200}
    assert len(push.received) == 1200, "no reader twice"


def test_cancelled_alert_stops_and_counts_recipients_it_did_not_reach(
    installation: Installation, push: PushService
) -> None:
    id = begin_send(installation, 1500, received=100, delay=0.2)
    installation.runtime.publishing.cancel(id, by="a test")
    silence(push)  # the worker has noticed, which looks once a second
    push.go_on()

    over = installation.over(id)

    assert over.state is State.CANCELLED
    counts = installation.outcomes(id)
    assert counts["accepted"] + counts["cancelled"] == 1500
    assert counts["accepted"] == len(push.received)
    seen = len(push.received)
    time.sleep(1)
    assert len(push.received) == seen


def test_429_and_503_are_retried_after_the_requested_time(
    installation: Installation, push: PushService
) -> None:
    installation.seed(16)
    asked_at: dict[str, list[float]] = {}

    def busy_at_first(message: Message) -> Answer | None:
        times = asked_at.setdefault(message.path, [])
        times.append(message.at)
        if len(times) > 1:
            return None
        return Answer((429, 503)[Mixed.fate(message.path) % 2], {"retry-after": "2"})

    push.answer_with(busy_at_first)
    installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 16}
    assert {message.status for message in push.received} == {201, 429, 503}
    again = [times for times in asked_at.values() if len(times) > 1]
    assert again
    for times in again:
        assert len(times) == 2
        assert times[1] - times[0] >= 2


def test_alert_that_cannot_be_sent_before_its_deadline_ends_as_expired(
    installation: Installation, push: PushService
) -> None:
    installation.seed(40)
    push.answer_with(lambda _message: Answer(503))
    installation.worker()
    installation.clock()
    wait_until(installation.runtime.job_queue.workers)
    wait_until(lambda: installation.runtime.store.installation.clock_age() < 2)
    notifications = installation.runtime.store.notifications
    id = notifications.new_id()
    notifications.publish(
        Notification(
            id=id,
            content=content("Too late", ttl=60),
            audience=Audience(everyone=True),
            state=State.SENDING,
            created_at=time.time() - 24,  # six seconds are left to start it
            created_by="a test",
        )
    )
    over = installation.over(id)
    assert installation.outcomes(id) == {"expired": 40}
    assert over.state is State.EXPIRED
    assert push.received


def test_single_rejected_subscriptions_are_refused_and_pause_no_push_service(
    installation: Installation, push: PushService
) -> None:
    installation.seed(100)
    planted = set()

    def rule(message: Message) -> Answer | None:
        if Mixed.fate(message.path) < 5:
            planted.add(message.path)
            return Answer(401)
        return None

    push.answer_with(rule)
    installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    assert planted
    assert installation.outcomes(id) == {"accepted": 100 - len(planted), "refused": len(planted)}
    assert installation.runtime.publishing.reach(Audience(everyone=True)) == 100
    times = Counter(message.path for message in push.received)
    assert {times[path] for path in planted} == {3}


def test_breaking_alert_overtakes_a_running_send(
    installation: Installation, push: PushService
) -> None:
    large = begin_send(installation, 2000, received=200)
    installation.seed(50, topics=["breaking"], first=2000)
    first = {pretend_readers.path(number) for number in range(2000)}
    # To them it takes three times four seconds at least: what is under way at once may double.
    push.answer_with(lambda message: Answer(delay=4) if message.path in first else None)
    breaking = installation.publish(
        Audience(topics=("breaking",)), title="Breaking", kind="breaking"
    )
    push.go_on()
    installation.over(breaking)
    assert installation.runtime.publishing.get(large).finished_at is None
    push.answer_with(lambda _message: None)
    installation.over(large)
    assert installation.outcomes(breaking) == {"accepted": 50}
    assert installation.outcomes(large) == {"accepted": 2000}


def test_failing_job_records_messages_under_way_and_repeats_none(
    installation: Installation, push: PushService
) -> None:
    redis = installation.runtime.store.redis
    id = begin_send(installation, 1000, received=100, delay=0.2)
    redis.set("{g}:resting", "a value that no worker can read")
    silence(push)  # the worker has noticed, which looks once a second
    push.go_on()
    time.sleep(2.5)  # several jobs fail meanwhile
    stopped_at = len(push.received)
    assert stopped_at < 1000
    redis.delete("{g}:resting")
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 1000}
    assert len(push.received) == 1000, "no reader twice"


@pytest.mark.usefixtures("one_partition")
def test_unusable_records_are_refused_and_delay_no_other_reader(
    installation: Installation, push: PushService
) -> None:
    installation.seed(310)
    store = installation.runtime.store
    newer, broken = SubscriptionId(0, 300), SubscriptionId(0, 301)
    records = dict(store.records.read(0, [newer.number, broken.number]))
    of_a_version_to_come = b"\x09" + records[newer.number].pack()[1:]
    off_the_curve = records[broken.number]._replace(p256dh=b"\x04" + bytes(64)).pack()
    for one, packed in ((newer, of_a_version_to_come), (broken, off_the_curve)):
        store.redis.hset(records_key(one), str(one.number % BUCKET), packed)
    installation.worker()
    installation.clock()
    id = installation.publish()
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 308, "refused": 2}


def outcomes_after(installation: Installation, change: Callable[[], None]) -> dict[str, int]:
    """Freeze the audience of an alert to 50 readers, make a change, and send the alert."""
    installation.seed(50)
    id = installation.publish()
    installation.runtime.planning.plan(installation.runtime.publishing.get(id))
    change()
    installation.worker()
    installation.clock()
    installation.over(id)
    return installation.outcomes(id)


def test_reader_who_leaves_during_a_send_is_counted_as_gone(installation: Installation) -> None:
    def leave() -> None:
        installation.runtime.store.subscriptions.remove(installation.reader(7))

    assert outcomes_after(installation, leave) == {"accepted": 49, "gone": 1}


def test_reader_who_subscribes_after_the_freeze_is_not_in_the_audience(
    installation: Installation,
) -> None:
    def subscribe() -> None:
        installation.seed(5, first=50)

    assert outcomes_after(installation, subscribe) == {"accepted": 50}


def test_alert_to_one_browser_reaches_only_that_one(
    installation: Installation, push: PushService
) -> None:
    installation.seed(20)
    installation.worker()
    installation.clock()
    id = installation.publish(Audience(subscription=installation.reader(3)))
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 1}
    assert len(push.received) == 1


@pytest.mark.redis
def test_alert_to_an_empty_audience_is_sent_at_once(
    installation: Installation, push: PushService
) -> None:
    installation.worker()
    installation.clock()
    id = installation.publish()
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {}
