"""One fetch process: `python -m workers.fetcher`, or `stoppress fetch`.

It reads pages that strangers write, and so it has neither private keys nor SECRET_KEY, and sees
nothing of the store but the articles that it is to read and the calls that it is to make
(decisions 90 and 107).
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from logging import CRITICAL

from service.config import Config, ConfigError
from service.domain.keys import SECRETS
from service.domain.sending.job_queue import FETCH_QUEUE
from service.local import error_reports, logs, span_export
from service.model.operations.process_log import say
from service.runtime import as_soon_as_redis_answers, check_redis
from service.setting_sources import without
from workers import rq_worker
from workers.fetching import jobs
from workers.own_job import FetchJob

_LONGEST_JOB = 15.0  # seconds; a call to a webhook has ten


def main() -> int:
    """Fetch until asked to end, then return 0; 2, with one line, if a setting is wrong."""
    logs.begin("fetch", os.environ)
    for name in os.environ.keys() - without(os.environ, *SECRETS).keys():
        del os.environ[name]
    try:
        config = Config.read(os.environ)
        error_reports.begin("fetch", config)
        span_export.begin("fetch", config)
        config.check_redis_named()
        as_soon_as_redis_answers("fetch", lambda: check_redis(config))
    except ConfigError as error:
        say("fetch", str(error), CRITICAL)
        return 2
    rq_worker.end_when_asked()
    jobs.prepare(config)
    # By its beginning the process may see its own keys in Redis (service/local/redis_users.py).
    name = f"fetch.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
    rq_worker.work("fetch", name, FETCH_QUEUE, FetchJob, config.redis_url, longest_job=_LONGEST_JOB)
    return 0


if __name__ == "__main__":
    sys.exit(main())
