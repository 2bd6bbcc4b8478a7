"""No command has 4,000 arguments, however large the store: some services refuse it then.

A port in front of Redis counts the arguments of all requests, and ends the connection of one that
has too many.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from service.local import pretend_readers
from service.model.notifications import Audience, Batch, Content, Notification, Outcome, State
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.alerts.outcomes import Result
from service.store.layout.bitmaps import bitmap_key
from service.store.operations.processes import ALIVE, Process
from service.store.readers.reader_alerts import Place
from service.store.redis_servers.commands import MOST_ARGUMENTS, MOST_AT_ONCE, some_at_once
from service.store.sending.batches import part_key
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.managed import NarrowRedis
from tests.support.redis_servers.server import RedisServer

EVERYONE = Audience(everyone=True)
MANY = 10_000  # batches of 20 million readers; bases, processes, editors


@pytest.fixture
def narrow() -> Iterator[NarrowRedis]:
    with RedisServer() as server, NarrowRedis(server) as port:
        yield port


@pytest.fixture
def store(narrow: NarrowRedis) -> Store:
    return Store(connect(narrow.url), 1)


def sending(store: Store) -> int:
    """Store an alert that is being sent; return its id."""
    id = store.notifications.new_id()
    text = Content("Late news", "https://paper.example/")
    store.notifications.publish(Notification(id, text, EVERYONE, State.SENDING, time.time(), ""))
    return id


def test_port_ends_a_connection_at_a_request_with_too_many_arguments(narrow: NarrowRedis) -> None:
    client = connect(narrow.url)
    assert client.mget([f"{n}" for n in range(MOST_ARGUMENTS - 1)]) == [None] * 3998
    assert narrow.most["MGET"] == MOST_ARGUMENTS
    with pytest.raises(redis.ConnectionError):
        client.mget([f"{n}" for n in range(MOST_ARGUMENTS)])


def test_values_are_cut_so_that_a_command_has_room_for_them() -> None:
    assert [len(some) for some in some_at_once(range(MANY))] == [3900, 3900, 2200]
    assert [len(some) for some in some_at_once(range(MANY), arguments=3)] == [1300] * 7 + [900]
    assert [value for some in some_at_once(range(MANY)) for value in some] == [*range(MANY)]
    assert list(some_at_once(())) == []
    assert MOST_AT_ONCE < MOST_ARGUMENTS == 3999


def test_alert_to_twenty_million_readers_is_laid_out_at_once(store: Store) -> None:
    id = sending(store)
    store.recipients.freeze(id, EVERYONE, [0], 1.0)
    batches = [(Batch(0, n * 2048, n * 2048 + 2047), n * 10) for n in range(MANY)]
    store.batches.lay_out(id, {0: batches})
    look = store.batches.looks(id)[0]
    assert (look.batches, look.planned, look.open) == (MANY, True, False)
    rows = store.redis.zrange(part_key(0, id, "batches"), 0, -1, withscores=True)
    kept = cast("list[tuple[bytes, float]]", rows)
    assert [name.decode() for name, _ in kept] == [str(batch) for batch, _ in batches]
    assert [due - kept[0][1] for _, due in kept] == [wait for _, wait in batches]


def test_readers_at_ten_thousand_bases_are_counted_and_tried_again(store: Store) -> None:
    id = sending(store)
    for base in (1, 3_901, MANY - 1):
        store.redis.setbit(bitmap_key(0, "base", base), base, 1)
        store.redis.setbit(bitmap_key(0, "live"), base, 1)
    store.recipients.freeze(id, EVERYONE, [0], 1.0)
    assert store.recipients.waiting(id, range(MANY)) == 3
    with_outcome = part_key(0, id, "done")
    store.redis.setbit(with_outcome, 3_901, 1)
    assert store.recipients.waiting(id, range(MANY)) == 2

    batch = Batch(0, 0, 16_383)
    store.batches.lay_out(id, {0: [(batch, 0)]})
    claim = store.batches.claim(id, 0, "a worker ", 60_000)
    assert claim is not None
    store.batches.release(id, batch, "a worker ", wait_ms=60_000, resting=[MANY - 1], undone=2)
    assert store.batches.looks(id)[0].due == 0
    store.batches.try_now(id, range(MANY - 1))
    assert store.batches.looks(id)[0].due == 0, "no recipient of it waits for these"
    store.batches.try_now(id, range(MANY))
    assert store.batches.looks(id)[0].due == 1


def test_each_recipient_may_have_a_result_of_its_own(store: Store) -> None:
    id = sending(store)
    for number in range(5_000):
        store.redis.setbit(bitmap_key(0, "live"), number, 1)
    store.recipients.freeze(id, EVERYONE, [0], 1.0)
    batch = Batch(0, 0, 5_119)
    store.batches.lay_out(id, {0: [(batch, 0)]})
    store.batches.claim(id, 0, "a worker ", 60_000)
    results = {
        Result(Outcome.ACCEPTED, f"push service {n % 7}", base=n, revision=0): [n, n + 2_500]
        for n in range(1, 2_500)
    }
    results[Result(Outcome.GONE, "push service 0", base=1)] = [0, 2_500]
    assert store.outcomes.record(id, batch, "a worker ", 60_000, results)
    progress = store.outcomes.progress(id)
    assert (progress.of(Outcome.ACCEPTED), progress.of(Outcome.GONE)) == (4_998, 2)
    assert store.redis.bitcount(part_key(0, id, "accepted:0")) == 4_998
    (gone,) = store.gone.waiting()
    assert gone.numbers == (0, 2_500)


def test_thousands_of_processes_editors_and_welcomes_fit_into_commands(store: Store) -> None:
    with store.redis.pipeline(transaction=False) as pipe:
        for n in range(MANY):
            pipe.hset("{g}:processes", f"worker {n}", f"{int(time.time() - ALIVE) - 5} {{}}")
            pipe.hset("{g}:editors", f"{n}@newsroom.example", "")
            pipe.hset("{g}:readers_alerts:welcome", str(n), "push service")
            pipe.hset("{g}:hosts:unproven", str(n), "0 push.example")
        pipe.execute()
    store.processes.beat("one", Process("worker", "host", {}))
    assert [one.host for one in store.processes.alive()] == ["host"]
    assert store.redis.hlen("{g}:processes") == 1
    store.access.keep_sign_in_link("digest", "9999@newsroom.example")
    assert store.access.sign_in_link("digest") == "9999@newsroom.example"
    assert store.access.sign_in_link("another") is None
    one = Audience(subscription=SubscriptionId(0, 0))
    text = Content("A test", "https://paper.example/")
    alert = Notification(MANY, text, one, State.SENDING, time.time(), "")
    store.notifications.publish(alert, place=Place("welcome", "push service", 1, 2, "a caller"))
    assert store.redis.hkeys("{g}:readers_alerts:welcome") == [str(MANY).encode()]
    store.names.bases.prove(range(MANY))
    assert not store.redis.exists("{g}:hosts:unproven")
    day = (0, 20261128)
    assert store.daily_counts.had({day: range(MANY)}) == {day: [0] * MANY}


def test_alert_is_sent_through_a_service_that_takes_few_arguments(
    redis_url: str, narrow: NarrowRedis, push: PushService, tmp_path: Path
) -> None:
    readers = pretend_readers.CHUNK + 400
    Store(connect(narrow.url), 1)  # with more partitions, commands are shorter
    with Installation(redis_url, push, tmp_path, STORE_URL=narrow.url) as installation:
        installation.seed(readers)
        installation.clock()
        installation.worker()
        topics = Audience(topics=("world",))
        followers = installation.runtime.publishing.reach(topics)
        id = installation.publish(topics)
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": followers}
        assert 1_000 < followers < readers
    longest = max(narrow.most, key=narrow.most.__getitem__)
    assert MOST_AT_ONCE < narrow.most[longest] <= MOST_ARGUMENTS, (longest, narrow.most)
