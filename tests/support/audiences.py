"""Readers of a store, and the alerts that they got, are to get, and clicked."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

from service.model.notifications import Audience, Content, Notification, Progress, State
from service.model.retention import DAY
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER
from service.store import Store
from service.store.layout.bitmaps import bitmap_key
from service.store.sending.batches import part_key
from service.store.sending.held_alerts import wakes_key
from tests.support.redis_servers.server import RedisServer
from tests.support.requested import requested

EVERYONE = Audience(everyone=True)


def opened(redis: Redis) -> Store:
    store = Store(redis, 2)
    store.convert()
    redis.set("{g}:clicks:since", 0)
    return store


def subscribed(store: Store, name: object, **chosen: Any) -> SubscriptionId:
    return store.subscriptions.subscribe(requested(name, **chosen))[0].id


def alert(store: Store, *, days_ago: float = 0.0, state: State = State.SENT) -> int:
    """An alert that is over, or of which nothing was sent yet."""
    at, id = time.time() - days_ago * DAY, store.notifications.new_id()
    content = Content("Late news", "https://paper.example/")
    begun = State.SENDING if state in (State.SENT, State.CANCELLED) else state
    store.notifications.publish(Notification(id, content, EVERYONE, begun, at, "a test"))
    if state is not begun:
        history = store.notifications.history()
        store.outcomes.finish(id, state, time.time(), Progress(0, {}), history)
    return id


def got(store: Store, id: int, readers: list[SubscriptionId], what: str = "accepted:0") -> None:
    for partition, number in readers:
        store.redis.setbit(part_key(partition, id, what), number, 1)


def hold(store: Store, id: int, readers: list[SubscriptionId], quarter: int) -> None:
    """Hold an alert for readers until a quarter hour, whose wave is over if it has passed."""
    got(store, id, readers, "held")
    for partition, number in readers:
        store.redis.setbit(bitmap_key(partition, "wake", quarter), number, 1)
        if quarter * QUARTER > time.time():
            store.redis.zadd(wakes_key(partition), {str(quarter): quarter})


def frozen(store: Store, audience: Audience) -> set[SubscriptionId]:
    """The readers in the bitmap that is frozen when sending starts."""
    id = store.notifications.new_id()
    sizes = store.recipients.freeze(id, audience, store.partitions, time.time())
    found = set()
    for partition in store.partitions:
        bits = store.redis.get(part_key(partition, id, "audience")) or b""
        found |= {
            SubscriptionId(partition, n)
            for n in range(8 * len(bits))
            if bits[n // 8] & 0x80 >> n % 8
        }
    assert sum(sizes.values()) == len(found)
    return found


def counted_while_full(server: RedisServer, store: Store, audience: Audience) -> int:
    """The count while Redis refuses to write."""
    with server.full():
        return store.audiences.count(audience)
