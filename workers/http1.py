"""HTTP/1.1 for a client that only POSTs, by h11: one request at a time, the connection kept.

The same interface as `workers.http2.Connection`, for push services that do not speak HTTP/2.
"""

from __future__ import annotations

from typing import Any

import h11

from workers.http2 import MAX_ANSWER, Ended, Headers


class Connection:
    """One connection to `authority`; what is to be written is in `out`, as with HTTP/2.

    `failure`, once not empty, says why the connection is at its end.
    """

    def __init__(self, authority: str) -> None:
        self.out = bytearray()
        self.failure = ""
        self.going_away = False
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT)
        self._queued = 0
        self._position = 0
        self._key: Any = None
        self._status = 0
        self._retry_after = ""
        self._answer = b""

    @property
    def room(self) -> int:
        """How many more requests may be made now."""
        return int(self._key is None and not self.failure and not self.going_away)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._key is None

    def request(self, key: object, path: str, headers: Headers, body: bytes) -> None:
        """Make a request, which `room` must allow."""
        self._key, self._position = key, self._queued
        self._status, self._retry_after, self._answer = 0, "", b""
        fields = [("host", self._authority), *headers, ("content-length", str(len(body)))]
        request = h11.Request(method="POST", target=path, headers=fields)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            sent = self._h11.send(event) or b""
            self._queued += len(sent)
            self.out += sent

    def cancel(self, key: object) -> None:
        """Give a request up, and with it the connection: there is no other way."""
        if key is self._key:
            self._key = None
            self.failure = "timed out"

    def abandon(self, written: int, why: str) -> list[Ended]:
        """Give the request up since the connection is lost; `written`: bytes of `out` that went."""
        self.failure = self.failure or why
        if self._key is None:
            return []
        if self._status:
            return [self._finish()]
        ended = Ended(self._key, 0, "", why, self._position >= written)
        self._key = None
        return [ended]

    def receive(self, data: bytes) -> list[Ended]:
        """Take bytes of the peer, cut anywhere; none at all say that it has closed."""
        if self.failure:
            return []
        try:
            self._h11.receive_data(data)
            return self._events()
        except h11.RemoteProtocolError:
            self.failure = "connection lost: not HTTP/1.1"
            return []

    def _events(self) -> list[Ended]:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Response):
                fields = dict(reversed(list(event.headers)))
                self._status = event.status_code
                self._retry_after = fields.get(b"retry-after", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                self._answer += event.data[: MAX_ANSWER - len(self._answer)]
                if len(self._answer) >= MAX_ANSWER:
                    self.failure = "connection lost: an answer too long"
                    return [self._finish()]
            elif isinstance(event, h11.EndOfMessage):
                self._begin_next()
                return [self._finish()]
            elif isinstance(event, h11.ConnectionClosed):
                self.failure = "connection lost"
                return []
            elif event is h11.NEED_DATA or event is h11.PAUSED:
                return []

    def _begin_next(self) -> None:
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        else:
            self.failure = "connection lost"

    def _finish(self) -> Ended:
        reason = self._answer.decode(errors="replace")
        ended = Ended(self._key, self._status, self._retry_after, reason, False)
        self._key = None
        return ended
