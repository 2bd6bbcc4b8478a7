"""HTTP/1.1 for a client that only POSTs, by h11: one request at a time, the connection kept.

The same interface as `workers.http.http2.Connection`, for push services that do not speak HTTP/2.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import h11

from workers.http.exchange import MAX_ANSWER, Exchange

E = TypeVar("E", bound=Exchange)


class Connection(Generic[E]):
    """One connection to `authority`; what is to be written is in `out`, as with HTTP/2.

    `failure`, once not empty, says why the connection is at its end.
    """

    window: Final = 1 << 31  # bytes of bodies that the peer takes now: with HTTP/1.1 any

    def __init__(self, authority: str) -> None:
        self.out = bytearray()
        self.failure = ""
        self.going_away = False
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT)
        self._queued = 0  # bytes that were ever put into `out`
        self._exchange: E | None = None

    @property
    def room(self) -> int:
        """How many more requests may be made now."""
        return int(self._exchange is None and not self.failure)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._exchange is None

    def request(self, exchange: E) -> None:
        """Send a request, which `room` must allow."""
        self._exchange, exchange.position = exchange, self._queued
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
        """Give the request up, and with it the connection: there is no other way."""
        if exchange is self._exchange:
            self._exchange = None
            self.failure = "connection lost: a request was given up"

    def abandon(self, written: int, why: str) -> list[E]:
        """End the request: the connection is lost, after `written` bytes of `out` had gone."""
        self.failure = self.failure or why
        exchange = self._exchange
        if exchange is None:
            return []
        exchange.fail(self.failure, exchange.position >= written)
        return self._ended(exchange)

    def receive(self, data: bytes) -> list[E]:
        """Take bytes of the peer, cut anywhere; none at all say that it has closed."""
        if self.failure:
            return []
        try:
            self._h11.receive_data(data)
            return self._events()
        except h11.RemoteProtocolError:
            self.failure = "connection lost: not HTTP/1.1"
            return []

    def _events(self) -> list[E]:
        """Read on until the answer has ended; what no request asked for ends the connection."""
        exchange = self._exchange
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                return []
            if exchange is None or isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                self.failure = "connection lost"
                return []
            if isinstance(event, h11.Response):
                fields = dict(reversed(list(event.headers)))
                exchange.status = event.status_code
                exchange.retry_after = fields.get(b"retry-after", b"").decode("latin-1")
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
