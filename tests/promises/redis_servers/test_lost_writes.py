"""Redis loses its last writes during a send: the alert ends, adds up, and can be corrected.

Workers and clock go on running and remember more than Redis does.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from service.domain.sending.job_queue import QUEUE
from service.model.notifications import Outcome
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.sending.batches import Claim, part_key
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.server import Proxy, RedisServer
from tests.support.seeded import assert_adds_up

WINDOW = 256
WORKERS = 2
READERS = 1500
LOST = 0.1  # seconds of writes


@pytest.fixture
def installation(proxy: Proxy, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    with Installation(proxy.url, push, tmp_path, PUSH_WINDOW=str(WINDOW)) as installation:
        yield installation


class Send:
    """An alert to 1,500 readers, sent by two workers; counts the writes that Redis may lose."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._push = installation.push
        installation.seed(READERS)
        self._push.answer_with(lambda _message: Answer(201, delay=0.1))
        for _ in range(WORKERS):
            installation.worker()
        installation.clock()
        self.id = installation.publish()

    def reach(self, answered: int) -> None:
        """Wait until so many messages were answered."""
        self._push.wait_for(answered, timeout=60)

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Let Redis lose writes; then check the end, and that a correction reaches all readers."""
        before = len(self._push.received)
        yield
        lost = len(self._push.received) - before
        assert_adds_up(self._installation, self.id, READERS, lost + WORKERS * WINDOW)


# At the beginning of a send, in the middle and near the end. Each fault has two of them or three.
SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    "answered", [pytest.param(200, marks=SOAK), 700, pytest.param(1450, marks=SOAK)]
)
def test_send_survives_a_power_cut(
    installation: Installation, own_redis: RedisServer, answered: int
) -> None:
    """The writes of the last tenth of a second never reached the disk."""
    send = Send(installation)
    send.reach(answered)
    with send.losing(), own_redis.losing_power():
        time.sleep(LOST)


@pytest.mark.soak
@pytest.mark.parametrize("answered", [200, pytest.param(1100, marks=SOAK)])
def test_send_survives_a_kill_of_redis(
    installation: Installation, own_redis: RedisServer, answered: int
) -> None:
    send = Send(installation)
    send.reach(answered)
    with send.losing():
        own_redis.kill()
        own_redis.start()


@pytest.mark.soak
@pytest.mark.parametrize("answered", [400, pytest.param(1450, marks=SOAK)])
def test_send_survives_a_failover_to_a_lagging_replica(
    installation: Installation, own_redis: RedisServer, proxy: Proxy, answered: int
) -> None:
    with ExitStack() as stack:
        replica = stack.enter_context(RedisServer())
        link = stack.enter_context(Proxy(own_redis))
        replica.follow(link)
        send = Send(installation)
        send.reach(answered)
        with send.losing(), link.frozen():
            time.sleep(LOST)
            with proxy.cut():
                own_redis.kill()
                replica.promote()
                proxy.lead_to(replica)


def test_worker_that_redis_lost_registers_again(installation: Installation) -> None:
    installation.worker()
    wait_until(lambda: installation.runtime.job_queue.workers() == 1)
    with installation.runtime.store.redis.pipeline() as pipe:
        pipe.delete("rq:workers", f"rq:workers:{QUEUE}")
        pipe.exists(f"rq:workers:{QUEUE}")  # before the worker's next heartbeat
        assert pipe.execute()[-1] == 0
    wait_until(lambda: installation.runtime.job_queue.workers() == 1)


def test_id_of_a_lost_alert_is_not_given_away_again(
    installation: Installation, own_redis: RedisServer
) -> None:
    first = installation.publish()
    with own_redis.losing_power():
        lost = [installation.publish() for _ in range(3)]
    assert lost[0] == first + 1
    assert installation.runtime.store.notifications.get(lost[0]) is None
    assert installation.publish() > max(lost)


# Every pair of steps ------------------------------------------------------------------------------


class Snapshot:
    """The data of a Redis, to be put back as a start on older files would do."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        with server.client() as admin, admin.pipeline(transaction=False) as pipe:
            keys = list(admin.scan_iter(count=1000))
            for key in keys:
                pipe.dump(key)
            self._kept = dict(zip(keys, pipe.execute(), strict=True))

    def put_back(self) -> None:
        with self._server.client() as admin, admin.pipeline(transaction=False) as pipe:
            pipe.flushall()
            for key, dumped in self._kept.items():
                pipe.restore(key, 0, dumped)
            pipe.execute()
            admin.replicaof("127.0.0.1", "1")
            admin.replicaof("NO", "ONE")  # this gives the data another history


