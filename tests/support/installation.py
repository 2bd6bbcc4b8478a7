"""A whole house for a test: the environment its processes share, and the processes themselves."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from service.cli.run import web_argv
from service.config import Config
from service.domain.publishing import Published
from service.local import pretend_readers
from service.model.keys import VapidKey
from service.model.notifications import Audience, Content, Notification, Outcome, Topic
from service.model.tokens import digest
from service.runtime import Runtime
from tests.support.forked import Forked
from tests.support.push_service import PushService

T = TypeVar("T")
TOPICS = ("world", "sport", "culture", "science", "breaking")


def content(title: str = "Late news", **options: object) -> Content:
    """An alert to publish."""
    given = {"body": "It has just come in.", "url": "https://paper.example/story", **options}
    return Content(title=title, **given)  # type: ignore[arg-type]


def wait_until(look: Callable[[], T], timeout: float = 30.0, every: float = 0.05) -> T:
    """Wait until `look` returns something true; that is returned."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain; the last look saw {found!r}")
        time.sleep(every)
    return found


def wait_for(process: subprocess.Popen[bytes] | Forked, ready: Callable[[], bool]) -> None:
    """Wait until a process that was started is `ready`; that it ends instead is an error."""

    def look() -> bool:
        assert process.poll() is None, f"{process.args!r} ended"
        return ready()

    wait_until(look, every=0.02)


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """Workers, clock and web as real processes; ended by `with`, whatever happens."""

    def __init__(
        self,
        redis_url: str,
        push: PushService,
        data_dir: Path,
        *,
        others: Sequence[PushService] = (),
        **more: str,
    ) -> None:
        """Send to `push`, and to `others` beside it; `more` are further settings."""
        self.vapid = VapidKey.generate()
        self.services = (push, *others)
        trusted = data_dir / "push-services.pem"
        trusted.write_text("".join(service.ca_file.read_text() for service in self.services))
        self.port = free_port()
        self.environment = {
            "REDIS_URL": redis_url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": self.vapid.text,
            "VAPID_SUBJECT": "mailto:push@newsroom.example",
            "PUSH_SERVICES": " ".join(f"{s.origin} {s.plain_origin}" for s in self.services),
            "PUSH_CA_BUNDLE": str(trusted),
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            # A test at night, or the eleventh of a day, finds the same.
            "QUIET_HOURS": "none",
            "DAILY_LIMIT": "none",
            **more,
        }
        self.push = push
        self.config = Config.read(self.environment)
        self.runtime = Runtime.open(self.config)
        for slug in TOPICS:
            self.runtime.store.topics.add(Topic(slug, slug.title()))
        for origin in self.config.push_services:  # else each would start slowly
            self.runtime.store.push_services.prove(origin)
        self.processes: list[Forked] = []

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.runtime.store.redis.close()

    def start(self, module: str, *arguments: str) -> Forked:
        """Start a process of this house, `workers.worker` say."""
        return self._fork("-m", module, *arguments)

    def run(self, code: str) -> Forked:
        """Start a process of this house that runs Python's `code`."""
        return self._fork("-c", code)

    def _fork(self, *arguments: str) -> Forked:
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        process = Forked(arguments, {**environment, **self.environment})
        self.processes.append(process)
        return process

    def worker(self) -> Forked:
        """Start a worker."""
        return self.start("workers.worker")

    def clock(self) -> Forked:
        """Start a clock."""
        return self.start("workers.clock")

    def web(self) -> str:
        """Start the web processes, gunicorn and all; return the address once they answer."""
        process = self._fork(*web_argv(self.config)[1:])
        address = f"http://localhost:{self.port}"

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_for(process, ready)
        return address

    def api_token(self) -> str:
        """Make an API token that may do everything."""
        token = "sp_" + secrets.token_urlsafe(32)
        self.runtime.store.access.add_token(digest(token), "a test", (), time.time())
        return token

    def end(self, process: Forked, how: int = signal.SIGTERM) -> int:
        """End one process and return how it ended."""
        process.send_signal(how)
        code = process.wait(timeout=30)
        self.processes.remove(process)
        return code

    def seed(
        self,
        count: int,
        *,
        origins: Sequence[str] = (),
        topics: Sequence[str] = TOPICS[:4],
        first: int = 0,
    ) -> None:
        """Store pretend readers at our push services in turn, which will know them."""
        list(
            pretend_readers.seed(
                self.runtime.store,
                count,
                origins=origins or [service.origin for service in self.services],
                vapid_key=self.runtime.keys.current,
                topics=topics,
                first=first,
            )
        )
        for service in self.services:
            service.accept_any(self.vapid.public)

    def publish(self, audience: Audience | None = None, **options: object) -> int:
        """Publish an alert, to everyone unless told otherwise; its id."""
        everyone = audience or Audience(everyone=True)
        return self.runtime.publishing.publish(content(**options), everyone, by="a test").id

    def correct(self, id: int, title: str, *, replace: bool = True) -> Published:
        """Give an alert another title; those reached get it too, unless told otherwise."""
        return self.runtime.publishing.correct(
            id, title=title, body=None, url=None, replace=replace, by="a test"
        )

    def over(self, id: int, timeout: float = 60.0) -> Notification:
        """Wait until nothing more will be sent of a notification and all is counted."""

        def look() -> Notification | None:
            found = self.runtime.publishing.get(id)
            return found if found.finished_at is not None else None

        found = wait_until(look, timeout)
        assert found is not None
        return found

    def outcomes(self, id: int) -> dict[str, int]:
        """How many recipients ended in which outcome, zeros left out."""
        progress = self.runtime.publishing.progress(id)
        counts = {outcome.value: progress.of(outcome) for outcome in Outcome}
        return {name: count for name, count in counts.items() if count}
