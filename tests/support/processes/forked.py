"""Real processes that start at once, because they are forked from one that has everything ready.

A new worker would need half a second of CPU to import its code, and the web processes nearly two:
that would be most of the time of all tests.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from service.local.supervisor import follow_parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.processes.preloaded"])


class Forked:
    """A process that runs what Python runs with these `args`; used like a `subprocess.Popen`."""

    def __init__(
        self, args: Sequence[str], environ: Mapping[str, str], output: Path | None = None
    ) -> None:
        """Start it; what it writes to stdout and stderr is added to `output`, if that is given."""
        self.args = args
        given = ([*args], {**environ}, output)
        self._process = _context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill what it started too: gunicorn's processes live on for a while, and use the store."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()


def _run(args: list[str], environ: dict[str, str], output: Path | None) -> None:
    """Be the process that `python ARGS` would be in this environment."""
    os.setsid()
    if output is not None:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
    # The parent would wait for the end of this process if they shared its open files.
    os.closerange(3, 4096)
    follow_parent(os.getppid())
    os.environ.clear()
    os.environ.update(environ)
    option, what, *more = args
    sys.argv[:] = [option, *more]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})
