"""What processes count as it happens, in `/metrics`: of all of them together, each thing once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.cli.doctor.installation import Examination
from service.domain.counting import Counting, status_class
from service.domain.operations.processes import RELEASE, Presence
from service.domain.sending.job_queue import QUEUE, note_alive
from service.model.notifications import Audience, Outcome
from service.model.operations.measures import CHECKPOINTS, MICRO, PROMISES, PUSH_ANSWERS, WORKER_CPU
from service.model.time import clock
from service.store.operations.counted import Counted
from tests.support.client import NOTIFICATIONS, SUBSCRIPTIONS, Client, browser, make_app
from tests.support.desk.pages import send_all as send_by_hand
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.redis


def counted(client: Client) -> Callable[..., float]:
    """Add what this process counted, and return what looks a figure up by name and labels."""
    client.runtime.counting.add_to(client.runtime.store.counted)
    return shown(client)


def shown(client: Client) -> Callable[..., float]:
    """Return what looks a figure up by name and labels."""
    page = client.call("GET", "/metrics", token=client.add_token("p", ["read"])).text
    found = {
        (sample.name.removeprefix("stoppress_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    return lambda name, **labels: found[name, frozenset(labels.items())]


def test_an_alert_is_counted_from_the_request_to_its_end(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    asked: list[str] = []

    def some_fail(message: Message) -> Answer | None:
        asked.append(message.path)
        return Answer(500) if len(asked) == 1 else Answer(410) if len(asked) % 4 == 0 else None

    push.answer_with(some_fail)
    with Installation(redis_url, push, tmp_path, PROMISE="90% in 60s") as installation:
        installation.seed(40)
        client, worker = Client(create_app(installation.config)), installation.runtime
        body = {
            "title": "Late news",
            "url": "https://paper.example/",
            "audience": {"everyone": True},
        }
        token = client.add_token("a CMS", ["send"])
        sent = client.call("POST", NOTIFICATIONS, body, token=token)
        assert sent.status_code == 202, sent.text
        with fan_out_of(installation) as fan_out:
            send_all(installation, fan_out, int(sent.json["id"]))  # type: ignore[index]
        worker.counting.add_to(worker.store.counted)
        figure = counted(client)

    gone = len(asked) // 4
    answers = {"2xx": len(asked) - gone - 1, "4xx": gone, "5xx": 1}
    for status, number in answers.items():
        labels = {"service": "other", "status": status}
        assert figure("push_answer_seconds_count", **labels) == number
        assert figure("push_answer_seconds_bucket", le="+Inf", **labels) == number
        assert figure("push_answer_seconds_sum", **labels) > 0
    assert figure("push_retries_total", service="other", why="failed") == 1
    assert figure("checkpoint_seconds_count") >= 1
    assert figure("worker_cpu_seconds_total") > 0
    assert figure("alerts_ended_total", state="sent") == 1
    for share in ("50", "90", "all"):
        assert figure("alert_seconds_count", share=share) == 1
    assert figure("alert_seconds_sum", share="50") <= figure("alert_seconds_sum", share="all")
    assert figure("promises_total", kept="yes") == 1
    assert figure("promises_total", kept="no") == 0
    route = {"method": "POST", "route": "/api/v1/notifications", "status": "202"}
    assert figure("http_request_seconds_count", **route) == 1


def test_what_callers_make_up_is_no_label(client: Client) -> None:
    client.call("POST", SUBSCRIPTIONS, {"subscription": browser()})
    for method, path in (("GET", "/a-secret-path"), ("BREW", "/healthz")):
        client.app.test_client().open(path, method=method)
    figure = counted(client)
    name = "http_request_seconds_count"
    assert figure(name, method="POST", route="/api/v1/subscriptions", status="201") == 1
    assert figure(name, method="GET", route="none", status="404") == 1
    assert figure(name, method="other", route="none", status="405") == 1


def test_processes_add_up_and_each_thing_counts_once(client: Client) -> None:
    store = client.runtime.store.counted
    processes = [Counting(), Counting()]
    for one in processes:
        one.observe(CHECKPOINTS, 0.003)
        one.observe(CHECKPOINTS, 7.0)
        one.count(WORKER_CPU, times=1_500_000)
        for _ in range(2):
            one.add_to(store)
        one.observe(CHECKPOINTS, 0.005)  # not added yet
    figure = counted(client)
    assert figure("checkpoint_seconds_count") == 4
    assert figure("checkpoint_seconds_bucket", le="0.005") == 2
    assert figure("checkpoint_seconds_bucket", le="5.0") == 2
    assert figure("checkpoint_seconds_sum") == pytest.approx(14.006)
    assert figure("worker_cpu_seconds_total") == 3.0


def test_counts_outlast_a_redis_that_is_away_and_begin_anew_with_one_that_was_restarted() -> None:
    with RedisServer() as server:
        client = Client(make_app(server.url))
        counting = client.runtime.counting
        addresses = client.runtime.config.addresses
        presence = Presence("web", addresses, client.runtime.shared, counting)
        counting.count(PROMISES, "yes", times=100)
        presence.start()
        presence.stop()
        assert counted(client)("promises_total", kept="yes") == 100
        ended = client.runtime.store.departures
        ended.count("left", 100)
        assert counted(client)("subscriptions_ended_total", why="left") == 100
        counting.count(PROMISES, "yes", times=3)
        server.stop()
        presence.stop()  # while Redis is away
        server.start()
        wait_until(client.runtime.store.installation.clock_age)
        assert shown(client)("promises_total", kept="yes") == 0, "nobody has added to them yet"
        assert shown(client)("subscriptions_ended_total", why="left") == 0
        with server.full():
            counting.add_to(Counted(client.runtime.store.redis))
        # Redis may have lost its last second. To go back by little would look like 100 new ones.
        assert counted(client)("promises_total", kept="yes") == 3
        ended.count("left", 2)
        assert counted(client)("subscriptions_ended_total", why="left") == 2


@pytest.mark.parametrize(
    ("status", "shown"), [(0, "none"), (201, "2xx"), (429, "4xx"), (503, "5xx"), (799, "5xx")]
)
def test_a_status_is_shown_by_its_class(status: int, shown: str) -> None:
    assert status_class(status) == shown


def test_a_release_leaves_out_what_a_newer_one_counts(client: Client) -> None:
    store = client.runtime.store
    counting = Counting()
    counting.observe(PUSH_ANSWERS, 0.1, "google", "2xx")
    counting.add_to(store.counted)
    for field in ('["of-tomorrow","x",0]', '["promises","yes","more",0]', '["promises","yes",9]'):
        store.redis.hset("{g}:counted", field, 7)
    figure = counted(client)
    assert figure("push_answer_seconds_count", service="google", status="2xx") == 1
    assert figure("promises_total", kept="yes") == 0


def test_missing_workers_show_once_something_is_promised(
    client: Client, client_with: Callable[..., Client]
) -> None:
    with pytest.raises(KeyError):
        counted(client)("workers_needed")
    promised = client_with(PROMISE="90% in 60s")
    figure = counted(promised)
    assert figure("workers_needed") == figure("workers_missing") == 1
    for number in range(12):
        promised.call("POST", SUBSCRIPTIONS, {"subscription": browser(number)})
    store = promised.runtime.store
    counting = Counting()
    for _ in range(1000):
        counting.observe(PUSH_ANSWERS, 0.4, "google", "2xx")
        counting.observe(PUSH_ANSWERS, 60.0, "mozilla", "none")  # says nothing of a delay
    # So slow, at 15 s of a core for a message, that few readers need several workers.
    counting.count(WORKER_CPU, times=1000 * 15 * MICRO)
    counting.add_to(store.counted)
    store.redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:test")
    note_alive(store.redis, "rq:worker:test", RELEASE)
    figure = counted(promised)
    assert figure("workers_needed") == 4
    assert figure("workers_missing") == 3
    (line,) = [one for one in Examination(promised.runtime).workers() if "needed" in one.says]
    assert line.level == "warn"
    assert line.says.startswith("4 are needed for an alert to 12 readers (90% in 60s)")
    assert line.says.endswith("(measured). 3 are missing: start stoppress worker.")


def test_what_is_late_shows_before_it_is_over(
    client_with: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_with(PROMISE="90% in 60s")
    client.call("POST", SUBSCRIPTIONS, {"subscription": browser()})
    runtime, now = client.runtime, clock.time()
    one = runtime.publishing.publish(content(), Audience(everyone=True), by="a test")
    runtime.planning.plan(runtime.publishing.get(one.id))
    runtime.promises.measure()
    figure = counted(client)
    assert figure("promises_active", state="open") == 1
    assert figure("batches_due") == 1
    monkeypatch.setattr(clock, "time", lambda: now + 61)
    figure = counted(client)
    assert figure("promises_active", state="open") == 0
    assert figure("promises_active", state="missed") == 1
    assert figure("promises_total", kept="no") == 0, "it is not over"
    runtime.stops.hold(by="a test")
    assert counted(client)("batches_due") == 0


def test_an_alert_that_was_paused_has_no_times(
    client_with: Callable[..., Client],
) -> None:
    client = client_with()
    client.call("POST", SUBSCRIPTIONS, {"subscription": browser()})
    runtime = client.runtime
    ids = []
    for _ in range(2):
        id = runtime.publishing.publish(content(), Audience(everyone=True), by="a test").id
        runtime.planning.plan(runtime.publishing.get(id))
        ids.append(id)
    runtime.publishing.pause(ids[0], by="a test")
    runtime.promises.measure()
    runtime.publishing.resume(ids[0], by="a test")
    for id in ids:
        send_by_hand(runtime, id, {(Outcome.ACCEPTED, "google"): 1})
        runtime.planning.advance(id)
    figure = counted(client)
    assert figure("alerts_ended_total", state="sent") == 2
    assert figure("alert_seconds_count", share="all") == 1
