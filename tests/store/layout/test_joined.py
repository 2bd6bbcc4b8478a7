"""When readers subscribed: their numbers say it, and an audience of new readers is exact."""

from __future__ import annotations

import pytest

from service.model.notifications import Audience
from service.store import Store, connect
from service.store.layout.joined import days_key, moved_key, today
from tests.support.audiences import counted_while_full, frozen, opened, subscribed
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_url: str) -> Store:
    """A new store of two partitions."""
    return opened(connect(redis_url))


def test_new_readers_among_many_are_exact_at_each_number(store: Store) -> None:
    """The first number may stand at any bit of a byte."""
    ids = [subscribed(store, number) for number in range(60)]
    for partition in store.partitions:
        here = [id for id in ids if id.partition == partition]
        for first in here:
            store.redis.delete(days_key(partition))
            store.redis.zadd(days_key(partition), {str(first.number - 1): today() - 2})
            found = frozen(store, Audience(everyone=True, new_within_days=3))
            expected = {id for id in here if id.number >= first.number}
            assert {id for id in found if id.partition == partition} == expected


def test_readers_who_moved_in_are_left_out_of_new_readers_at_each_number(
    store: Store, whole_redis: RedisServer
) -> None:
    """A span may begin and end at any bit of a byte, and before the day."""
    key = next(iter(store.partitions))
    ids = [subscribed(store, number) for number in range(100)]
    here = sorted(id.number for id in ids if id.partition == key)
    new = Audience(everyone=True, new_within_days=3)
    for size in range(1, 20):
        store.redis.delete(days_key(key), moved_key(key))
        since, first, later = here[size % 3], here[size // 4], here[22]
        store.redis.zadd(days_key(key), {str(since - 1): today() - 2})
        spans = [(first, first + size), (later, later + size % 11)]
        store.redis.zadd(moved_key(key), {f"{a}-{b}": b for a, b in spans})
        expected = {n for n in here if n >= since and not any(a <= n <= b for a, b in spans)}
        found = frozen(store, new)
        assert {id.number for id in found if id.partition == key} == expected
        assert counted_while_full(whole_redis, store, new) == len(found)
        assert store.audiences.count(new) == len(found)


def last_numbers(store: Store, partition: int) -> list[tuple[bytes, float]]:
    return list(store.redis.zrange(days_key(partition), 0, -1, withscores=True))


def test_where_the_numbers_of_a_day_begin_is_noted_once(store: Store) -> None:
    ids = [subscribed(store, number) for number in range(12)]
    partition = ids[0].partition
    assert last_numbers(store, partition) == [(b"-1", today())]
    # It was noted in these ten seconds, so that it would not be looked at again.
    store.redis.delete(days_key(partition), f"{{{partition}}}:young")
    store.redis.zadd(days_key(partition), {"0": today() - 500, "1": today() - 5})
    more = [subscribed(store, number) for number in range(100, 112)]
    first = min(id.number for id in more if id.partition == partition)
    noted = [(b"1", today() - 5), (f"{first - 1}".encode(), today())]
    assert last_numbers(store, partition) == noted, "and very old ones are dropped"


def test_all_is_known_of_a_new_store_and_from_the_next_day_on_of_an_earlier_one(
    redis_url: str,
) -> None:
    assert opened(connect(redis_url)).joined.known_since() == 0
    store = Store(connect(redis_url), 2)
    subscribed(store, "ada")
    store.redis.delete("{g}:days")  # as an earlier release leaves it
    assert frozen(store, Audience(everyone=True, new_within_days=1)) == set()
    store.convert()
    assert store.joined.known_since() == today() + 1
    store.convert()
    assert store.joined.known_since() == today() + 1
    new = Audience(everyone=True, new_within_days=1)
    assert store.audiences.count(new) == 0, "rather nobody than too many"
    store.redis.set("{g}:days", today() - 1)
    assert store.audiences.count(new) == 1
