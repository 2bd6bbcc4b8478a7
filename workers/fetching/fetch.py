"""Speaks to an address that a person or a page named, and to nothing else (decision 90).

The address to which the name of a host leads is checked, and that same address is connected to. A
redirect is another address, and is checked like the first. All of it together takes no longer, and
returns no more, than `Limits` say. No cookie is kept or sent.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import h11

from service.model.language.links import Origin, web_address
from service.model.network.addresses import is_public
from service.model.newsroom.articles import Fault
from service.model.operations import traces
from workers.http.channel import CannotConnect, Channel, Proxy, ask_proxy, first_to_connect

_USER_AGENT: Final = "StopPress"
_LONGEST_HEAD: Final = 1 << 16  # bytes
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_COMPRESSED: Final = ("gzip", "x-gzip", "deflate")
_MOST_TRIED: Final = 3  # addresses of a host, through a proxy
_NO_SUCH_NAME: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class CannotFetch(Exception):
    """A page that could not be fetched."""

    def __init__(self, fault: Fault, address: str) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.address = address  # where it failed


@dataclass(frozen=True, slots=True)
class Limits:
    """What one page may take."""

    seconds: float = 3.0  # for everything: names, connections, redirects and the page
    size: int = 1 << 20  # bytes of the page, after decompression
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Asking:
    """What is sent to an address; only a GET follows redirects."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)  # beside those that each request has
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The response to a request."""

    status: int
    address: str  # after redirects
    headers: dict[str, str]  # with names in lower case
    body: bytes
    is_whole: bool  # it was neither longer than allowed nor cut off


_GET: Final = Asking()


def look_up(host: str, port: int) -> list[Any]:
    """Return the addresses of a host as `socket.getaddrinfo` has them."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass
