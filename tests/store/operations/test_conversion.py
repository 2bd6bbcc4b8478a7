"""Data of earlier releases is converted once, when the first process starts."""

from __future__ import annotations

import hashlib
import json
import signal
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline

from service.config import Config
from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import Audience, Content, Notification, State
from service.model.preferences import Preferences, Quiet
from service.model.subscriptions import Record, Subscription, SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from service.store import COMMAND, BeingConverted, LayoutError, Store, connect
from service.store.layout.records import BUCKET
from service.store.operations import conversion
from tests.support import ROOT
from tests.support.client import VAPID
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.processes

PAUSED = 1_795_644_000  # a whole hour
PREFERENCES: list[dict[str, Any]] = [
    {},
    {"quiet": Quiet(88, 28), "daily_limit": 3, "allow_breaking": True, "paused_until": PAUSED},
    {"quiet": Quiet(0, 0), "receipts": False},
    {"daily_limit": 0, "confirmed": False},
    {"daily_limit": 14, "quiet": Quiet(95, 94)},
]


def version_1(record: Record) -> bytes:
    """The first release's record, which had neither preferences nor the wording."""
    assert record.preferences == Preferences().pack()
    return b"\1" + _head(record) + record.p256dh[1:] + record.auth + record.rest.encode()


def version_2(record: Record) -> bytes:
    """A record in which preferences took six bytes, and 255 stood for no choice."""
    chosen = Preferences.unpack(record.preferences)
    start, end = chosen.quiet or (255, 255)
    limit = 255 if chosen.daily_limit is None else chosen.daily_limit
    flags = chosen.allow_breaking | (not chosen.receipts) << 1 | (not chosen.confirmed) << 2
    pause = (chosen.paused_until - 1_767_225_600) // 3600 if chosen.paused_until else 0
    six = struct.pack(">BBBBH", start, end, limit, flags, pause)
    keys = record.p256dh[1:] + record.auth
    return b"\2" + _head(record) + six + bytes([record.wording]) + keys + record.rest.encode()


def _head(record: Record) -> bytes:
    names = record.zone, record.locale, record.created, record.seen
    return struct.pack(">HBHHHH", record.base, record.vapid_key, *names)


def fill(store: Store, readers: int) -> dict[SubscriptionId, Subscription]:
    """Subscribe some readers of all kinds, then store each as one of the three versions has it."""
    found = {}
    for number in range(readers):
        digest = hashlib.sha512(f"{number}".encode()).digest()
        parsed = EndpointPolicy().parse(f"https://fcm.googleapis.com/fcm/send/{number}")
        request = SubscriptionRequest(
            *(parsed, b"\4" + digest, digest[:16], "a VAPID key"),
            zone="Europe/Riga" if number % 3 else "",
            locale="lv" if number % 2 else "en-GB",
            chosen=PREFERENCES[number % len(PREFERENCES)],
            wording=number % len(PREFERENCES) % 4,
        )
        reader, _ = store.subscriptions.subscribe(request)
        found[reader.id] = reader
    seen = Counter[bool]()
    for key, field, packed in records(store):
        record = Record.unpack(packed)
        plain = (record.preferences, record.wording) == (Preferences().pack(), 0)
        old = [packed, version_2(record), *([version_1(record)] if plain else [])]
        store.redis.hset(key, field, old[seen[plain] % len(old)])
        seen[plain] += 1
    store.redis.hset("{g}:layout", "converted", 0)
    assert {packed[0] for _, _, packed in records(store)} == {1, 2, 3}
    return found


def is_converted(store: Store) -> bool:
    return store.redis.hget("{g}:layout", "converted") == b"%d" % conversion.CONVERSION


def convert_in_the_end(store: Store) -> bool:
    """Convert as a process that starts does, which waits while another one converts."""
    try:
        store.convert()
    except BeingConverted:
        return False
    return True


def records(store: Store) -> list[tuple[str, bytes, bytes]]:
    """All records as they are stored, in the same order each time: bucket, field, bytes."""
    keys = sorted(key.decode() for key in store.redis.keys("{*}:r:*"))
    buckets = {key: store.redis.hgetall(key) for key in keys}
    # By field, because a large hash has no order: each version must find a reader of its kind.
    return [(key, *row) for key in keys for row in sorted(buckets[key].items())]


