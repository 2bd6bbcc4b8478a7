"""What is wrong: each cause is found, and its words say what it costs and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from rq.job import Job

from service.domain.operations.canary import CanaryHealth
from service.domain.operations.processes import RELEASE
from service.domain.sending.job_queue import FETCH_QUEUE, QUEUE, note_alive
from service.model.inactive import Round
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience
from service.model.time import clock
from service.runtime import Runtime
from service.store.operations.processes import Process
from service.store.redis_servers.memory import Memory
from service.store.sending.push_services import Rest
from tests.support.client import Client, Reader, open_client
from tests.support.failed_jobs import fail_a_job
from tests.support.newsroom.feeds import pretend_a_fetch_process
from tests.support.processes.installation import content

GOOGLE = "https://fcm.googleapis.com"
Break = Callable[[Runtime, pytest.MonkeyPatch], object]


@pytest.fixture
def client(redis_url: str) -> Client:
    """An installation in which nothing is wrong: its tests' Redis alone has no file."""
    client = open_client(redis_url, PROMISE="90% in 60s", CANARY_MINUTES="0")
    store, redis = client.runtime.store, client.runtime.store.redis
    redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:test")
    note_alive(redis, "rq:worker:test", RELEASE)
    pretend_a_fetch_process(redis)
    store.installation.lead("a clock", 60_000)
    return client


def found(client: Client) -> dict[str, str]:
    causes = client.runtime.causes.now()
    for one in causes:
        assert one.says.endswith(".") and one.do.endswith("."), one
    order = [one.severity for one in causes]
    assert order == sorted(order), "page comes before warning"
    return {one.name: one.says for one in causes if one.name != "redis-keeps-nothing"}


def rest(why: str) -> Break:
    rests = Rest(1, time.time(), time.time() + 60, why)
    return lambda runtime, _: runtime.store.push_services.rest(GOOGLE, rests)


def doubted(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.push_services.doubt(GOOGLE, time.time())


def no_clock(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.redis.delete("{g}:clock:ticked")


def an_old_clock(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.redis.set("{g}:clock:ticked", int(time.time()) - 125)


def no_workers(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.redis.delete(f"rq:workers:{QUEUE}")


def no_fetch(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.redis.delete(f"rq:workers:{FETCH_QUEUE}")


def too_few(_: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.domain.operations.capacity.workers_needed", lambda *_: 4)


def nothing_moves(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(runtime)
    later(monkeypatch, 61)
    runtime.store.installation.lead("a clock", 60_000)


def late(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    id = publish(runtime)
    runtime.promises.measure()
    later(monkeypatch, 61)
    runtime.promises.measure()
    runtime.store.installation.lead("a clock", 60_000)
    runtime.publishing.pause(id, by="a test")  # so that only the promise is missed


def an_old_job(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.job_queue.wake(1, at_front=False)
    (id,) = runtime.job_queue._queue.job_ids
    runtime.store.redis.hset(Job.key_for(id), "enqueued_at", "2026-01-01T00:00:00.000000Z")


def stopped(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.stops.hold(by="ada@paper.example")
    later(monkeypatch, 3700)


def lost_key(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.keys.publics = [b64url(VapidKey.generate().public)]


def no_canary(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.canary, "health", lambda: CanaryHealth(60.0, 1.0, None))


def full(_: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.memory_of", lambda _: Memory(90, 100))


def held(why: str) -> Break:
    return lambda runtime, _: runtime.store.retiring.put(Round("202601", held=why))


def another_setting(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    shown = {"SITE_URL": "https://other.paper.example"}
    runtime.store.processes.beat("a worker", Process("worker", "paper-2", shown))


def a_wrong_clock(runtime: Runtime, _: pytest.MonkeyPatch) -> None:
    runtime.store.processes.beat("a worker", Process("worker", "paper-2", {}, ahead=7.0))


def publish(runtime: Runtime) -> int:
    """Publish to one reader, as a worker that is killed then has planned it."""
    id = runtime.publishing.publish(content(), Audience(everyone=True), by="a test").id
    runtime.planning.plan(runtime.publishing.get(id))
    return id


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = clock.time() + seconds
    monkeypatch.setattr(clock, "time", lambda: now)


BROKEN: list[tuple[Break, str, str]] = [
    (no_clock, "no-clock", "No clock has ever run, so scheduled alerts wait."),
    (an_old_clock, "no-clock", "No clock has run for 2 minutes"),
    (no_workers, "no-workers", "No worker runs, so no alert is sent."),
    (no_fetch, "no-fetch", "No fetch process runs: feeds are not read"),
    (
        too_few,
        "too-few-workers",
        "3 workers are missing for an alert to everyone to keep the promise (90% in 60s).",
    ),
    (nothing_moves, "nothing-moves", "1 batch of an alert could be sent, and no push service has"),
    (late, "promise-missed", "An alert under way is not handed over as fast as PROMISE says."),
    (an_old_job, "jobs-wait", "A job has waited for "),
    (lambda runtime, _: fail_a_job(runtime), "jobs-failed", "1 job failed within a day"),
    (rest("credentials"), "signature-refused Google", "Google rejects our signature"),
    (rest("503"), "push-service-fails Google", "Google fails or does not answer"),
    (doubted, "readers-doubted Google", "Google called so many readers gone at once"),
    (lost_key, "key-missing", "1 reader depends on a VAPID key that is not set"),
    (no_canary, "no-canary", "No canary has ever arrived, so alerts may not leave."),
    (full, "redis-fills-up", "Redis uses 90 % of the memory that it may."),
    (stopped, "stopped", "Everything has been stopped for 1 hour 1 minute"),
    (held("no visits"), "retiring-held", "No reader was seen for 7 days, so none is asked"),
    (held("too many"), "retiring-held", "More than 20 % of the readers seem not to visit any more"),
    (another_setting, "settings-differ SITE_URL", "SITE_URL of worker on paper-2 is another"),
    (a_wrong_clock, "clocks-differ", "The clock of worker on paper-2 differs from that of Redis"),
]


@pytest.mark.parametrize(("breaks", "name", "says"), BROKEN, ids=[one for _, one, _ in BROKEN])
def test_a_cause_is_found_and_no_other(
    client: Client, monkeypatch: pytest.MonkeyPatch, breaks: Break, name: str, says: str
) -> None:
    Reader(client)
    assert found(client) == {}
    breaks(client.runtime, monkeypatch)
    causes = found(client)
    assert [one for one in causes if one != "promise-missed" or name == one] == [name]
    assert causes[name].startswith(says)


def test_a_monitor_sees_the_causes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    no_fetch(client.runtime, monkeypatch)
    token = client.add_token("a monitor", ["read"])
    shown = client.call("GET", "/healthz/full", token=token).json
    names = [one["name"] for one in shown["causes"]]
    assert "no-fetch" in names
    assert shown["status"] == ("page" if "redis-keeps-nothing" in names else "warning")
    assert names == [one.name for one in client.runtime.causes.now()]
    assert client.call("GET", "/healthz/full").status_code == 401
