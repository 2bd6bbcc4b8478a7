"""Partitions: even on every cluster, remembered for ever, and those of earlier stores kept.

`stores_of_version_1.json` has every key of two stores, of one and of three partitions. The code of
commit c31c941 wrote them, before partitions had numbers of their own: two topics, twelve readers
without the last one, who has left, an alert that was sent, and one that lacks a reader in each
partition.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import ResponseError

from service.config import Config, ConfigError
from service.domain.alerts.corrections import Corrections
from service.domain.alerts.gate import Gate, TwoPersonRule
from service.domain.alerts.publishing import Publishing
from service.domain.alerts.stops import Stops
from service.domain.sending.job_queue import JobQueue
from service.domain.sending.planning import Planning
from service.local import pretend_readers
from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import Audience, Content, Outcome
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from service.store import LayoutError, Store, connect
from service.store.alerts.outcomes import Result
from service.store.layout.partitions import VERSION, Partitions, spread
from service.store.layout.records import digest_of
from service.store.readers.subscriptions import HasLeft

OLD: dict[str, Any] = json.loads(
    Path(__file__).with_name("stores_of_version_1.json").read_text(encoding="utf-8")
)
EVERYONE = Audience(everyone=True)
LEASE_MS = 60_000


def last_slots(masters: int) -> list[int]:
    """The last slot of each master, as `redis-cli --cluster create` cuts them."""
    return [round((n + 1) * 16_384 / masters - 1) for n in range(masters - 1)] + [16_383]


def on_each_master(partitions: Partitions, masters: int) -> list[int]:
    """How many partitions each master of a cluster has."""
    last = last_slots(masters)
    slots = [key_slot(f"{{{number}}}:live".encode()) for number in partitions]
    found = Counter(next(n for n in range(masters) if slot <= last[n]) for slot in slots)
    return [found[n] for n in range(masters)]


def test_twelve_partitions_are_even_on_two_three_four_six_and_twelve_masters() -> None:
    assert spread(12).numbers == (10, 3, 43, 11, 2, 42, 12, 1, 41, 13, 0, 40)
    for masters in (2, 3, 4, 6, 12):
        assert on_each_master(spread(12), masters) == [12 // masters] * masters


@pytest.mark.parametrize("count", [2, 3, 4, 6, 24, 36])
def test_other_numbers_of_partitions_are_even_too(count: int) -> None:
    assert on_each_master(spread(count), count) == [1] * count


def test_numbers_are_different_and_fit_into_a_byte() -> None:
    for count in (*range(1, 33), *range(34, 255, 20), 255):
        numbers = spread(count).numbers
        assert len({number for number in numbers if 0 <= number <= 255}) == count


def test_endpoints_are_spread_evenly_over_partitions_and_index_buckets() -> None:
    partitions = spread(12)
    digests = [digest_of(f"https://push.example/{number}") for number in range(60_000)]
    found = Counter(partitions.of(digest) for digest in digests)
    assert found.keys() == set(partitions)
    # Five standard deviations of 5,000.
    assert max(abs(count - 5000) for count in found.values()) < 340
    buckets = {partitions.index_key(10, digest) for digest in digests}
    assert 8100 < len(buckets) <= 8192


@pytest.mark.redis
def test_new_store_remembers_its_partitions(redis_url: str) -> None:
    made = Store(connect(redis_url), 4)
    assert (made.partitions, made.partitions.version) == (spread(4), VERSION)
    assert Store(connect(redis_url)).partitions == spread(4)
    assert Store(connect(redis_url), 4).partitions == spread(4)
    with pytest.raises(LayoutError, match="STORE_PARTITIONS: the store was made with 4"):
        Store(connect(redis_url), 12)


def test_store_keeps_its_numbers_even_if_new_stores_get_others(redis_url: str) -> None:
    made = Store(connect(redis_url), 3)
    made.redis.hset("{g}:layout", "numbers", "7 8 9")
    assert [*Store(connect(redis_url)).partitions] == [7, 8, 9]


def test_store_of_a_later_release_is_refused(redis_url: str) -> None:
    later = {"version": VERSION + 1, "numbers": "in another form"}
    Store(connect(redis_url)).redis.hset("{g}:layout", mapping=later)
    with pytest.raises(LayoutError, match=rf"version {VERSION + 1}.*reads up to {VERSION}"):
        Store(connect(redis_url))


# A store of version 1 -----------------------------------------------------------------------------


def write(redis: Redis, keys: dict[str, Any]) -> None:
    """Write these keys as the earlier release left them."""
    for key, (kind, value) in keys.items():
        if kind == "string":
            redis.set(key, value.encode("latin-1"))
        elif kind == "hash":
            redis.hset(
                key, mapping={f.encode("latin-1"): value[f].encode("latin-1") for f in value}
            )
        elif kind == "set":
            redis.sadd(key, *(member.encode("latin-1") for member in value))
        else:
            redis.zadd(key, {member.encode("latin-1"): value[member] for member in value})


def environment(redis_url: str, old: dict[str, Any], **more: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": old["secret"],
        "VAPID_PRIVATE_KEY": old["vapid"],
        **more,
    }


def requested(runtime: Runtime, number: int) -> SubscriptionRequest:
    endpoint = "https://fcm.googleapis.com" + pretend_readers.path(number)
    keys = pretend_readers.keys(number)
    return SubscriptionRequest(EndpointPolicy().parse(endpoint), *keys, runtime.keys.current)


@pytest.fixture(params=OLD, ids=["one partition", "three partitions"])
def old(redis_url: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    with Redis.from_url(redis_url) as redis:
        write(redis, OLD[request.param]["keys"])
    return {**OLD[request.param], "partitions": int(request.param)}


def test_earlier_store_keeps_its_partitions_and_only_another_number_stops_the_start(
    redis_url: str, old: dict[str, Any]
) -> None:
    count = old["partitions"]
    for more in ({}, {"STORE_PARTITIONS": str(count)}):
        runtime = Runtime.open(Config.read(environment(redis_url, old, **more)))
        assert runtime.store.partitions == Partitions(1, tuple(range(count)))
    another = environment(redis_url, old, STORE_PARTITIONS="12")
    with pytest.raises(ConfigError, match=f"STORE_PARTITIONS: the store was made with {count} "):
        Runtime.open(Config.read(another))


def test_readers_of_an_earlier_store_are_known_and_new_ones_join_them(
    redis_url: str, old: dict[str, Any]
) -> None:
    runtime = Runtime.open(Config.read(environment(redis_url, old)))
    subscriptions = runtime.store.subscriptions
    assert subscriptions.count() == 11
    for number, id in enumerate(old["ids"]):
        known, new = subscriptions.subscribe(requested(runtime, number))
        assert (str(known.id), new) == (id, False)
        assert known.topics == {"world" if number % 2 else "sport"}
    with pytest.raises(HasLeft):
        subscriptions.subscribe(requested(runtime, 11), refresh=True)
    assert runtime.publishing.reach(Audience(topics=("world",), exclude=("sport",))) == 5

    for number in range(12, 60):
        one, new = subscriptions.subscribe(requested(runtime, number))
        assert new
        assert one.id.partition in range(old["partitions"])
    assert runtime.publishing.reach(EVERYONE) == 11 + 48
    subscriptions.remove(SubscriptionId.parse(old["ids"][0]))
    assert runtime.publishing.reach(EVERYONE) == 10 + 48


def test_alert_that_an_earlier_release_half_sent_goes_on_and_ends(
    redis_url: str, old: dict[str, Any]
) -> None:
    store = Runtime.open(Config.read(environment(redis_url, old))).store
    assert store.recipients.reached(old["sent"], 1) == 11
    id = old["half_sent"]
    before = store.outcomes.progress(id)
    assert (before.recipients, before.done) == (11, 11 - old["partitions"])
    for partition in store.partitions:
        claim = store.batches.claim(id, partition, "worker ", LEASE_MS)
        assert claim is not None
        assert len(claim.pending) == 1
        results = {Result(Outcome.ACCEPTED, "Google", 1, revision=0): claim.pending}
        assert store.outcomes.record(id, claim.batch, "worker ", LEASE_MS, results)
        assert store.batches.release(id, claim.batch, "worker ", wait_ms=None)
    assert store.batches.close(id, store.partitions, None) == {*store.partitions}
    after = store.outcomes.progress(id)
    assert (after.recipients, after.of(Outcome.ACCEPTED)) == (11, 11)


# All partitions together --------------------------------------------------------------------------

ASKS: dict[str, Callable[[Store], object]] = {
    "count": lambda store: store.audiences.count(Audience(topics=("world",))),
    "draw": lambda store: store.audiences.draw(EVERYONE, 5),
    "looks": lambda store: store.batches.looks(1),
    "no claim": lambda store: store.batches.claim_any(1, "worker ", LEASE_MS),
    "lay out": lambda store: store.batches.lay_out(1, {p: [] for p in store.partitions}),
    "put off": lambda store: store.batches.put_off(1, late_ms=1, within_ms=1),
    "try now": lambda store: store.batches.try_now(1, [1]),
    "close": lambda store: store.batches.close(1, store.partitions, None),
    "freeze": lambda store: store.recipients.freeze(1, EVERYONE, store.partitions, 1.0),
    "freeze reached": lambda store: store.recipients.freeze_reached(2, 1, 1, store.partitions),
    "undone": lambda store: store.recipients.undone(1),
    "reached": lambda store: store.recipients.reached(1, 1),
    "waiting": lambda store: store.recipients.waiting(1, [1]),
    "progress": lambda store: store.outcomes.progress(1),
    "forget outcomes": lambda store: store.outcomes.forget(1),
    "held until": lambda store: store.held_alerts.due(1),
    "held for": lambda store: store.held_alerts.waiting(1, [1]),
    "wake again": lambda store: store.held_alerts.wake_again(1),
    "forget quarter": lambda store: store.held_alerts.forget(1),
    "gone": lambda store: store.gone.due(1.0, 1),
    "gone or doubted": lambda store: store.gone.waiting(),
    "responses": lambda store: store.gone.responses(1.0),
    "subscribed": lambda store: store.subscriptions.count(),
    "by key": lambda store: store.subscriptions.count_by_vapid_key(),
    "records": lambda store: [*store.records.of(SubscriptionId(p, 0) for p in store.partitions)],
    "forget topic": lambda store: store.topics.forget_followers("world"),
    "forget left": lambda store: store.departures.drop_left(1.0),
    "had": lambda store: store.daily_counts.had({(p, 20261128): [0] for p in store.partitions}),
    "followers": lambda store: store.stories.followers(["quake"]),
    "close story": lambda store: store.stories.close("quake"),
    "keys ready": lambda store: store.prepared_keys.ready(),
    "drop host": lambda store: store.host_readers.drop(1),
    "in vain": lambda store: store.host_readers.asked_in_vain(1),
    "unseen": lambda store: store.host_readers.unseen(1, 1),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_twelve_partitions_are_asked_in_as_many_round_trips_as_one(
    ask: Callable[[Store], object], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trips(partitions: int) -> int:
        with connect(redis_url) as redis:
            redis.flushdb()
            store = Store(redis, partitions)
            ask(store)  # the first time it opens a connection, and Redis learns the script
            sent = []
            send = AbstractConnection.send_packed_command
            with monkeypatch.context() as patch:
                patch.setattr(
                    AbstractConnection,
                    "send_packed_command",
                    lambda *args, **options: (sent.append(1), send(*args, **options)),
                )
                ask(store)
            redis.connection_pool.disconnect()
            return len(sent)

    assert 1 <= trips(12) == trips(1) <= 2


@pytest.fixture
def planned(redis_url: str) -> Store:
    """A store of twelve partitions with an alert to 600 readers, whose batches are due."""
    store = Store(connect(redis_url), 12)
    readers = {"origins": ["https://127.0.0.1:9"], "vapid_key": "k", "topics": ()}
    list(pretend_readers.seed(store, 600, **readers))
    planning = Planning(store, JobQueue(store.redis))
    gate = Gate(Stops(store), TwoPersonRule())
    text = Content("Late news", "https://paper.example/")
    id = (
        Publishing(store, planning, gate, Corrections(store, planning, gate))
        .publish(text, EVERYONE, by="a test")
        .id
    )
    planning.plan(store.notifications.get(id))
    return store


def test_script_that_redis_has_forgotten_is_loaded_again(planned: Store) -> None:
    assert planned.audiences.count(EVERYONE) == 600
    planned.redis.script_flush()
    assert planned.audiences.count(EVERYONE) == 600


def test_error_in_one_partition_is_not_taken_for_an_answer(planned: Store) -> None:
    broken = [*planned.partitions][3]
    planned.redis.delete(f"{{{broken}}}:n:1:batches")
    planned.redis.set(f"{{{broken}}}:n:1:batches", "no sorted set")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        planned.batches.looks(1)


@pytest.mark.redis
def test_claims_in_any_partition_lease_each_batch_once(planned: Store) -> None:
    claims = [planned.batches.claim_any(1, f"worker{n} ", LEASE_MS) for n in range(12)]
    assert planned.batches.claim_any(1, "late ", LEASE_MS) is None
    found = [claim for claim in claims if claim]
    assert sorted(claim.batch.partition for claim in found) == sorted(planned.partitions)
    assert sum(len(claim.pending) for claim in found) == 600
    batch = found[7].batch
    assert planned.batches.release(1, batch, "worker7 ", wait_ms=0, undone=len(found[7].pending))
    again = planned.batches.claim_any(1, "other ", LEASE_MS)
    assert again is not None
    assert again.batch == batch


def test_claim_goes_on_to_another_partition_where_the_due_batch_may_not_be_leased(
    planned: Store,
) -> None:
    """A worker that knows no pace may not lease `recent` beside one that knows one."""
    refused, free = [*planned.partitions][:2]
    for partition in planned.partitions:
        if partition != free:
            claim = planned.batches.claim(1, partition, "one apple", LEASE_MS)
            assert claim is not None
    planned.redis.zadd(f"{{{refused}}}:n:1:batches", {"recent": 0})
    assert planned.batches.looks(1)[refused].due == 1
    claim = planned.batches.claim_any(1, "two ", LEASE_MS)
    assert claim is not None
    assert claim.batch.partition == free
    assert planned.batches.claim_any(1, "two ", LEASE_MS) is None
