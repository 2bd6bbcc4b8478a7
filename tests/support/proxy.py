"""A real CONNECT proxy (RFC 9110 section 9.3.6) on loopback: the only way out of a newsroom."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from contextlib import suppress


class ConnectProxy:
    """Passes connections on to the hosts that callers name, unless it refuses them with `status`.

    `asked` has the hosts in order. With `user`, as `name:password`, others are refused with 407.
    """

    def __init__(self, user: str = "", status: int = 0) -> None:
        self._right = f"Basic {b64encode(user.encode()).decode()}" if user else ""
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.asked: list[str] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{user + '@' if user else ''}{self.address}"

    def __enter__(self) -> ConnectProxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *list(self._sockets)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = client.recv(1)
                if not byte:
                    return
                head += byte
            request, *fields = head.decode("latin-1").split("\r\n")
            method, target, _ = request.split(" ")
            self.asked.append(target)
            status = self._status or (200 if method == "CONNECT" else 405)
            if self._right and f"Proxy-Authorization: {self._right}" not in fields:
                status = 407
            if status == 200:
                host, _, port = target.rpartition(":")
                server = self._connect(host.strip("[]"), int(port))
                if server is not None:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
                    self._start(self._pass, server, client)
                    self._pass(client, server)
                    return
                status = 502
            client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            client.shutdown(socket.SHUT_RDWR)

    def _connect(self, host: str, port: int) -> socket.socket | None:
        try:
            server = socket.create_connection((host, port))
        except OSError:
            return None
        self._sockets.append(server)
        return server

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