class Fetcher:
    """Fetches pages from public addresses, and from the `origins` that a setting names.

    The latter only where its caller names one of them, or one leads to another.
    It trusts the system's certificates and those of `ca_bundle`. `proxy` returns the proxy through
    which it connects to an origin, or None; it is asked for the address that was checked.
    """

    origins: Collection[str] = ()
    ca_bundle: Path | None = None
    proxy: Callable[[str], str | None] = lambda _origin: None
    look_up: Callable[[str, int], list[Any]] = look_up
    _tls: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols(["http/1.1"])
        if self.ca_bundle is not None:
            self._tls.load_verify_locations(self.ca_bundle)

    def fetch(self, address: str, limits: Limits, asking: Asking = _GET) -> Fetched:
        """Return the response of an address, such as a page, or raise `CannotFetch`."""
        try:
            fetched = self._after_redirects(address, limits, asking)
        except CannotFetch as error:
            traces.note({"stoppress.fault": error.fault.value})
            raise
        size = {"stoppress.bytes": len(fetched.body)}
        traces.note({"http.response.status_code": fetched.status, **size})
        return fetched

    def _after_redirects(self, address: str, limits: Limits, asking: Asking) -> Fetched:
        deadline = time.monotonic() + limits.seconds
        inward = True  # to the origins that a setting names; no page of others may lead there
        for _ in range(limits.redirects + 1):
            found = web_address(address)
            if not found:
                raise CannotFetch(Fault.NO_ADDRESS, address)
            fetched = self._fetch_one(found, asking, limits.size, deadline, inward=inward)
            target = fetched.headers.get("location", "")
            if fetched.status not in _REDIRECTS or not target or asking.method != "GET":
                return fetched
            address = _joined(found, target)
            inward = str(Origin.of(found)) in self.origins
        raise CannotFetch(Fault.REDIRECTS, address)

    def _fetch_one(
        self, address: str, asking: Asking, size: int, deadline: float, *, inward: bool
    ) -> Fetched:
        origin = Origin.of(address)
        try:
            channel = self._connect(origin, deadline, inward=inward)
            try:
                return _Exchange(channel, deadline).ask(address, asking, size)
            finally:
                channel.socket.close()
        except _Failed as error:
            raise CannotFetch(error.fault, address) from error
        except (CannotConnect, OSError, h11.ProtocolError, zlib.error) as error:
            raise CannotFetch(_fault_of(error, deadline), address) from error

    def _connect(self, origin: Origin, deadline: float, *, inward: bool) -> Channel:
        proxy = self.proxy(str(origin))
        addresses = self._addresses(origin.host, origin.port, deadline, behind_proxy=bool(proxy))
        if not (inward and str(origin) in self.origins):
            addresses = [one for one in addresses if is_public(one[4][0])]
        if not addresses:
            raise _Failed(Fault.NOT_PUBLIC)
        if proxy is None:
            sock = first_to_connect(addresses, deadline)
        else:
            sock = self._through(Proxy.parse(proxy), addresses, origin.port, deadline)
        channel = Channel(sock)
        try:
            if origin.scheme == "https":
                channel.secure(self._tls, origin.host, deadline)
            else:
                sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return channel

    def _through(
        self, proxy: Proxy, addresses: list[Any], port: int, deadline: float
    ) -> socket.socket:
        """Return a socket that a proxy has connected to one of these addresses."""
        found = self._addresses(proxy.host, proxy.port, deadline, behind_proxy=True)
        for address in addresses[:_MOST_TRIED]:
            try:
                sock = first_to_connect(found, deadline)
                try:
                    ask_proxy(sock, proxy.connect_request(address[4][0], port), deadline)
                except BaseException:
                    sock.close()
                    raise
            except (CannotConnect, OSError):
                continue
            return sock
        raise _Failed(Fault.TOO_LATE if time.monotonic() >= deadline else Fault.NO_WAY)

    def _addresses(self, host: str, port: int, deadline: float, *, behind_proxy: bool) -> list[Any]:
        """Look a name up, no longer than there is time: nothing else ends a silent name server."""
        found: list[list[Any] | Fault] = []

        def look() -> None:
            try:
                found.append(self.look_up(host, port))
            except socket.gaierror as error:
                # Where only a proxy leads out, names of the world are often unknown.
                unknown = error.errno in _NO_SUCH_NAME and not behind_proxy
                found.append(Fault.UNKNOWN_HOST if unknown else Fault.NO_WAY)
            except (OSError, UnicodeError):
                found.append(Fault.NO_WAY)

        thread = threading.Thread(target=look, name="look-up", daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if not found:
            raise _Failed(Fault.TOO_LATE)
        if isinstance(found[0], Fault):
            raise _Failed(found[0])
        return found[0]


class _Failed(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target.encode("latin-1").decode("utf-8", "replace").strip())
    except ValueError:
        return ""


def _fault_of(error: Exception, deadline: float) -> Fault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault.CERTIFICATE
    if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
        return Fault.TOO_LATE
    if isinstance(error, (h11.ProtocolError, zlib.error)):
        return Fault.NO_HTTP
    return Fault.UNREACHABLE


class _Exchange:
    """One request and its response over a connected channel, by h11."""

    def __init__(self, channel: Channel, deadline: float) -> None:
        self._channel, self._deadline = channel, deadline
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._poll = select.poll()
        self._poll.register(channel.socket, select.POLLIN)

    def ask(self, address: str, asking: Asking, size: int) -> Fetched:
        """Send a request to an address, and return at most so many bytes of the response."""
        parts = urlsplit(address)
        fields = [
            ("host", Origin.of(address).authority),
            ("user-agent", _USER_AGENT),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("connection", "close"),
            *asking.headers.items(),
        ]
        if asking.method != "GET":
            fields.append(("content-length", str(len(asking.body))))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._send(h11.Request(method=asking.method, target=target, headers=fields), asking.body)
        response = self._next_response()
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(list(response.headers))
        }
        if response.status_code in _REDIRECTS and headers.get("location"):
            return Fetched(response.status_code, address, headers, b"", is_whole=False)
        body, is_whole = self._body(headers.get("content-encoding", ""), size)
        return Fetched(response.status_code, address, headers, body, is_whole)

    def _send(self, request: h11.Request, body: bytes) -> None:
        out = bytearray(self._h11.send(request) or b"")
        if body:
            out += self._h11.send(h11.Data(body)) or b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        while out or self._channel.unsent:
            self._channel.write(out)
            if self._channel.ended:
                raise ConnectionResetError
            if out or self._channel.unsent:
                self._wait(select.POLLIN | select.POLLOUT)

    def _next_response(self) -> h11.Response:
        while True:
            event = self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionResetError

    def _body(self, encoding: str, size: int) -> tuple[bytes, bool]:
        encoding = encoding.strip().lower()
        if encoding and encoding not in (*_COMPRESSED, "identity"):
            raise _Failed(Fault.NO_HTTP)
        # Either of the two heads that a compressed body may have.
        unpacker = zlib.decompressobj(47) if encoding in _COMPRESSED else None
        body = bytearray()
        while len(body) < size:
            try:
                event = self._next()
            except h11.RemoteProtocolError:
                return bytes(body), False  # it was cut off
            if isinstance(event, h11.EndOfMessage):
                return bytes(body), unpacker is None or unpacker.eof
            if not isinstance(event, h11.Data):
                return bytes(body), False
            room = size - len(body)
            body += event.data[:room] if unpacker is None else unpacker.decompress(event.data, room)
        return bytes(body), False

    def _next(self) -> Any:
        """Return the next event, and wait for it; `TimeoutError` if there is no time left."""
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._wait(select.POLLIN)
            data = self._channel.read()
            if data:
                self._h11.receive_data(data)
            if self._channel.ended:
                self._h11.receive_data(b"")

    def _wait(self, events: int) -> None:
        left = self._deadline - time.monotonic()
        self._poll.modify(self._channel.socket, events)
        if left <= 0 or not self._poll.poll(1000 * left):
            raise TimeoutError
