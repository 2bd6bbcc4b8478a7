"""One worker process: `python -m workers.worker`, or `stoppress worker`.

RQ's SimpleWorker runs jobs in this very process, so that the connections to the push services
live on from job to job (decision 6).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.worker_registration import register

from service.config import ConfigError
from service.domain.job_queue import QUEUE
from service.store import connect
from workers import jobs
from workers.sending.prepared_keys import Filler

BEAT = 5.0  # seconds between two signs of life


class StoppableWorker(SimpleWorker):
    """Tells the job at hand when the process is asked to end; it then takes no more than 0.5 s.

    Longer only for answers still under way. A second signal ends it at once, as RQ does.
    Without a job, it derives keys for those to come.
    """

    filler: Filler

    def handle_warm_shutdown_request(self) -> None:
        """Finish the current checkpoint, then end."""
        jobs.stopping.set()
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        """Take leave; where the whole house is stopped, not waiting for a Redis that went first."""
        if jobs.stopping.is_set():
            self.connection.set_retry(Retry(NoBackoff(), 0))
        super().teardown()  # type: ignore[no-untyped-call]

    def execute_job(self, job: Any, queue: Any) -> None:
        """Run a job with the whole process at its service."""
        with self.filler.aside():
            super().execute_job(job, queue)

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:  # noqa: ARG002
        """Let RQ forget a killed worker's job soon: our own leases have it taken up long before."""
        return int(jobs.JOB) + 60


def main() -> int:
    """Work until told to end; 0 then, 2 with one line where a setting keeps it from working."""
    try:
        runtime = jobs.runtime()
    except ConfigError as error:
        print(f"stoppress worker: {error}", file=sys.stderr)
        return 2
    connection = connect(runtime.config.redis_url, patient=True)
    impatient = connect(runtime.config.redis_url)
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    filler = Filler(runtime)
    filler.start()
    try:
        while not jobs.stopping.is_set():
            worker = StoppableWorker(
                [queue], connection=connection, serializer=JSONSerializer, name=jobs.name()
            )
            worker.filler = filler
            with _patience(), _signs_of_life(worker, impatient):
                connection.delete(worker.key)  # of one that Redis did not let say that it ended
                worker.work(logging_level="WARNING", with_scheduler=False)
                break
    except StopRequested:
        pass  # while it waited
    finally:
        filler.stop()
    return 0


@contextmanager
def _signs_of_life(worker: StoppableWorker, redis: Redis) -> Iterator[None]:
    """Let it be seen that this process is there, at a job or waiting: RQ is silent for minutes."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(RedisError), redis.pipeline() as pipe:
                worker.heartbeat(pipeline=pipe)
                register(worker, pipe)  # again: Redis may have forgotten its last seconds
                pipe.execute()

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # a late one would make the next worker of this name look like a second one


@contextmanager
def _patience() -> Iterator[None]:
    """Let RQ end where Redis refuses, being full or read-only; it is tried again in a second."""
    try:
        yield
    except RedisError as error:
        print(f"worker: Redis: {error}", file=sys.stderr)
        jobs.stopping.wait(1.0)


if __name__ == "__main__":
    sys.exit(main())
