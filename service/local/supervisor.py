"""A small supervisor: starts an installation's processes, restarts dead ones, and stops them all.

RQ's own pool would not do: it passes its workers no options, always runs RQ's scheduler, and can
run neither gunicorn nor Redis.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

_log = logging.getLogger(__name__)

_POLL = 0.1  # seconds between two checks of the children
_LEAST_DELAY, _MOST_DELAY, _STEADY = 0.2, 5.0, 10.0  # seconds

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildEnded(Exception):
    """A child ended before everything was ready; the message says which and how."""


class _Stopped(Exception):
    """A signal came before everything was ready."""


def spawn(
    argv: Sequence[str], env: Mapping[str, str] | None = None, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C in the terminal reaches only us.

    It inherits the file descriptors in `keep`, and does not outlive this process on Linux.
    """
    return subprocess.Popen(
        argv,
        env=env,
        pass_fds=keep,
        start_new_session=True,
        preexec_fn=partial(follow_parent, os.getpid()),
    )


def follow_parent(parent: int) -> None:
    """Get SIGTERM when the parent (exactly: the thread that started us) dies; Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it died before the call to prctl


def runs(pid: int) -> bool:
    """Whether a process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs as another user
    return True


def next_delay(delay: float, lived: float) -> float:
    """Return the seconds to wait before restarting a child that ran for `lived` seconds.

    `delay` is how long its last restart waited.
    """
    return _LEAST_DELAY if lived >= _STEADY else min(max(2 * delay, _LEAST_DELAY), _MOST_DELAY)


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


@dataclass
class Child:
    """One process to keep running; `env` and `keep` as for `spawn`."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    keep: Sequence[int] = ()
    before: Callable[[], object] | None = None  # what is to be done before each start
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started: float = field(default=-math.inf, init=False)
    _delay: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start the process."""
        if self.before is not None:
            self.before()
        self._started = time.monotonic()
        self._process = spawn(self.argv, self.env, self.keep)

    def ended(self) -> str | None:
        """Return how the process ended; None while it runs."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        return f"{self.name} ended {_how(code)}"

    def keep_running(self) -> None:
        """Restart a process that ended, after its delay."""
        now = time.monotonic()
        if self._process is not None and (ended := self.ended()):
            self._delay = next_delay(self._delay, now - self._started)
            self._process, self._started = None, now
            _log.warning("%s; restarting it in %.1f s", ended, self._delay)
        elif self._process is None and now - self._started >= self._delay:
            self.start()

    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Ask the process to finish."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and those that it started itself."""
        if self._process is not None and self.running():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


class Supervisor:
    """Runs children until SIGINT, SIGTERM or SIGHUP. The end of its `with` block stops them.

    Children of one call of `start` stop together, before those of an earlier call. They have
    `grace` seconds; another signal kills them at once.
    """

    def __init__(self, grace: float = 30.0) -> None:
        self._grace = grace
        self._signals = 0
        self._stages: list[tuple[Child, ...]] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Supervisor:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            # nohup ignores SIGHUP; leave it ignored.
            if number != signal.SIGHUP or before is not signal.SIG_IGN:
                self._handlers[number] = before
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        for stage in reversed(self._stages):
            self._stop(stage)
        for number, before in self._handlers.items():
            signal.signal(number, before)
        return isinstance(error, _Stopped)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def start(self, *children: Child) -> None:
        """Start children that need those started before."""
        self._stages.append(children)
        for child in children:
            child.start()

    def wait(self, ready: Callable[[], bool], timeout: float = math.inf) -> None:
        """Wait until `ready()`; a signal leaves the `with` block.

        Raises `ChildEnded` if a child ends, because restarting would not help one that fails at
        its start, and `TimeoutError` after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if self._signals:
                raise _Stopped
            for child in self._children():
                if ended := child.ended():
                    raise ChildEnded(ended)
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(_POLL)

    def run(self) -> None:
        """Keep the children running until a signal comes."""
        while not self._signals:
            for child in self._children():
                child.keep_running()
            time.sleep(_POLL)

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _stop(self, children: Sequence[Child]) -> None:
        # One signal or none brought us here. Only a further one kills the children of this stage.
        signals = max(self._signals, 1)
        deadline = time.monotonic() + self._grace
        for child in children:
            child.terminate()
        while any(child.running() for child in children):
            if self._signals > signals or time.monotonic() >= deadline:
                for child in children:
                    child.kill()
            time.sleep(_POLL / 10)
