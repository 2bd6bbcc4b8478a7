"""The queues of jobs, for workers and for fetch processes, and who listens to them.

A job says only that there is work, which the store knows. A lost, doubled or late job costs
nothing.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import ClassVar, NamedTuple, cast
from uuid import uuid4

from redis import Redis, ResponseError
from rq import Queue, Worker
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from service.model.retention import ARTICLE_NEW, FAILED_JOB_KEPT
from service.model.time import clock

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
_MOST_SHOWN = 100  # jobs
_LONGEST_CALL = 200  # bytes
_LONGEST_ERROR = 1 << 20  # bytes
_ERROR = re.compile(r"[A-Za-z_][\w.]{0,100}(?:Error|Exception|Exit|Interrupt)\b")


def stored_call(function: str, *arguments: str) -> bytes:
    """Return function, object and arguments as RQ writes them."""
    return json.dumps((function, None, arguments, {})).encode()


def unpacked(data: bytes) -> bytes:
    """Return the call of a stored job."""
    try:
        # A compressed call may be as long as its author likes.
        return zlib.decompressobj().decompress(data, _LONGEST_CALL)
    except zlib.error:
        return data


# The calls that workers and fetch processes run (workers/own_job.py), and that may be run again.
OWN_CALL = re.compile(re.escape(stored_call(JOB)))
OWN_FETCH_CALL = re.compile(
    b"|".join(
        re.escape(stored_call(job, "ID")).replace(b"ID", b"[0-9a-f]{32}") for job in FETCH_JOBS
    )
)


class UnknownJob(Exception):
    """No failed job has this id."""


class ForeignJob(Exception):
    """A job that is not ours: it can only be thrown away."""


class Running(NamedTuple):
    """A process that takes jobs; times in seconds since 1970."""

    name: str
    host: str
    pid: int
    began_at: float
    seen_at: float  # its last heartbeat
    job_since: float  # when it took the job that it works on; 0: it waits for one
    release: str = ""  # of Stop Press; empty: one that did not say it yet


class Failure(NamedTuple):
    """A job that failed."""

    id: str
    job: str  # the function that it calls; empty: it is not ours
    failed_at: float  # in seconds since 1970
    error: str  # its type alone: the message may repeat an endpoint


def note_alive(pipe: Redis, worker: str, release: str) -> None:
    """Note that the worker with this key is alive; Redis' clock decides for how long."""
    pipe.set(_alive(worker), release, px=int(_SILENT * 1000))


def _alive(worker: str) -> str:
    return f"stoppress:alive:{worker}"


class _Queue(ABC):
    """A queue, and the processes that take its jobs."""

    _own: ClassVar[re.Pattern[bytes]]  # the calls that may be run again

    def __init__(self, redis: Redis, name: str) -> None:
        self._queue = Queue(name, connection=redis, serializer=JSONSerializer)
        self._failed = self._queue.failed_job_registry.key

    def queued(self) -> int:
        """Return how many jobs wait."""
        return self._queue.connection.llen(self._queue.key)

    def oldest(self) -> float | None:
        """Return for how many seconds the job has waited that waits longest; None: none waits."""
        ids = cast("list[bytes]", self._queue.connection.lrange(self._queue.key, -_MOST_SHOWN, -1))
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(Job.key_for(id.decode()), "enqueued_at")
            times = [_time(at) for at in pipe.execute() if at]
        return max(0.0, clock.time() - min(times)) if times else None

    def workers(self) -> int:
        """Return how many of them gave a heartbeat lately."""
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for key in Worker.all_keys(queue=self._queue):
                pipe.exists(_alive(key))
            return sum(pipe.execute())

    def running(self) -> list[Running]:
        """Return those that gave a heartbeat lately."""
        since = self._since()
        with self._queue.connection.pipeline(transaction=False) as pipe:
            keys = sorted(Worker.all_keys(queue=self._queue))
            for key in keys:
                pipe.get(_alive(key))
                pipe.hmget(key, "hostname", "pid", "birth", "last_heartbeat")
            found = pipe.execute()
        return [
            Running(
                name := key.removeprefix(Worker.redis_worker_namespace_prefix),
                (host or b"").decode(),
                int(pid or 0),
                _time(birth),
                _time(seen),
                since.get(name, 0.0),
                release.decode(),
            )
            for key, release, (host, pid, birth, seen) in zip(
                keys, found[::2], found[1::2], strict=True
            )
            if release is not None
        ]

    def _since(self) -> dict[str, float]:
        """Return by process when it took the job that it works on."""
        key = self._queue.started_job_registry.key
        begun = cast("list[bytes]", self._queue.connection.zrange(key, 0, -1))
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for one in begun:  # of a job, and how often it was begun
                pipe.hmget(Job.key_for(one.decode().partition(":")[0]), "worker_name", "started_at")
            return {(name or b"").decode(): _time(at) for name, at in pipe.execute()}

    # -- jobs that failed --------------------------------------------------------------------------

    def failed(self) -> int:
        """Return how many jobs have failed lately (`FAILED_JOB_KEPT`)."""
        # Not its length, which removes those that are too old: figures write nothing.
        return self._queue.connection.zcount(self._failed, clock.time(), "+inf")

    def failures(self) -> list[Failure]:
        """Return the jobs that failed lately (`FAILED_JOB_KEPT`), the latest first."""
        redis = self._queue.connection
        rows = cast(
            "list[tuple[bytes, float]]",
            redis.zrange(self._failed, 0, _MOST_SHOWN - 1, desc=True, withscores=True),
        )
        ids = [(id.decode(), until) for id, until in rows if until > clock.time()]
        with redis.pipeline(transaction=False) as pipe:
            for id, _ in ids:
                pipe.hget(Job.key_for(id), "data")
                pipe.xrevrange(_result_key(id), count=1)
            found = pipe.execute()
        return [
            Failure(id, self._job(data) or "", until - FAILED_JOB_KEPT, _error(result))
            for (id, until), data, result in zip(ids, found[::2], found[1::2], strict=True)
        ]

    def has_failed(self, id: str) -> bool:
        """Whether a job with this id is among those that failed."""
        return self._queue.connection.zscore(self._failed, id) is not None

    def retry(self, id: str) -> None:
        """Have a failed job done again, by a new one like it; `UnknownJob`, `ForeignJob`.

        Nothing of the old one but its name and its id is taken over (decision 65).
        """
        if not self.has_failed(id):
            raise UnknownJob
        redis = self._queue.connection
        call = unpacked(cast("bytes | None", redis.hget(Job.key_for(id), "data")) or b"")
        if self._own.fullmatch(call) is None:
            raise ForeignJob
        self.throw_away(id)
        function, _, arguments, _ = json.loads(call)
        self._again(function, *arguments)

    def throw_away(self, id: str) -> None:
        """Forget a failed job; `UnknownJob`, also for the second of two clicks."""
        redis = self._queue.connection
        if not redis.zrem(self._failed, id):
            raise UnknownJob
        redis.delete(Job.key_for(id), _result_key(id))

    def _job(self, data: bytes | None) -> str | None:
        call = unpacked(data or b"")
        return json.loads(call)[0] if self._own.fullmatch(call) else None

    @abstractmethod
    def _again(self, job: str, *arguments: str) -> None:
        """Put a job into the queue once more."""