def read(store: Store) -> dict[SubscriptionId, Subscription]:
    """All readers, as every process reads them."""
    found = {}
    for partition in store.partitions:
        made = int(store.redis.get(f"{{{partition}}}:made") or 0)
        for number in range(made):
            id = SubscriptionId(partition, number)
            found[id] = store.subscriptions.get(id)
    return found


@pytest.fixture(params=[1, 3], ids=["one partition", "three partitions"])
def store(redis_url: str, request: pytest.FixtureRequest) -> Store:
    return Store(connect(redis_url), request.param)


@pytest.mark.redis
def test_records_of_all_versions_read_the_same_after_the_first_start(store: Store) -> None:
    before = fill(store, 2 * BUCKET)
    store.convert()
    assert {packed[0] for _, _, packed in records(store)} == {3}
    assert read(store) == before


@pytest.mark.parametrize("partitions", [1, 3])
def test_second_start_asks_once_and_converts_nothing(partitions: int) -> None:
    with RedisServer() as server:  # its own, because Redis counts the commands of all databases
        store = Store(connect(server.url), partitions)
        fill(store, 30)
        store.convert()
        store.redis.config_resetstat()
        Store(store.redis).convert()
        counts = {name: row["calls"] for name, row in store.redis.info("commandstats").items()}
        store.redis.close()
    counts = {name: calls for name, calls in counts.items() if "config" not in name}
    # What is stored, and since when the store knows who joined.
    assert counts == {"cmdstat_hmget": 1, "cmdstat_hget": 1, "cmdstat_exists": 1}


# Killed before its first record, between two stretches, and before it notes that it is done.
KILLED = """
import os, signal, sys
from redis.client import Pipeline
from service.store import Store, connect
from service.store.operations import conversion

conversion._BUCKETS, conversion._LEASE = 2, 1
execute, left = Pipeline.execute, int(sys.argv[2])

def counted(self, raise_on_error=True):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return execute(self, raise_on_error)

Pipeline.execute = counted
Store(connect(sys.argv[1])).convert()
"""


@pytest.mark.parametrize("pipelines", [1, 2, 4])
def test_conversion_that_was_killed_is_completed_by_the_next_start(
    redis_url: str, pipelines: int
) -> None:
    store = Store(connect(redis_url), 1)
    before = fill(store, 3 * BUCKET)  # two stretches
    argv = [sys.executable, "-c", KILLED, redis_url, str(pipelines)]
    assert subprocess.run(argv, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not is_converted(store)
    versions = {packed[0] for _, _, packed in records(store)}
    assert versions == ({1, 2, 3} if pipelines < 4 else {3})
    wait_until(lambda: convert_in_the_end(store))  # once the lease has ended
    assert is_converted(store)
    assert read(store) == before


def test_of_several_processes_that_start_at_once_one_converts_and_the_others_wait(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fill(Store(connect(redis_url), 3), 2 * BUCKET)
    stores = [Store(connect(redis_url), 3) for _ in range(4)]
    runs: list[int] = []
    run = conversion._Conversion.run

    def noted(self: conversion._Conversion, *given: Any) -> None:
        runs.append(1)
        run(self, *given)

    monkeypatch.setattr(conversion._Conversion, "run", noted)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda one: wait_until(lambda: convert_in_the_end(one)), stores))
    assert runs == [1]
    assert read(stores[0]) == before


@pytest.mark.redis
def test_process_that_was_stopped_for_longer_than_its_lease_leaves_the_rest_to_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fill(store, 30)
    records_of = conversion._Conversion.records

    def overtaken(self: conversion._Conversion, partition: int) -> None:
        store.redis.hset("{g}:layout", "converting", f"another {1 << 40}")
        records_of(self, partition)

    monkeypatch.setattr(conversion._Conversion, "records", overtaken)
    with pytest.raises(BeingConverted):
        store.convert()
    assert not is_converted(store)
    monkeypatch.undo()
    store.redis.hset("{g}:layout", "converting", "another 1")  # whose lease has ended
    store.convert()
    assert is_converted(store)
    assert read(store) == before


