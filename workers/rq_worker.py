"""A process that takes jobs of one queue by RQ, until it is asked to end.

Workers and fetch processes are such. RQ's SimpleWorker runs jobs in this same process, so that
connections outlive a job (decision 6).
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus
from rq.worker_registration import register

from service.domain.operations.processes import RELEASE
from service.domain.sending.job_queue import note_alive
from service.domain.store_errors import in_one_line
from service.model.operations.process_log import say, say_at_times
from service.store import WORKER, connect
from workers.own_job import OwnJob

_log = logging.getLogger(__name__)

BEAT = 5.0  # seconds between two heartbeats
_RESTART = 1.0  # seconds until RQ's worker is started again that ended because of Redis
# Seconds that RQ waits for a job before it asks anew. By default it is seven minutes, for which it
# would not notice that Redis has moved.
_WAIT = 5

# Set when this process is asked to end: it finishes what is under way and begins nothing more.
stopping = threading.Event()


class StoppableWorker(SimpleWorker):
    """A worker whose job stops early, within 0.5 s, when the process is asked to end.

    It takes longer only for answers that are still under way. A second signal ends it at once, as
    with RQ. `aside` is entered while a job runs.
    """

    kind = "worker"
    longest_job = 0.0  # seconds
    aside: Callable[[], AbstractContextManager[object]] = nullcontext

    def handle_warm_shutdown_request(self) -> None:
        """Have the job end after the current checkpoint, then end."""
        stopping.set()
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]

    def heartbeat(self, *given: Any, **options: Any) -> None:
        """Show that it is alive; `StopRequested` if it was asked to end and has no job.

        RQ raises that only where the signal comes, which may be within an `except Exception`.
        """
        if stopping.is_set() and self.get_state() != WorkerStatus.BUSY:
            raise StopRequested
        super().heartbeat(*given, **options)

    def teardown(self) -> None:
        """Sign off, without waiting for Redis if the installation stops: Redis may be gone."""
        if stopping.is_set():
            self.connection.set_retry(Retry(NoBackoff(), 0))
        super().teardown()  # type: ignore[no-untyped-call]

    def handle_exception(self, job: Any, *exc_info: Any) -> None:  # noqa: ARG002
        """Log the error that ended a job; RQ would log its message, and another program's data."""
        _log.error("a job was ended by an error", exc_info=exc_info)

    def execute_job(self, job: Any, queue: Any) -> None:
        """Run our own job; throw any other away."""
        if not job.is_ours:
            say(self.kind, "threw away a job that is not ours; who writes to Redis?")
            self.connection.delete(job.key)
            self.connection.lrem(queue.intermediate_queue_key, 0, job.id)
            return
        with self.aside():
            super().execute_job(job, queue)

    def subscribe(self) -> None:
        """Listen to no channel, by which RQ takes commands: our own processes send none."""

    def check_for_suspension(self, burst: bool) -> None:
        """Ignore RQ's key that suspends all processes, because any user of the queue can set it."""

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:  # noqa: ARG002
        """Return the seconds after which RQ forgets a killed worker's job.

        Our own leases have other workers take over its batches long before.
        """
        return int(self.longest_job) + 60


def end_when_asked() -> None:
    """Have a signal end this process in good order; RQ does so only once it waits for jobs.

    The end of its terminal does the same, unless nohup has it ignored.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def work(
    kind: str,
    name: str,
    queue_name: str,
    job_class: type[OwnJob],
    url: str,
    *,
    longest_job: float,
    aside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Take jobs of a queue, in the Redis at `url`, until this process is asked to end."""
    logging.getLogger("rq").addFilter(_in_one_line)
    logging.getLogger("rq.worker").addFilter(_in_one_line)
    connection = connect(url, WORKER)
    impatient = connect(url)
    queue = Queue(queue_name, connection=connection, job_class=job_class, serializer=JSONSerializer)
    with suppress(StopRequested):  # asked to end while it waited
        while not stopping.is_set():
            with _patience(kind):
                worker = StoppableWorker(  # which calls Redis
                    [queue],
                    connection=connection,
                    job_class=job_class,
                    serializer=JSONSerializer,
                    name=name,
                    worker_ttl=_WAIT + 15,
                )
                worker.kind, worker.longest_job = kind, longest_job
                worker.aside = aside
                with _heartbeat(worker, impatient):
                    connection.delete(worker.key)  # left if Redis refused the last one's sign-off
                    worker.work(logging_level="WARNING", with_scheduler=False)
            stopping.wait(_RESTART)  # RQ also ends where Redis is full, read-only or silent


def _in_one_line(record: logging.LogRecord) -> bool:
    """Log an error of Redis without a traceback; a filter of RQ's messages."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, RedisError):
        record.msg, record.args = f"{record.getMessage()} {in_one_line(error)}", ()
        record.exc_info = None
    return True


@contextmanager
def _heartbeat(worker: StoppableWorker, redis: Redis) -> Iterator[None]:
    """Show every few seconds that this process is alive; RQ alone is silent for minutes."""
    ended = threading.Event()

    def beat() -> None:
        with suppress(RedisError):
            note_alive(redis, worker.key, RELEASE)
        while not ended.wait(BEAT):
            # The main thread ends the process; this one only stops.
            with suppress(RedisError, StopRequested), redis.pipeline() as pipe:
                worker.heartbeat(pipeline=pipe)
                note_alive(pipe, worker.key, RELEASE)
                register(worker, pipe)  # again, since Redis may have lost its last seconds
                pipe.execute()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # a late heartbeat would make the next worker of this name a second one


@contextmanager
def _patience(kind: str) -> Iterator[None]:
    """Let RQ's worker end if Redis is full or read-only; the next one starts a second later."""
    try:
        yield
    except RedisError as error:
        say_at_times(kind, in_one_line(error))