def _result_key(id: str) -> str:
    key: str = Result.get_key(id)  # type: ignore[no-untyped-call]
    return key


def _time(text: bytes | None) -> float:
    """Return a time as RQ writes it in seconds since 1970; 0 if it is none."""
    with suppress(ValueError):
        return utcparse((text or b"").decode()).timestamp()
    return 0.0


def _error(results: list[tuple[bytes, dict[bytes, bytes]]]) -> str:
    """Return the type of the error that ended a job."""
    text = b""
    with suppress(ValueError, zlib.error):
        packed = base64.b64decode(results[0][1].get(b"exc_string", b"")) if results else b""
        text = zlib.decompressobj().decompress(packed, _LONGEST_ERROR)
    last = text.decode(errors="replace").strip().rpartition("\n")[2]
    found = _ERROR.search(last)
    return found[0].rpartition(".")[2] if found else ""


class FetchQueue(_Queue):
    """The queue of what is to be fetched, for the processes of `stoppress fetch`."""

    _own = OWN_FETCH_CALL

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, FETCH_QUEUE)

    def ask(self, job: str, id: str) -> None:
        """Have one of `FETCH_JOBS` done; what it needs, such as an address, is in the store.

        An editor waits for an article, so it goes before feeds and webhooks.
        """
        self._queue.enqueue(
            job,
            id,
            # Fetch processes see only jobs of such names (service/local/redis_users.py).
            job_id=f"fetch-{uuid4().hex}",
            at_front=job == READ_ARTICLE,
            job_timeout=_FETCH_TIMEOUT,
            ttl=ARTICLE_NEW,
            result_ttl=0,
            failure_ttl=FAILED_JOB_KEPT,
        )

    def _again(self, job: str, *arguments: str) -> None:
        self.ask(job, *arguments)


class JobQueue(_Queue):
    """The queue of work for the workers of one installation."""

    _own = OWN_CALL

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
        self._put(lacking, at_front=at_front)

    def _put(self, jobs: int, *, at_front: bool) -> None:
        with self._queue.connection.pipeline() as pipe:
            for _ in range(jobs):
                self._queue.enqueue(
                    JOB,
                    at_front=at_front,
                    job_timeout=_JOB_TIMEOUT,
                    result_ttl=0,
                    failure_ttl=FAILED_JOB_KEPT,
                    pipeline=pipe,
                )
            pipe.execute()

    def _again(self, *_: str) -> None:
        self._put(1, at_front=False)

    def server(self) -> str:
        """Return the id of the queue's Redis, and notice if it is a replica by now."""
        redis = self._queue.connection
        with suppress(ResponseError):  # it may be full
            redis.set("stoppress:written", "", px=1)
        try:
            return str(redis.info("server")["run_id"])
        except (ResponseError, KeyError):
            return ""  # some services do not tell
