"""Jobs that failed, stored as RQ leaves them."""

from __future__ import annotations

from rq.job import Job
from rq.serializers import JSONSerializer

from service.domain.sending.job_queue import JOB
from service.model.retention import FAILED_JOB_KEPT
from service.runtime import Runtime

FAILED_JOB = "a-job-that-failed"
_ERROR = "Traceback (most recent call last):\n  …\nKeyError: 'https://push.example/a-secret'\n"


def fail_a_job(
    runtime: Runtime,
    id: str = FAILED_JOB,
    function: str = JOB,
    *arguments: str,
    fetch: bool = False,
) -> None:
    """Store a job of the workers' queue, or of that of fetch processes, as one that failed."""
    queue = (runtime.fetch_queue if fetch else runtime.job_queue)._queue
    job = Job.create(
        function,
        arguments,
        id=id,
        origin=queue.name,
        connection=queue.connection,
        serializer=JSONSerializer,
        failure_ttl=FAILED_JOB_KEPT,
    )
    with queue.connection.pipeline() as pipe:
        job._handle_failure(_ERROR, pipe)
        pipe.execute()