def one_send(runtime: Runtime, id: int) -> Iterator[None]:
    """Two workers send an alert in three batches, and a clock ends it; yields after each step."""
    store, planning = runtime.store, runtime.planning

    def claim(worker: str) -> Claim | None:
        return store.batches.claim(id, 0, worker, 60_000)

    def record(worker: str, claim: Claim | None, numbers: slice) -> None:
        if claim is not None:
            accepted = {Result(Outcome.ACCEPTED, "google", 1, 0): claim.pending[numbers]}
            store.outcomes.record(id, claim.batch, worker, 60_000, accepted)

    def release(worker: str, claim: Claim | None, wait_ms: int | None, undone: int) -> None:
        if claim is not None:
            store.batches.release(id, claim.batch, worker, wait_ms=wait_ms, undone=undone)

    planning.plan(runtime.publishing.get(id))
    yield
    first = claim("one:1 ")
    yield
    second = claim("two:1 ")
    yield
    record("one:1 ", first, slice(25))
    yield
    record("two:1 ", second, slice(None))
    yield
    record("one:1 ", first, slice(25, None))
    yield
    release("two:1 ", second, None, 0)
    yield
    third = claim("two:2 ")
    yield
    record("two:2 ", third, slice(12))
    yield
    release("one:1 ", first, None, 0)
    yield
    release("two:2 ", third, 0, len(third.pending[12:]) if third else 0)
    yield
    third = claim("one:2 ")
    yield
    record("one:2 ", third, slice(None))
    yield
    release("one:2 ", third, None, 0)
    yield
    history = store.notifications.history()
    if store.batches.close(id, [0], None):
        yield
        planning._finish(runtime.publishing.get(id), history)
    yield


def finish(runtime: Runtime, id: int) -> None:
    """Send the rest, after all leases have ended."""
    store, sending = runtime.store, runtime.store.batches
    for _ in range(20):
        runtime.planning.sending()
        runtime.planning.advance(id)
        if runtime.publishing.get(id).finished_at is not None:
            return
        batches = part_key(0, id, "batches")
        for batch in store.redis.zrange(batches, 0, -1):
            store.redis.zadd(batches, {batch: 0}, xx=True)
        while (claim := sending.claim(id, 0, "three ", 60_000)) is not None:
            accepted = {Result(Outcome.ACCEPTED, "google", 1, 0): claim.pending}
            store.outcomes.record(id, claim.batch, "three ", 60_000, accepted)
            sending.release(id, claim.batch, "three ", wait_ms=None)
    raise AssertionError("the send does not end")


def test_every_recipient_has_one_outcome_whatever_redis_loses_and_when(
    own_redis: RedisServer, push: PushService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.domain.sending.planning.BATCH_RECIPIENTS", 64)
    with Installation(own_redis.url, push, tmp_path, STORE_PARTITIONS="1") as installation:
        installation.seed(170)
        runtime = installation.runtime
        steps = sum(1 for _ in one_send(runtime, installation.publish()))
        assert steps == 16
        pairs = itertools.combinations(range(steps), 2)
        for since, until in ((a, b) for a, b in pairs if b - a in (1, 2, 4, 8)):
            id = installation.publish()
            for step, _ in enumerate(one_send(runtime, id)):
                if step == since:
                    before = Snapshot(own_redis)
                elif step == until:
                    before.put_back()
            finish(runtime, id)
            case = f"all writes since step {since} are lost after step {until}"
            assert installation.outcomes(id) == {"accepted": 170}, case
            assert runtime.publishing.progress(id).recipients == 170, case
            assert runtime.store.recipients.reached(id, 1) == 170, case
            assert list(runtime.store.redis.scan_iter(f"*:n:{id}:done")) == [], case
