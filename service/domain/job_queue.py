"""The queues of jobs, for workers and for fetch processes, and who listens to them.

A job says only that there is work, which the store knows. A lost, doubled or late job costs
nothing.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from redis import Redis, ResponseError
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from service.model import clock
from service.model.retention import ARTICLE_NEW, FAILED_JOB_KEPT

QUEUE = "stoppress"
JOB = "workers.jobs.send"  # the only one that a worker takes
FETCH_QUEUE = "stoppress-fetch"
READ_ARTICLE = "workers.fetching.jobs.read"
READ_FEED = "workers.fetching.jobs.read_feed"
CALL = "workers.fetching.jobs.call"
# The only ones that a fetch process takes, each with an id.
FETCH_JOBS = (READ_ARTICLE, READ_FEED, CALL)
_SILENT = 20.0  # seconds without a heartbeat after which a worker counts as dead
_FETCH_TIMEOUT = 30  # seconds; a page has three, a call to a webhook ten
_JOB_TIMEOUT = 600  # seconds; a job ends by itself long before


def note_alive(pipe: Redis, worker: str) -> None:
    """Note that the worker with this key is alive; Redis' clock decides for how long."""
    pipe.set(_alive(worker), "", px=int(_SILENT * 1000))


def _alive(worker: str) -> str:
    return f"stoppress:alive:{worker}"


class _Queue:
    """A queue, and the processes that take its jobs."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._queue = Queue(name, connection=redis, serializer=JSONSerializer)

    def queued(self) -> int:
        """Return how many jobs wait."""
        return self._queue.connection.llen(self._queue.key)

    def workers(self) -> int:
        """Return how many of them gave a heartbeat lately."""
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for key in Worker.all_keys(queue=self._queue):
                pipe.exists(_alive(key))
            return sum(pipe.execute())


class FetchQueue(_Queue):
    """The queue of what is to be fetched, for the processes of `stoppress fetch`."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, FETCH_QUEUE)

    def ask(self, job: str, id: str) -> None:
        """Have one of `FETCH_JOBS` done; what it needs, such as an address, is in the store."""
        self._queue.enqueue(
            job,
            id,
            # Fetch processes see only jobs of such names (service/local/redis_users.py).
            job_id=f"fetch-{uuid4().hex}",
            job_timeout=_FETCH_TIMEOUT,
            ttl=ARTICLE_NEW,
            result_ttl=0,
            failure_ttl=FAILED_JOB_KEPT,
        )


class JobQueue(_Queue):
    """The queue of work for the workers of one installation."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, QUEUE)

    def wake(self, work: int, *, at_front: bool) -> None:
        """See to it that a job waits for each piece of work, up to one job for each worker."""
        if work > 1:
            # All registered workers, dead ones included: whether a worker is dead depends on the
            # clocks of two hosts, which may differ.
            work = min(work, max(1, Worker.count(queue=self._queue)))
        lacking = work - self.queued()
        if lacking <= 0:
            return
        with self._queue.connection.pipeline() as pipe:
            for _ in range(lacking):
                self._queue.enqueue(
                    JOB,
                    at_front=at_front,
                    job_timeout=_JOB_TIMEOUT,
                    result_ttl=0,
                    failure_ttl=FAILED_JOB_KEPT,
                    pipeline=pipe,
                )
            pipe.execute()

    def server(self) -> str:
        """Return the id of the queue's Redis, and notice if it is a replica by now."""
        redis = self._queue.connection
        with suppress(ResponseError):  # it may be full
            redis.set("stoppress:written", "", px=1)
        try:
            return str(redis.info("server")["run_id"])
        except (ResponseError, KeyError):
            return ""  # some services do not tell

    def failed(self) -> int:
        """Return how many jobs have failed lately (`FAILED_JOB_KEPT`)."""
        # Not its length, which removes those that are too old: figures write nothing.
        key = self._queue.failed_job_registry.key
        return self._queue.connection.zcount(key, clock.time(), "+inf")
