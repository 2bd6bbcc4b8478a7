"""The processes of a trial: ports for them, starting them, and waiting until they are ready."""

from __future__ import annotations

import atexit
import secrets
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from service.local.supervisor import spawn

HOST = "127.0.0.1"
_READY_WITHIN = 60.0  # seconds
# Below those that systems give to outgoing connections, and above the last that browsers refuse.
_PORTS = range(10_081, 32_768)
# What keeps ports from others: a server may begin to listen long after its port was chosen.
_held: deque[socket.socket] = deque()
_MOST_HELD = 200


@atexit.register
def _let_go() -> None:
    while _held:
        _held.popleft().close()


class TrialError(Exception):
    """A process of a trial ended or was not ready in time; the message says which."""


class Process(Protocol):
    """What a trial uses of a process; `subprocess.Popen` has it."""

    @property
    def args(self) -> object:
        """The command line."""

    @property
    def pid(self) -> int:
        """The process id."""

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """Send SIGKILL."""


@contextmanager
def running(
    argv: Sequence[str], env: Mapping[str, str] | None = None, keep: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process as `spawn` does, and end it with the block."""
    process = spawn(argv, env, keep)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(ready: Callable[[], bool], *processes: Process) -> None:
    """Wait until `ready()`; `TrialError` if one of the processes ends or it takes too long."""
    deadline = time.monotonic() + _READY_WITHIN
    while not ready():
        for process in processes:
            if (code := process.poll()) is not None:
                raise TrialError(f"{process.args!r} ended with exit code {code}")
        if time.monotonic() > deadline:
            raise TrialError(f"the trial was not ready within {_READY_WITHIN:.0f} s")
        time.sleep(0.02)


def free_port() -> int:
    """Return a TCP port on which no process listens, and which no other call of this returns.

    The system would give one that the next outgoing connection may take before a process listens
    there. `secrets`, because the tests seed `random` alike in all processes of a run.
    """
    while True:
        port = secrets.choice(_PORTS)
        if hold(port):
            return port


def hold(port: int) -> bool:
    """Keep a free port from other callers, whatever their process; False if it is not free.

    A server may listen there all the same, since servers set SO_REUSEADDR.
    """
    holder = socket.socket()
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        return False
    # Not before: two that set it could both have the port.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.append(holder)
    if len(_held) > _MOST_HELD:
        _held.popleft().close()
    return True


def listens(port: int) -> bool:
    """Whether a process accepts connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
