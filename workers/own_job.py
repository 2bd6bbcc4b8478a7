"""The only job that a worker takes, whatever else is written into its queue.

RQ would run any function that a stored job names, and its callbacks, and call its webhooks: a write
to Redis would be as good as a shell on the worker's host (decision 65).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from rq.exceptions import StopRequested
from rq.job import Job

from service.domain.job_queue import JOB

_CALL = json.dumps((JOB, None, (), {})).encode()  # function, object, arguments, as RQ writes it
# What RQ's own bookkeeping needs. The rest of a stored job names code, addresses or other jobs.
_KEPT = (
    *("status", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
    *("worker_name", "origin", "timeout", "result_ttl", "failure_ttl"),
)


class OwnJob(Job):
    """A job that calls our function without arguments, and nothing else.

    `is_ours` says whether that is what is stored in Redis.
    """

    is_ours = True

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        """Read a stored job."""
        stored = {name.decode(errors="replace"): value for name, value in raw_data.items()}
        self.is_ours = _is_our_call(stored.get("data", b""))
        kept = {name: stored[name] for name in _KEPT if name in stored}
        try:
            super().restore({**kept, "data": _CALL})
        except StopRequested:  # a signal came
            raise
        except Exception:  # a time or a number that is none, and whatever RQ makes of it
            self.is_ours = False


def _is_our_call(data: bytes) -> bool:
    try:
        # A compressed call may be as long as its author likes.
        return zlib.decompressobj().decompress(data, len(_CALL) + 1) == _CALL
    except zlib.error:
        return data == _CALL
