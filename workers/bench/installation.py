"""An installation to measure: its own Redis, workers, clock and web, all removed at the end."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from rq import Queue, Worker

from service.config import Config, settings
from service.domain.job_queue import QUEUE
from service.domain.publishing import Conflict
from service.local import pretend_readers
from service.local.redis_server import answers, embedded_redis
from service.model.keys import VapidKey
from service.model.notifications import Audience, Content, Outcome, Progress, Topic
from service.model.tokens import digest
from service.runtime import Runtime
from workers.bench.figures import Bench, BenchError, Step
from workers.trials.push_service import Sink, running

TOPICS = ("world", "sport", "culture", "science")
SUBJECT = "mailto:bench@newsroom.example"
EVERYONE = Audience(everyone=True)
CONTENT = Content(
    title="Parliament passes the coastal protection act",
    body="After eleven hours of debate, 212 members voted in favour.",
    url="https://www.newsroom.example/politics/coastal-protection-act",
)
_READY_WITHIN = 60.0  # seconds for processes to come up
_STALLED = 60.0  # seconds without progress after which a run is given up
_LOOK = 0.02  # seconds between two looks at how far it is


# Ending -----------------------------------------------------------------------------------------

_signals: list[int] = []


def end(number: int, _frame: object) -> None:
    """Handle a signal: raise, so that everything is ended and removed on the way out."""
    _signals.append(number)
    sys.exit(1)


def quietly(unraisable: sys.UnraisableHookArgs) -> None:
    """Handle what Python cannot raise: an end within a fork is heeded soon, and not spoken of."""
    if not isinstance(unraisable.exc_value, SystemExit):
        sys.__unraisablehook__(unraisable)


def heed_signals() -> None:
    """End even if the handler's exception was lost: Python drops those raised within a fork."""
    if _signals:
        sys.exit(1)


def look_again(seconds: float = _LOOK) -> None:
    """Wait between two looks."""
    time.sleep(seconds)
    heed_signals()


# What processes take ----------------------------------------------------------------------------


def cpu_seconds(*pids: int) -> float:
    """Return the CPU that processes have used, user and system, in steps of 10 ms; Linux only."""
    ticks = 0
    for pid in pids:
        # The name may hold blanks and brackets; behind it utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def most_resident(*pids: int) -> float:
    """Return the most memory, in MB, that any of these processes ever had resident; Linux only."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    found = [re.search(r"VmHWM:\s*(\d+) kB", text) for text in status]
    return max(int(row[1]) for row in found if row) / 1000


# Running ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One alert, from publishing to its last outcome recorded; CPU in seconds.

    Where only so many were waited for, `messages` says how many had their outcome by then.
    """

    id: int
    messages: int
    accepted: int
    seconds: float
    workers: float
    redis: float
    sinks: float

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu(self) -> float:
        """CPU seconds of workers and Redis for one message."""
        return (self.workers + self.redis) / self.messages


class BenchInstallation:
    """A Redis with what belongs to it; workers and web are started as a section needs them."""

    def __init__(
        self, bench: Bench, runtime: Runtime, environ: dict[str, str], redis: int, sinks: list[Sink]
    ) -> None:
        self.runtime = runtime
        self.redis = redis
        self.sinks = sinks
        self._bench = bench
        self._environ = environ
        self._seeded = 0
        self._workers: tuple[int, ...] = ()

    # -- readers ---------------------------------------------------------------------------------

    def seed(
        self,
        count: int,
        sink: Sink | None = None,
        topics: Sequence[str] = TOPICS,
        choose: Callable[[int], pretend_readers.Chosen] = pretend_readers.undisturbed,
    ) -> None:
        """Add pretend readers at one sink, by default the first."""
        with self._bench.bar("seeding", count) as step:
            self.seed_more(count, sink or self.sinks[0], topics, step, choose)

    def seed_more(
        self,
        count: int,
        sink: Sink,
        topics: Sequence[str],
        step: Step = lambda _: None,
        choose: Callable[[int], pretend_readers.Chosen] = pretend_readers.undisturbed,
    ) -> None:
        """Add pretend readers without a bar of their own."""
        for stored in pretend_readers.seed(
            self.runtime.store,
            count,
            origins=[sink.origin],
            vapid_key=self.runtime.keys.current,
            topics=topics,
            first=self._seeded,
            choose=choose,
        ):
            step(stored)
        self._seeded += count

    def used_memory(self) -> int:
        """Return the bytes that Redis has in use."""
        return int(self.runtime.store.redis.info("memory")["used_memory"])

    # -- processes -------------------------------------------------------------------------------

    @contextmanager
    def workers(self, number: int) -> Iterator[tuple[int, ...]]:
        """Run so many workers and a clock; the workers' process ids."""
        queue = Queue(QUEUE, connection=self.runtime.store.redis)
        with ExitStack() as stack:
            modules = [*["workers.worker"] * number, "workers.clock"]
            started = [
                stack.enter_context(running([sys.executable, "-m", module], self._environ))
                for module in modules
            ]
            wait(lambda: Worker.count(queue=queue) == number, started)
            self._workers = tuple(process.pid for process in started)
            try:
                yield self._workers[:number]
            finally:
                self._workers = ()

    @contextmanager
    def web(self, **environ: str) -> Iterator[Web]:
        """Run gunicorn as `stoppress web` does."""
        port = free_port()
        process = running(
            [sys.executable, "-m", "service.cli", "web"],
            self._environ | {"PORT": str(port)} | environ,
        )
        with process as started:
            yield Web.when_ready(port, started)

    def api_token(self) -> str:
        """Make an API token that may do everything."""
        token = f"sp_{secrets.token_urlsafe(32)}"
        self.runtime.store.access.add_token(digest(token), "bench", (), time.time())
        return token

    # -- sending ---------------------------------------------------------------------------------

    def send(
        self,
        what: str,
        content: Content = CONTENT,
        audience: Audience = EVERYONE,
        *,
        enough: int | None = None,
    ) -> Run:
        """Publish and wait for the last outcome; or for so many accepted, and cancel the rest."""
        publishing = self.runtime.publishing
        parts = (self._workers, (self.redis,), tuple(sink.pid for sink in self.sinks))
        before = [cpu_seconds(*pids) for pids in parts]
        start = time.monotonic()
        published = publishing.publish(content, audience, by="bench")
        total = published.recipients if enough is None else min(enough, published.recipients)

        def look() -> int:
            now = publishing.progress(published.id)
            return now.done if enough is None else now.of(Outcome.ACCEPTED)

        with self._bench.bar(what, total) as step:
            done = follow(look, total, step)
        seconds = time.monotonic() - start
        cpu = [cpu_seconds(*pids) - was for pids, was in zip(parts, before, strict=True)]
        accepted = publishing.progress(published.id).of(Outcome.ACCEPTED)
        if enough is not None:
            self.cancel(published.id)
        return Run(published.id, done, accepted, seconds, *cpu)

    def cancel(self, id: int) -> None:
        """Cancel an alert, unless it is over."""
        with suppress(Conflict):
            self.runtime.publishing.cancel(id)

    def stop(self, id: int) -> None:
        """Cancel an alert and wait until nothing of it is under way."""
        self.cancel(id)
        deadline = time.monotonic() + _STALLED
        while self.runtime.publishing.get(id).finished_at is None:
            if time.monotonic() > deadline:
                raise BenchError(f"an alert was still being sent {_STALLED:.0f} s after its end")
            look_again()

    def first_accepted(self, id: int) -> float:
        """Return when, by the monotonic clock, the first message of an alert was recorded."""

        def look() -> Progress:
            return self.runtime.publishing.progress(id)

        deadline = time.monotonic() + _STALLED
        while not look().of(Outcome.ACCEPTED):
            if time.monotonic() > deadline:
                raise BenchError(f"no message was accepted within {_STALLED:.0f} s")
            look_again(0.002)
        return time.monotonic()


