"""How the installation works: what runs and what it does, and jobs that failed."""

from __future__ import annotations

import pytest

from service.domain.operations.operations import Overview
from service.domain.operations.processes import RELEASE, Presence
from service.domain.sending.job_queue import JOB, READ_FEED, ForeignJob, UnknownJob
from service.model.operations.measures import PROMISES, PUSH_ANSWERS, PUSH_RETRIES
from service.runtime import Runtime
from service.store.sending.push_services import Pace, Rest
from tests.support.client import API, Client
from tests.support.failed_jobs import FAILED_JOB, fail_a_job
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

JOBS = f"{API}/operations/jobs"
FETCH_ID = "0123456789abcdef" * 2


@pytest.fixture
def runtime(client: Client) -> Runtime:
    return client.runtime


# Jobs that failed --------------------------------------------------------------------------------


@pytest.mark.redis
def test_a_failed_job_is_done_again_by_a_new_one(client: Client, runtime: Runtime) -> None:
    fail_a_job(runtime)
    (failure,) = runtime.operations.failures()
    assert (failure.id, failure.job, failure.error) == (FAILED_JOB, JOB, "KeyError")
    token = client.add_token()
    assert client.call("POST", f"{JOBS}/{FAILED_JOB}/retry", token=token).status_code == 202
    assert runtime.operations.failures() == []
    (id,) = runtime.job_queue._queue.job_ids
    assert id != FAILED_JOB
    assert not [key for key in runtime.store.redis.keys("*") if FAILED_JOB.encode() in key]
    again = client.call("POST", f"{JOBS}/{FAILED_JOB}/retry", token=token)
    assert (again.status_code, runtime.job_queue.queued()) == (404, 1)


def test_a_job_of_the_fetch_process_is_done_again_for_the_same_id(runtime: Runtime) -> None:
    fail_a_job(runtime, "fetch-1", READ_FEED, FETCH_ID, fetch=True)
    runtime.operations.retry("fetch-1")
    assert (runtime.job_queue.queued(), runtime.fetch_queue.queued()) == (0, 1)
    (job,) = runtime.fetch_queue._queue.jobs
    assert (job.func_name, job.args) == (READ_FEED, [FETCH_ID])
    assert job.id.startswith("fetch-"), "which is all that a fetch process may see"


@pytest.mark.parametrize(
    ("function", "arguments", "fetch"),
    [
        ("os.system", ("reboot",), False),
        (JOB, ("one too many",), False),
        (READ_FEED, ("https://an.example/address",), True),
        (JOB, (), True),
    ],
)
def test_a_job_that_is_not_ours_is_never_run_again(
    client: Client, runtime: Runtime, function: str, arguments: tuple[str, ...], fetch: bool
) -> None:
    fail_a_job(runtime, "strange", function, *arguments, fetch=fetch)
    assert [one.job for one in runtime.operations.failures()] == [""]
    with pytest.raises(ForeignJob):
        runtime.operations.retry("strange")
    token = client.add_token()
    assert client.call("POST", f"{JOBS}/strange/retry", token=token).status_code == 409
    assert (runtime.job_queue.queued(), runtime.fetch_queue.queued()) == (0, 0)
    assert client.call("DELETE", f"{JOBS}/strange", token=token).status_code == 204
    assert client.call("DELETE", f"{JOBS}/strange", token=token).status_code == 404
    assert runtime.operations.failures() == []


def test_what_else_stands_in_the_queues_redis_is_no_failed_job(runtime: Runtime) -> None:
    queue = runtime.job_queue._queue
    runtime.job_queue.wake(1, at_front=False)
    for id in (queue.job_ids[0], "", "stoppress:written"):
        with pytest.raises(UnknownJob):
            runtime.operations.throw_away(id)
    queue.connection.zadd(queue.failed_job_registry.key, {"without a job": 4e9, "old": 1})
    assert [(one.id, one.job, one.error) for one in runtime.operations.failures()] == [
        ("without a job", "", "")
    ]
    assert runtime.job_queue.queued() == 1


