"""HTTP/2 for a client that only POSTs (RFC 9113): requests in, bytes out; bytes in, answers out.

No sockets and no clock. It is made for many small requests over one connection: all bytes to send
are appended to one buffer, which is written at once. A request's header block must fit into one
frame of 16 KB; the transport limits the path.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Generic, TypeVar

from workers.http.exchange import MAX_ANSWER, Exchange
from workers.http.hpack import AnswerDecoder, RequestEncoder

E = TypeVar("E", bound=Exchange)

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE = 0, 1, 3, 4, 5
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITISED = 0x01, 0x01, 0x04, 0x08, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_CONCURRENT_STREAMS = 1, 2, 3
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR = 1, 3, 6
_REFUSED_STREAM, _CANCEL, _COMPRESSION_ERROR, _ENHANCE_YOUR_CALM = 7, 8, 9, 11

_HEAD = Struct(">HBBBL")  # of a frame: length (16 and 8 bits), type, flags, stream
_SETTING = Struct(">HL")
_LONG = Struct(">L")
_31_BITS: Final = 2**31 - 1  # the largest stream and the largest window
_LARGEST_FRAME: Final = 16_384  # bytes, as every connection begins, for both sides
_WINDOW: Final = 65_535  # bytes, likewise
_OUR_WINDOW: Final = 1 << 24  # bytes of answers that may be on their way in a connection
_STREAMS_AT_FIRST: Final = 100  # until the peer's settings say how many it allows
# Limits on the work that a peer can cause for nothing.
_LARGEST_HEADERS: Final = 65_536  # bytes of one answer's headers, encoded
_IDLE_FRAMES: Final = 10_000  # between two answers
_UNSENT: Final = 1 << 24  # bytes

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(
    (
        _HEAD.pack(0, 12, _SETTINGS, 0, 0),
        _SETTING.pack(_HEADER_TABLE_SIZE, 0),  # see AnswerDecoder
        _SETTING.pack(_ENABLE_PUSH, 0),
        _HEAD.pack(0, 4, _WINDOW_UPDATE, 0, 0),
        _LONG.pack(_OUR_WINDOW - _WINDOW),
    )
)


class _ConnectionError(Exception):
    """The peer broke the protocol (RFC 9113 section 5.4.1)."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _Blocked:
    """The rest of a body that the peer's windows do not take yet."""

    __slots__ = ("body", "window")

    def __init__(self, body: bytes, window: int) -> None:
        self.body = body
        self.window = window


