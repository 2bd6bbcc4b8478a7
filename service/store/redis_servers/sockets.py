"""Sockets to Redis: how threads wait on them, and how long the kernel tries to send."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Any

# The system's own call, made without giving Python's lock away.
_send = ctypes.PyDLL(None).send
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_send.restype = ctypes.c_ssize_t


def give_up_with_us(sock: socket.socket, seconds: float | None) -> None:
    """Have the kernel drop what the other host has not received within `seconds`.

    By default it tries for a quarter of an hour, and for minutes after we have closed the socket. A
    host that was cut off would then do late what its callers were told has failed.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # on Linux alone
    if option is not None and seconds:
        sock.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))


class KernelTimeouts(socket.socket):
    """A connected socket whose time-outs the kernel keeps.

    Python itself would ask the kernel before each call whether it has to wait. With each question
    and each call it gives its lock away, and then waits for it: a web process has several threads
    that want it. So an exchange with Redis gave it away four times. Now it does once, to wait for
    the answer.
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

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send; `TimeoutError`. What the kernel takes at once needs no waiting."""
        if type(data) is bytes:
            taken = _send(self.fileno(), data, len(data), socket.MSG_DONTWAIT)
            if taken == len(data):
                return
            data = data[max(taken, 0) :]  # an error comes again
        try:
            super().sendall(data, flags)
        except BlockingIOError:
            raise TimeoutError from None
