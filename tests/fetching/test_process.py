"""The fetch process: it reads what is stored under an id, and has no key and no other right."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer
from standardwebhooks import Webhook

from service.domain.newsroom.articles import NOBODY, Result
from service.domain.sending.job_queue import FETCH_QUEUE, JOB, READ_ARTICLE
from service.local.redis_users import redis_users
from service.local.rehearsal import foreign_environment
from service.model.newsroom.articles import Fault
from tests.support import ROOT
from tests.support.command import stoppress
from tests.support.network.newspaper import Newspaper, redirect, response
from tests.support.processes.installation import Installation, wait_until
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.users import as_users

pytestmark = pytest.mark.processes

ARTICLE = (
    b'<html lang="en-GB"><title>Ferry aground</title>'
    b'<meta property="og:description" content="Nobody is hurt.">'
)


@pytest.fixture
def paper(paper: Newspaper) -> Newspaper:
    paper.pages["/ferry"] = response(ARTICLE)
    return paper


def ask(installation: Installation, link: str) -> Result:
    """Have a link read, and wait for the result."""
    articles = installation.runtime.articles
    request = articles.ask(link)

    def read() -> Result | None:
        found = articles.result(request.id)
        return found if found is not None and found.reading is not None else None

    return wait_until(read)


def test_a_link_is_read_by_a_process_of_its_own(
    installation: Installation, paper: Newspaper
) -> None:
    installation.environment["FETCH_ORIGINS"] = paper.origin
    installation.fetcher()
    found = ask(installation, f"{paper.origin}/ferry")
    assert (found.article.title, found.article.language) == ("Ferry aground", "en-GB")
    # The same link within a minute: the same result.
    ask(installation, f"{paper.origin}/ferry")
    assert len(paper.requests) == 1


def test_a_webhook_is_called_by_clock_and_fetch_process_together(
    installation: Installation, paper: Newspaper
) -> None:
    installation.environment["FETCH_ORIGINS"] = paper.origin
    paper.pages["/hook"] = response(status=204)
    hooks = installation.runtime.webhooks
    made, secret = hooks.add(f"{paper.origin}/hook", ["alert.sent"], by="a test")
    installation.fetcher()
    installation.clock()
    id = installation.publish()
    wait_until(lambda: hooks.get(made.id).health.results)
    lines = paper.requests[0].split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines)
    event = Webhook(secret).verify(paper.bodies[0], headers)
    assert (event["type"], event["data"]["id"]) == ("alert.sent", str(id))
    assert len(paper.bodies) == 1


def test_what_went_wrong_comes_back_too(installation: Installation, paper: Newspaper) -> None:
    installation.environment["FETCH_ORIGINS"] = paper.origin
    paper.pages["/moved"] = redirect("http://169.254.169.254/")
    paper.pages["/file"] = response(b"%PDF", kind="application/pdf")
    installation.fetcher()
    for path, status, fault in (
        ("/gone", 404, None),
        ("/moved", 0, Fault.NOT_PUBLIC),
        ("/file", 200, None),
    ):
        reading = ask(installation, f"{paper.origin}{path}").reading
        assert reading is not None
        assert (reading.status, reading.fault) == (status, fault)
        assert reading.article.title == ""


def test_a_fetch_process_works_as_a_redis_user_that_sees_little_else(
    installation: Installation, paper: Newspaper
) -> None:
    """Other tests here too: their Redis fails a test in which it refused a process something."""
    installation.fetcher()
    ask(installation, "http://127.0.0.1:1/")
    url = as_users({"REDIS_URL": installation.environment["REDIS_URL"]}, "fetch")["REDIS_URL"]
    (user,) = (user for user in redis_users() if user.process == "fetch")
    assert not {"zcard", "bitop", "rpush", "lpush", "keys"} & {*user.commands}
    with RedisServer() as server:
        url = as_users({"REDIS_URL": server.url}, "fetch")["REDIS_URL"]
        with redis.Redis.from_url(url) as client:
            assert client.hgetall("{g}:article:a") == {}
            for key in (
                *("{g}:editors", "{g}:tokens", "{g}:session:a", "{g}:n:1", "{g}:keys", "{10}:live"),
                *("{g}:processes", "{g}:web", "rq:queue:stoppress", "rq:job:a"),
                *("rq:worker:a", "stoppress:alive:rq:worker:a", "stoppress:rate:x"),
            ):
                for call in (client.get, client.delete, client.hgetall):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        call(key)


def test_a_fetch_process_has_no_keys_in_its_environment(
    installation: Installation, tmp_path: Path
) -> None:
    """`/proc` shows what it was started with; what it starts itself would have what is left."""
    code = """
