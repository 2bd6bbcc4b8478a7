"""A real CONNECT proxy (RFC 9110 section 9.3.6) on loopback: the only way out of a newsroom."""

from __future__ import annotations

import socket
from base64 import b64encode
from contextlib import suppress

from tests.support.network.relay import Port

_CONNECTED = b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n"


class ConnectProxy(Port):
    """Passes connections on to the hosts that callers name, unless it refuses them with `status`.

    `asked` has the hosts in order. With `user`, as `name:password`, others are refused with 407.
    """

    def __init__(self, user: str = "", status: int = 0) -> None:
        super().__init__()
        self._right = f"Basic {b64encode(user.encode()).decode()}" if user else ""
        self._status = status
        self.asked: list[str] = []
        self.url = f"http://{user + '@' if user else ''}{self.address}"

    def serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = client.recv(1)
                if not byte:
                    return
                head += byte
            if status := self._refusal(client, *head.decode("latin-1").split("\r\n")):
                client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
                client.shutdown(socket.SHUT_RDWR)

    def _refusal(self, client: socket.socket, request: str, *fields: str) -> int:
        """Pass a connection on until it ends, and return 0; or return the status of a refusal."""
        method, target, _ = request.split(" ")
        self.asked.append(target)
        if self._right and f"Proxy-Authorization: {self._right}" not in fields:
            return 407
        if self._status or method != "CONNECT":
            return self._status or 405
        host, _, port = target.rpartition(":")
        try:
            self.connect(client, host.strip("[]"), int(port), _CONNECTED)
        except OSError:
            return 502
        return 0