def test_process_that_starts_says_that_it_waits_for_the_one_that_converts(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(connect(redis_url))
    held = {"converted": 0, "converting": f"another {1 << 40}"}
    store.redis.hset("{g}:layout", mapping=held)
    said = []

    def say(process: str, line: str) -> None:
        said.append((process, line))
        store.redis.hdel("{g}:layout", "converting")

    monkeypatch.setattr("service.runtime.say", say)
    settings = {"SECRET_KEY": "a secret of at least 32 characters", "VAPID_PRIVATE_KEY": VAPID.text}
    config = Config.read({"REDIS_URL": redis_url, **settings})
    Runtime.start(config, "clock", COMMAND).store.redis.close()
    assert is_converted(store)
    why = "another process is converting what an earlier release has stored"
    assert said == [("clock", f"waiting, because {why}")]


def test_release_that_does_not_know_a_needed_conversion_is_refused_from_its_beginning_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    this_release = conversion.CONVERSION
    before = fill(Store(connect(redis_url), 3), 30)
    with monkeypatch.context() as next_release:
        next_release.setattr(conversion, "CONVERSION", this_release + 1)
        next_release.setattr(conversion, "NEEDED", this_release + 1)
        next_release.setattr("service.store.CONVERSION", this_release + 1)
        store = Store(connect(redis_url))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with next_release.context() as half:
            half.setattr(conversion._Conversion, "records", killed)
            with pytest.raises(KeyboardInterrupt):
                store.convert()
        with pytest.MonkeyPatch.context() as again:
            again.setattr("service.store.CONVERSION", this_release)
            with pytest.raises(
                LayoutError, match=rf"version 2.2, this one reads up to 2.{this_release}"
            ):
                Store(connect(redis_url))
        store.redis.hdel("{g}:layout", "converting")
        store.convert()
        assert read(store) == before
    with pytest.raises(LayoutError, match="a later release of Stop Press has written this store"):
        Store(connect(redis_url))


@pytest.mark.redis
def test_new_store_needs_no_conversion(store: Store) -> None:
    assert is_converted(store)


@pytest.mark.redis
def test_conversion_leaves_alone_what_another_process_wrote_meanwhile(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(connect(redis_url))
    store.convert()
    fill(store, 30)
    key, field, packed = next(row for row in records(store) if row[2][0] == 2)
    after = b"\3" + packed[1:14] + b"changed" + packed[21:]
    execute = Pipeline.execute

    def interrupted(self: Pipeline, raise_on_error: bool = True) -> list[Any]:
        found = execute(self, raise_on_error)
        with Redis.from_url(redis_url) as other:
            other.hset(key, field, after)
        return found

    monkeypatch.setattr(Pipeline, "execute", interrupted)
    store.convert()
    assert store.redis.hget(key, field) == after


def test_full_redis_is_converted_all_the_same() -> None:
    with RedisServer() as server:
        store = Store(connect(server.url))
        store.convert()
        before = fill(store, 30)
        with server.full():
            store.convert()
            assert is_converted(store)
        assert read(store) == before


def test_alert_from_before_there_were_stories_reads_as_one_without_a_story(store: Store) -> None:
    content = Content("Ferry late", "https://paper.example/ferry")
    kinds: dict[str, Any] = {"audience": Audience(everyone=True), "state": State.DRAFT}
    ids = [store.notifications.new_id() for _ in range(3)]
    alerts = [Notification(id, content, **kinds, created_at=1.0, created_by="") for id in ids]
    for alert in (alerts[0], alerts[2]):  # the second number was never used
        store.notifications.publish(alert)
    key = f"{{g}}:n:{ids[0]}"
    document = json.loads(store.redis.hget(key, "doc") or b"")
    del document["story"], document["reporting"]
    store.redis.hset(key, "doc", json.dumps(document))
    store.redis.hset("{g}:layout", "converted", 0)
    store.convert()
    assert store.notifications.get(ids[0]) == alerts[0]
    assert store.notifications.get(ids[2]) == alerts[2]
