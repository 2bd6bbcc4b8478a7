"""The only jobs that our processes take, whatever else is written into their queues.

RQ would run any function that a stored job names, and its callbacks, and call its webhooks: a write
to Redis would be as good as a shell on the worker's host (decision 65).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

from rq.exceptions import StopRequested
from rq.job import Job

from service.domain.job_queue import FETCH_JOBS, JOB

# What RQ's own bookkeeping needs. The rest of a stored job names code, addresses or other jobs.
_KEPT = (
    *("status", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
    *("worker_name", "origin", "timeout", "result_ttl", "failure_ttl"),
)
_LONGEST_CALL = 200  # bytes


def _call(function: str, *arguments: str) -> bytes:
    """Return function, object and arguments as RQ writes them."""
    return json.dumps((function, None, arguments, {})).encode()


class OwnJob(Job):
    """A worker's job, which calls our function without arguments, and nothing else.

    `is_ours` says whether that is what is stored in Redis.
    """

    is_ours = True
    _own: ClassVar[re.Pattern[bytes]] = re.compile(re.escape(_call(JOB)))
    _instead: ClassVar[bytes] = _call(JOB)  # what another job becomes; it does not run

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        """Read a stored job."""
        stored = {name.decode(errors="replace"): value for name, value in raw_data.items()}
        call = _unpacked(stored.get("data", b""))
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

    _own = re.compile(
        b"|".join(re.escape(_call(job, "ID")).replace(b"ID", b"[0-9a-f]{32}") for job in FETCH_JOBS)
    )
    _instead = _call(FETCH_JOBS[0], "")


def _unpacked(data: bytes) -> bytes:
    try:
        # A compressed call may be as long as its author likes.
        return zlib.decompressobj().decompress(data, _LONGEST_CALL)
    except zlib.error:
        return data
