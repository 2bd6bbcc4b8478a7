"""The readers that `Installation.seed` made: they choose, sleep, wake, and read their alerts."""

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
from service.model.clocks import QUARTER
from service.model.preferences import NO_QUIET, Quiet
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from tests.support.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService

READERS = 300  # of the installation called `reading`
FRONT = "https://paper.example"
_MOST = 1000  # readers who are told apart
HOUR = 4  # quarter hours


def choose(
    installation: Installation, numbers: range, zone: str | None = "UTC", **chosen: Any
) -> None:
    """Let some readers live in a zone and choose."""
    subscriptions = installation.runtime.store.subscriptions
    for number in numbers:
        one = subscriptions.get(SubscriptionId(0, number))
        requested = SubscriptionRequest(
            one.endpoint, one.p256dh, one.auth, one.vapid_key, zone=zone, chosen=chosen
        )
        subscriptions.change(one.id, requested)


def around_now(before: int = 2 * HOUR, after: int = 6 * HOUR) -> Quiet:
    """Quiet hours that began so many quarter hours ago, in UTC, and last so many more."""
    now = int(time.time()) // QUARTER
    return Quiet((now - before) % 96, (now + after) % 96)


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {pretend_readers.path(number): number for number in range(_MOST)}


def reader_of(message: Message) -> int:
    """The number of the reader to whom a message goes."""
    return _numbers()[message.path]


def shown(message: Message) -> dict[str, Any]:
    """The notification that a message brings, as its reader's browser decrypts it."""
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
    """Let everybody's quiet hours be over, in whatever quarter hour; what came then."""
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


def said(messages: list[Message]) -> Counter[str]:
    """How often browsers were shown which title and words."""
    found: Counter[str] = Counter()
    for message in messages:
        document = shown(message)
        found[f"{document['title']}|{document['body']}"] += 1
    return found


@contextmanager
def waking(installation: Installation, push: PushService) -> Iterator[list[Message]]:
    """Let everybody's quiet hours be over, but nothing be taken before the `with` ends; what was.

    Until then the wave is under way.
    """
    push.answer_with(lambda _: Answer(503, {"retry-after": "3"}))
    (quarter,) = installation.runtime.store.held_alerts.due(1 << 40)
    choose(installation, range(READERS), quiet=NO_QUIET)
    before = len(push.received)
    installation.runtime.publishing.wake_readers(quarter * QUARTER, FRONT)
    wait_until(installation.runtime.store.push_services.resting)
    taken: list[Message] = []
    yield taken
    time.sleep(2)  # what was changed meanwhile, each worker knows within a second
    push.answer_with(lambda _: Answer(201))
    (wave,) = installation.runtime.publishing.waves(9)
    installation.over(wave.id)
    taken += [message for message in push.received[before:] if message.status == 201]
