"""One worker process: `python -m workers.worker`, or `stoppress worker`.

Without a job it derives keys for later messages.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from logging import CRITICAL

from redis.exceptions import RedisError

from service.config import Config, ConfigError
from service.domain.operations.processes import Misfit, Presence
from service.domain.sending.job_queue import QUEUE
from service.local import error_reports, logs, span_export
from service.model.operations.process_log import say
from workers import jobs, rq_worker
from workers.own_job import OwnJob
from workers.sending.prepared_keys import Filler


def main() -> int:
    """Work until asked to end, then return 0; 2, with one line, if a setting is wrong."""
    logs.begin("worker", os.environ)
    try:
        config = Config.read(os.environ)
        error_reports.begin("worker", config)
        span_export.begin("worker", config)
        runtime = jobs.runtime()
        presence = Presence("worker", runtime.config.addresses, runtime.shared, runtime.counting)
        presence.check()
        with suppress(RedisError):  # full, say: then web processes go on with what they know
            runtime.keys.announce()
    except (ConfigError, Misfit) as error:
        say("worker", str(error), CRITICAL)
        return 2
    rq_worker.end_when_asked()
    presence.start()
    filler = Filler(runtime)
    filler.start()
    try:
        rq_worker.work(
            "worker",
            jobs.name(),
            QUEUE,
            OwnJob,
            runtime.config.redis_url,
            longest_job=jobs.JOB,
            aside=filler.aside,
        )
    finally:
        filler.stop()
        presence.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
