"""The only jobs that our processes take, whatever else is written into their queues.

RQ would run any function that a stored job names, and its callbacks, and call its webhooks: a write
to Redis would be as good as a shell on the worker's host (decision 65).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from rq.exceptions import StopRequested
from rq.job import Job

from service.domain.sending.job_queue import (
    FETCH_JOBS,
    JOB,
    OWN_CALL,
    OWN_FETCH_CALL,
    stored_call,
    unpacked,
)

# What RQ's own bookkeeping needs. The rest of a stored job names code, addresses or other jobs.
_KEPT = (
    *("status", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
    *("worker_name", "origin", "timeout", "result_ttl", "failure_ttl"),
)


class OwnJob(Job):
    """A worker's job, which calls our function without arguments, and nothing else.

    `is_ours` says whether that is what is stored in Redis.
    """

    is_ours = True
    _own: ClassVar[re.Pattern[bytes]] = OWN_CALL
    _instead: ClassVar[bytes] = stored_call(JOB)  # what another job becomes; it does not run

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        """Read a stored job."""
        stored = {name.decode(errors="replace"): value for name, value in raw_data.items()}
        call = unpacked(stored.get("data", b""))
        self.is_ours = self._own.fullmatch(call) is not None
        kept = {name: stored[name] for name in _KEPT if name in stored}
        try:
            super().restore({**kept, "data": call if self.is_ours else self._instead})
        except StopRequested:  # a signal came
            raise
        except Exception:  # a time or a number that is none, and whatever RQ makes of it
            self.is_ours = False


class FetchJob(OwnJob):
    """A job of a fetch process, which calls one of our functions with the id of what is stored."""

    _own = OWN_FETCH_CALL
    _instead = stored_call(FETCH_JOBS[0], "")
