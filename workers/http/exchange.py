"""A request and its answer, the same for HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from typing import Final

# Names are in lower case. Use one object for many requests: its encoding is cached by identity.
Headers = tuple[tuple[str, str], ...]

MAX_ANSWER: Final = 4096  # bytes of an answer's body that are kept


class Exchange:
    """A POST and what became of it, filled in by the connection that carries it."""

    status = 0  # until the head of the answer came
    retry_after = ""  # as it came
    wns_status = ""  # X-WNS-Status, with which Microsoft says in a 200 that it dropped the message
    answer = b""  # the start of the answer's body
    failure = ""  # without a status, why
    untouched = False  # without a status: the peer certainly did not process the request
    stream = 0  # of HTTP/2
    position = 0  # bytes that its connection had queued before it

    def __init__(self, path: str, headers: Headers, body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    def fail(self, why: str, untouched: bool) -> None:
        """End it without the rest of the answer; a status that came still counts."""
        if not self.status:
            self.failure, self.untouched = why, untouched
