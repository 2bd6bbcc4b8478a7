"""Many browsers that subscribe at once: a client that uses less CPU than the server it calls."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from operator import length_hint

from workers.bench.figures import Bench, BenchError

_CONNECTIONS = 8  # as many as gunicorn has threads


@dataclass(frozen=True, slots=True)
class Responses:
    """How fast responses came to requests of which eight were always under way."""

    rate: float  # a second
    seconds: list[float]  # that each took


def p99(responses: list[Responses]) -> float:
    """Return the seconds within which 99 of 100 came."""
    seconds = sorted(second for one in responses for second in one.seconds)
    return seconds[len(seconds) * 99 // 100]


def send_all(bench: Bench, what: str, port: int, requests: list[bytes]) -> Responses:
    """Send all requests to a port of this machine."""
    left = iter(requests)
    failed: list[str] = []
    took: list[float] = []
    threads = [
        threading.Thread(target=_send, args=(port, left, took, failed), daemon=True)
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
    return Responses(len(requests) / seconds, took)


def _send(port: int, left: Iterator[bytes], took: list[float], failed: list[str]) -> None:
    """Send requests over one connection until none is left or one has failed."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for request in left:  # a list's iterator may be shared by threads
                start = time.monotonic()
                connection.sendall(request)
                response = _response(connection)
                took.append(time.monotonic() - start)
                if not response.startswith(b"HTTP/1.1 201"):
                    failed.append(f"the response was {response[:200]!r}")
                if failed:
                    return
    except OSError as error:
        failed.append(str(error))


def _response(connection: socket.socket) -> bytes:
    response = b""
    while True:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        response += more
        end = response.find(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", response, re.IGNORECASE)
        if end >= 0 and length and len(response) >= end + 4 + int(length[1]):
            return response
