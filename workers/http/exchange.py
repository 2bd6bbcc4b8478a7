"""A request and its answer, which HTTP/1.1 and HTTP/2 take and give back alike."""

from __future__ import annotations

from typing import Final

# Names in lower case. Made once for many requests: what they encode to is kept by identity.
Headers = tuple[tuple[str, str], ...]

MAX_ANSWER: Final = 4096  # bytes of an answer's body that are kept


class Exchange:
    """A POST and what became of it, filled in by the connection that carries it.

    `status` is 0 until the head of the answer came. Where it ends so, `failure` says why in plain
    words, and `untouched` whether it is known that the peer did not process the request.
    `retry_after` is as it came.
    """

    status = 0
    retry_after = ""
    answer = b""
    failure = ""
    untouched = False
    stream = 0  # of HTTP/2
    position = 0  # bytes that its connection had queued before it

    def __init__(self, path: str, headers: Headers, body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    def fail(self, why: str, untouched: bool) -> None:
        """End without the rest of the answer; a status that came counts."""
        if not self.status:
            self.failure, self.untouched = why, untouched