def test_failed_jobs_have_pages(client: Client, runtime: Runtime) -> None:
    for number in range(3):
        fail_a_job(runtime, f"job-{number}")
    token = client.add_token()
    first = client.call("GET", f"{JOBS}?limit=2", token=token).json
    rest = client.call("GET", f"{JOBS}?cursor={first['next_cursor']}", token=token).json
    ids = [one["id"] for one in (*first["jobs"], *rest["jobs"])]
    assert (sorted(ids), rest["next_cursor"]) == (["job-0", "job-1", "job-2"], None)
    assert "a-secret" not in str(first)


# How it works ------------------------------------------------------------------------------------


def test_the_api_shows_how_push_services_fare(client: Client, runtime: Runtime) -> None:
    counting, services = runtime.counting, runtime.store.push_services
    for seconds in (0.02, 0.02, 0.2):
        counting.observe(PUSH_ANSWERS, seconds, "google", "2xx")
    counting.observe(PUSH_ANSWERS, 0.16, "google", "5xx")
    counting.count(PUSH_RETRIES, "google", "failed", times=3)
    counting.count(PROMISES, "yes", times=2)
    counting.add_to(runtime.store.counted)
    services.rest("https://fcm.googleapis.com", Rest(1, 1.0, 4e9, "503"))
    services.pace("https://updates.push.services.mozilla.com", Pace(6000, 4e9))
    shown = client.call("GET", f"{API}/operations", token=client.add_token("x", ["read"])).json
    google, mozilla = shown["push_services"]
    assert google == {
        **{"service": "google", "answers": 4, "mean_seconds": 0.1, "most_within_seconds": 0.25},
        **{"retries": {"failed": 3}, "resting": {"503": 1}, "paced": 0, "doubted": 0},
    }
    assert (mozilla["service"], mozilla["answers"], mozilla["paced"]) == ("mozilla", 0, 1)
    assert shown["promises"] == {"kept": 2, "missed": 0}
    assert shown["redis"]["memory_used"] > 0
    assert shown["clock_age_seconds"] is None
    assert {one["name"] for one in shown["causes"]} >= {"no-clock", "no-workers"}
    assert "googleapis" not in str(shown)


def test_web_processes_and_clocks_are_seen_with_their_release(runtime: Runtime) -> None:
    config = runtime.config
    for kind in ("clock", "web"):
        presence = Presence(kind, config.addresses, runtime.shared)
        presence._beat()
    runtime.store.installation.lead(f"{presence._me.host}:{presence._me.pid}:abc", 60_000)
    clock, web = runtime.operations.processes()
    assert [(one.kind, one.version, one.leads) for one in (clock, web)] == [
        ("clock", RELEASE, True),
        ("web", RELEASE, False),
    ]
    assert web.began_at > 0


def test_a_worker_is_seen_with_the_alert_that_it_sends(
    installation: Installation, push: PushService
) -> None:
    installation.seed(40)
    push.hold_after(0)
    worker = installation.worker()
    id = installation.publish()

    def sends() -> Overview | None:
        shown = installation.runtime.operations.overview()
        return shown if any(one.alerts and one.version for one in shown.processes) else None

    shown = wait_until(sends)
    (seen,) = shown.processes
    assert (seen.kind, seen.pid, seen.alerts) == ("worker", worker.pid, (id,))
    assert seen.began_at > 0
    assert seen.job_since > 0
    (send,) = shown.sends
    assert (send.row.notification.id, send.row.progress.recipients) == (id, 40)
    assert shown.jobs.jobs == 0
    push.go_on()
    installation.over(id)
    waits = wait_until(
        lambda: [one for one in installation.runtime.operations.processes() if not one.job_since]
    )
    assert waits[0].alerts == ()