def follow(look: Callable[[], int], total: int, step: Step) -> int:
    """Wait until `look` says `total` or more, which is returned; `BenchError` where it stalls."""
    done = look()
    changed = time.monotonic()
    while done < total:
        look_again()
        now = look()
        if now != done:
            done, changed = now, time.monotonic()
            step(done)
        elif time.monotonic() - changed > _STALLED:
            raise BenchError(f"nothing happened for {_STALLED:.0f} s, at {done:,} of {total:,}")
    return done


@contextmanager
def installation(
    bench: Bench, sinks: Sequence[Sink] = (), **more: str
) -> Iterator[BenchInstallation]:
    """Start a Redis, and put together what belongs to it; `more` are settings."""
    with ExitStack() as stack:
        redis = stack.enter_context(embedded_redis(bench.folder))
        server = stack.enter_context(running(redis.argv, {"LC_ALL": "C"}, [redis.lock]))
        wait(lambda: answers(redis.url), [server])
        ours = {
            "REDIS_URL": redis.url,
            "SECRET_KEY": secrets.token_urlsafe(32),
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
            "VAPID_SUBJECT": SUBJECT,
            "PUSH_SERVICES": " ".join(sink.origin for sink in sinks),
            "PUSH_CA_BUNDLE": str(sinks[0].ca_file) if sinks else "",
            "PUSH_PROXY": "none",
            "DATA_DIR": str(bench.folder),
            **more,
        }
        # No setting of a real installation reaches this one.
        names = {row.name.upper() for row in settings()}
        environ = {name: value for name, value in os.environ.items() if name not in names} | ours
        runtime = Runtime.open(Config.read(ours))
        stack.callback(runtime.store.redis.close)
        for slug in TOPICS:
            runtime.store.topics.add(Topic(slug, slug.title()))
        for sink in sinks:
            runtime.store.push_services.prove(sink.origin)  # as a push service that is known
        yield BenchInstallation(bench, runtime, environ, server.pid, list(sinks))


def wait(ready: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until `ready()`; `BenchError` where a process ends or it takes too long."""
    deadline = time.monotonic() + _READY_WITHIN
    while not ready():
        for process in processes:
            if process.poll() is not None:
                raise BenchError(f"{process.args!r} ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise BenchError(f"the installation was not ready within {_READY_WITHIN:.0f} s")
        look_again()


# The web process --------------------------------------------------------------------------------


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Web:
    """A gunicorn that answers on `port`, and the process started for it."""

    port: int
    pid: int

    @classmethod
    def when_ready(cls, port: int, process: subprocess.Popen[bytes]) -> Web:
        """Wait until it takes connections."""

        def ready() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait(ready, [process])
        return cls(port, process.pid)

    @property
    def argv(self) -> list[str]:
        """The command line by which it runs."""
        return Path(f"/proc/{self.pid}/cmdline").read_text().rstrip("\0").split("\0")

    def post(self, connection: HTTPConnection, path: str, body: Any, token: str) -> dict[str, Any]:
        """Ask the API; the JSON it answers."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 300:
            raise BenchError(f"POST {path} was answered {answer.status}: {found.get('detail')}")
        return found
