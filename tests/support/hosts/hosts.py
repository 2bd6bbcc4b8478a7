"""Hosts on one network: network namespaces with addresses, whose cables a test can pull.

What is cut off gets no RST and no error, as where a host loses its power: all that it and the
others have on their way is lost, until the test plugs it in again.

The namespaces have no names. Each ends with the process that holds it, which ends when the test
closes its input or is killed, and takes its cables along.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.processes.installation import wait_until

_NEEDED = ("ip", "unshare", "nsenter", "setpriv")
_SPACES = ("--net", "--uts")
_HOLD = 'echo "$1" > /proc/sys/kernel/hostname; ip link set lo up; echo ready; exec cat'
_PUT_IN = """
ip link add name {name} type veth peer name eth0 netns {pid}
ip link set {name} master switch up
"""
_CLONE_NEWNET = 0x40000000  # sched.h
_LISTENS, _HAS_ENDED = "0A", "06"  # states of TCP in /proc/net/tcp
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A host of a network."""

    def __init__(self, switch: int, name: str, address: str, pid: int) -> None:
        """Connect the namespaces of a process to the switch that another process holds."""
        self.name, self.address, self.pid = name, address, pid
        self._switch = switch
        _run(switch, _PUT_IN.format(name=name, pid=pid))
        self.run(f"ip link set lo up; ip address add {address}/16 dev eth0; ip link set eth0 up")

    def argv(self, *command: str) -> list[str]:
        """The command that runs another on this host; it ends when this process does."""
        enter = ["nsenter", f"--target={self.pid}", *_SPACES]
        return [*enter, "setpriv", "--pdeathsig=TERM", *command]

    def run(self, script: str) -> str:
        """Run commands on it as root, and return what they print."""
        return _run(self.pid, script)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Meanwhile sockets that this thread opens, and threads that it starts, are on it."""
        with (
            Path("/proc/thread-self/ns/net").open() as before,
            Path(f"/proc/{self.pid}/ns/net").open() as there,
        ):
            _enter(there)
            try:
                yield
            finally:
                _enter(before)

    def cut_off(self) -> None:
        """Pull its cable."""
        _run(self._switch, f"ip link set {self.name} down")

    def plug_in(self) -> None:
        """Put its cable in again."""
        _run(self._switch, f"ip link set {self.name} up")

    def tries_to_send(self) -> bool:
        """Whether its kernel has something that it would send if it could.

        That is in sockets, also in those that were closed, or waits for the other's MAC address.
        """
        rows = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        if any(row.split()[3] not in (_LISTENS, _HAS_ENDED) for row in rows):
            return True
        return bool(self.run("ip neigh show nud incomplete"))


class Network:
    """A switch, and the hosts that a test connects to it."""

    def __init__(self) -> None:
        """Make it, or skip the test."""
        if missing := [one for one in _NEEDED if shutil.which(one) is None]:
            pytest.skip(f"needs {', '.join(missing)}, of Debian's packages iproute2 and util-linux")
        if os.geteuid() != 0:
            pytest.skip("needs root, to make network namespaces")
        self._holders: list[subprocess.Popen[str]] = []
        self._switch = self._hold("switch")
        _run(self._switch, "ip link add switch type bridge; ip link set switch up")

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders:
            holder.communicate()

    def host(self, name: str, address: str, pid: int | None = None) -> Host:
        """Connect a host, by default a new one; else that whose namespaces a process is in."""
        return Host(self._switch, name, address, pid or self._hold(name))

    def _hold(self, name: str) -> int:
        holder = subprocess.Popen(
            ["unshare", *_SPACES, "sh", "-ec", _HOLD, "sh", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no network namespace can be made: {holder.communicate()[1]}")
        return holder.pid


def _run(pid: int, script: str) -> str:
    """Run commands in the namespaces of a process, and return what they print."""
    argv = ["nsenter", f"--target={pid}", *_SPACES, "sh", "-euc", script]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


def _enter(namespace: IO[str]) -> None:
    if _libc.setns(namespace.fileno(), _CLONE_NEWNET):  # os.setns exists from Python 3.12 on
        raise OSError(ctypes.get_errno(), "setns")


def wait_until_given_up(host: Host) -> None:
    """Wait until the kernel of a host that is cut off tries to send nothing any more.

    By default it does so for minutes.
    """
    wait_until(lambda: not host.tries_to_send(), 30, every=0.2)
