"""HTTP/1.1 for a client that only POSTs, by h11: one request at a time over a kept connection.

For push services that do not speak HTTP/2. It has the interface of `workers.http.http2.Connection`.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

import h11

from workers.http.exchange import MAX_ANSWER, Exchange

E = TypeVar("E", bound=Exchange)

_STATUS = re.compile(rb"\s*HTTP/1\.[01] ([2-5]\d\d)\b")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_HEAD_WITHIN: Final = 4096  # bytes


class Connection(Generic[E]):
    """One connection to `authority`; the transport writes the bytes in `out`, as with HTTP/2.

    Once `failure` is not empty the connection is over, and `failure` says why.
    """

    window: Final = 1 << 31  # bytes of bodies that the peer accepts now; HTTP/1.1 has no limit
    takes: Final = 1  # requests at a time

    def __init__(self, authority: str) -> None:
        self.out = bytearray()
        self.failure = ""
        self.going_away = False
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT)
        self._queued = 0  # all bytes ever put into `out`
        self._exchange: E | None = None
        self._head = b""  # how the answer begins

    @property
    def room(self) -> int:
        """How many more requests may be made now."""
        return int(self._exchange is None and not self.failure)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._exchange is None

    def request(self, exchange: E) -> None:
        """Send a request; `room` must allow it."""
        self._exchange, exchange.position = exchange, self._queued
        self._head = b""
        fields = [
            ("host", self._authority),
            *exchange.headers,
            ("content-length", str(len(exchange.body))),
        ]
        head = h11.Request(method="POST", target=exchange.path, headers=fields)
        for event in (head, h11.Data(data=exchange.body), h11.EndOfMessage()):
            sent = self._h11.send(event) or b""
            self._queued += len(sent)
            self.out += sent

    def cancel(self, exchange: E) -> None:
        """Give up the request, and with it the connection: HTTP/1.1 has no other way."""
        if exchange is self._exchange:
            self._exchange = None
            self.failure = "connection lost: a request was given up"

    def abandon(self, written: int, why: str) -> list[E]:
        """End the request, because the connection was lost after `written` bytes were sent."""
        self.failure = self.failure or why
        exchange = self._exchange
        if exchange is None:
            return []
        exchange.fail(self.failure, exchange.position >= written)
        return self._ended(exchange)

    def receive(self, data: bytes) -> list[E]:
        """Take bytes of the peer, cut anywhere; an empty `data` says that the peer closed."""
        if self.failure:
            return []
        self._head += data[: _HEAD_WITHIN - len(self._head)]
        try:
            self._h11.receive_data(data)
            return self._events()
        except h11.RemoteProtocolError:
            self.failure = "connection lost: not HTTP/1.1"
            return self._answered_oddly()

    def _answered_oddly(self) -> list[E]:
        """End the request with the status of an answer that h11 cannot read.

        A strict reader refuses the rest of the head, such as two lengths. But a message that was
        accepted must not be sent again.
        """
        exchange, status = self._exchange, _STATUS.match(self._head)
        if exchange is None or exchange.status or status is None:
            return []
        exchange.status = int(status[1])
        head = _BLANK_LINE.split(self._head, maxsplit=1)[0]
        exchange.retry_after = _field(head, b"retry-after")
        exchange.wns_status = _field(head, b"x-wns-status")
        return self._ended(exchange)

    def _events(self) -> list[E]:
        """Read to the end of the answer; an answer without a request ends the connection."""
        exchange = self._exchange
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                return []
            if exchange is None or isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                self.failure = "connection lost"
                return []
            if isinstance(event, h11.InformationalResponse):
                self._head = self._h11.trailing_data[0][:_HEAD_WITHIN]
            elif isinstance(event, h11.Response):
                fields = dict(reversed(list(event.headers)))
                exchange.status = event.status_code
                exchange.retry_after = fields.get(b"retry-after", b"").decode("latin-1")
                exchange.wns_status = fields.get(b"x-wns-status", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                exchange.answer += bytes(event.data[: MAX_ANSWER - len(exchange.answer)])
                if len(exchange.answer) >= MAX_ANSWER:
                    self.failure = "connection lost: an answer too long"
                    return self._ended(exchange)
            elif isinstance(event, h11.EndOfMessage):
                if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
                    self._h11.start_next_cycle()
                else:
                    self.failure = "connection lost"
                return self._ended(exchange)

    def _ended(self, exchange: E) -> list[E]:
        self._exchange = None
        return [exchange]


def _field(head: bytes, name: bytes) -> str:
    """Return a header field of an answer that h11 cannot read; empty if there is none."""
    found = re.search(rb"\n" + name + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return found[1].strip().decode("latin-1") if found else ""
