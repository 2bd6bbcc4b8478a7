"""Readers that `Installation.seed` stored: they choose, sleep, wake, and decrypt messages."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import http_ece

from service.local import pretend_readers
from service.model.notifications import State
from service.model.preferences import NO_QUIET, Quiet
from service.model.subscriptions import SubscriptionRequest
from service.model.time.clocks import QUARTER
from tests.support.client import Client
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService

READERS = 60  # of the fixture `reading`
FRONT = "https://paper.example"
_MOST = 1000  # readers whose messages can be recognized
HOUR = 4  # quarter hours
_STARTED = int(time.time()) // QUARTER


def choose(
    installation: Installation, numbers: range, zone: str | None = "UTC", **chosen: Any
) -> None:
    """Let some readers live in a zone and choose preferences."""
    subscriptions = installation.runtime.store.subscriptions
    for number in numbers:
        one = subscriptions.get(installation.reader(number))
        requested = SubscriptionRequest(
            one.endpoint, one.p256dh, one.auth, one.vapid_key, zone=zone, chosen=chosen
        )
        subscriptions.change(one.id, requested)


def midday(*, another_date: bool = False) -> str:
    """A zone whose clock shows between 12 and 13, so that no day ends during a test.

    With `another_date` it is between 0 and 1 on the next day there, or between 22 and 23 on the
    day before: no zone is more than 14 hours ahead of UTC, or 12 behind.
    """
    ahead = 12 - time.gmtime().tm_hour  # -11 to 12 hours
    if another_date:
        ahead += 12 if ahead <= 2 else -14
    return f"Etc/GMT{-ahead:+d}"


def around_now() -> Quiet:
    """Quiet hours in UTC that began two hours ago and end in six.

    They are the same throughout a run, because a test may ask in two different quarters of an hour.
    """
    return Quiet((_STARTED - 2 * HOUR) % 96, (_STARTED + 6 * HOUR) % 96)


def beginning_in(quarters: int, length: int) -> Quiet:
    """Quiet hours in UTC that begin after so many quarter hours; their length in quarter hours."""
    begin = int(time.time()) // QUARTER + quarters
    return Quiet(begin % 96, (begin + length) % 96)


def begin_send(
    installation: Installation,
    readers: int,
    *,
    received: int,
    delay: float = 0.1,
    **options: object,
) -> int:
    """Send slowly to new readers by a worker and a clock; return when some messages came.

    The others are answered once the test says so, by `push.go_on()`.
    """
    installation.seed(readers)
    installation.push.answer_with(lambda _: Answer(201, delay=delay))
    installation.push.hold_after(received)
    installation.worker()
    installation.clock()
    id = installation.publish(**options)
    installation.push.wait_for(received, timeout=30)
    return id


def silence(push: PushService) -> int:
    """Wait until no message has come for 2.5 seconds; return how many had come by then."""
    seen, since = len(push.received), time.monotonic()

    def is_silent() -> bool:
        nonlocal seen, since
        if seen != (seen := len(push.received)):
            since = time.monotonic()
        return time.monotonic() - since > 2.5

    wait_until(is_silent)
    return seen


def assert_adds_up(installation: Installation, id: int, readers: int, repeats: int) -> None:
    """Check that an alert reached all readers, with at most `repeats`, and then its correction.

    No process of the installation may have ended.
    """
    push = installation.push
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": readers}
    assert installation.runtime.publishing.progress(id).recipients == readers
    copies = Counter(message.path for message in push.received)
    assert len(copies) == readers
    assert copies.total() - readers <= repeats
    assert all(process.poll() is None for process in installation.processes)
    push.begin_anew()
    correction = installation.correct(id, "Nobody dead")
    assert correction.recipients == readers
    installation.over(correction.id)
    assert installation.outcomes(correction.id) == {"accepted": readers}
    assert len({message.path for message in push.received}) == readers


def sent_at_night(installation: Installation, sleepers: int, *titles: str) -> list[int]:
    """Let the first readers sleep and send an alert with each title; return their ids."""
    choose(installation, range(sleepers), quiet=around_now())
    ids = [installation.publish(title=title) for title in titles]
    for id in ids:
        installation.over(id)
    return ids


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {pretend_readers.path(number): number for number in range(_MOST)}


def reader_of(message: Message) -> int:
    """The number of the reader who gets a message."""
    return _numbers()[message.path]


def shown(message: Message) -> dict[str, Any]:
    """The notification in a message, as its reader's browser decrypts it."""
    number = reader_of(message)
    clear = http_ece.decrypt(
        message.body,
        private_key=pretend_readers.private_key(number),
        auth_secret=pretend_readers.keys(number)[1],
        version="aes128gcm",
    )
    notification: dict[str, Any] = json.loads(clear)["notification"]
    return notification


def wake(installation: Installation, push: PushService) -> list[Message]:
    """Let the quiet hours of all readers end; return the messages that came then."""
    before = len(push.received)
    (quarter,) = installation.runtime.store.held_alerts.due(1 << 40)
    installation.runtime.publishing.wake_readers(quarter * QUARTER - 1, FRONT)
    assert installation.runtime.store.held_alerts.due(1 << 40) == [quarter], "not before its time"
    choose(installation, range(READERS), quiet=NO_QUIET)
    installation.runtime.publishing.wake_readers(quarter * QUARTER, FRONT)
    installation.runtime.publishing.wake_readers(quarter * QUARTER, FRONT)
    (wave,) = installation.runtime.publishing.waves(9)
    installation.over(wave.id)
    return push.received[before:]


def texts(messages: list[Message]) -> Counter[str]:
    """How often browsers showed each text, as `title|body`."""
    found: Counter[str] = Counter()
    for message in messages:
        document = shown(message)
        found[f"{document['title']}|{document['body']}"] += 1
    return found


@contextmanager
def waking(installation: Installation, push: PushService) -> Iterator[list[Message]]:
    """Let the quiet hours of all readers end; yield a list of the messages accepted at the end.

    Until the block ends the push service accepts nothing, so that the wave is under way.
    """
    push.answer_with(lambda _: Answer(503, {"retry-after": "3"}))
    (quarter,) = installation.runtime.store.held_alerts.due(1 << 40)
    choose(installation, range(READERS), quiet=NO_QUIET)
    before = len(push.received)
    installation.runtime.publishing.wake_readers(quarter * QUARTER, FRONT)
    wait_until(installation.runtime.store.push_services.resting)
    accepted: list[Message] = []
    yield accepted
    time.sleep(2)  # each worker learns within a second what the block has changed
    push.answer_with(lambda _: Answer(201))
    (wave,) = installation.runtime.publishing.waves(9)
    installation.over(wave.id)
    accepted += [message for message in push.received[before:] if message.status == 201]


def seed(client: Client, count: int) -> None:
    """Store readers of an installation whose processes do not run."""
    runtime = client.runtime
    origins, key = ["https://push.example"], runtime.keys.current
    list(pretend_readers.seed(runtime.store, count, origins=origins, vapid_key=key, topics=[]))
