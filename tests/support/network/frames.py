"""An HTTP/2 connection without sockets, and frames that a server may send to it."""

from __future__ import annotations

import hpack
from h2.errors import ErrorCodes
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    SettingsFrame,
)

from workers.http.exchange import Exchange, Headers
from workers.http.http2 import Connection

HEADERS: Headers = (
    ("ttl", "3600"),
    ("urgency", "high"),
    ("topic", "a-topic"),
    ("content-encoding", "aes128gcm"),
    ("authorization", "vapid t=" + "t" * 200 + ", k=" + "k" * 87),
)
BODY = bytes(469)
SETTINGS = SettingsFrame(0).serialize()
SETTINGS_ACK = SettingsFrame(0, flags=["ACK"]).serialize()


class Post(Exchange):
    """A request with a name, by which a test recognizes it."""

    def __init__(self, name: int, body: bytes = BODY, headers: Headers = HEADERS) -> None:
        super().__init__(f"/push/{name}", headers, body)
        self.name = name

    def seen(self) -> tuple[int, int, str, bytes, str, bool]:
        return (
            self.name,
            self.status,
            self.retry_after,
            self.answer,
            self.failure,
            self.untouched,
        )


def posting(n: int) -> Connection[Post]:
    """A connection with n requests under way: streams 1, 3, 5."""
    connection = Connection[Post]("push.example")
    for name in range(n):
        connection.request(Post(name))
    return connection


def sent(connection: Connection[Post]) -> list[Frame]:
    """Take all frames out of the connection, after the client's preface."""
    data = bytes(connection.out)
    connection.out.clear()
    data = data.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


def head(stream: int, *fields: tuple[str, str], end: bool = True) -> bytes:
    block = hpack.Encoder().encode([(n, v, True) for n, v in fields or [(":status", "201")]])
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return HeadersFrame(stream, block, flags=flags).serialize()


def error_of(connection: Connection[Post]) -> ErrorCodes:
    """The error code with which the connection ended."""
    assert connection.failure.startswith("connection lost: ")
    assert connection.room == 0
    assert connection.receive(head(1)) == []
    last = sent(connection)[-1]
    assert isinstance(last, GoAwayFrame)
    return ErrorCodes(last.error_code)


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload).to_bytes(3, "big")
    return size + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
