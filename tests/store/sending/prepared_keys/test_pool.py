"""Prepared keys: what the pool contains, for which readers, and how it is filled."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.model.notifications import Progress, State
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.records import BUCKET
from tests.support.prepared_keys import (
    READERS,
    end,
    fill,
    filling,
    give_other_keys,
    publics,
    take_all,
    watch_derivations,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.redis_servers.server import RedisServer
from workers.sending import wire
from workers.sending.prepared_keys import Filler, Pool

# -- content of the pool -------------------------------------------------------------------------


def test_browser_reads_a_message_sealed_with_a_key_from_the_pool(
    installation: Installation,
) -> None:
    browser, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    p256dh = browser.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    subscriptions = installation.runtime.store.subscriptions
    endpoint = installation.runtime.endpoints.parse(f"{installation.push.origin}/push/one")
    requested = SubscriptionRequest(endpoint, p256dh, auth, installation.runtime.keys.current)
    id = subscriptions.subscribe(requested)[0].id
    fill(installation.runtime)
    key = Pool(installation.runtime).take(0, 0)[id.number]
    assert key.fits(p256dh, auth)
    body = wire.seal(b"Late news", key)
    assert http_ece.decrypt(body, private_key=browser, auth_secret=auth) == b"Late news"


@pytest.mark.redis
def test_each_reader_gets_a_key_and_it_is_handed_out_once(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    keys = take_all(pool)
    records = dict(installation.runtime.store.records.read(0, range(READERS)))
    assert keys.keys() == records.keys()
    for number, record in records.items():
        assert record is not None
        assert keys[number].fits(record.p256dh, record.auth)
    assert len(publics(keys)) == READERS
    assert take_all(pool) == {}
    assert installation.runtime.store.prepared_keys.ready() == 0


@pytest.mark.redis
def test_unused_keys_can_be_put_back_and_taken_again(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    keys = pool.take(0, 1)
    used = keys.pop(300)
    rest = dict(keys)
    assert pool.put_back(0, 1, keys)
    assert installation.runtime.store.prepared_keys.ready() == READERS - 1
    assert pool.take(0, 1) == rest
    assert used not in rest.values()


def test_keys_cannot_be_put_back_twice(installation: Installation, pool: Pool) -> None:
    fill(installation.runtime)
    keys = pool.take(0, 1)
    assert pool.put_back(0, 1, keys)
    assert len(pool.take(0, 1)) == BUCKET
    assert not pool.put_back(0, 1, keys)
    assert pool.take(0, 1) == {}


def test_keys_are_not_put_back_over_keys_that_were_derived_meanwhile(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    keys = pool.take(0, 0)
    earlier = publics(keys)
    fill(installation.runtime)
    assert not pool.put_back(0, 0, keys)
    assert earlier.isdisjoint(publics(pool.take(0, 0)))


def test_only_readers_without_a_key_get_one(
    installation: Installation, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(installation.runtime)
    keys = pool.take(0, 0)
    left = {number: keys[number] for number in list(keys)[:200]}
    pool.put_back(0, 0, dict(left))
    installation.seed(3)
    derived = watch_derivations(monkeypatch)
    fill(installation.runtime)
    assert len(derived) == 56 + 3
    assert left.items() <= pool.take(0, 0).items()


def test_no_key_is_prepared_for_gone_readers(installation: Installation, pool: Pool) -> None:
    store = installation.runtime.store
    store.redis.setbit(bitmap_key(0, "gone"), 7, 1)
    with filling(installation.runtime):
        wait_until(lambda: store.prepared_keys.ready() == READERS - 1)
    assert 7 not in pool.take(0, 0)


def test_neither_redis_nor_its_file_ever_contains_a_key(
    apart: tuple[RedisServer, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, installation = apart
    derived = watch_derivations(monkeypatch)
    fill(installation.runtime)
    pool = Pool(installation.runtime)
    pool.put_back(0, 0, pool.take(0, 0))
    server.stop()
    written = b"".join(
        file.read_bytes() for file in (server.socket.parent / "redis").rglob("*") if file.is_file()
    )
    assert b"}:k:1" in written
    assert len(derived) == READERS
    for key in derived:
        assert key.public not in written
        assert key.public[:32] not in written
        assert key.keying_material not in written


def test_keys_can_be_opened_only_in_their_own_bucket(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    installation.runtime.store.redis.rename("{0}:k:0", "{0}:k:1")
    assert take_all(pool) == {}


def test_keys_sealed_under_another_secret_are_not_used(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    installation.runtime.tokens.preparing_keys = [bytes(32)]
    assert Pool(installation.runtime).take(0, 0) == {}


def test_prepared_key_takes_115_bytes_of_redis_at_most(installation: Installation) -> None:
    readers = 10 * BUCKET
    installation.seed(readers)
    fill(installation.runtime)
    redis = installation.runtime.store.redis
    used = sum(int(redis.memory_usage(key) or 0) for key in redis.keys("{0}:k*"))
    assert 100 < used / readers <= 115


# -- readers who change --------------------------------------------------------------------------


def test_prepared_keys_are_dropped_when_a_browser_changes_its_keys(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    give_other_keys(installation.runtime, 3)
    assert installation.runtime.store.prepared_keys.ready() == READERS - BUCKET
    assert pool.take(0, 0) == {}
    fill(installation.runtime)
    now = installation.runtime.store.subscriptions.get(SubscriptionId(0, 3))
    assert pool.take(0, 0)[3].fits(now.p256dh, now.auth)


def test_keys_put_back_after_a_browser_changed_its_own_do_not_fit(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    keys = pool.take(0, 0)
    give_other_keys(installation.runtime, 3)
    pool.put_back(0, 0, keys)
    records = installation.runtime.store.records.read(0, range(BUCKET))
    keys = pool.take(0, 0)
    unfit = [n for n, r in records if r is None or not keys[n].fits(r.p256dh, r.auth)]
    assert unfit == [3]


def test_prepared_keys_stay_when_a_reader_changes_topics(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    subscriptions = installation.runtime.store.subscriptions
    one = subscriptions.get(SubscriptionId(0, 3))
    requested = SubscriptionRequest(
        one.endpoint, one.p256dh, one.auth, one.vapid_key, frozenset(("sport",))
    )
    subscriptions.change(one.id, requested)
    assert len(pool.take(0, 0)) == BUCKET


@pytest.mark.redis
def test_prepared_keys_are_dropped_when_a_reader_leaves(
    installation: Installation, pool: Pool
) -> None:
    fill(installation.runtime)
    installation.runtime.store.subscriptions.remove(SubscriptionId(0, 3))
    assert installation.runtime.store.prepared_keys.ready() == READERS - BUCKET
    fill(installation.runtime)
    assert 3 not in pool.take(0, 0)


def test_deleting_a_gone_reader_leaves_the_keys_of_the_others(
    installation: Installation, pool: Pool
) -> None:
    store = installation.runtime.store
    store.redis.setbit(bitmap_key(0, "gone"), 3, 1)
    with filling(installation.runtime):
        wait_until(lambda: store.prepared_keys.ready() == READERS - 1)
    store.subscriptions.remove(SubscriptionId(0, 3))
    assert len(pool.take(0, 0)) == BUCKET - 1


# -- filling -------------------------------------------------------------------------------------


def test_filling_pauses_after_its_bucket_while_an_alert_is_sent(
    installation: Installation, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = installation.runtime.store
    published: list[int] = []

    def publish(derived: int) -> None:
        if derived == 10:
            published.append(installation.publish())

    derived = watch_derivations(monkeypatch, publish)
    with filling(installation.runtime):
        wait_until(lambda: store.prepared_keys.ready() == BUCKET)
        with pytest.raises(AssertionError, match="in vain"):
            wait_until(lambda: len(derived) > BUCKET, timeout=0.5)
        history = store.notifications.history()
        store.outcomes.finish(published[0], State.SENT, time.time(), Progress(0, {}), history)
        wait_until(lambda: store.prepared_keys.ready() == READERS)


def test_filling_stops_at_once_for_a_job_and_keeps_its_keys(
    installation: Installation, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler = Filler(installation.runtime)
    with ExitStack() as job:

        def begin(derived: int) -> None:
            if derived == 10:
                job.enter_context(filler.aside())

        derived = watch_derivations(monkeypatch, begin)
        filler.start()
        wait_until(lambda: installation.runtime.store.prepared_keys.ready() == 10)
        with pytest.raises(AssertionError, match="in vain"):
            wait_until(lambda: len(derived) > 10, timeout=0.5)
    wait_until(lambda: installation.runtime.store.prepared_keys.ready() == READERS)
    assert len(derived) == READERS
    end(filler)


@pytest.mark.soak
def test_filling_begins_anew_after_a_restart_of_redis(
    apart: tuple[RedisServer, Installation],
) -> None:
    server, installation = apart
    prepared = installation.runtime.store.prepared_keys
    with filling(installation.runtime):
        wait_until(lambda: prepared.ready() == READERS)
        server.stop()
        time.sleep(0.2)
        server.start()
        wait_until(lambda: prepared.ready() == READERS)
    assert len(take_all(Pool(installation.runtime))) == READERS


def test_last_fifth_of_redis_memory_is_kept_for_readers(
    apart: tuple[RedisServer, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, installation = apart
    prepared = installation.runtime.store.prepared_keys
    derived = watch_derivations(monkeypatch)
    with server.client() as admin:
        admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.1))
        with filling(installation.runtime), pytest.raises(AssertionError, match="in vain"):
            wait_until(lambda: derived, timeout=0.5)
        admin.config_set("maxmemory", "0")
    fill(installation.runtime)
    pool = Pool(installation.runtime)
    with server.full():
        keys = pool.take(0, 0)
        assert len(keys) == BUCKET
        assert not pool.put_back(0, 0, keys)
    assert prepared.ready() == BUCKET


def test_idle_worker_fills_the_pool_and_clears_it_if_it_must_not(
    installation: Installation, pool: Pool
) -> None:
    prepared = installation.runtime.store.prepared_keys
    worker = installation.worker()
    wait_until(lambda: prepared.ready() == READERS)
    assert installation.end(worker) == 0
    installation.environment["PREPARE_KEYS"] = "no"
    installation.worker()
    redis = installation.runtime.store.redis
    wait_until(lambda: not redis.exists("{0}:k", "{0}:k:0", "{0}:k:1"))
