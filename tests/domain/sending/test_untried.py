"""In the list of another service many browsers are gone, which is no fault of a push service."""

from __future__ import annotations

import time

import pytest

from service.domain.sending.gone import TOO_MANY
from service.model.retention import GONE_KEPT
from service.store.layout.bitmaps import bitmap_key
from service.store.readers.arrivals import Arrival
from tests.support.client import Client
from tests.support.processes.as_workers import send
from tests.support.requested import requested

pytestmark = pytest.mark.redis


def move_in(client: Client, readers: range) -> None:
    key = client.runtime.keys.current
    arrivals = [Arrival(requested(name)._replace(vapid_key=key)) for name in readers]
    client.runtime.subscriptions.take_over(arrivals, untried=True)


def untried(client: Client) -> int:
    store = client.runtime.store
    return sum(store.redis.bitcount(bitmap_key(one, "untried")) for one in store.partitions)


def look_after(client: Client, now: float) -> None:
    for _ in range(20):  # it works for a quarter of a second each time
        client.runtime.gone.look_after(now)


def test_half_of_an_old_list_may_be_gone_and_nobody_is_asked(client: Client) -> None:
    move_in(client, range(600))
    assert untried(client) == 600
    assert send(client.runtime, lambda at: at % 2 == 0) == 300
    look_after(client, time.time())
    assert client.runtime.gone.doubts() == []
    look_after(client, time.time() + GONE_KEPT)
    assert client.runtime.subscriptions.count() == 300, "they are deleted like any other"
    assert untried(client) == 300, "what the others are is known by now"


def test_readers_who_once_got_an_alert_here_are_as_any_other(client: Client) -> None:
    move_in(client, range(600))
    assert send(client.runtime, lambda _at: False) == 0
    assert untried(client) == 0
    assert send(client.runtime, lambda at: at % 3 != 0) == 400
    look_after(client, time.time())
    assert len(client.runtime.gone.doubts()) == 1
    look_after(client, time.time() + GONE_KEPT)
    assert client.runtime.subscriptions.count() == 600


def test_push_service_that_calls_nearly_everybody_gone_is_doubted_all_the_same(
    client: Client,
) -> None:
    move_in(client, range(TOO_MANY + 50))
    send(client.runtime, lambda at: at % 20 != 0)
    look_after(client, time.time())
    assert len(client.runtime.gone.doubts()) == 1


def test_other_readers_count_beside_an_old_list(client: Client) -> None:
    key = client.runtime.keys.current
    for name in range(1000, 1000 + TOO_MANY):
        client.runtime.store.subscriptions.subscribe(requested(name)._replace(vapid_key=key))
    move_in(client, range(100))
    send(client.runtime, lambda _at: False)
    move_in(client, range(100, 300))
    readers = TOO_MANY + 100 + 200
    assert send(client.runtime, lambda at: at < readers - 60) > TOO_MANY + 100
    look_after(client, time.time())
    assert len(client.runtime.gone.doubts()) == 1
