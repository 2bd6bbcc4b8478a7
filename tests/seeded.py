"""The readers that `House.seed` made: they choose, and read what they are sent."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

import http_ece

from service import seeding
from service.models import SubscriptionId
from service.quiet import QUARTER, Quiet
from service.store.records import Wish
from tests.house import House
from tests.push_service import Message

_MOST = 1000  # readers who are told apart
HOUR = 4  # quarter hours


def choose(house: House, numbers: range, zone: str | None = "UTC", **chosen: Any) -> None:
    """Let some readers live in a zone and choose."""
    subscriptions = house.runtime.store.subscriptions
    for number in numbers:
        one = subscriptions.get(SubscriptionId(0, number))
        wish = Wish(one.endpoint, one.p256dh, one.auth, one.vapid_key, zone=zone, chosen=chosen)
        subscriptions.change(one.id, wish)


def around_now(before: int = 2 * HOUR, after: int = 6 * HOUR) -> Quiet:
    """Quiet hours that began so many quarter hours ago, in UTC, and last so many more."""
    now = int(time.time()) // QUARTER
    return Quiet((now - before) % 96, (now + after) % 96)


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {seeding.path(number): number for number in range(_MOST)}


def reader_of(message: Message) -> int:
    """The number of the reader to whom a message goes."""
    return _numbers()[message.path]


def shown(message: Message) -> dict[str, Any]:
    """The notification that a message brings, as its reader's browser decrypts it."""
    number = reader_of(message)
    clear = http_ece.decrypt(
        message.body,
        private_key=seeding.private_key(number),
        auth_secret=seeding.keys(number)[1],
        version="aes128gcm",
    )
    notification: dict[str, Any] = json.loads(clear)["notification"]
    return notification
