"""Web processes end while callers connect: each call is answered in full, or was not begun.

A proxy hands a call that was not begun to the next process. It may not repeat a POST that was.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from service.cli.run import web_argv
from tests.support.processes.installation import Installation, wait_until
from workers.trials.processes import Process

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux"),
]
LATE = "tests.support.processes.late_closing.LateClosing"
CALL = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Web(NamedTuple):
    """gunicorn, and the port of its processes."""

    process: Process
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def call(self) -> int:
        """Return the status of a response, whose end is not waited for."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().status

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def web(installation: Installation, request: pytest.FixtureRequest) -> Web:
    """Web processes, as many as the test says, which close their sockets late."""
    installation.environment["WEB_CONCURRENCY"] = str(request.param)
    installation.config = type(installation.config).read(installation.environment)
    late = {"--worker-class=service.local.web_worker.Worker": f"--worker-class={LATE}"}
    arguments = [late.get(one, one) for one in web_argv(installation.config)[1:]]
    assert f"--worker-class={LATE}" in arguments
    installation.web_arguments = lambda: arguments  # type: ignore[method-assign]
    installation.web()
    return Web(installation.processes[-1], installation.port)


one = pytest.mark.parametrize("web", [1], indirect=True)
two = pytest.mark.parametrize("web", [2], indirect=True)
one_or_two = pytest.mark.parametrize("web", [1, 2], indirect=True)


@one_or_two
def test_no_call_is_cut_off_when_all_web_processes_end(web: Web) -> None:
    web.process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        while True:
            assert web.call() == 200
    assert web.process.wait(60) == 0


@one
def test_a_caller_behind_others_who_have_left_is_answered_when_the_process_ends(web: Web) -> None:
    (pid,) = web.workers()
    os.kill(pid, signal.SIGSTOP)
    for _ in range(5):
        web.connect().close()
    with web.connect() as sock:
        sock.sendall(CALL)
        web.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_to_end(pid))
        os.kill(pid, signal.SIGCONT)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


@two
def test_a_process_that_ends_alone_keeps_no_caller_from_the_others(web: Web) -> None:
    before = web.workers()
    os.kill(before[0], signal.SIGTERM)
    while before[0] in (now := web.workers()) or len(now) < 2:
        assert web.call() == 200
        time.sleep(0.02)
    assert web.call() == 200


def is_to_end(pid: int) -> bool:
    """Whether a process that stands still has been sent SIGTERM."""
    found = re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(found and int(found[1], 16) & 1 << (signal.SIGTERM - 1))
