"""What a stranger who can write to Redis cannot do: have a worker run other code than ours."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from service.domain.sending.job_queue import JOB, QUEUE
from service.local.rehearsal import foreign_environment
from tests.support import ROOT
from tests.support.processes.installation import Installation, wait_until
from tests.support.short_forms import cases

pytestmark = pytest.mark.redis


class Stranger:
    """Writes into the queue, and would leave this file if any of it was run."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.redis: Redis = installation.runtime.store.redis
        self.queue = Queue(QUEUE, connection=self.redis, serializer=JSONSerializer)
        self.mark = folder / "a stranger was here"

    def leave(self) -> tuple[str, str]:
        return "os.mkdir", str(self.mark)

    def call_another_function(self) -> None:
        function, path = self.leave()
        self.queue.enqueue(function, path)

    def call_ours_with_arguments(self) -> None:
        self.queue.enqueue(JOB, str(self.mark))

    def hang_callbacks_on_our_job(self) -> None:
        own = Callback(f"{__name__}.never")
        self.queue.enqueue(JOB, on_success=own, on_failure=own, on_stopped=own)

    def call_a_method(self) -> None:
        job = self.queue.enqueue(JOB)
        data = json.dumps(["format", "{0}", ["x"], {}]).encode()
        self.redis.hset(job.key, "data", zlib.compress(data))

    def write_nonsense(self) -> None:
        for field, value in (
            ("data", b"\xff\xfe"),
            ("data", zlib.compress(b"[" * 5_000_000)),
            ("created_at", b"yesterday"),
            ("status", b"\xff"),
            ("timeout", b"soon"),
        ):
            job = self.queue.enqueue(JOB)
            self.redis.hset(job.key, field, value)

    def abandon_a_job_with_a_callback(self) -> None:
        """RQ's housekeeping calls the callback of a job whose worker died."""
        job = Job.create(
            JOB,
            connection=self.redis,
            serializer=JSONSerializer,
            origin=QUEUE,
            on_failure=Callback(f"{__name__}.never"),
            status=JobStatus.STARTED,
        )
        job.save()
        registry = StartedJobRegistry(queue=self.queue, serializer=JSONSerializer)
        self.redis.zadd(registry.key, {f"{job.id}:x": 1, job.id: 1})


def never(*_: object) -> None:
    (ROOT / "a stranger was here").mkdir()


@contextmanager
def worker_of(installation: Installation, errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker whose messages go to a file."""
    environ = {**installation.environment, "PATH": "/usr/bin:/bin"}
    argv = [sys.executable, "-m", "workers.worker"]
    with errors.open("wb") as file:
        worker = subprocess.Popen(argv, env=environ, cwd=ROOT, stderr=file)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(30)


ATTACKS = [name for name in vars(Stranger) if not name.startswith("_") and name != "leave"]


def test_a_worker_runs_no_job_but_its_own_whatever_is_written_into_its_queue(
    installation: Installation, tmp_path: Path
) -> None:
    installation.seed(20)
    stranger = Stranger(installation, tmp_path)
    for name in ATTACKS:
        getattr(stranger, name)()
    installation.clock()
    with worker_of(installation, tmp_path / "errors") as worker:
        id = installation.publish()
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 20}
        wait_until(lambda: installation.runtime.job_queue.queued() == 0)
        wait_until(lambda: not stranger.redis.llen(stranger.queue.intermediate_queue_key))
        assert worker.poll() is None, "the worker goes on"
    assert not stranger.mark.exists()
    assert not (ROOT / "a stranger was here").exists()
    errors = (tmp_path / "errors").read_text()
    assert "threw away a job that is not ours" in errors
    assert "Traceback" not in errors
    assert "os.mkdir" not in errors


# A worker that is told to end while it reads a job, and one in which the exception is lost that RQ
# raises then.
WHERE = {
    "while it reads a job": "rq.job.Job.restore",
    "where the exception is lost": "rq.Queue.dequeue_any",
}
TOLD_TO_END = """
import os, rq, signal, sys
from contextlib import suppress
from workers import worker

place, name = {where!r}.rsplit(".", 1)
owner = eval(place)
real = getattr(owner, name)

def told(*given, **options):
    setattr(owner, name, real)
    with suppress(*[Exception][:{lost}]):
        os.kill(os.getpid(), signal.SIGTERM)
    return real(*given, **options)

setattr(owner, name, told)
sys.exit(worker.main())
"""


@pytest.mark.parametrize("where", cases(WHERE, most=1))
def test_a_worker_ends_wherever_it_is_when_it_is_told_to(
    installation: Installation, where: str, tmp_path: Path
) -> None:
    installation.runtime.job_queue.wake(1, at_front=False)
    code = TOLD_TO_END.format(where=where, lost=int("Queue" in where))
    worker = subprocess.run(
        [sys.executable, "-c", code],
        env=foreign_environment() | installation.environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (worker.returncode, worker.stderr) == (0, "")


def test_a_worker_takes_no_command_from_redis(installation: Installation) -> None:
    worker = installation.worker()
    wait_until(installation.runtime.job_queue.workers)
    assert installation.runtime.store.redis.pubsub_channels("rq:*") == []
    installation.seed(3)
    id = installation.publish()
    installation.over(id)
    assert worker.poll() is None