class Connection(Generic[E]):
    """One connection to `authority`, with at most `streams` requests under way.

    The transport writes the bytes in `out` and deletes those it wrote. Once `failure` is not empty
    the connection is over and `failure` says why; the bytes in `out` may still be written.
    """

    def __init__(self, authority: str, streams: int = 256) -> None:
        self.out = bytearray(_PREFACE)
        self.failure = ""
        self.going_away = False
        self._queued = len(_PREFACE)  # all bytes ever put into `out`
        self._ours = streams
        self._theirs = min(streams, _STREAMS_AT_FIRST)
        self._next_stream = 1
        self._streams: dict[int, E] = {}
        # Sending.
        self._encoder = RequestEncoder(authority)
        self._blocked: dict[int, _Blocked] = {}
        self.window = _WINDOW  # bytes of bodies that the peer accepts now
        self._stream_window = _WINDOW
        self._frame_size = _LARGEST_FRAME
        # Receiving.
        self._decoder = AnswerDecoder()
        self._unread = b""
        self._ready = False  # the peer's settings came
        self._unfinished: tuple[int, int, bytes] | None = None  # stream, flags, block so far
        self._taken = 0  # bytes of our window to give back
        self._idle_frames = 0

    @property
    def room(self) -> int:
        """How many more requests may be made now."""
        if self.failure or self.going_away or self.window <= 0:
            return 0
        return min(self._theirs - len(self._streams), (_31_BITS - self._next_stream) // 2)

    @property
    def takes(self) -> int:
        """How many requests it carries at a time."""
        return self._theirs

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._streams

    # -- requests --------------------------------------------------------------------------------

    def request(self, exchange: E) -> None:
        """Send a request; `room` must allow it."""
        stream = exchange.stream = self._next_stream
        body, out, size = exchange.body, self.out, len(exchange.body)
        block = self._encoder.encode(exchange.path, exchange.headers, size)
        exchange.position = self._queued
        self._next_stream = stream + 2
        self._streams[stream] = exchange
        length = len(block)
        self._queued += 9 + length
        out += _HEAD.pack(length >> 8, length & 255, _HEADERS, _END_HEADERS, stream)
        out += block
        if size <= self.window and size <= self._stream_window and size <= self._frame_size:
            self.window -= size
            self._queued += 9 + size
            out += _HEAD.pack(size >> 8, size & 255, _DATA, _END_STREAM, stream)
            out += body
        else:
            self._blocked[stream] = _Blocked(body, self._stream_window)
            self._unblock()

    def cancel(self, exchange: E) -> None:
        """Give up a request, whose answer is then ignored."""
        if self._end(exchange.stream) is not None:
            self._reset(exchange.stream, _CANCEL)

    def abandon(self, written: int, why: str) -> list[E]:
        """End all requests, because the connection was lost after `written` bytes were sent."""
        self.failure = self.failure or why
        ended = list(self._streams.values())
        for exchange in ended:
            exchange.fail(self.failure, exchange.position >= written)
        self._streams.clear()
        self._blocked.clear()
        return ended

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        size = len(payload)
        self._queued += 9 + size
        self.out += _HEAD.pack(size >> 8, size & 255, kind, flags, stream)
        self.out += payload

    def _reset(self, stream: int, code: int) -> None:
        self._frame(_RST_STREAM, 0, stream, _LONG.pack(code))

    def _unblock(self) -> None:
        """Send as much of the blocked bodies as the windows allow, the oldest first."""
        for stream, blocked in list(self._blocked.items()):
            while blocked.body:
                size = min(len(blocked.body), self.window, blocked.window, self._frame_size)
                if size <= 0:
                    break
                piece, blocked.body = blocked.body[:size], blocked.body[size:]
                self.window -= size
                blocked.window -= size
                self._frame(_DATA, 0 if blocked.body else _END_STREAM, stream, piece)
            if not blocked.body:
                del self._blocked[stream]
            if self.window <= 0:
                return

    def _end(self, stream: int) -> E | None:
        """Forget a stream and return its request; None if none was under way."""
        if self._blocked:
            self._blocked.pop(stream, None)
        return self._streams.pop(stream, None)

    # -- answers ---------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[E]:
        """Take bytes of the peer, cut anywhere; return the requests that they end."""
        ended: list[E] = []
        if self.failure:
            return ended
        if self._unread:
            data = self._unread + data
        at, end, unpack_from, take = 0, len(data), _HEAD.unpack_from, self._take
        try:
            while end - at >= 9:
                high, low, kind, flags, stream = unpack_from(data, at)
                start = at + 9
                at_next = start + (high << 8 | low)
                if at_next - start > _LARGEST_FRAME:
                    raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame is too large")
                if at_next > end:
                    break
                at = at_next
                take(kind, flags, stream & _31_BITS, data[start:at], ended)
        except _ConnectionError as error:
            self._frame(_GOAWAY, 0, 0, _LONG.pack(0) + _LONG.pack(error.code))
            self.failure = f"connection lost: {error}"
        self._unread = data[at:]
        return ended

    def _take(self, kind: int, flags: int, stream: int, data: bytes, ended: list[E]) -> None:
        if self._unfinished is not None:
            self._continue(self._unfinished, kind, flags, stream, data, ended)
        elif kind == _HEADERS and self._ready:
            self._check_stream(stream)
            block = self._unpadded(flags, data) if flags & (_PADDED | _PRIORITISED) else data
            if flags & _END_HEADERS:
                self._headers(stream, flags, block, ended)
            else:
                self._unfinished = stream, flags, block
        elif kind == _DATA and self._ready:
            self._check_stream(stream)
            self._data(stream, flags, data, ended)
        else:
            self._control(kind, flags, stream, data, ended)

    def _continue(
        self,
        unfinished: tuple[int, int, bytes],
        kind: int,
        flags: int,
        stream: int,
        data: bytes,
        ended: list[E],
    ) -> None:
        first, first_flags, block = unfinished
        if kind != _CONTINUATION or stream != first:
            raise _ConnectionError(_PROTOCOL_ERROR, "headers were interrupted")
        self._count_idle()
        block += data
        if len(block) > _LARGEST_HEADERS:
            raise _ConnectionError(_ENHANCE_YOUR_CALM, "headers without end")
        self._unfinished = None if flags & _END_HEADERS else (first, first_flags, block)
        if flags & _END_HEADERS:
            self._headers(stream, first_flags, block, ended)

    def _headers(self, stream: int, flags: int, block: bytes, ended: list[E]) -> None:
        """Take the head of an answer, its trailers, or a 1xx answer before it."""
        try:
            status, retry_after, wns_status = self._decoder.decode(block)
        except ValueError as error:
            raise _ConnectionError(_COMPRESSION_ERROR, str(error)) from error
        exchange = self._streams.get(stream)
        if exchange is None:
            self._count_idle()  # cancelled; it was decoded only to keep the table right
            return
        if not exchange.status and status >= 200:
            exchange.status, exchange.retry_after = status, retry_after
            if wns_status:
                exchange.wns_status = wns_status
        if flags & _END_STREAM and exchange.status:
            self._answered(exchange, ended, heard_out=True)
        elif flags & _END_STREAM or not (exchange.status or status):
            self._drop(exchange, ended)
        else:
            self._count_idle()

    def _data(self, stream: int, flags: int, data: bytes, ended: list[E]) -> None:
        self._taken += len(data)
        if self._taken * 2 > _WINDOW:
            self._frame(_WINDOW_UPDATE, 0, 0, _LONG.pack(self._taken))
            self._taken = 0
        self._count_idle()
        body = self._unpadded(flags & _PADDED, data) if flags & _PADDED else data
        exchange = self._streams.get(stream)
        if exchange is None:
            return
        if not exchange.status:
            self._drop(exchange, ended)
            return
        if body:
            exchange.answer += body[: MAX_ANSWER - len(exchange.answer)]
        if flags & _END_STREAM or len(exchange.answer) >= MAX_ANSWER:
            self._answered(exchange, ended, heard_out=bool(flags & _END_STREAM))

    def _answered(self, exchange: E, ended: list[E], *, heard_out: bool) -> None:
        self._idle_frames = 0
        # The peer may answer before it has read the whole body, and send more than we keep.
        if not heard_out or exchange.stream in self._blocked:
            self._reset(exchange.stream, _CANCEL)
        self._end(exchange.stream)
        ended.append(exchange)

    def _drop(self, exchange: E, ended: list[E]) -> None:
        """End a stream in which the peer broke the protocol (RFC 9113 section 5.4.2)."""
        self._end(exchange.stream)
        self._reset(exchange.stream, _PROTOCOL_ERROR)
        exchange.fail("the answer makes no sense", False)
        ended.append(exchange)

    def _unpadded(self, flags: int, data: bytes) -> bytes:
        padded = bool(flags & _PADDED)
        before = padded + (5 if flags & _PRIORITISED else 0)
        padding = data[0] if padded and data else 0
        if before + padding > len(data):
            raise _ConnectionError(_PROTOCOL_ERROR, "padding longer than its frame")
        return data[before : len(data) - padding]

    # -- control ---------------------------------------------------------------------------------

    def _control(self, kind: int, flags: int, stream: int, data: bytes, ended: list[E]) -> None:
        if not self._ready and (kind != _SETTINGS or flags & _ACK):
            raise _ConnectionError(_PROTOCOL_ERROR, "not HTTP/2")
        self._count_idle()
        if kind == _WINDOW_UPDATE:
            self._window_update(stream, self._long(data) & _31_BITS, ended)
        elif kind == _RST_STREAM:
            self._check_stream(stream)
            self._stream_reset(stream, self._long(data), ended)
        elif kind in (_PUSH_PROMISE, _CONTINUATION):
            raise _ConnectionError(_PROTOCOL_ERROR, "a frame in the wrong place")
        elif kind in (_SETTINGS, _PING, _GOAWAY):
            if stream:
                raise _ConnectionError(_PROTOCOL_ERROR, "a frame of the connection in a stream")
            if kind == _SETTINGS:
                self._settings(flags, data)
            elif kind == _PING:
                self._ping(flags, data)
            else:
                self._go_away(data, ended)
        # Other frames, such as PRIORITY, are ignored (RFC 9113 sections 4.1 and 5.3).

    def _check_stream(self, stream: int) -> None:
        if not stream & 1 or stream >= self._next_stream:
            raise _ConnectionError(_PROTOCOL_ERROR, "a stream that was never opened")

    def _long(self, data: bytes) -> int:
        if len(data) != 4:
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        return int.from_bytes(data, "big")

    def _count_idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > _IDLE_FRAMES or len(self.out) > _UNSENT:
            raise _ConnectionError(_ENHANCE_YOUR_CALM, "too many frames without effect")

    def _window_update(self, stream: int, more: int, ended: list[E]) -> None:
        if not stream:
            self.window += more
            if not more or self.window > _31_BITS:
                raise _ConnectionError(_FLOW_CONTROL_ERROR, "an impossible window")
        else:
            self._check_stream(stream)
            blocked = self._blocked.get(stream)
            if blocked is None:
                return
            blocked.window += more
            if not more or blocked.window > _31_BITS:
                self._drop(self._streams[stream], ended)
        self._unblock()

    def _stream_reset(self, stream: int, code: int, ended: list[E]) -> None:
        exchange = self._end(stream)
        if exchange is not None:
            refused = code == _REFUSED_STREAM
            exchange.fail("refused" if refused else "stream reset", refused)
            ended.append(exchange)

    def _ping(self, flags: int, data: bytes) -> None:
        if len(data) != 8:
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        if not flags & _ACK:
            self._frame(_PING, _ACK, 0, data)

    def _go_away(self, data: bytes, ended: list[E]) -> None:
        """Open no more streams; requests that the peer did not take may be sent elsewhere."""
        if len(data) < 8:
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        self.going_away = True
        last = _LONG.unpack_from(data)[0] & _31_BITS
        for exchange in [e for e in self._streams.values() if e.stream > last]:
            self._end(exchange.stream)
            exchange.fail("refused: the connection is closing", True)
            ended.append(exchange)

    def _settings(self, flags: int, data: bytes) -> None:
        if len(data) % 6 or (flags & _ACK and data):
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        if flags & _ACK:
            return
        if not self._ready:
            self._ready = True
            self._theirs = self._ours  # no limit unless the settings have one: RFC 9113 6.5.2
        for setting, value in _SETTING.iter_unpack(data):
            self._set(setting, value)
        self._frame(_SETTINGS, _ACK, 0)
        self._unblock()

    def _set(self, setting: int, value: int) -> None:
        if setting == _HEADER_TABLE_SIZE:
            self._encoder.resize(value)
        elif setting == _MAX_CONCURRENT_STREAMS:
            self._theirs = min(value, self._ours)
        elif setting == _INITIAL_WINDOW_SIZE:
            if value > _31_BITS:
                raise _ConnectionError(_FLOW_CONTROL_ERROR, "a window too large")
            for blocked in self._blocked.values():
                blocked.window += value - self._stream_window
            self._stream_window = value
        elif setting == _MAX_FRAME_SIZE:
            if not _LARGEST_FRAME <= value < 1 << 24:
                raise _ConnectionError(_PROTOCOL_ERROR, "frames of an impossible size")
            self._frame_size = value
