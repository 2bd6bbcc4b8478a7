"""Readers' browsers that all subscribe at once: a client that costs less than what it asks."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from operator import length_hint

from workers.bench.figures import Bench, BenchError

_CONNECTIONS = 8  # as many as gunicorn has threads


def ask_all(bench: Bench, what: str, port: int, requests: list[bytes]) -> float:
    """Send all requests to a port of this machine; how many were answered 201 a second."""
    left = iter(requests)
    failed: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(port, left, failed), daemon=True)
        for _ in range(_CONNECTIONS)
    ]
    with bench.bar(what, len(requests)) as step:
        start = time.monotonic()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.05)
            step(len(requests) - length_hint(left))
        seconds = time.monotonic() - start
    if failed:
        raise BenchError(f"{what}: {failed[0]}")
    return len(requests) / seconds


def _ask(port: int, left: Iterator[bytes], failed: list[str]) -> None:
    """Send requests over one connection as long as there are any, and all is well."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for request in left:  # a list's iterator may be shared by threads
                connection.sendall(request)
                answer = _answer(connection)
                if not answer.startswith(b"HTTP/1.1 201"):
                    failed.append(f"was answered {answer[:200]!r}")
                if failed:
                    return
    except OSError as error:
        failed.append(str(error))


def _answer(connection: socket.socket) -> bytes:
    answer = b""
    while True:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        answer += more
        end = answer.find(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", answer, re.IGNORECASE)
        if end >= 0 and length and len(answer) >= end + 4 + int(length[1]):
            return answer
