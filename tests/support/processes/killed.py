"""How a process under test kills itself in the middle of what it sends to Redis; what is alive."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.connection import AbstractConnection


def die_in(sending: int) -> None:
    """End this process by SIGKILL once Redis has half of what is sent for the nth time from now.

    A sending is a command, or all commands of a pipeline.
    """
    whole, left = AbstractConnection.send_packed_command, sending

    def send(self: Any, command: bytes | Sequence[bytes], check_health: bool = True) -> None:
        nonlocal left
        left -= 1
        if not left:
            data = command if isinstance(command, bytes) else b"".join(command)
            self._sock.sendall(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, command, check_health)

    AbstractConnection.send_packed_command = send  # type: ignore[method-assign]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
