"""The store's subscriptions: known endpoints, refresh, leaving, and their audiences."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import Audience, Topic
from service.model.subscriptions import Subscription, SubscriptionId, SubscriptionRequest
from service.store import Store, connect
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.names import MOST_UNPROVEN
from service.store.layout.records import digest_of, records_key
from service.store.readers.subscriptions import HasLeft, KnownWithOtherKeys, NotSubscribed
from tests.support.redis_servers.server import RedisServer
from tests.support.requested import KEY, requested

pytestmark = pytest.mark.redis


@pytest.fixture(params=[1, 3], ids=["one partition", "three partitions"])
def store(redis_url: str, request: pytest.FixtureRequest) -> Store:
    store = Store(connect(redis_url), request.param)
    for slug in ("world", "sport"):
        store.topics.add(Topic(slug, slug.title()))
    return store


def keys_of(store: Store) -> set[bytes]:
    return set(store.redis.keys())


def test_known_endpoint_with_the_same_keys_keeps_its_id_and_preferences(
    store: Store,
) -> None:
    first, new = store.subscriptions.subscribe(
        requested("a", topics=frozenset({"world"}), zone="Asia/Aden")
    )
    again, new_again = store.subscriptions.subscribe(requested("a", locale="lv"))
    assert (new, new_again) == (True, False)
    assert again.id == first.id
    assert (again.topics, again.zone, again.locale) == (frozenset({"world"}), "Asia/Aden", "lv")
    assert store.subscriptions.count() == 1


def test_known_endpoint_keeps_the_vapid_key_it_was_made_with(store: Store) -> None:
    first, _ = store.subscriptions.subscribe(requested("a"))
    newer = requested("a")._replace(vapid_key="the next VAPID key")
    assert store.subscriptions.subscribe(newer)[0].vapid_key == first.vapid_key == KEY
    assert store.subscriptions.count_by_vapid_key() == {KEY: 1, "the next VAPID key": 0}
    anew = requested("a", keys=1)._replace(vapid_key="the next VAPID key")
    after, _ = store.subscriptions.subscribe(anew, is_owner=lambda _id, _auth: True)
    assert after.vapid_key == "the next VAPID key"
    assert store.subscriptions.count_by_vapid_key() == {KEY: 0, "the next VAPID key": 1}


def test_only_its_owner_can_give_a_known_endpoint_other_keys(store: Store) -> None:
    before, _ = store.subscriptions.subscribe(requested("a", topics=frozenset({"world"})))
    with pytest.raises(KnownWithOtherKeys):
        store.subscriptions.subscribe(requested("a", keys=1, topics=frozenset()))
    assert store.subscriptions.get(before.id) == before
    after, new = store.subscriptions.subscribe(
        requested("a", keys=1), is_owner=lambda id, auth: (id, auth) == (before.id, before.auth)
    )
    assert not new
    assert after == before._replace(p256dh=after.p256dh, auth=after.auth)
    assert after.auth == requested("a", keys=1).auth


def test_refresh_never_creates_a_subscription(store: Store) -> None:
    with pytest.raises(NotSubscribed):
        store.subscriptions.subscribe(requested("a"), refresh=True)
    reader, _ = store.subscriptions.subscribe(requested("a"))
    assert store.subscriptions.subscribe(requested("a"), refresh=True)[0].id == reader.id
    store.subscriptions.remove(reader.id)
    before = keys_of(store)
    with pytest.raises(HasLeft):
        store.subscriptions.subscribe(requested("a"), refresh=True)
    assert keys_of(store) == before
    assert store.subscriptions.count() == 0


def test_reader_who_left_may_subscribe_again_and_gets_a_new_id(store: Store) -> None:
    first, _ = store.subscriptions.subscribe(requested("a", topics=frozenset({"world"})))
    store.subscriptions.remove(first.id)
    second, new = store.subscriptions.subscribe(requested("a"))
    assert new
    assert second.id != first.id
    assert second.topics == frozenset()
    with pytest.raises(NotSubscribed):
        store.subscriptions.get(first.id)


def test_another_endpoint_takes_over_the_preferences_and_ends_the_old_one(store: Store) -> None:
    for name in range(5):
        before, _ = store.subscriptions.subscribe(
            requested(f"old{name}", topics=frozenset({"sport"}), locale="fr", zone="Europe/Paris")
        )
        after = store.subscriptions.change(before.id, requested(f"new{name}", topics=None))
        assert (after.topics, after.locale, after.zone) == (
            before.topics,
            before.locale,
            before.zone,
        )
        with pytest.raises(NotSubscribed):
            store.subscriptions.get(before.id)
    assert store.subscriptions.count() == 5
    # The old endpoint is unknown, not that of a reader who left, so that pages may subscribe again.
    with pytest.raises(NotSubscribed):
        store.subscriptions.subscribe(requested("old0"), refresh=True)


def test_reader_counts_as_young_for_minutes(store: Store) -> None:
    start = time.monotonic()
    readers = [store.subscriptions.subscribe(requested(name))[0].id for name in range(30)]
    for partition in store.partitions:
        key = f"{{{partition}}}:young"
        numbers = [id.number for id in readers if id.partition == partition]
        assert store.subscriptions.first_young(partition) == numbers[0]
        # Not a row for each reader, but one in ten seconds.
        assert store.redis.zcard(key) <= (time.monotonic() - start) / 10 + 2
        for mark, at in store.redis.zrange(key, 0, -1, withscores=True):
            store.redis.zadd(key, {mark: at - 600})
        assert store.subscriptions.first_young(partition) == numbers[-1] + 1
    later = store.subscriptions.subscribe(requested("later"))[0].id
    assert store.subscriptions.first_young(later.partition) == later.number


@pytest.mark.parametrize("how", ["another endpoint", "another VAPID key", "back after leaving"])
def test_endpoint_that_is_new_to_a_known_reader_counts_as_young(store: Store, how: str) -> None:
    """A push service may call it gone by mistake, as it may that of a new reader."""
    before, _ = store.subscriptions.subscribe(requested("a"))
    for partition in store.partitions:
        store.redis.delete(f"{{{partition}}}:young")  # ten minutes later
    assert before.id.number < store.subscriptions.first_young(before.id.partition)
    if how == "another endpoint":
        after = store.subscriptions.change(before.id, requested("b"))
    elif how == "another VAPID key":  # the browser has to subscribe anew, which renews the endpoint
        moved = requested("c", keys=1)._replace(vapid_key="the public half of the next key")
        after = store.subscriptions.change(before.id, moved)
    else:
        store.subscriptions.remove(before.id)
        after, _ = store.subscriptions.subscribe(requested("a"))
    assert after.id.number >= store.subscriptions.first_young(after.id.partition)


def test_reader_who_leaves_while_the_endpoint_changes_has_left(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = store.subscriptions.subscribe(requested("here"))
    subscribe = store.subscriptions.subscribe

    def too_late(moved: SubscriptionRequest) -> tuple[Subscription, bool]:
        store.subscriptions.remove(before.id)
        return subscribe(moved)

    monkeypatch.setattr(store.subscriptions, "subscribe", too_late)
    with pytest.raises(NotSubscribed):
        store.subscriptions.change(before.id, requested("there"))
    assert store.subscriptions.count() == 0
    with pytest.raises(HasLeft):
        subscribe(requested("there"), refresh=True)


def test_endpoint_that_changes_twice_at_once_stays_subscribed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = store.subscriptions.subscribe(requested("here"))
    subscribe = store.subscriptions.subscribe

    def second(moved: SubscriptionRequest) -> tuple[Subscription, bool]:
        monkeypatch.undo()
        store.subscriptions.change(before.id, requested("there"))
        return subscribe(moved)

    monkeypatch.setattr(store.subscriptions, "subscribe", second)
    after = store.subscriptions.change(before.id, requested("there"))
    assert store.subscriptions.get(after.id) == after
    assert store.subscriptions.count() == 1


def test_index_entry_counts_only_if_its_record_has_that_endpoint(store: Store) -> None:
    subscriptions = store.subscriptions
    reader, _ = subscriptions.subscribe(requested("a"))
    # As after a collision of digests: the entry of b leads to the record of a.
    digest = digest_of(requested("b").endpoint.url)
    partitions = store.partitions
    key = partitions.index_key(partitions.of(digest), digest)
    store.redis.hset(key, digest[2:], reader.id.number)
    other, new = subscriptions.subscribe(requested("b"))
    assert new
    assert other.id != reader.id
    assert subscriptions.subscribe(requested("a"))[0].id == reader.id


def test_processes_that_subscribe_at_once_never_share_an_id(store: Store, redis_url: str) -> None:
    """One partition: ids cross the edge of a bucket. Each process asks for every endpoint."""
    clients = [connect(redis_url) for _ in range(4)]
    names = [f"reader{number}" for number in range(300)]

    def ask(n: int) -> dict[str, tuple[SubscriptionId, bool]]:
        subscriptions = Store(clients[n]).subscriptions
        found = {}
        for name in names if n % 2 else reversed(names):
            reader, new = subscriptions.subscribe(requested(name))
            found[name] = (reader.id, new)
        return found

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, range(4)))
    ids = {name: id for name, (id, _) in results[0].items()}
    assert len(set(ids.values())) == len(names)
    for name, id in ids.items():
        assert [result[name][0] for result in results] == [id] * 4
        assert sum(result[name][1] for result in results) == 1
        assert store.subscriptions.get(id).endpoint == requested(name).endpoint
    for partition in store.partitions:
        numbers = sorted(id.number for id in ids.values() if id.partition == partition)
        assert numbers == list(range(len(numbers)))  # dense: no number was lost
    assert store.subscriptions.count() == len(names)
    for client in clients:
        client.close()


def test_new_topic_counts_at_once_and_a_removed_one_for_a_second_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = store.topics, Store(store.redis).topics
    chosen = {"world", "culture"}
    assert not here.has(chosen)
    assert not elsewhere.has(chosen)
    here.add(Topic("culture", "Culture"))
    assert here.has(chosen)
    assert elsewhere.has(chosen)
    here.remove("culture")
    assert not here.has(chosen)
    now = time.monotonic()
    monkeypatch.setattr("service.store.readers.topics.time.monotonic", lambda: now + 1.1)
    assert not elsewhere.has(chosen)


def test_names_made_up_by_strangers_are_limited_at_no_cost_to_readers(store: Store) -> None:
    """Each name costs a bitmap as long as the highest id: 125 KB with a million readers."""
    redis, names = store.redis, store.names
    parse = EndpointPolicy(
        ("https://push.example", "https://*.up.co.uk", "https://*.down.co.uk")
    ).parse
    for n in range(MOST_UNPROVEN):
        assert names.bases.of(parse(f"https://a{n}.up.co.uk/x"))
    redis.hset("{g}:names:locales", mapping={f"en-x-{n}": n + 1 for n in range(500)})
    assert not names.bases.of(parse("https://another.up.co.uk/x"))
    assert names.bases.of(parse("https://a1.down.co.uk/x")), "each wildcard has room of its own"
    assert names.bases.of(parse("https://a99.up.co.uk/x"))
    assert names.bases.of(parse("https://a1.notify.windows.com/w/?token=x"))
    assert names.bases.of(parse("https://web.push.apple.com/x"))
    assert names.bases.of(parse("https://updates.push.services.mozilla.com/wpush/v2/x"))
    assert names.bases.of(parse("https://fcm.googleapis.com/fcm/send/x"))
    assert names.bases.of(parse("https://push.example/x"))
    assert not names.locale("enx-LV")
    german, _ = store.subscriptions.subscribe(requested("german", locale="de-AT"))
    assert german.locale == "de"
    in_german = Audience(everyone=True, locales=("de",))
    assert store.audiences.count(in_german) == 1


def test_audience_in_many_locales_is_exact(store: Store) -> None:
    for n in range(50):
        store.subscriptions.subscribe(requested(n, locale=f"en-x-{n}"))
    store.subscriptions.subscribe(requested("other", locale="lv"))
    assert store.audiences.count(Audience(everyone=True, locales=("en",))) == 50
    assert store.audiences.count(Audience(everyone=True, locales=("en", "lv"))) == 51


def test_record_of_googles_length_stays_within_its_size_class(store: Store) -> None:
    endpoint = "x" * 152
    reader, _ = store.subscriptions.subscribe(requested(endpoint))
    packed = store.redis.hget(records_key(reader.id), "0")
    assert packed is not None
    assert len(packed) == 249


class Audiences(RuleBasedStateMachine):
    """After any sequence of events, each audience counts exactly its readers."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.redis = connect(self.server.url)
        self.redis.flushdb()
        self.store = Store(self.redis, 2)
        for slug in ("world", "sport", "culture"):
            self.store.topics.add(Topic(slug, slug.title()))
        self.readers: dict[str, tuple[SubscriptionId, frozenset[str], str]] = {}
        self.gone: set[str] = set()

    def teardown(self) -> None:
        self.redis.close()

    names = st.sampled_from("abcdefghij")
    topics = st.frozensets(st.sampled_from(["world", "sport", "culture"]))
    locales = st.sampled_from(["en-GB", "en-US", "fr", "fr-CA", ""])

    @rule(name=names, topics=topics, locale=locales)
    def subscribe(self, name: str, topics: frozenset[str], locale: str) -> None:
        reader, new = self.store.subscriptions.subscribe(
            requested(name, topics=topics, locale=locale)
        )
        assert new == (name not in self.readers)
        self.readers[name] = (reader.id, topics, locale)
        self.gone.discard(name)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        self.store.subscriptions.remove(self.readers.pop(name)[0])
        self.gone.discard(name)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), topics=topics)
    def change_topics(self, data: st.DataObject, topics: frozenset[str]) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        id, _, locale = self.readers[name]
        self.store.subscriptions.change(id, requested(name, topics=topics))
        self.readers[name] = (id, topics, locale)
        self.gone.discard(name)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def push_service_says_gone(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.readers)))
        partition, number = self.readers[name][0]
        key = bitmap_key(partition, "gone")
        self.redis.setbit(key, number, 1)
        self.gone.add(name)

    @rule(
        topics=topics, exclude=topics, locales=st.frozensets(st.sampled_from(["en", "fr-CA", "lv"]))
    )
    def count(
        self, topics: frozenset[str], exclude: frozenset[str], locales: frozenset[str]
    ) -> None:
        audience = Audience(not topics, tuple(topics), tuple(exclude), tuple(locales))
        there = [row for name, row in self.readers.items() if name not in self.gone]
        expected = sum(
            bool(not topics or followed & topics)
            and not followed & exclude
            and (not locales or any(f"{locale}-".startswith(f"{x}-") for x in locales))
            for _, followed, locale in there
        )
        assert self.store.audiences.count(audience) == expected

    @invariant()
    def every_reader_has_what_they_chose(self) -> None:
        assert self.store.subscriptions.count() == len(self.readers)
        for name, (id, topics, locale) in self.readers.items():
            reader = self.store.subscriptions.get(id)
            assert (reader.topics, reader.locale) == (topics, locale)
            only = self.store.audiences.count(Audience(subscription=id))
            assert only == (name not in self.gone)


def test_every_audience_is_exact_after_any_sequence_of_events(redis_server: RedisServer) -> None:
    Audiences.server = redis_server
    run_state_machine_as_test(
        Audiences,
        settings=settings(
            max_examples=max(10, settings.default.max_examples // 8),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
