"""HTTP/2 for a client that only POSTs (RFC 9113): requests in, bytes out; bytes in, answers out.

No sockets, no clock. Made for many small requests over one connection: a request costs a few index
bytes of HPACK, its `:path` and its body, all appended to one buffer that is written at once.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

import hpack

# Names in lower case. Made once for many requests: what they are encoded to is kept by identity.
Headers = tuple[tuple[str, str], ...]

MAX_ANSWER: Final = 4096  # bytes of an answer's body that are kept

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS = 0, 1, 2, 3, 4
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 5, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITISED = 0x01, 0x01, 0x04, 0x08, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_CONCURRENT_STREAMS = 1, 2, 3
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_NO_ERROR, _PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR = 0, 1, 3, 6
_REFUSED_STREAM, _CANCEL, _COMPRESSION_ERROR, _ENHANCE_YOUR_CALM = 7, 8, 9, 11

_HEAD = Struct(">HBBBL")  # of a frame: length (16 and 8 bits), type, flags, stream
_SETTING = Struct(">HL")
_LONG = Struct(">L")
_LARGEST_FRAME: Final = 16_384  # bytes that we take: what every connection begins with
_LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535  # bytes
_OUR_WINDOW: Final = 1 << 24  # bytes of answers that may be on their way in a connection
_LAST_STREAM: Final = 2**31 - 1
_TABLE_SIZE: Final = 4096  # bytes of HPACK's table, what every connection begins with
_STREAMS_UNTIL_TOLD: Final = 100
# Bounds on what a peer can have us do for nothing.
_LARGEST_HEADERS: Final = 65_536  # bytes, of one answer
_IDLE_FRAMES: Final = 10_000  # between two answers
_UNSENT: Final = 1 << 24  # bytes
_KEPT_BLOCKS: Final = 256

# Of our settings the table's size is the one that matters. The answers of Google's service have a
# `location` and a date each, which its encoder puts into the table: every answer must then be
# decoded in full (30 µs, measured), only to keep the table right. Without a table an answer stands
# for itself, and of a 2xx only the status is looked at.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(
    (
        _HEAD.pack(0, 12, _SETTINGS, 0, 0),
        _SETTING.pack(_HEADER_TABLE_SIZE, 0),
        _SETTING.pack(_ENABLE_PUSH, 0),
        _HEAD.pack(0, 4, _WINDOW_UPDATE, 0, 0),
        _LONG.pack(_OUR_WINDOW - _DEFAULT_WINDOW),
    )
)


class Ended(NamedTuple):
    """What became of a request: see `workers.transport.Answer`, but for `retry_after` as it came.

    `key` is the one given with the request.
    """

    key: Any
    status: int
    retry_after: str
    reason: str
    untouched: bool


class _ConnectionError(Exception):
    """The peer broke the protocol: RFC 9113 section 5.4.1."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _Stream:
    """A request whose answer has not ended. `status` is 0 until the answer's headers came."""

    __slots__ = ("answer", "key", "position", "retry_after", "status")

    def __init__(self, key: object, position: int) -> None:
        self.key = key
        self.position = position
        self.status = 0
        self.retry_after = ""
        self.answer = b""

    def ended(self) -> Ended:
        reason = self.answer.decode(errors="replace") if self.answer else ""
        return Ended(self.key, self.status, self.retry_after, reason, False)

    def lost(self, why: str, untouched: bool) -> Ended:
        """Return how it ends without more of an answer; a status that came counts."""
        return self.ended() if self.status else Ended(self.key, 0, "", why, untouched)


class _Blocked:
    """What is left of a body for which there is no room in the windows."""

    __slots__ = ("body", "window")

    def __init__(self, body: bytes, window: int) -> None:
        self.body = body
        self.window = window


@lru_cache(4096)
def _integer(number: int, prefix: int, bits: int) -> bytes:
    """Encode an integer of which the first byte's low `bits` are used (RFC 7541 section 5.1)."""
    largest = (1 << bits) - 1
    if number < largest:
        return bytes((prefix | number,))
    encoded = bytearray((prefix | largest,))
    number -= largest
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@lru_cache(4096)
def _content_length(size: int) -> bytes:
    """Encode `content-length`, entry 28 of the static table, as a literal that is not indexed."""
    digits = b"%d" % size
    return _integer(28, 0, 4) + _integer(len(digits), 0, 7) + digits


