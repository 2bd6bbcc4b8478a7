"""A fetch process does several jobs at once."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from service.domain.sending.job_queue import CALL, READ_ARTICLE, READ_FEED, FetchQueue
from service.store import connect
from tests.support.processes.installation import wait_until
from workers.fetching import jobs


class Servers:
    """Stands in for what reads feeds: some servers hang until they are told to answer."""

    def __init__(self) -> None:
        self.answer = Event()
        self.read: list[str] = []

    def do(self, id: str) -> None:
        if id.startswith("hangs"):
            self.answer.wait(60)
        if id == "fails":
            raise ValueError("of a parser")
        self.read.append(id)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    servers = Servers()
    monkeypatch.setattr(jobs, "_feeds", servers)
    return servers


def test_feeds_that_hang_delay_no_other(servers: Servers) -> None:
    for number in range(7):
        jobs.read_feed(f"hangs {number}")
    jobs.read_feed("answers")
    jobs.read_feed("answers too")
    wait_until(lambda: servers.read == ["answers", "answers too"])
    servers.answer.set()
    wait_until(lambda: len(servers.read) == 9)


def test_a_job_that_an_error_ends_is_logged_and_makes_room_for_others(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(20):
            jobs.read_feed("fails")
        jobs.read_feed("answers")
        wait_until(lambda: servers.read == ["answers"])
        wait_until(lambda: len(caplog.records) == 20)
    assert {one.getMessage() for one in caplog.records} == {"a job was ended by an error"}


def test_an_article_that_an_editor_waits_for_goes_before_feeds_and_webhooks(redis_url: str) -> None:
    redis = connect(redis_url)
    queue = FetchQueue(redis)
    for job in (READ_FEED, CALL, READ_ARTICLE):
        queue.ask(job, "0" * 32)
    ids = [id.decode() for id in redis.lrange("rq:queue:stoppress-fetch", 0, -1)]
    found = [Job.fetch(id, connection=redis, serializer=JSONSerializer) for id in ids]
    assert [job.func_name for job in found] == [READ_ARTICLE, READ_FEED, CALL]
