"""Who clicked an alert: kept for a week, cleared by leaving, and exact in an audience."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import RedisError

from service.model.notifications import Audience
from service.model.retention import CLICKED_KEPT
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.sending.batches import part_key
from tests.support.audiences import alert, frozen, got, opened, subscribed
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.users import as_users
from tests.support.requested import requested

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_url: str) -> Store:
    """A new store of two partitions."""
    return opened(connect(redis_url))


@pytest.fixture
def clicked(store: Store) -> Iterator[tuple[Store, SubscriptionId, int]]:
    """A store with an alert that a reader clicked."""
    reader, one = subscribed(store, "ada"), alert(store)
    store.clicks.mark(one, reader)
    assert store.clicks.of(reader) == [one]
    yield store, reader, one


def bits(store: Store, reader: SubscriptionId, id: int) -> int:
    return int(store.redis.bitcount(part_key(reader.partition, id, "clicked")))


def test_clicks_end_a_week_after_the_first_one(
    clicked: tuple[Store, SubscriptionId, int],
) -> None:
    store, reader, one = clicked
    key = part_key(reader.partition, one, "clicked")
    assert 0 < store.redis.ttl(key) <= CLICKED_KEPT
    store.redis.expire(key, 500)
    store.clicks.mark(one, reader)
    assert store.redis.ttl(key) <= 500, "a later click does not prolong it"


def test_leaving_clears_every_click(clicked: tuple[Store, SubscriptionId, int]) -> None:
    store, reader, one = clicked
    another, other = subscribed(store, "ben"), alert(store)
    for id in (one, other):
        store.clicks.mark(id, another)
    store.clicks.mark(other, reader)
    store.subscriptions.remove(reader)
    assert store.clicks.of(reader) == []
    assert store.clicks.of(another) == [one, other]
    store.clicks.mark(one, reader)
    assert store.clicks.of(reader) == [], "who has left clicks nothing"
    assert store.subscriptions.remove_all([another]) == 1
    assert bits(store, another, one) == bits(store, another, other) == 0


def test_the_first_click_on_an_alert_while_its_reader_leaves_is_cleared_too(
    clicked: tuple[Store, SubscriptionId, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reader, one = clicked
    late = alert(store)
    slugs = store.stories.slugs
    calls: list[int] = []

    def meanwhile() -> Any:
        if not calls:
            store.clicks.mark(late, reader)
        calls.append(1)
        return slugs()

    monkeypatch.setattr(store.stories, "slugs", meanwhile)
    store.subscriptions.remove(reader)
    assert len(calls) == 2, "it looked again"
    assert bits(store, reader, one) == bits(store, reader, late) == 0


def test_a_reader_who_wants_nothing_counted_is_forgotten_as_a_clicker(
    clicked: tuple[Store, SubscriptionId, int],
) -> None:
    store, reader, one = clicked
    store.subscriptions.change(reader, requested("ada", chosen={"daily_limit": 3}))
    assert store.clicks.of(reader) == [one]
    store.subscriptions.change(reader, requested("ada", chosen={"receipts": False}))
    assert store.clicks.of(reader) == []


def test_all_clicks_are_forgotten_at_once(clicked: tuple[Store, SubscriptionId, int]) -> None:
    store, reader, _ = clicked
    store.clicks.forget()
    assert store.clicks.of(reader) == []
    assert not [key for key in store.redis.scan_iter() if b"click" in key]


def test_a_full_redis_takes_no_click_and_counts_no_browsers_that_got_an_alert(
    clicked: tuple[Store, SubscriptionId, int], whole_redis: RedisServer
) -> None:
    store, reader, one = clicked
    other = alert(store)
    got(store, one, [reader])
    shown = store.notifications.get(one)
    assert shown
    with whole_redis.full():
        with pytest.raises(RedisError):
            store.clicks.mark(other, reader)
        assert store.recipients.accepted_in(shown, [[("live", "")]], []) == []
    assert store.clicks.of(reader) == [one]
    assert store.recipients.accepted_in(shown, [[("live", "")]], []) == [1]


def test_an_alert_that_began_before_clicks_were_kept_selects_nobody(
    clicked: tuple[Store, SubscriptionId, int], redis_url: str
) -> None:
    _, reader, one = clicked
    address = as_users({"REDIS_URL": redis_url}, "worker")["REDIS_URL"]
    store, audience = Store(connect(address)), Audience(everyone=True, clicked=(one,))
    assert frozen(store, audience) == {reader}
    for since, is_known in ((time.time() - 60, True), (time.time() + 1, False), (None, False)):
        store.clicks.forget()
        store.clicks.mark(one, reader)
        if since is not None:
            store.redis.set("{g}:clicks:since", since)
        assert store.audiences.past(audience, time.time()).known == is_known
        assert frozen(store, audience) == ({reader} if is_known else set())


def test_a_click_on_a_correction_is_one_on_its_alert(store: Store) -> None:
    readers = [subscribed(store, number) for number in range(3)]
    one, correction = alert(store), alert(store)
    store.redis.hset(f"{{g}}:n:{one}", "corrections", f"[{correction}]")
    store.clicks.mark(one, readers[0])
    store.clicks.mark(correction, readers[1])
    assert frozen(store, Audience(everyone=True, clicked=(one,))) == {*readers[:2]}
