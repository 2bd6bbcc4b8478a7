"""Redis as it is sold: with TLS, and with a limit of arguments."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from service.local.redis_server import answers
from service.store.redis_servers.commands import MOST_ARGUMENTS
from tests.support.network.relay import Port
from tests.support.push_service.certificates import make_certificates
from tests.support.redis_servers.server import RedisServer, find_tls_server
from workers.trials.processes import free_port, wait_for


class TlsRedis(RedisServer):
    """A Redis that also listens on TCP, with TLS alone; `address` leads there."""

    def __init__(self) -> None:
        super().__init__(find_tls_server())

    def start(self) -> None:
        folder = Path(self._folder.name)
        ca_file, certificates = make_certificates(folder)
        port, good = free_port(), str(certificates["good"])
        files = (
            "--tls-cert-file",
            good,
            "--tls-key-file",
            good,
            "--tls-ca-cert-file",
            str(ca_file),
        )
        process = self._spawn("--tls-port", str(port), "--tls-auth-clients", "no", *files)
        wait_for(lambda: answers(self.url), process)
        self.address = f"rediss://localhost:{port}/0?ssl_ca_certs={ca_file}&client_name=paper"


class NarrowRedis(Port):
    """A port of a Redis that ends a connection at a request with too many arguments.

    `most` has by command the most arguments of one request, the command's name included.
    """

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._server = server
        self.most: dict[str, int] = {}
        self.url = f"redis://{self.address}"

    def serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server.socket))
        self._sockets.append(server)
        self._start(self._pass, server, client)
        requests = _requests()
        next(requests)
        with suppress(OSError):
            while data := client.recv(1 << 16):
                for name, count in requests.send(data):
                    self.most[name] = max(self.most.get(name, 0), count)
                if max(self.most.values(), default=0) > MOST_ARGUMENTS:
                    break
                server.sendall(data)
        for one in (client, server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _requests() -> Generator[list[tuple[str, int]], bytes, None]:
    r"""Read the protocol: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n` is a request with two arguments.

    Yields the commands that ended with the data that is sent in, with the number of arguments.
    """
    data, at = b"", 0
    found: list[tuple[str, int]] = []

    def line() -> Generator[list[tuple[str, int]], bytes, int]:
        nonlocal data, at, found
        while (end := data.find(b"\r\n", at)) < 0:
            more = yield found
            data, at, found = data[at:] + more, 0, []
        number = int(data[at + 1 : end])
        at = end + 2
        return number

    while True:
        count = yield from line()
        name = b""
        for place in range(count):
            size = yield from line()
            while len(data) < at + size + 2:
                more = yield found
                data, at, found = data[at:] + more, 0, []
            if not place:
                name = data[at : at + size]
            at += size + 2
        found.append((name.decode().upper(), count))
