"""The operations page: what is wrong, what runs, and jobs that failed."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.domain.operations.processes import RELEASE, Presence
from service.domain.sending.job_queue import JOB, QUEUE, note_alive
from service.model.operations.measures import PUSH_ANSWERS
from service.runtime import Runtime
from service.store.sending.push_services import Pace, Rest
from tests.support.desk.pages import NASTY, post, publish, words
from tests.support.failed_jobs import FAILED_JOB, fail_a_job
from tests.support.newsroom.feeds import pretend_a_fetch_process

PAGE = "/desk/operations"
GOOGLE, MOZILLA = "https://fcm.googleapis.com", "https://updates.push.services.mozilla.com"


@pytest.fixture
def settings() -> dict[str, str]:
    return {"PROMISE": "90% in 60s", "CANARY_MINUTES": "0"}


def test_the_page_says_what_is_wrong_and_what_to_do(editor: FlaskClient, runtime: Runtime) -> None:
    text = words(editor.get(PAGE).text)
    assert "No clock has ever run, so scheduled alerts wait. Start stoppress clock" in text
    assert "No worker runs, so no alert is sent. Start stoppress worker" in text
    assert "No process has given a sign of life." in text
    redis = runtime.store.redis
    redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:test")
    note_alive(redis, "rq:worker:test", RELEASE)
    pretend_a_fetch_process(redis)
    runtime.store.installation.lead("a clock", 60_000)
    page = editor.get(PAGE).text
    assert "<bdi></bdi>" not in page, "on a phone the cell of a host that is not known is hidden"
    text = words(page)
    assert "No worker" not in text
    assert "No clock" not in text


def test_the_page_shows_what_keeps_an_alert(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime, title=NASTY)
    runtime.planning.plan(runtime.publishing.get(id))
    services = runtime.store.push_services
    services.rest(GOOGLE, Rest(1, time.time(), time.time() + 60, "503"))
    services.pace(MOZILLA, Pace(6000, time.time()))
    runtime.counting.observe(PUSH_ANSWERS, 4.2, "microsoft", "2xx")
    runtime.counting.add_to(runtime.store.counted)
    page = editor.get(PAGE).text
    text = words(page)
    assert "<script>alert" not in page
    assert "0 of 100 browsers done." in text
    assert "wait for a worker." in text
    assert "Answers 503, is tried again" in text
    assert "Takes only 6,000 messages a minute" in text
    assert "Answers after 4.2 seconds, so more workers help" in text
    assert "An alert to all 100 readers needs 1 worker to keep the promise (90% in 60s)" in text


def test_processes_are_shown_with_release_and_work(editor: FlaskClient, runtime: Runtime) -> None:
    Presence("clock", runtime.config.addresses, runtime.shared)._beat()
    (clock,) = runtime.operations.processes()
    text = words(editor.get(PAGE).text)
    assert f"Clock {clock.pid} {clock.host} {clock.version} ready to take over" in text


def test_a_fetch_process_shows_its_release_too(editor: FlaskClient, runtime: Runtime) -> None:
    pretend_a_fetch_process(runtime.store.redis)
    (fetch,) = runtime.operations.processes()
    assert (fetch.kind, fetch.version) == ("fetch", RELEASE)
    assert RELEASE in words(editor.get(PAGE).text)


def test_a_failed_job_is_retried_and_another_thrown_away(
    editor: FlaskClient, runtime: Runtime
) -> None:
    fail_a_job(runtime)
    fail_a_job(runtime, "strange", "os.system", "reboot")
    page = editor.get(PAGE).text
    text = words(page)
    assert "Send what is due" in text
    assert "Not ours" in text
    assert "KeyError" in text
    assert "a-secret" not in text
    jobs = f"{PAGE}/jobs"
    assert (
        re.findall(r'form="jobs" formaction="([^"]+)"', page)
        == [
            *(f"{jobs}/{FAILED_JOB}/retry", f"{jobs}/{FAILED_JOB}/throw-away"),
            f"{jobs}/strange/throw-away",
        ]
        or f"{jobs}/strange/retry" not in page
    )
    refused = post(editor, f"{jobs}/strange/retry", page=PAGE)
    assert refused.status_code == 409
    assert "This job is not ours, so it is not run again." in words(refused.text)
    for _ in range(2):
        assert post(editor, f"{jobs}/{FAILED_JOB}/retry", page=PAGE).status_code == 303
        assert post(editor, f"{jobs}/strange/throw-away", page=PAGE).status_code == 303
    assert [job.func_name for job in runtime.job_queue._queue.jobs] == [JOB]
    assert "None within a day." in words(editor.get(PAGE).text)


def test_the_page_refreshes_itself_only_when_something_has_changed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    found = re.search(r'hx-get="([^"]+)" hx-trigger="every 5s, refresh"', editor.get(PAGE).text)
    assert found
    assert editor.get(found[1]).status_code == 204
    fail_a_job(runtime)
    again = editor.get(found[1])
    assert again.status_code == 200
    assert "Send what is due" in again.text
    assert "csrf_token" not in again.text, "which would be another one each time"