import os, sys
from workers import fetcher, rq_worker
rq_worker.work = lambda *_, **__: print(sorted(os.environ))
sys.exit(fetcher.main())
"""
    environ = foreign_environment() | installation.environment
    assert {"SECRET_KEY", "VAPID_PRIVATE_KEY"} <= environ.keys()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "KEY" not in done.stdout


def test_the_command_says_that_it_ignores_keys_and_hands_them_on_to_nobody(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[dict[str, str]] = []
    monkeypatch.setattr("service.cli.run.become", lambda _argv, environ: became.append(environ))
    done = stoppress(installation.environment, "fetch")
    assert done.exit_code == 0, done.output
    for name in ("SECRET_KEY", "VAPID_PRIVATE_KEY"):
        assert f"fetch: {name} is set, and ignored." in done.output
        assert name not in became[0]
    assert installation.environment["SECRET_KEY"] not in done.output


def test_a_fetch_process_runs_no_job_but_its_own(
    installation: Installation, paper: Newspaper, tmp_path: Path
) -> None:
    installation.environment["FETCH_ORIGINS"] = paper.origin
    store = installation.runtime.store.redis
    queue = Queue(FETCH_QUEUE, connection=store, serializer=JSONSerializer)
    mark = tmp_path / "a stranger was here"
    for function, arguments in (
        ("os.mkdir", (str(mark),)),
        (READ_ARTICLE, (f"{paper.origin}/ferry",)),
        (READ_ARTICLE, ("0" * 32, "1")),
        (READ_ARTICLE, ()),
        (JOB, ()),
    ):
        queue.enqueue(function, *arguments, job_id=f"fetch-{len(queue)}")
    log = tmp_path / "errors"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.fetcher"],
            env=foreign_environment() | installation.environment,
            cwd=ROOT,
            stderr=errors,
        )
        try:
            assert ask_when_ready(installation, paper).article.title == "Ferry aground"
            # An editor's article goes before all of them.
            wait_until(lambda: log.read_text().count("threw away a job that is not ours") == 5)
        finally:
            process.terminate()
            process.wait(30)
    assert not mark.exists()
    assert len(paper.requests) == 1
    assert "Traceback" not in log.read_text()


def ask_when_ready(installation: Installation, paper: Newspaper) -> Result:
    wait_until(installation.runtime.articles.has_readers)
    return ask(installation, f"{paper.origin}/ferry")


def test_a_worker_takes_no_job_of_a_fetch_process(installation: Installation) -> None:
    queue = Queue("stoppress", connection=installation.runtime.store.redis)
    queue.serializer = JSONSerializer
    queue.enqueue(READ_ARTICLE, "0" * 32)
    installation.worker()
    wait_until(lambda: installation.runtime.job_queue.queued() == 0)
    installation.seed(3)
    id = installation.publish()
    installation.clock()
    installation.over(id)


def test_a_killed_fetch_process_costs_one_link_and_another_takes_over(
    installation: Installation, paper: Newspaper
) -> None:
    installation.environment["FETCH_ORIGINS"] = paper.origin
    asked: list[str] = []

    def slow(client: object) -> None:
        asked.append("")
        wait_until(lambda: len(asked) > 1)

    paper.pages["/slow"] = slow
    first = installation.fetcher()
    request = installation.runtime.articles.ask(f"{paper.origin}/slow")
    wait_until(lambda: asked)
    installation.end(first, signal.SIGKILL)
    asked.append("")
    installation.start("-m", "workers.fetcher")
    assert ask(installation, f"{paper.origin}/ferry").article.title == "Ferry aground"
    found = installation.runtime.articles.result(request.id)
    assert found is not None
    assert found.reading is None


def test_a_fetch_process_ends_when_it_is_told_to(installation: Installation) -> None:
    process = installation.fetcher()
    assert installation.end(process) == 0
    assert not installation.runtime.articles.has_readers()


@pytest.mark.parametrize("process", ["worker", "fetcher"])
def test_a_process_that_is_told_to_end_before_it_waits_for_jobs_ends_in_good_order(
    installation: Installation, process: str
) -> None:
    """Others see it alive before RQ is ready for a signal."""
    code = f"""
import os, signal, sys
from rq import SimpleWorker
from workers import {process}
bootstrap = SimpleWorker.bootstrap
def told_to_end(self, *given):
    os.kill(os.getpid(), signal.SIGTERM)
    bootstrap(self, *given)
SimpleWorker.bootstrap = told_to_end
sys.exit({process}.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=foreign_environment() | installation.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not installation.runtime.store.redis.smembers("rq:workers")


def test_the_address_is_in_no_job(installation: Installation) -> None:
    """A job that waits, and one that failed, have an id only."""
    articles, store = installation.runtime.articles, installation.runtime.store.redis
    installation.fetcher()
    ask(installation, "http://127.0.0.1:1/secret-path")
    articles._queue.ask(READ_ARTICLE, "0" * 32)
    for key in store.keys("rq:*"):
        assert b"secret-path" not in (store.dump(key) or b""), key
    wait_until(lambda: not store.llen(f"rq:queue:{FETCH_QUEUE}"))


def test_nothing_is_stored_while_no_fetch_process_runs(installation: Installation) -> None:
    articles = installation.runtime.articles
    request = articles.ask("https://paper.example/ferry")
    assert not articles.has_readers()
    assert articles.result(request.id) is None
    assert installation.runtime.store.redis.keys("*article*") == []
    assert articles.link_check("https://paper.example/ferry", "x") == [NOBODY]
