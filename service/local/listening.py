"""The kernel takes no further connections on the sockets of a web server that ends.

It takes them whether anybody accepts them or not. So between the last look of a process and the end
of its socket it would take a few more, and then reset them: nginx answers such a POST with 502.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

# Connections that are half open become whole ones meanwhile, and are accepted. A longer pause
# would let more callers wait: what they send first is only sent again after a second.
_HALF_OPEN: Final = 0.1  # seconds

_SO_ATTACH_FILTER: Final = 26  # Linux, socket(7)
_SYN: Final = 2  # in byte 13 of a TCP header
# A program for the kernel (its Documentation/networking/filter.rst): in each line the code, how
# many lines to leave out if it is true and if not, and a value.
_FIRST_PACKETS: Final = (
    (0x30, 0, 0, 13),  # load the flags
    (0x45, 0, 1, _SYN),  # is it a first packet?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def take_no_more(listeners: Iterable[socket.socket]) -> None:
    """Let no new connection begin, for all processes that share these sockets.

    A caller's first packet is as if it were lost. He sends it again after a second, and then meets
    a closed port, or the next process.
    """
    if sys.platform != "linux":
        return
    steps = b"".join(struct.pack("@HBBI", *step) for step in _FIRST_PACKETS)
    kept = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("@HP", len(_FIRST_PACKETS), ctypes.addressof(kept))
    with suppress(OSError):  # not every sandbox knows it
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        time.sleep(_HALF_OPEN)
