"""Runs a rehearsal: `python -m workers.trials.rehearsal DATA_DIR READERS WORKERS TOPICS`.

Its Redis, push service (that of the benchmarks), workers and clock live in a folder in `DATA_DIR`.
They end with this process: on SIGTERM or Ctrl-C, when the process to `--follow` has ended, and
after half an hour at the latest. `service/local/rehearsal.py` reads there how far it is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from redis.exceptions import RedisError

from service.config import Config, ConfigError
from service.local import logs, pretend_readers, redis_server, rehearsal
from service.local.rehearsal import Rehearsal, RehearsalError
from service.local.supervisor import Child, ChildEnded, Supervisor, runs
from service.model.notifications import Topic
from service.model.operations.process_log import say
from service.runtime import Runtime
from workers.trials.installation import trial_settings
from workers.trials.processes import TrialError
from workers.trials.push_service import Behaviour, own_sink

_READY_WITHIN = 60  # seconds that Redis and the workers have to start
_GRACE = 5.0  # seconds that they have to finish
_ANSWERS_AFTER = 0.1  # seconds, as for a push service on the internet
_NICE = 10  # real alerts sent from this machine go first
_STEP = 1.0  # seconds of storing readers between two checks for a signal


def run(folder: Path, readers: int, workers: int, topics: list[Topic]) -> None:
    """Run a rehearsal in `folder` until a signal comes."""
    with (
        Supervisor(_GRACE) as supervisor,
        own_sink(folder, Behaviour(_ANSWERS_AFTER)) as sink,
        redis_server.embedded_redis(folder) as redis,
    ):
        state = Rehearsal(
            pid=os.getpid(),
            readers=readers,
            stored=0,
            ready=False,
            ends_at=time.time() + rehearsal.LONGEST,
            environ=trial_settings(redis.url, folder, [sink.origin], sink.ca_file),
        )
        rehearsal.report(folder, state)
        try:
            _open(supervisor, redis, state, workers, topics)
            supervisor.run()
        finally:
            rehearsal.report_end(folder)


def _open(
    supervisor: Supervisor,
    redis: redis_server.EmbeddedRedis,
    state: Rehearsal,
    workers: int,
    topics: list[Topic],
) -> None:
    """Start everything, store the readers, and report when all is ready."""
    # Nothing is kept after the end.
    argv = [*redis.argv, "--appendonly", "no"]
    supervisor.start(Child("Redis", argv, {"LC_ALL": "C"}, keep=[redis.lock]))
    _wait(supervisor, lambda: redis_server.answers(redis.url))
    runtime = Runtime.open(Config.read(state.environ))
    for topic in topics:
        runtime.store.topics.add(topic)
    for origin in runtime.config.push_services:
        runtime.store.push_services.prove(origin)  # it takes as much as the real ones
    _seed(supervisor, runtime, state, [topic.slug for topic in topics])
    environ = rehearsal.foreign_environment() | state.environ
    supervisor.start(
        Child("clock", [sys.executable, "-m", "workers.clock"], environ),
        *(
            Child(f"worker {n}", [sys.executable, "-m", "workers.worker"], environ)
            for n in range(1, workers + 1)
        ),
    )
    _wait(supervisor, lambda: runtime.job_queue.workers() >= workers)
    rehearsal.report(runtime.config.data_dir, replace(state, stored=state.readers, ready=True))


def _wait(supervisor: Supervisor, ready: Callable[[], bool]) -> None:
    try:
        supervisor.wait(ready, timeout=_READY_WITHIN)
    except TimeoutError:
        raise RehearsalError(f"The rehearsal was not ready within {_READY_WITHIN} s.") from None


def _seed(supervisor: Supervisor, runtime: Runtime, state: Rehearsal, topics: list[str]) -> None:
    """Store the pretend readers and report how many there are; a signal ends it early."""
    chunks = pretend_readers.seed(
        runtime.store,
        state.readers,
        origins=runtime.config.push_services,
        vapid_key=runtime.keys.current,
        topics=topics,
    )

    def all_stored() -> bool:
        until = time.monotonic() + _STEP
        for stored in chunks:
            rehearsal.report(runtime.config.data_dir, replace(state, stored=stored))
            if time.monotonic() >= until:
                return False
        return True

    supervisor.wait(all_stored)


# Its end ----------------------------------------------------------------------------------------


@contextmanager
def _ended_when(over: Callable[[], bool]) -> Iterator[None]:
    """Check `over()` each second, and send ourselves SIGTERM once it is true."""

    def check(*_: object) -> None:
        if over():
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> int:
    """Run until the end; return 0, or 1 after printing why it failed."""
    parser = argparse.ArgumentParser(prog="python -m workers.trials.rehearsal")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("readers", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("topics", help="JSON: a list of topics")
    parser.add_argument("--follow", type=int, metavar="PID", help="end when this process has")
    given = parser.parse_args()
    logs.begin_json("rehearsal", os.environ)
    deadline = time.monotonic() + rehearsal.LONGEST

    def over() -> bool:
        return time.monotonic() > deadline or bool(given.follow and not runs(given.follow))

    os.nice(_NICE)
    topics = [Topic(**topic) for topic in json.loads(given.topics)]
    try:
        with rehearsal.hold(given.data_dir) as folder, _ended_when(over):
            run(folder, given.readers, given.workers, topics)
    except (RehearsalError, ConfigError, TrialError, ChildEnded, RedisError, OSError) as error:
        say("rehearsal", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
