"""Sockets whose time-outs the kernel keeps."""

from __future__ import annotations

import socket

import pytest

from service.store.sockets import KernelTimeouts


def test_who_gets_no_answer_is_told_so_in_time() -> None:
    one, other = socket.socketpair()
    with KernelTimeouts.of(one, 0.05) as ours, other:
        with pytest.raises(TimeoutError):
            ours.recv_into(bytearray(8))
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(1 << 24))  # which nobody takes
        assert not isinstance(BlockingIOError(), TimeoutError), "redis-py tells them apart"


def test_time_out_may_be_changed_and_ended() -> None:
    one, other = socket.socketpair()
    with KernelTimeouts.of(one, None) as ours, other:
        other.sendall(b"one")
        buffer = bytearray(8)
        assert ours.recv_into(buffer) == 3
        ours.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ours.recv_into(buffer)
        ours.settimeout(0)
        with pytest.raises(TimeoutError):
            ours.recv_into(buffer)
        ours.settimeout(None)
        other.close()
        assert ours.recv_into(buffer) == 0, "the other end has closed"
