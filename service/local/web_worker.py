"""gunicorn's threads, made safe against slow clients: a thread gets only whole requests.

gunicorn gives a connection to a thread with its first byte, and closes it politely in its only
loop. So eight connections that send a byte now and then stop a host, and each one that does not
close its end stops a whole process for two seconds. Here the loop of a process collects requests,
which costs no thread, and closes what takes too long.
"""

from __future__ import annotations

import errno
import re
import select
import selectors
import socket
import time
from array import array
from collections import Counter
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from gunicorn.workers.gthread import ThreadWorker

from service.local.open_files import open_files
from service.model.network.addresses import network_of

if TYPE_CHECKING:
    from concurrent.futures import Future

HEADERS_WITHIN: Final = 10.0  # seconds that a client has to send its headers
BODY_WITHIN: Final = 10.0  # seconds more for the body
TAKEN_WITHIN: Final = 20.0  # seconds that a client has to take a response
MOST_OF_A_CALLER: Final = 50  # unfinished requests of one network in one process
# Files and sockets of a process that are no connections of callers: those to Redis above all.
_OTHER_FILES: Final = 128
_PAUSE: Final = 0.01  # seconds until a host that has no room for a connection is asked again
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LINGER: Final = 2.0  # seconds in which a client may close its end first (RFC 9112 section 9.6)
_LARGEST_HEAD: Final = 32 * 1024  # bytes
_LARGEST_BODY: Final = 64 * 1024  # bytes; a longer one is refused without being read
# What a CMS sends to a publish hook is a whole story. Anybody may begin to send one, so a process
# keeps few of them at once.
_LARGEST_STORY: Final = 1 << 20  # bytes
_MOST_STORIES: Final = 16  # unfinished requests that are larger than other bodies may be
_READ: Final = 1 << 16  # bytes
# What the kernel takes of a response while its reader is slow: more than any of ours, so that no
# thread waits for a slow reader.
_SEND_BUFFER: Final = 1 << 18

# All that the parser accepts, zeros before a number too: else a thread would wait for the body.
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_STORY = re.compile(rb"POST [^ ?]*/api/v1/hooks/")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,256})(?:[ \t;][^\r\n]*)?\r\n")


class _Socket(socket.socket):
    """A socket on which a thread waits for so long at most."""

    def setblocking(self, flag: bool) -> None:
        """Wait, or do not."""
        self.settimeout(TAKEN_WITHIN if flag else 0.0)


class Unfinished:
    """A connection of which a whole request, or its end, is awaited."""

    def __init__(self, connection: Any, caller: str) -> None:
        self.connection = connection
        self.caller = caller
        self.until = time.monotonic() + HEADERS_WITHIN
        self.bytes = bytearray()
        self.head = 0  # bytes of the headers, once they are complete
        self.is_closing = False
        self.is_polled = False
        self.is_waiting_for_reader = False  # of the responses before
        self.largest = _LARGEST_BODY
        self._size: int | None = None  # of the body; None: it comes in chunks
        self._chunk = 0  # where the next chunk begins
        self._seen = 0  # bytes in which the end of the headers, or of the trailers, is not

    def is_whole(self) -> bool:
        """Whether a thread can answer without waiting for the client."""
        if not self.head:
            while self.bytes.startswith(b"\r\n"):  # RFC 9112 section 2.2
                del self.bytes[:2]
            end = self._find_end(0)
            if end < 0:
                return False
            self._read_head(end + 4)
        if self._size is None:
            return self._has_last_chunk()
        return len(self.bytes) - self.head >= self._size or self._size > self.largest

    @property
    def is_large(self) -> bool:
        """Whether it needs more room than other bodies have."""
        return self.largest > _LARGEST_BODY and len(self.bytes) - self.head > _LARGEST_BODY

    def _read_head(self, size: int) -> None:
        head = bytes(self.bytes[:size])
        self.until = max(self.until, time.monotonic() + BODY_WITHIN)
        lengths = _LENGTH.findall(head)
        # The parser refuses several lengths, and a length beside chunks: leave that to it.
        self._size = int(lengths[0]) if len(lengths) == 1 else 0
        # As the application reads the path, which else would wait for the body in a thread.
        if _STORY.match(unquote_to_bytes(head.partition(b"\r\n")[0])):
            self.largest = _LARGEST_STORY
        if _CHUNKED.search(head) and not lengths:
            self._size = None
        if _EXPECT.search(head):
            # The body comes only after this. gunicorn would say it when a thread has the request,
            # and to clients of HTTP/1.0 too, which do not know it (RFC 9110 section 10.1.1).
            if b" HTTP/1.0\r\n" not in head:
                self.connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = _EXPECT.sub(b"", head)
            self.bytes[:size] = head
        self.head = self._chunk = self._seen = len(head)

    def _find_end(self, start: int) -> int:
        """Return where the headers or trailers from `start` on end; each byte is looked at once."""
        end = self.bytes.find(b"\r\n\r\n", max(start, self._seen - 3))
        if end < 0:
            self._seen = len(self.bytes)
        return end

    def _has_last_chunk(self) -> bool:
        """Whether the last chunk is here, or a line that the parser refuses."""
        while True:
            found = _CHUNK.match(self.bytes, self._chunk)
            if found is None:
                return self.bytes.find(b"\r\n", self._chunk, self._chunk + 256) >= 0
            size = int(found[1], 16)
            if not size:
                return self._find_end(found.end() - 2) >= 0
            if found.end() + size + 2 > len(self.bytes):
                return False
            self._chunk = found.end() + size + 2


