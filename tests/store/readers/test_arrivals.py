"""Readers of another service are stored many at once, as if each had subscribed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.model.notifications import Topic
from service.model.retention import DAY, LEFT_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store import Store, connect
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.joined import moved_key
from service.store.layout.records import digest_of
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import NotSubscribed
from tests.support.requested import requested

pytestmark = pytest.mark.redis

TOPICS = (frozenset({"world"}), frozenset({"world", "sport"}), frozenset[str]())
LOCALES = ("lv", "en-GB", None)
# Bitmaps that a reader has from the first moment on.
KINDS = ("live", "topic", "locale", "key", "base", "seen", "gone", "unconfirmed")


def opened(redis_url: str, partitions: int) -> Store:
    store = Store(connect(redis_url), partitions)
    for slug in ("world", "sport"):
        store.topics.add(Topic(slug, slug.title()))
    return store


@pytest.fixture(params=[1, 3], ids=["one partition", "three partitions"])
def store(redis_url: str, request: pytest.FixtureRequest) -> Store:
    return opened(redis_url, request.param)


def arrival(name: int) -> Arrival:
    chosen = {"topics": TOPICS[name % 3], "locale": LOCALES[name % 3]}
    return Arrival(requested(name, **chosen))


def take(store: Store, names: Iterable[int], *, untried: bool = False) -> Counter[str]:
    found = store.arrivals.take([arrival(name) for name in names], untried=untried)
    return Counter(one.value for one in found)


def state(store: Store) -> tuple[dict[str, object], Counter[str]]:
    """Return all that the store says of readers, whatever their numbers are."""
    readers = {one.endpoint.url: one._replace(id=None) for one, _ in store.all_readers.each()}  # type: ignore[arg-type]
    bits = Counter[str]()
    for key in map(bytes.decode, store.redis.scan_iter()):
        kind = key.partition(":")[2]
        if kind.split(":")[0] in KINDS:
            bits[kind] += store.redis.bitcount(key)
    return dict(readers), bits


def test_many_readers_are_stored_as_if_each_had_subscribed(store: Store, redis_url: str) -> None:
    for name in range(700):
        store.subscriptions.subscribe(arrival(name).requested)
    one_by_one = state(store)
    store.redis.flushdb()
    store = opened(redis_url, len(store.partitions))
    assert take(store, range(700)) == {"new": 700}
    assert state(store) == one_by_one
    one = store.subscriptions.find(arrival(4).requested.endpoint)
    assert one is not None and store.subscriptions.first_young(one.partition) > one.number


def test_known_readers_stay_as_they_are_and_those_who_left_stay_away(store: Store) -> None:
    known, _ = store.subscriptions.subscribe(requested(3, topics=frozenset({"sport"})))
    for name in (5, 6):
        left, _ = store.subscriptions.subscribe(arrival(name).requested)
        store.subscriptions.remove(left.id)
    (again, digest) = (arrival(6).requested, digest_of(arrival(6).requested.endpoint.url))
    key = f"{{{store.partitions.of(digest)}}}:left"
    store.redis.zadd(key, {digest: clock.time() - 1})  # it was so long ago
    assert take(store, [3, 4, 4, 5, 6]) == {"known": 2, "new": 2, "left": 1}
    assert store.subscriptions.get(known.id).topics == {"sport"}
    assert store.subscriptions.find(again.endpoint) is not None
    assert store.redis.zscore(key, digest) is None
    assert take(store, range(3, 7)) == {"known": 3, "left": 1}
    assert store.subscriptions.count() == 3
    assert LEFT_KEPT > 0


def test_several_imports_and_readers_at_once_store_each_reader_once(
    store: Store, redis_url: str
) -> None:
    def one(first: int) -> Counter[str]:
        other = Store(connect(redis_url))
        for name in range(first, first + 400, 40):
            other.subscriptions.subscribe(arrival(name).requested)
        return take(other, range(first, first + 500))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(0, 1200, 300)))
    readers, bits = state(store)
    assert len(readers) == bits["live"] == store.subscriptions.count() == 1400
    made = sum(int(store.redis.get(f"{{{one}}}:made") or 0) for one in store.partitions)
    assert made == 1400, "no number is left out, and none is given twice"


def test_readers_keep_the_ids_that_they_bring_if_these_are_free(store: Store) -> None:
    arrivals = [arrival(name) for name in range(40)]
    parts = [store.partitions.of(digest_of(one.requested.endpoint.url)) for one in arrivals]
    for partition in store.partitions:
        store.redis.set(f"{{{partition}}}:made", 10_000)
    brought = [
        one._replace(id=SubscriptionId(partition, 9_000 - 3 * at), created=19_000, seen=19_500)
        for at, (one, partition) in enumerate(zip(arrivals, parts, strict=True))
    ]
    brought[7] = brought[7]._replace(id=SubscriptionId(parts[7], 10_000))  # never given out
    brought[8] = brought[8]._replace(id=SubscriptionId(77, 5))
    brought.append(arrival(41)._replace(id=brought[0].id))
    store.arrivals.take(brought, untried=False)
    for at, one in enumerate(brought):
        found = store.subscriptions.find(one.requested.endpoint)
        kept = at not in (7, 8) and found == one.id
        assert kept or (found is not None and found.number >= 10_000), at
        assert store.subscriptions.get(found).created == 19_000 or at == 40  # type: ignore[arg-type]
    assert store.subscriptions.count() == 41
    with pytest.raises(NotSubscribed):
        store.subscriptions.get(SubscriptionId(parts[0], 8_999))


def test_readers_who_subscribed_elsewhere_earlier_are_spans_of_numbers(store: Store) -> None:
    day = int(clock.time() // DAY)
    known = [arrival(name)._replace(created=day - 1 - name % 9) for name in range(0, 400, 2)]
    unknown = [arrival(name)._replace(created=day * (name % 4 == 1)) for name in range(1, 400, 2)]
    mixed = [one for pair in zip(known, unknown, strict=True) for one in pair]
    store.arrivals.take(mixed[:200], untried=True)
    store.arrivals.take(mixed[200:], untried=True)
    spans = store.joined.moved()
    for one in known + unknown:
        id = store.subscriptions.find(one.requested.endpoint)
        assert id is not None
        moved = any(first <= id.number <= last for first, last in spans[id.partition])
        assert moved == (one in known)
    assert sum(map(len, spans.values())) <= 2 * len(spans), "one span for each time"
    more = [arrival(name)._replace(created=day - 1) for name in range(1000, 1300)]
    store.arrivals.take(more[:100], untried=True)
    before = store.joined.moved()
    store.arrivals.take(more[100:], untried=True)
    assert {one: len(some) for one, some in store.joined.moved().items()} == {
        one: len(some) for one, some in before.items()
    }, "an import that goes on makes its spans longer"
    assert all(store.redis.ttl(moved_key(one)) > 0 for one in store.partitions)


def test_index_entry_of_another_endpoint_keeps_nobody_out(store: Store) -> None:
    digest = digest_of(arrival(1).requested.endpoint.url)
    index = store.partitions.index_key(store.partitions.of(digest), digest)
    store.redis.hset(index, digest[2:], 4)
    assert take(store, [1, 1]) == {"new": 1, "known": 1}


def test_readers_taken_over_are_untried_if_nobody_knows_whether_they_are_there(
    store: Store,
) -> None:
    take(store, range(10))
    take(store, range(5, 30), untried=True)
    keys = [bitmap_key(partition, "untried") for partition in store.partitions]
    assert sum(store.redis.bitcount(key) for key in keys) == 20
    assert all(store.redis.ttl(key) > 0 for key in keys if store.redis.exists(key))
