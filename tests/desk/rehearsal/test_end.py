"""How a rehearsal ends, with all that belongs to it; and a rehearsal in a terminal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from service.local import rehearsal
from service.local.rehearsal import Rehearsal
from tests.support.desk.newsroom import (
    EMAIL,
    PASSWORD,
    READERS,
    START_WITHIN,
    Newsroom,
    Spawn,
    Visitor,
    family,
    gone,
    output_of,
    ready,
    running,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.processes

# The end ------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_a_rehearsal_ends_with_the_server_that_started_it(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with Installation(redis_url, push, tmp_path, WORKER_CONCURRENCY="1") as installation:
        newsroom = Newsroom(installation)
        processes = family(newsroom.rehearse().pid)
        installation.end(installation.processes[0])
        wait_until(lambda: gone(tmp_path, processes))


def test_a_rehearsal_ends_by_itself_after_its_longest_time(run: Spawn, tmp_path: Path) -> None:
    runner = run(longest=2)
    processes = family(runner.pid)
    assert runner.wait(60) == 0
    assert gone(tmp_path, processes)


@pytest.mark.soak
def test_a_killed_rehearsal_leaves_no_process_and_the_next_one_cleans_up(
    run: Spawn, tmp_path: Path
) -> None:
    runner = run()
    wait_until(lambda: ready(tmp_path), START_WITHIN)
    processes = family(runner.pid)
    runner.kill()
    runner.wait()
    assert rehearsal.find(tmp_path) is None
    wait_until(lambda: not running(processes))
    next_one = run()
    found = wait_until(lambda: ready(tmp_path), START_WITHIN)
    assert found.pid == next_one.pid
    rehearsal.end(tmp_path)
    assert next_one.wait(30) == 0
    assert gone(tmp_path, family(next_one.pid))


def test_the_state_of_a_killed_rehearsal_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = Rehearsal(killed.pid, READERS, READERS, ready=True, ends_at=0.0, environ={})
    with rehearsal.hold(tmp_path) as folder:
        rehearsal.report(folder, left)
        assert rehearsal.find(tmp_path) is None
        rehearsal.report(folder, replace(left, pid=os.getpid()))
        assert rehearsal.find(tmp_path) is not None


@pytest.mark.soak
def test_ctrl_c_ends_a_rehearsal_that_is_still_storing_readers(run: Spawn, tmp_path: Path) -> None:
    runner = run(readers=1_000_000)
    wait_until(lambda: (found := rehearsal.find(tmp_path)) and found.stored)
    processes = family(runner.pid)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(30) == 0
    assert gone(tmp_path, processes)


# In a terminal ------------------------------------------------------------------------------------


def test_in_a_terminal_a_rehearsal_prints_its_link_and_ends_with_ctrl_c(
    stoppress: Spawn, tmp_path: Path
) -> None:
    one = {"WORKER_CONCURRENCY": "1", "WEB_CONCURRENCY": "1"}
    shell = stoppress("rehearse", "300", DATA_DIR=str(tmp_path), **one)
    output = ""

    def link() -> str | None:
        nonlocal output
        assert shell.stdout is not None
        output += shell.stdout.readline()
        found = re.search(r"(http://localhost:\d+)(/desk/welcome/\S+)", output)
        return found and (found[1], found[2])

    address, path = wait_until(link, START_WITHIN)
    while "Ctrl-C" not in output:
        output += shell.stdout.readline()
    assert "300 pretend readers" in output
    assert "No real reader gets an alert" in output
    visitor = Visitor(address)
    desk = visitor.post(path, path, email=EMAIL, password=PASSWORD)
    assert desk.url == f"{address}/desk/"
    assert "press Ctrl-C where it was started" in desk.text
    # Browsers send a cookie to all ports of a host: that of the real desk must survive.
    assert visitor.session.cookies.keys() == ["stoppress-rehearsal"]
    for path in ("/desk/rehearsal", "/api/v1/site", "/demo/"):
        assert visitor.get(path).status_code == 404

    processes = family(shell.pid)
    shell.send_signal(signal.SIGINT)
    assert shell.wait(30) == 0
    after = [line for line in output_of(shell).splitlines() if "signed in by" not in line]
    assert after == [""]
    assert gone(tmp_path, processes)


def test_a_used_port_is_reported_before_anything_starts(stoppress: Spawn, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        shell = stoppress("rehearse", DATA_DIR=str(tmp_path), PORT=str(used.getsockname()[1]))
        assert shell.wait(30) == 2
    assert "set another PORT" in output_of(shell)
    assert list(tmp_path.iterdir()) == []
