"""TCP ports in front of others: slow to connect, cut off, not listening yet, or a proxy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tests.support.processes.installation import wait_until

T = TypeVar("T", bound="Port")


class Port:
    """A port on loopback; `serve` handles each connection, in a thread.

    Its number is known before the `with` block, and it refuses connections until then.
    """

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.taken = 0  # accepted connections
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self: T) -> T:
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def cut(self) -> None:
        """End every connection."""
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        """Handle a connection."""
        raise NotImplementedError

    def connect(self, client: socket.socket, host: str, port: int, before: bytes = b"") -> None:
        """Pass a connection on to another port, after these bytes to the caller; `OSError`."""
        server = socket.create_connection((host, port))
        self._sockets.append(server)
        client.sendall(before)
        self._start(self._pass, server, client)
        self._pass(client, server)

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.taken += 1
                self._sockets.append(client)
                self._start(self.serve, client)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class Relay(Port):
    """Passes connections on to an origin's port, `wait` seconds after it accepted them.

    Before that it waits until `after` is true. A connection that the other port refuses is closed.
    """

    def __init__(
        self, origin: str, *, wait: float = 0.0, after: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__()
        self._after = after
        self._port = int(origin.rpartition(":")[2])
        self._wait = wait
        self.origin = f"https://{self.address}"

    def serve(self, client: socket.socket) -> None:
        wait_until(self._after)
        time.sleep(self._wait)
        try:
            self.connect(client, "127.0.0.1", self._port)
        except ConnectionRefusedError:
            client.shutdown(socket.SHUT_RDWR)


class Dripping(Port):
    """Begins an HTTP response that never ends: a byte of its body now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = threading.Event()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        super().__exit__(*error)

    def serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not self._ended.wait(0.05):
                client.sendall(b"x")
        client.close()
