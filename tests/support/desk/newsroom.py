"""A newsroom with its editor, and the processes of a rehearsal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import requests
from argon2 import PasswordHasher

from service.local import rehearsal
from service.local.rehearsal import Rehearsal
from service.model.notifications import Audience
from service.runtime import Runtime
from tests.support.processes.installation import Installation, wait_until

READERS = 500
# Seconds. The processes of a rehearsal are nice, so on a busy machine they start late.
START_WITHIN = 90.0
DESK = "/rehearsal"  # the prefix of the rehearsal's desk
EVERYONE = Audience(everyone=True)
EMAIL, PASSWORD = "nora@paper.example", "three quiet words"
STORY = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": "everyone",
    "kind": "news",
}


class Visitor:
    """A browser at the address of a desk."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = requests.Session()

    def get(self, path: str, **more: object) -> requests.Response:
        return self.session.get(self.address + path, timeout=60, **more)  # type: ignore[arg-type]

    def post(self, form_at: str, path: str, **fields: str) -> requests.Response:
        """Fill in the form of one page and send it; follows redirects."""
        page = self.get(form_at).text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, page
        given = {"csrf_token": found[1], **fields}
        return self.session.post(self.address + path, data=given, timeout=60)

    def sign_in(self, at: str = "/desk/sign-in") -> requests.Response:
        page = self.get(at)
        path = page.url.removeprefix(self.address)
        return self.post(path, path, email=EMAIL, password=PASSWORD)


class Newsroom:
    """An installation with readers, an editor and a real web process."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.data_dir = installation.config.data_dir
        hashed = PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD)
        installation.runtime.store.access.add_editor(EMAIL, hashed)
        installation.seed(40)
        self.address = installation.web()
        self.editor = Visitor(self.address)
        assert self.editor.sign_in().status_code == 200

    def stored(self) -> dict[bytes, bytes | None]:
        """Everything in the real store except what calls and visits change."""
        redis = self.installation.runtime.store.redis
        passing = (b"stoppress:", b"{g}:processes", b"{g}:sessions:", b"{g}:counted", b"{g}:speed:")
        keys = [key for key in redis.scan_iter() if not key.startswith(passing)]
        return {key: redis.dump(key) for key in keys}

    def rehearse(self) -> Rehearsal:
        """Start a rehearsal, unless one is running, and wait until it is ready."""
        if rehearsal.find(self.data_dir) is None:
            page = self.editor.post("/desk/rehearsal", "/desk/rehearsal", readers=str(READERS))
            assert page.status_code == 200
        return wait_until(lambda: ready(self.data_dir), START_WITHIN)

    def end(self) -> requests.Response:
        return self.editor.post("/desk/rehearsal", "/desk/rehearsal/end")


def ready(data_dir: Path) -> Rehearsal | None:
    found = rehearsal.find(data_dir)
    return found if found and found.ready else None


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found


def running(pids: set[int]) -> set[int]:
    """Those of the processes that still run; a zombie does not."""
    listed = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")} & pids


def push_service_of(stage: Rehearsal) -> int:
    """The process of a rehearsal that simulates the push service."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    found = {
        int(pid) for pid, args in rows if "nginx" in args or "workers.trials.push_service" in args
    }
    (sink,) = found & family(stage.pid)
    return sink


def gone(data_dir: Path, processes: set[int]) -> bool:
    return not running(processes) and not (data_dir / "rehearsal").exists()


def over(runtime: Runtime, id: int) -> bool:
    return runtime.publishing.get(id).finished_at is not None


def environment(**settings: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | settings


def output_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


Spawn = Callable[..., "subprocess.Popen[str]"]
