"""The supervisor starts and restarts children, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.local.supervisor import Child, ChildEnded, Supervisor, next_delay
from tests.support import ROOT
from tests.support.processes.installation import wait_until
from tests.support.processes.killed import alive

pytestmark = pytest.mark.processes

# A child writes its process id to a file of its name, and a line when it is asked to finish.
CHILD = """
import os, pathlib, signal, sys, time
name, stubborn = sys.argv[1], len(sys.argv) > 2
def finish(*_):
    with open("finished", "a") as file:
        print(name, file=file)
    if not stubborn:
        sys.exit()
signal.signal(signal.SIGTERM, finish)
new = pathlib.Path(name + ".new")
new.write_text(str(os.getpid()))
new.rename(name)
while True:
    time.sleep(60)
"""

# The supervisor is a process of its own, as in production.
PARENT = """
import sys
from service.local.supervisor import Child, Supervisor
def child(name, *more):
    return Child(name, [sys.executable, "-c", sys.argv[1], name, *more])
with Supervisor() as supervisor:
    supervisor.start(child("redis"))
    supervisor.start(child("web"), child("worker", *sys.argv[2:]))
    supervisor.run()
"""


class Installation:
    """A supervisor over three children in `folder`."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        self.supervisor = subprocess.Popen(
            [sys.executable, "-c", PARENT, CHILD, *more],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def pid(self, name: str) -> int:
        """The process id of a child, as soon as it has one."""
        wait_until((self.folder / name).exists)
        return int((self.folder / name).read_text())

    def pids(self) -> list[int]:
        return [self.pid(name) for name in ("redis", "web", "worker")]

    def finished(self) -> list[str]:
        """The children that were asked to finish, in that order."""
        return (self.folder / "finished").read_text().split()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Start supervisors, and end all their processes, even if a test fails."""
    installations: list[Installation] = []

    def start(*more: str) -> Installation:
        installations.append(Installation(tmp_path, *more))
        return installations[-1]

    yield start
    for one in installations:
        one.supervisor.kill()
        one.supervisor.wait()
        for name in ("redis", "web", "worker"):
            if (tmp_path / name).exists() and alive(one.pid(name)):
                os.kill(one.pid(name), signal.SIGKILL)


def test_a_killed_child_is_restarted_and_the_others_keep_running(
    installation: Callable[..., Installation],
) -> None:
    running = installation()
    redis, web, worker = running.pids()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: running.pid("worker") != worker)
    assert alive(running.pid("worker"))
    assert running.pid("redis") == redis
    assert running.pid("web") == web


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_children_in_reverse_order(
    installation: Callable[..., Installation], number: signal.Signals
) -> None:
    running = installation()
    pids = running.pids()
    running.supervisor.send_signal(number)
    assert running.supervisor.wait() == 0
    assert not any(alive(pid) for pid in pids)
    assert sorted(running.finished()) == ["redis", "web", "worker"]
    assert running.finished()[-1] == "redis"


def test_ctrl_c_reaches_children_only_through_the_supervisor(
    installation: Callable[..., Installation],
) -> None:
    running = installation()
    for pid in running.pids():
        assert os.getsid(pid) == pid
    os.killpg(running.supervisor.pid, signal.SIGINT)
    assert running.supervisor.wait() == 0
    assert sorted(running.finished()) == ["redis", "web", "worker"]


def test_a_second_signal_kills_a_child_that_does_not_finish(
    installation: Callable[..., Installation],
) -> None:
    running = installation("stubborn")
    pids = running.pids()
    running.supervisor.send_signal(signal.SIGINT)
    wait_until(lambda: (running.folder / "finished").exists() and "worker" in running.finished())
    assert running.supervisor.poll() is None
    running.supervisor.send_signal(signal.SIGINT)
    assert running.supervisor.wait() == 0
    assert not any(alive(pid) for pid in pids)
    assert running.finished()[-1] == "redis"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of the death")
def test_no_child_outlives_a_supervisor_that_is_killed(
    installation: Callable[..., Installation],
) -> None:
    running = installation()
    pids = running.pids()
    running.supervisor.kill()
    running.supervisor.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_child_that_ends_while_starting_stops_the_start() -> None:
    with Supervisor() as supervisor, pytest.raises(ChildEnded) as ended:
        supervisor.start(Child("web", [sys.executable, "-c", "raise SystemExit(3)"]))
        supervisor.wait(lambda: False)
    assert str(ended.value) == "web ended with exit code 3"


def test_waiting_ends_when_ready_or_after_the_timeout() -> None:
    with Supervisor() as supervisor:
        supervisor.start(Child("web", [sys.executable, "-c", "import time; time.sleep(60)"]))
        supervisor.wait(lambda: True)
        with pytest.raises(TimeoutError):
            supervisor.wait(lambda: False, timeout=0)


def test_a_signal_while_waiting_stops_the_children() -> None:
    reached = False
    with Supervisor() as supervisor:
        supervisor.start(Child("web", [sys.executable, "-c", "import time; time.sleep(60)"]))
        supervisor.wait(lambda: os.kill(os.getpid(), signal.SIGTERM) is not None)
        reached = True
    assert not reached


def test_a_child_that_keeps_dying_is_restarted_less_and_less_often() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(next_delay(delays[-1], lived=1))
    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert next_delay(5.0, lived=10) == 0.2
