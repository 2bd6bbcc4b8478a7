"""The clock: every second, and when an alert is due, it starts what is due and wakes workers.

Several may run; one of them leads.

Because of the clock a lost job costs nothing: when a worker is killed with `kill -9`, when a web
process dies between storing an alert and waking a worker, or when a send waits for a push service.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import CRITICAL
from typing import NoReturn

from redis.exceptions import RedisError

from service.config import Config, ConfigError
from service.domain.operations.processes import Misfit, Presence
from service.domain.store_errors import in_one_line
from service.local import error_reports, logs, span_export
from service.model.operations.process_log import say, say_at_times
from service.model.time import clock
from service.runtime import Runtime
from service.store import WORKER
from workers.cause_reports import CauseReports

TICK = 1.0  # seconds
_LITTLE = 0.01  # seconds by which Redis' time may be behind ours
LEAD = 4.0  # seconds after which another clock takes over from one that died


def run(runtime: Runtime, reports: CauseReports) -> NoReturn:
    """Tick for ever, also while Redis is away."""
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
    wait = TICK
    while True:
        time.sleep(wait)
        wait = TICK
        with _patience():
            reports.leads = runtime.store.installation.lead(name, int(LEAD * 1000))
            if not reports.leads:
                continue
        for do in _duties(runtime):
            with _patience():
                do()
        with _patience():
            wait = _until_due(runtime.publishing.next_due())


def _until_due(due: float | None) -> float:
    """Return the seconds until the next tick: less than `TICK` if an alert is due before that."""
    ahead = TICK if due is None else due - clock.time()
    # An alert that is due already, and could not be started, is tried again with the other duties.
    return min(TICK, ahead + _LITTLE) if ahead > 0 else TICK


def _duties(runtime: Runtime) -> Iterator[Callable[[], object]]:
    """Yield the duties of each second; if Redis refuses one, the others are done all the same."""
    services, now = runtime.push_services, clock.time()
    yield runtime.publishing.send_due
    yield lambda: runtime.publishing.wake_readers(now, runtime.config.public_url)
    yield lambda: services.end_rests_of_the_future(now)
    yield lambda: services.try_released(now)
    yield lambda: runtime.canary.send_due(now)
    yield runtime.promises.measure  # before they are finished
    yield lambda: runtime.screens.decide(now)
    yield runtime.planning.advance_all
    yield lambda: runtime.gone.look_after(now)
    yield lambda: services.end_paces(now)
    yield lambda: services.forget_rests(now)
    yield lambda: runtime.push_hosts.look_after(now)
    yield lambda: runtime.retiring.look_after(now)
    yield lambda: runtime.alert_log.forget_old(now)
    yield lambda: runtime.daily_totals.keep(now)
    yield lambda: runtime.webhook_events.lay_out(now)
    yield lambda: runtime.webhook_calls.go_on(now)
    yield lambda: runtime.topics.finish_merges(now)
    yield lambda: runtime.feed_clock.look_after(now)


@contextmanager
def _patience() -> Iterator[None]:
    """Report an error of Redis and go on; the next tick is a second away."""
    try:
        yield
    except RedisError as error:
        say_at_times("clock", in_one_line(error))


def _end(*_: object) -> NoReturn:
    span_export.end()
    os._exit(0)


def main() -> int:
    """Run until SIGTERM or Ctrl-C, then exit with 0; 2, with one line, if a setting is wrong."""
    logs.begin("clock", os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        # At once, even while it waits for Redis: each of its writes is whole or not done at all.
        signal.signal(number, _end)
    try:
        config = Config.read(os.environ)
        error_reports.begin("clock", config)
        span_export.begin("clock", config)
        runtime = Runtime.start(config, "clock", WORKER)
        presence = Presence("clock", runtime.config.addresses, runtime.shared, runtime.counting)
        presence.check()
    except (ConfigError, Misfit) as error:
        say("clock", str(error), CRITICAL)
        return 2
    presence.start()
    reports = CauseReports(runtime.config)
    reports.start()
    run(runtime, reports)


if __name__ == "__main__":
    sys.exit(main())
