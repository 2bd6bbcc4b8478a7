"""Ends what a process does in the middle, as SIGKILL would, in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from redis.connection import AbstractConnection


class Killed(BaseException):
    """The process is gone: nothing catches this, and nothing is put in order."""


_SEND = AbstractConnection.send_packed_command


@contextmanager
def in_another_process() -> Iterator[None]:
    """Do what the block does in a process that is not killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", _SEND)
        yield


@contextmanager
def killed_at(kill: tuple[int, bool] | None) -> Iterator[None]:
    """Raise `Killed` in the block with the nth command, or pipeline, that is sent to Redis.

    If it arrives, which the second value says, Redis has done it by then. None: nothing is raised.
    """
    if kill is None:
        yield
        return
    left, arrives = kill

    def send(self: Any, command: bytes | Sequence[bytes], check_health: bool = True) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        if left or arrives:
            _SEND(self, command, check_health)
        if not left:
            if arrives:
                self.can_read(5)
            self.disconnect()
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", send)
        yield
