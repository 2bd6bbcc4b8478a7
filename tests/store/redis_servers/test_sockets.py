"""Sockets whose time-outs the kernel keeps."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.store.redis_servers.sockets import KernelTimeouts


def test_who_gets_no_answer_is_told_so_in_time() -> None:
    one, other = socket.socketpair()
    with KernelTimeouts.of(one, 0.05) as ours, other:
        with pytest.raises(TimeoutError):
            ours.recv_into(bytearray(8))
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(1 << 24))  # which nobody takes


def test_what_does_not_fit_at_once_is_sent_whole() -> None:
    one, other = socket.socketpair()
    sent = bytes(range(256)) * (1 << 13)
    with KernelTimeouts.of(one, 30.0) as ours, other, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(ours.sendall, sent)
        found = bytearray()
        while len(found) < len(sent):
            found += other.recv(1 << 16)
        sending.result()
    assert found == sent


def test_sending_to_nobody_is_an_error() -> None:
    one, other = socket.socketpair()
    with KernelTimeouts.of(one, 30.0) as ours:
        other.close()
        with pytest.raises(BrokenPipeError):
            ours.sendall(b"a word")
    with pytest.raises(OSError, match="Bad file descriptor"):
        ours.sendall(b"a word")


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