class Worker(ThreadWorker):  # type: ignore[misc]
    """A web process whose callers connect directly."""

    most_of_a_caller: int | None = MOST_OF_A_CALLER
    sockets: list[Any]  # on which it listens
    worker_connections: int  # of callers, at most

    def init_process(self) -> None:
        """Begin to serve."""
        self._unfinished: dict[Any, Unfinished] = {}  # by connection, the oldest first
        self._callers: Counter[str] = Counter()  # how many of those each caller has
        for listener in self.sockets:  # connections inherit it
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        most = max(open_files() - _OTHER_FILES, 4 * self.cfg.threads)
        self.worker_connections = min(self.worker_connections, most)
        super().init_process()

    def accept(self, listener: Any) -> None:
        """Accept a connection; the oldest one that waits makes room for it."""
        if self.nr_conns >= self.worker_connections - self.cfg.threads - 1:
            self._make_room()
        if not self._accepts(listener):
            self._make_room()
            time.sleep(_PAUSE)

    def _accepts(self, listener: Any) -> bool:
        """Accept a connection; whether the host had a file and memory for it: else it waits on."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False
        return True

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; a process that ends also closes the way for further ones.

        gunicorn would leave its sockets open until the last request is answered, so that the kernel
        goes on to take connections, which nobody answers. `service/preload.py` has told the kernel
        to take none, if no other process goes on with these sockets.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                self._accept_all(listener)
                listener.close()
            self.sockets = []

    def _accept_all(self, listener: Any) -> None:
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        while waiting.poll(0) and self._accepts(listener):
            pass

    def _make_room(self) -> None:
        if self._unfinished:
            self._drop(next(iter(self._unfinished.values())))
        elif self.keepalived_conns:
            self.keepalived_conns[0].timeout = 0.0
            self.murder_keepalived()

    def enqueue_req(self, conn: Any) -> None:
        """Wait for a whole request on a connection, which a thread then answers."""
        if conn.parser is None:
            conn.sock = _Socket(fileno=conn.sock.detach())
        one = Unfinished(conn, _caller(conn))
        if conn.parser is not None:
            one.bytes += conn.parser.unreader.take_buffered()
        self._limit(one.caller)
        self._hold(one)
        self._read(one)
        self._poll(one)

    def _limit(self, caller: str) -> None:
        """Drop the oldest unfinished request of a caller who has too many."""
        if self.most_of_a_caller is None or self._callers[caller] < self.most_of_a_caller:
            return
        self._drop(next(one for one in self._unfinished.values() if one.caller == caller))

    def _hold(self, one: Unfinished) -> None:
        one.connection.sock.setblocking(False)
        self._unfinished[one.connection] = one
        self._callers[one.caller] += 1

    def _poll(self, one: Unfinished) -> None:
        """Let the loop read what comes later; most requests have come whole by now."""
        if self._unfinished.get(one.connection) is one and not one.is_waiting_for_reader:
            callback = partial(self._on_readable, one)
            self.poller.register(one.connection.sock, selectors.EVENT_READ, callback)
            one.is_polled = True

    def _on_readable(self, one: Unfinished, _: Any) -> None:
        # An earlier event of the same look may have dropped it.
        if self._unfinished.get(one.connection) is one:
            self._read(one)

    def _read(self, one: Unfinished) -> None:
        try:
            data = one.connection.sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            data = None
        except OSError:
            self._drop(one)
            return
        if one.is_closing:
            if data == b"":
                self._drop(one)
            return
        one.bytes += data or b""
        try:
            whole = one.is_whole()
        except OSError:  # it takes no interim response
            self._drop(one)
            return
        if whole:
            self._answer_when_read(one)
        elif data == b"" and one.head:
            # Half of a form must not be taken for the whole (RFC 9112 section 8).
            self._refuse(one, "400 Bad Request")
        elif data == b"":
            self._drop(one)
        elif not one.head and len(one.bytes) > _LARGEST_HEAD:
            self._refuse(one, "431 Request Header Fields Too Large")
        elif len(one.bytes) - one.head > 2 * one.largest:
            self._refuse(one, "413 Content Too Large")
        elif one.is_large:
            self._limit_stories()

    def _limit_stories(self) -> None:
        """Drop the oldest unfinished request of those that need more room, if these are many."""
        large = [one for one in self._unfinished.values() if one.is_large]
        if len(large) > _MOST_STORIES:
            self._drop(large[0])

    def _answer_when_read(self, one: Unfinished) -> None:
        """Answer a request once its client has read most of the responses before."""
        if _unread(one.connection.sock) <= _SEND_BUFFER // 8:
            self._answer(one)
        elif not one.is_waiting_for_reader:
            one.until = time.monotonic() + TAKEN_WITHIN
            one.is_waiting_for_reader = True
            self._unpoll(one)  # `murder_pending` looks again

    def _answer(self, one: Unfinished) -> None:
        """Let a thread answer a request."""
        conn = self._forget(one)
        conn.data_ready = True
        try:
            conn.init()
        except OSError:
            self._close(conn)
            return
        conn.parser.unreader.unread(bytes(one.bytes))
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request, in a thread."""
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            self.log.debug("A client took too long to read a response.")
            raise StopIteration from None

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Whether the connection can be used again; a body that did not come is not waited for."""
        conn.sock.setblocking(False)
        try:
            return bool(keepalive and conn.parser.finish_body(max_bytes=_LARGEST_BODY))
        except OSError:
            return False

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Take a connection back from its thread."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
            return
        one = Unfinished(conn, _caller(conn))
        one.is_closing, one.until = True, time.monotonic() + _LINGER
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._hold(one)
            self._poll(one)
        except (OSError, ValueError):
            self._close(conn)

    def murder_pending(self) -> None:
        """Close what takes too long; the loop calls this once a second or more."""
        super().murder_pending()
        now = time.monotonic()
        for one in list(self._unfinished.values()):
            if not self.alive:
                one.until = min(one.until, now + _LINGER)
            if one.until > now:
                if one.is_waiting_for_reader:
                    self._answer_when_read(one)
            elif one.bytes and not one.is_closing and not one.is_waiting_for_reader:
                self._refuse(one, "408 Request Timeout")
            else:
                self._drop(one)

    def _refuse(self, one: Unfinished, status: str) -> None:
        with suppress(OSError):
            answer = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            one.connection.sock.send(answer.encode())
        self._drop(one)

    def _drop(self, one: Unfinished) -> None:
        self._close(self._forget(one))

    def _forget(self, one: Unfinished) -> Any:
        del self._unfinished[one.connection]
        self._callers[one.caller] -= 1
        if not self._callers[one.caller]:
            del self._callers[one.caller]
        self._unpoll(one)
        return one.connection

    def _unpoll(self, one: Unfinished) -> None:
        if one.is_polled:
            self.poller.unregister(one.connection.sock)
            one.is_polled = False

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()


class WorkerBehindProxy(Worker):
    """A web process behind a proxy, from which all connections come."""

    most_of_a_caller = None


def _unread(sock: socket.socket) -> int:
    """Return how many bytes of responses the client has not taken yet; 0 where it is unknown."""
    size = array("i", [0])
    with suppress(OSError):
        ioctl(sock, TIOCOUTQ, size)
    return size[0]


def _caller(conn: Any) -> str:
    return network_of(conn.client[0]) if isinstance(conn.client, tuple) else ""
