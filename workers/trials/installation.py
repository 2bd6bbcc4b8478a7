"""An installation of real processes for a trial: benchmarks and tests run theirs with it.

Its settings, keys, readers and processes are its own. The caller provides Redis and push services.
"""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeAlias, TypeVar

from service.config import Config
from service.local import pretend_readers
from service.local.rehearsal import foreign_environment
from service.local.supervisor import spawn
from service.model.keys import VapidKey, b64url
from service.model.notifications import Topic
from service.model.tokens import digest
from service.runtime import Runtime
from workers.trials.processes import Process, free_port, wait_for

SUBJECT = "mailto:trial@newsroom.example"
_END_WITHIN = 30.0  # seconds

# Starts a Python process with these arguments in this environment.
Start: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], Process]
T = TypeVar("T", bound="TrialInstallation")


def trial_settings(
    redis_url: str, data_dir: Path, push_services: Sequence[str], ca_file: Path | None
) -> dict[str, str]:
    """Return settings of an installation with new keys that sends to these push services only."""
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": secrets.token_urlsafe(32),
        "VAPID_PRIVATE_KEY": VapidKey.generate().text,
        "VAPID_SUBJECT": SUBJECT,
        "PUSH_SERVICES": " ".join(push_services),
        # No other certificate is trusted.
        "PUSH_CA_BUNDLE": str(ca_file or ""),
        "PUSH_PROXY": "none",  # whatever HTTPS_PROXY says
        "DATA_DIR": str(data_dir),
    }


def start_python(arguments: Sequence[str], environ: Mapping[str, str]) -> Process:
    """Start a Python process."""
    return spawn([sys.executable, *arguments], environ)


class TrialInstallation:
    """An installation whose processes are started one by one and end with its `with` block."""

    def __init__(
        self, settings: Mapping[str, str], topics: Sequence[str], start: Start = start_python
    ) -> None:
        self.port = free_port()
        self.address = f"http://localhost:{self.port}"
        self.environment = {"PORT": str(self.port), **settings}
        self.config = Config.read(self.environment)
        self.runtime = Runtime.open(self.config)
        for slug in topics:
            self.runtime.store.topics.add(Topic(slug, slug.title()))
        for origin in self.config.push_services:  # else each would start slowly
            self.runtime.store.push_services.prove(origin)
        self.processes: list[Process] = []
        self._start = start

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.runtime.store.redis.close()

    def start(self, *arguments: str) -> Process:
        """Start a Python process with the settings as they are now in `environment`."""
        # No setting of a real installation reaches it.
        process = self._start(arguments, foreign_environment() | self.environment)
        self.processes.append(process)
        return process

    def worker(self) -> Process:
        """Start a worker."""
        return self.start("-m", "workers.worker")

    def clock(self) -> Process:
        """Start a clock."""
        return self.start("-m", "workers.clock")

    def web(self) -> str:
        """Start the web processes and return their address once they respond."""
        signing = self.environment
        keys = Config.read(signing).vapid_private_key
        # With a private key it would only say that it ignores that.
        self.environment = {
            **{name: value for name, value in signing.items() if name != "VAPID_PRIVATE_KEY"},
            "VAPID_PUBLIC_KEY": ",".join(b64url(key.public) for key in keys),
        }
        try:
            process = self.start(*self.web_arguments())
        finally:
            self.environment = signing
        wait_for(self._is_web_ready, process)
        return self.address

    def web_arguments(self) -> Sequence[str]:
        """Return the arguments of Python that run the web processes."""
        return ("-m", "service.cli", "web")

    def _is_web_ready(self) -> bool:
        with closing(HTTPConnection("localhost", self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False

    def end(self, process: Process, how: int = signal.SIGTERM) -> int:
        """End one process and return its exit code."""
        process.send_signal(how)
        code = process.wait(timeout=_END_WITHIN)
        self.processes.remove(process)
        return code

    def api_token(self) -> str:
        """Make an API token that may do everything."""
        token = f"sp_{secrets.token_urlsafe(32)}"
        self.runtime.store.access.add_token(digest(token), "a trial", (), time.time())
        return token

    def add_readers(
        self,
        count: int,
        origins: Sequence[str],
        topics: Sequence[str],
        *,
        first: int = 0,
        choose: Callable[[int], pretend_readers.Chosen] = pretend_readers.undisturbed,
    ) -> Iterator[int]:
        """Store pretend readers, numbered from `first`; yield how many are stored so far."""
        return pretend_readers.seed(
            self.runtime.store,
            count,
            origins=origins,
            vapid_key=self.runtime.keys.current,
            topics=topics,
            first=first,
            choose=choose,
        )
