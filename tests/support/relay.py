"""A TCP port in front of another one: slow to connect, cut off, or not listening yet."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Relay:
    """Passes connections on to an origin's port, `wait` seconds after it accepted them.

    Its own `origin` is known before the `with` block, and refuses connections until then. `taken`
    counts the accepted ones. A connection that the other port refuses is closed.
    """

    def __init__(self, origin: str, *, wait: float = 0.0) -> None:
        self._target = ("127.0.0.1", int(origin.rpartition(":")[2]))
        self._wait = wait
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.taken = 0
        self.origin = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Relay:
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
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        time.sleep(self._wait)
        try:
            server = socket.create_connection(self._target)
        except ConnectionRefusedError:
            client.shutdown(socket.SHUT_RDWR)
            return
        self._sockets.append(server)
        self._start(self._pass, server, client)
        self._pass(client, server)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
