"""Sockets on which a thread waits without asking the kernel first whether it has to wait."""

from __future__ import annotations

import socket
import struct
from typing import Any


class KernelTimeouts(socket.socket):
    """A connected socket whose time-outs the kernel keeps.

    Python itself would ask the kernel before each call whether it has to wait, and each question
    gives its lock to another thread. A web process has several that want it.
    """

    @classmethod
    def of(cls, sock: socket.socket, seconds: float | None) -> KernelTimeouts:
        """Take over a connected socket."""
        ours = cls(fileno=sock.detach())
        ours.settimeout(seconds)
        return ours

    def settimeout(self, seconds: float | None) -> None:
        """Let each call wait so long at most; 0: not at all, None: for ever."""
        super().settimeout(0.0 if seconds == 0 else None)
        longest = struct.pack("@ll", int(seconds or 0), int((seconds or 0) % 1 * 1e6))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, longest)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)

    def recv_into(self, *args: Any) -> int:
        """Receive; `TimeoutError`."""
        try:
            return super().recv_into(*args)
        except BlockingIOError:
            raise TimeoutError from None

    def sendall(self, *args: Any) -> None:
        """Send; `TimeoutError`."""
        try:
            super().sendall(*args)
        except BlockingIOError:
            raise TimeoutError from None
