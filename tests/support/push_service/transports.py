"""HTTP/1.1 and HTTP/2 of the push service, and its deliberate faults."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h11
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from tests.support.push_service.service import PushService

LINGER = 1.0  # seconds


class Request(NamedTuple):
    method: str
    authority: str
    path: str
    headers: dict[str, str]


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Connection(asyncio.Protocol):
    """What both versions share: the transport, and an entry among the open connections."""

    http_version: str

    def __init__(self, service: PushService) -> None:
        self.service = service
        self.number = next(service.connection_numbers)
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.scheme = "https" if transport.get_extra_info("ssl_object") else "http"
        self.service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.connections.discard(self)
        # Python 3.10 reports a TLS transport as left open if the client closed first.
        self.transport.abort()

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        """Respond to the message of one stream; after the `last`, take no other one here."""
        raise NotImplementedError

    def reset_stream(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        """End one message's stream; a connection without streams ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection after the responses so far are sent."""
        self.transport.close()

    def reset(self) -> None:
        """End the connection so that the kernel sends RST: close it with SO_LINGER of 0."""
        peer: socket.socket = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Http1(Connection):
    """HTTP/1.1: one message at a time."""

    http_version = "1.1"

    def __init__(self, service: PushService) -> None:
        super().__init__(service)
        self._h11 = h11.Connection(h11.SERVER)
        self._request: Request
        self._body = bytearray()

    def data_received(self, data: bytes) -> None:
        self._h11.receive_data(data)
        self._read()

    def _read(self) -> None:
        try:
            while not self.transport.is_closing():
                event = self._h11.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._handle(event)
        except h11.RemoteProtocolError as error:
            self.service.refuse_protocol(error)
            self.transport.close()

    def _handle(self, event: object) -> None:
        if isinstance(event, h11.Request):
            pairs = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
            headers = _joined(pairs)
            authority = headers.get("host", "")
            path = event.target.decode()
            self._request = Request(event.method.decode(), authority, path, headers)
            self._body = bytearray()
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self.service.take(self, 0, self._request, bytes(self._body))
        elif isinstance(event, h11.ConnectionClosed):
            self.transport.close()

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        if self.transport.is_closing():
            return
        all_headers = {**headers, "content-length": str(len(body))}
        if last:
            all_headers["connection"] = "close"
        response = h11.Response(status_code=status, headers=list(all_headers.items()))
        parts = (response, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self._h11.send(part) or b"" for part in parts))
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
            asyncio.get_running_loop().call_soon(self._read)
        else:
            self.transport.close()

    def reset_stream(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        self.reset()


class Http2(Connection):
    """HTTP/2: 100 messages at a time, as `h2` and Google's service allow."""

    http_version = "2"

    def __init__(self, service: PushService) -> None:
        super().__init__(service)
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, tuple[Request, bytearray]] = {}
        self._unsent: dict[int, memoryview] = {}
        self._flushing = False
        self._last_taken = 0
        self._gone_away = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._h2.initiate_connection()
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except h2.exceptions.ProtocolError as error:
            self.service.refuse_protocol(error)
            self._flush()
            self.transport.close()
        else:
            self._flush_soon()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = _joined(cast("list[tuple[str, str]]", event.headers))
            method, path = headers.pop(":method"), headers.pop(":path")
            authority = headers.pop(":authority", headers.get("host", ""))
            request = Request(method, authority, path, headers)
            self._streams[event.stream_id] = request, bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._streams[event.stream_id][1].extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._take(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            for stream in list(self._unsent):
                # If the same bytes reset a stream, it is closed already and its event comes next.
                with suppress(h2.exceptions.StreamClosedError):
                    self._send_unsent(stream)

    def _take(self, stream: int) -> None:
        """Take a message, unless its stream is beyond the last one that a GOAWAY named."""
        request, body = self._streams[stream]
        if self._gone_away and stream > self._last_taken:
            del self._streams[stream]
            self.service.disown(self, request, bytes(body))
        else:
            self._last_taken = max(self._last_taken, stream)
            self.service.take(self, stream, request, bytes(body))

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)
        self._unsent.pop(stream, None)
        if self._gone_away:
            self._close_when_done()

    def respond(
        self, stream: int, status: int, headers: Mapping[str, str], body: bytes, last: bool
    ) -> None:
        if stream not in self._streams or self.transport.is_closing():
            return
        pairs = [(":status", str(status)), *headers.items(), ("content-length", str(len(body)))]
        self._h2.send_headers(stream, pairs, end_stream=not body)
        self._unsent[stream] = memoryview(body)
        self._send_unsent(stream)
        self._flush_soon()
        if last and not self._gone_away:
            self._go_away()

    def _go_away(self) -> None:
        """Take no further stream; the connection ends after the last response.

        We write the frame ourselves, because in `h2` a GOAWAY ends every stream at once.
        """
        self._flush()
        self._gone_away = True
        self.transport.write(GoAwayFrame(0, last_stream_id=self._last_taken).serialize())
        self._close_when_done()

    def _close_when_done(self) -> None:
        """Give the client a second to close, since data that crosses a close can lose responses."""
        if not any(stream <= self._last_taken for stream in self._streams):
            asyncio.get_running_loop().call_later(LINGER, self.transport.close)

    def _send_unsent(self, stream: int) -> None:
        """Send as much of a response as the client's windows allow."""
        while body := self._unsent[stream]:
            window = self._h2.local_flow_control_window(stream)
            size = min(len(body), window, self._h2.max_outbound_frame_size)
            if size <= 0:
                return
            self._h2.send_data(stream, bytes(body[:size]), end_stream=size == len(body))
            self._unsent[stream] = body[size:]
        self._forget(stream)

    def reset_stream(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        if stream in self._streams:
            self._h2.reset_stream(stream, code)
            self._forget(stream)
            self._flush_soon()

    def close(self) -> None:
        self._flush()
        super().close()

    def _flush_soon(self) -> None:
        """Write once for all responses of this turn of the event loop."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)


class ByAlpn(asyncio.Protocol):
    """Hands a TLS connection to the version of HTTP that its handshake agreed on."""

    def __init__(self, service: PushService) -> None:
        self.service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        version = Http2 if tls.selected_alpn_protocol() == "h2" else Http1
        protocol = version(self.service)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