@lru_cache(1024)
def _status(field: bytes) -> int:
    """Read an answer's first field; 0 where it is not a status that is known to be right."""
    try:
        ((name, value),) = hpack.Decoder().decode(field, raw=True)
    except (hpack.HPACKError, ValueError):
        return 0
    return int(value) if name == b":status" and len(value) == 3 and value.isdigit() else 0


class Connection:
    """One connection to `authority`. `streams` bounds the requests under way in it.

    What is to be written is in `out`, of which the transport deletes what it wrote. `failure`, once
    not empty, says why the connection is at its end; what is in `out` may still be written.
    """

    def __init__(self, authority: str, scheme: str = "https", streams: int = 256) -> None:
        self.out = bytearray(_PREFACE)
        self.failure = ""
        self.going_away = False
        self._queued = len(_PREFACE)  # bytes that were ever put into `out`
        self._scheme_and_authority = ((":scheme", scheme), (":authority", authority))
        self._ours = streams
        self._theirs = min(streams, _STREAMS_UNTIL_TOLD)
        self._next_stream = 1
        self._streams: dict[int, _Stream] = {}
        self._ids: dict[object, int] = {}
        # Sending.
        self._encoder = hpack.Encoder()
        self._blocks: dict[int, tuple[Headers, bytes, bytes]] = {}
        self._blocked: dict[int, _Blocked] = {}
        self._window = _DEFAULT_WINDOW
        self._stream_window = _DEFAULT_WINDOW
        self._frame_size = _LARGEST_FRAME
        # Receiving.
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_HEADERS)
        self._without_table = False
        self._unread = b""
        self._ready = False
        self._unfinished: tuple[int, int, bytes] | None = None  # stream, flags, block so far
        self._taken = 0  # bytes of the window to give back
        self._idle_frames = 0
        self._last_covered = _LAST_STREAM

    @property
    def room(self) -> int:
        """How many more requests may be made now."""
        if self.failure or self.going_away or self._window <= 0:
            return 0
        return min(self._theirs - len(self._streams), (_LAST_STREAM - self._next_stream) // 2)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._streams

    # -- requests --------------------------------------------------------------------------------

    def request(self, key: object, path: str, headers: Headers, body: bytes) -> None:
        """Make a request, which `room` must allow. `key` is unlike those of all under way."""
        stream = self._next_stream
        self._next_stream = stream + 2
        self._streams[stream] = _Stream(key, self._queued)
        self._ids[key] = stream
        kept = self._blocks.get(id(headers))
        _, pseudo, regular = self._encode(headers) if kept is None else kept
        raw, size = path.encode(), len(body)
        # `:path` is entry 4 of the static table; each is used once, so none is indexed.
        path_length, length = _integer(len(raw), 0, 7), _content_length(size)
        block = b"%b\x04%b%b%b%b" % (pseudo, path_length, raw, regular, length)
        if len(block) > self._frame_size:
            self._long_headers(stream, block)
        else:
            self._frame(_HEADERS, _END_HEADERS, stream, block)
        if size <= self._window and size <= self._stream_window and size <= self._frame_size:
            self._window -= size
            self._frame(_DATA, _END_STREAM, stream, body)
        else:
            self._blocked[stream] = _Blocked(body, self._stream_window)
            self._unblock()

    def cancel(self, key: object) -> None:
        """Give a request up: its answer is not waited for."""
        stream = self._ids.get(key)
        if stream is not None:
            self._end(stream)
            self._reset(stream, _CANCEL)

    def abandon(self, written: int, why: str) -> list[Ended]:
        """Give all requests up the connection is lost; `written`: bytes of `out` that went."""
        ended = [s.lost(why, s.position >= written) for s in self._streams.values()]
        self._streams.clear()
        self._ids.clear()
        self._blocked.clear()
        self.failure = self.failure or why
        return ended

    def _encode(self, headers: Headers) -> tuple[Headers, bytes, bytes]:
        """Encode what many requests share: pseudo-headers, but for `:path`, and others.

        Kept for the next time if nothing entered the table, for then it stays right until something
        does. `authorization` is indexed although RFC 7541 section 7.1 warns of that: it holds no
        reader's secret, is the same for thousands of requests, and nobody else's text is in this
        connection for it to be guessed by. `ttl` changes every second and is never indexed.
        """
        pseudo = ((":method", "POST"), *self._scheme_and_authority)
        indexed = [*pseudo, *(field for field in headers if field[0] != "ttl")]
        table = self._encoder.header_table
        needed = sum(32 + len(name) + len(value) for name, value in indexed)
        fits = needed <= self._encoder.header_table_size
        settled = not table.resized and (not fits or all(map(self._is_in_table, indexed)))
        kept = (
            headers,
            self._encoder.encode([(n, v, not fits) for n, v in pseudo]),
            self._encoder.encode([(n, v, not fits or n == "ttl") for n, v in headers]),
        )
        if not settled or len(self._blocks) >= _KEPT_BLOCKS:
            self._blocks.clear()
        if settled:
            self._blocks[id(headers)] = kept
        return kept

    def _is_in_table(self, field: tuple[str, str]) -> bool:
        found = self._encoder.header_table.search(field[0].encode(), field[1].encode())
        return found is not None and found[2] is not None

    def _long_headers(self, stream: int, block: bytes) -> None:
        size = self._frame_size
        pieces = [block[at : at + size] for at in range(0, len(block), size)]
        self._frame(_HEADERS, 0, stream, pieces[0])
        for piece in pieces[1:-1]:
            self._frame(_CONTINUATION, 0, stream, piece)
        self._frame(_CONTINUATION, _END_HEADERS, stream, pieces[-1])

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        size = len(payload)
        self._queued += 9 + size
        self.out += _HEAD.pack(size >> 8, size & 255, kind, flags, stream)
        self.out += payload

    def _reset(self, stream: int, code: int) -> None:
        self._frame(_RST_STREAM, 0, stream, _LONG.pack(code))

    def _unblock(self) -> None:
        """Send as much of the waiting bodies as the windows allow, the oldest first."""
        for stream, blocked in list(self._blocked.items()):
            while blocked.body:
                size = min(len(blocked.body), self._window, blocked.window, self._frame_size)
                if size <= 0:
                    break
                piece, blocked.body = blocked.body[:size], blocked.body[size:]
                self._window -= size
                blocked.window -= size
                self._frame(_DATA, 0 if blocked.body else _END_STREAM, stream, piece)
            if not blocked.body:
                del self._blocked[stream]
            if self._window <= 0:
                return

    def _end(self, stream: int) -> _Stream | None:
        """Forget a stream; None where it was not under way."""
        ended = self._streams.pop(stream, None)
        if ended is not None:
            del self._ids[ended.key]
            if self._blocked:
                self._blocked.pop(stream, None)
        return ended

    # -- answers ---------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Ended]:
        """Take bytes of the peer, cut anywhere; return the requests that ended with them."""
        ended: list[Ended] = []
        if self.failure:
            return ended
        if self._unread:
            data = self._unread + data
        at, end = 0, len(data)
        try:
            while end - at >= 9:
                high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
                size = high << 8 | low
                if size > _LARGEST_FRAME:
                    raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame is too large")
                start, at_next = at + 9, at + 9 + size
                if at_next > end:
                    break
                at = at_next
                self._take(kind, flags, stream & _LAST_STREAM, data[start:at], ended)
        except _ConnectionError as error:
            last = (0).to_bytes(4, "big")
            self._frame(_GOAWAY, 0, 0, last + _LONG.pack(error.code))
            self.failure = f"connection lost: {error}"
        self._unread = data[at:]
        return ended

    def _take(self, kind: int, flags: int, stream: int, data: bytes, ended: list[Ended]) -> None:
        if self._unfinished is not None:
            self._continue(kind, flags, stream, data, ended)
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

    def _check_stream(self, stream: int) -> None:
        if not stream & 1 or stream >= self._next_stream:
            raise _ConnectionError(_PROTOCOL_ERROR, "a stream that was never opened")

    def _unpadded(self, flags: int, data: bytes) -> bytes:
        padded = bool(flags & _PADDED)
        before = padded + (5 if flags & _PRIORITISED else 0)
        padding = data[0] if padded and data else 0
        if before + padding > len(data):
            raise _ConnectionError(_PROTOCOL_ERROR, "padding longer than its frame")
        return data[before : len(data) - padding]

    def _continue(
        self, kind: int, flags: int, stream: int, data: bytes, ended: list[Ended]
    ) -> None:
        assert self._unfinished is not None  # noqa: S101
        first, first_flags, block = self._unfinished
        if kind != _CONTINUATION or stream != first:
            raise _ConnectionError(_PROTOCOL_ERROR, "headers were interrupted")
        self._count_idle()
        block += data
        if len(block) > _LARGEST_HEADERS:
            raise _ConnectionError(_ENHANCE_YOUR_CALM, "headers without end")
        self._unfinished = first, first_flags, block
        if flags & _END_HEADERS:
            self._unfinished = None
            self._headers(stream, first_flags, block, ended)

    def _headers(self, number: int, flags: int, block: bytes, ended: list[Ended]) -> None:
        """Take an answer's head, or its trailers, or a 1xx that comes before it."""
        status, retry_after = self._read_head(block)
        stream = self._streams.get(number)
        if stream is None:
            self._count_idle()
            return  # cancelled: it was decoded to keep the table right
        if not stream.status and status >= 200:
            stream.status, stream.retry_after = status, retry_after
        if flags & _END_STREAM and stream.status:
            self._finish(number, ended)
        elif flags & _END_STREAM or (not stream.status and status < 100):
            self._drop(number, "the answer makes no sense", ended)
        else:
            self._count_idle()

    def _read_head(self, block: bytes) -> tuple[int, str]:
        """Return status and Retry-After; 0 where there is no status that makes sense."""
        if self._without_table and block:
            # `:status` is the first of all. Entries 8 to 14 of the static table have its values,
            # and 8 serves as the name for others.
            first = block[0]
            size = 1 if first & 0x80 else 2 + (block[1] & 0x7F) if len(block) > 1 else 2
            if first & 0x80 or first in (0x08, 0x18, 0x48):
                status = _status(block[:size])
                if 200 <= status < 300:
                    return status, ""
        try:
            headers = dict(reversed(list(self._decoder.decode(block, raw=True))))
        except hpack.OversizedHeaderListError as error:
            raise _ConnectionError(_ENHANCE_YOUR_CALM, "headers too large") from error
        except (hpack.HPACKError, ValueError, IndexError) as error:
            raise _ConnectionError(_COMPRESSION_ERROR, "headers that cannot be decoded") from error
        word = bytes(headers.get(b":status", b""))
        status = int(word) if len(word) == 3 and word.isdigit() else 0
        return status, bytes(headers.get(b"retry-after", b"")).decode("latin-1")

    def _data(self, number: int, flags: int, data: bytes, ended: list[Ended]) -> None:
        self._taken += len(data)
        if self._taken > _OUR_WINDOW:
            raise _ConnectionError(_FLOW_CONTROL_ERROR, "more than the window allows")
        if self._taken * 2 > _DEFAULT_WINDOW:
            self._frame(_WINDOW_UPDATE, 0, 0, _LONG.pack(self._taken))
            self._taken = 0
        self._count_idle()
        body = self._unpadded(flags & _PADDED, data) if flags & _PADDED else data
        stream = self._streams.get(number)
        if stream is None:
            return
        if not stream.status:
            self._drop(number, "the answer makes no sense", ended)
            return
        stream.answer += body[: MAX_ANSWER - len(stream.answer)]
        if flags & _END_STREAM:
            self._finish(number, ended)
        elif len(stream.answer) >= MAX_ANSWER:
            self._finish(number, ended)
            self._reset(number, _CANCEL)

    def _finish(self, number: int, ended: list[Ended]) -> None:
        self._idle_frames = 0
        if number in self._blocked:
            self._reset(number, _CANCEL)  # answered before it was heard to the end
        stream = self._end(number)
        if stream is not None:
            ended.append(stream.ended())

    def _drop(self, number: int, why: str, ended: list[Ended]) -> None:
        """End a stream in which the peer broke the protocol: RFC 9113 section 5.4.2."""
        stream = self._end(number)
        if stream is not None:
            ended.append(stream.lost(why, False))
            self._reset(number, _PROTOCOL_ERROR)

    # -- control ---------------------------------------------------------------------------------

    def _control(self, kind: int, flags: int, stream: int, data: bytes, ended: list[Ended]) -> None:
        if not self._ready and (kind != _SETTINGS or flags & _ACK):
            raise _ConnectionError(_PROTOCOL_ERROR, "not HTTP/2")
        self._count_idle()
        if kind == _SETTINGS:
            self._settings(flags, stream, data)
        elif kind == _WINDOW_UPDATE:
            self._check_size(data, 4)
            self._window_update(stream, _LONG.unpack(data)[0] & _LAST_STREAM, ended)
        elif kind == _RST_STREAM:
            self._check_size(data, 4)
            self._check_stream(stream)
            was = self._end(stream)
            if was is not None:
                refused = _LONG.unpack(data)[0] == _REFUSED_STREAM
                ended.append(was.lost("refused" if refused else "stream reset", refused))
        elif kind == _PING:
            self._check_size(data, 8)
            self._check_connection(stream)
            if not flags & _ACK:
                self._frame(_PING, _ACK, 0, data)
        elif kind == _GOAWAY:
            self._check_connection(stream)
            self._go_away(data, ended)
        elif kind in (_PUSH_PROMISE, _CONTINUATION):
            raise _ConnectionError(_PROTOCOL_ERROR, "a frame that has no place here")
        # Others, PRIORITY among them, are ignored: RFC 9113 sections 4.1 and 5.3.

    def _count_idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > _IDLE_FRAMES or len(self.out) > _UNSENT:
            raise _ConnectionError(_ENHANCE_YOUR_CALM, "too many frames that mean nothing")

    def _check_size(self, data: bytes, size: int) -> None:
        if len(data) != size:
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")

    def _check_connection(self, stream: int) -> None:
        if stream:
            raise _ConnectionError(_PROTOCOL_ERROR, "a frame that has no place in a stream")

    def _settings(self, flags: int, stream: int, data: bytes) -> None:
        self._check_connection(stream)
        if len(data) % 6 or (flags & _ACK and data):
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        if flags & _ACK:
            # From here on the peer encodes without a table.
            self._decoder.max_allowed_table_size = self._decoder.header_table_size = 0
            self._without_table = True
            return
        if not self._ready:
            self._ready = True
            self._theirs = self._ours  # RFC 9113 section 6.5.2: no limit unless there is one
        for setting, value in _SETTING.iter_unpack(data):
            self._set(setting, value)
        self._frame(_SETTINGS, _ACK, 0)
        self._unblock()

    def _set(self, setting: int, value: int) -> None:
        if setting == _HEADER_TABLE_SIZE:
            # Two changes at once must both be told, of which the encoder sees to.
            self._encoder.header_table_size = min(value, _TABLE_SIZE)
            self._blocks.clear()
        elif setting == _MAX_CONCURRENT_STREAMS:
            self._theirs = min(value, self._ours)
        elif setting == _INITIAL_WINDOW_SIZE:
            if value > _LARGEST_WINDOW:
                raise _ConnectionError(_FLOW_CONTROL_ERROR, "a window too large")
            for blocked in self._blocked.values():
                blocked.window += value - self._stream_window
            self._stream_window = value
        elif setting == _MAX_FRAME_SIZE:
            if not _LARGEST_FRAME <= value < 1 << 24:
                raise _ConnectionError(_PROTOCOL_ERROR, "frames of an impossible size")
            self._frame_size = value

    def _window_update(self, stream: int, more: int, ended: list[Ended]) -> None:
        if not stream:
            self._window += more
            if not more or self._window > _LARGEST_WINDOW:
                raise _ConnectionError(_FLOW_CONTROL_ERROR, "a window that cannot be")
        else:
            self._check_stream(stream)
            blocked = self._blocked.get(stream)
            if blocked is None:
                return
            blocked.window += more
            if not more or blocked.window > _LARGEST_WINDOW:
                self._drop(stream, "a window that cannot be", ended)
        self._unblock()

    def _go_away(self, data: bytes, ended: list[Ended]) -> None:
        if len(data) < 8:
            raise _ConnectionError(_FRAME_SIZE_ERROR, "a frame of a wrong size")
        self.going_away = True
        last = _LONG.unpack_from(data)[0] & _LAST_STREAM
        for number in [number for number in self._streams if number > last]:
            stream = self._end(number)
            if stream is not None:
                ended.append(stream.lost("refused: connection closing", True))
