"""A newspaper's web server on loopback, which answers what a test says, over TLS or without."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.network.relay import Port
from tests.support.push_service.certificates import Authority

# Bytes to send, or what to do with the connection.
Page: TypeAlias = "bytes | Callable[[socket.socket], None]"


def response(
    body: bytes = b"", status: int = 200, kind: str = "text/html; charset=utf-8", **fields: str
) -> bytes:
    """A whole response; `location="/x"` is a header field."""
    head = [f"HTTP/1.1 {status} Any", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*head, "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return response(status=status, location=location)


class Newspaper(Port):
    """Serves `pages` by path; others are 404.

    `requests` has the heads of all requests, `bodies` what came with them, `named` the hosts that
    TLS was asked for. With `names` it presents a certificate for these hosts, which those that
    trust `ca_file` accept.
    """

    def __init__(self, folder: Path | None = None, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.pages: dict[str, Page] = {}
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.named: list[str | None] = []
        self.port = int(self.address.rpartition(":")[2])
        self._tls: ssl.SSLContext | None = None
        self.ca_file: Path | None = None
        if folder is not None:
            authority = Authority("A newspaper's CA")
            self.ca_file, pem = folder / "paper-ca.pem", folder / "paper.pem"
            self.ca_file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
            pem.write_bytes(authority.issue([x509.DNSName(name) for name in names]))
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(pem)
            self._tls.sni_callback = lambda _socket, name, _context: self.named.append(name)

    @property
    def origin(self) -> str:
        return f"http://{self.address}"

    def serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._sockets.append(client)
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (data := client.recv(4096)):
                    return
                asked += data
            head, _, body = asked.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            while length and len(body) < int(length[1]):
                if not (data := client.recv(4096)):
                    return
                body += data
            self.requests.append(head.decode("latin-1"))
            self.bodies.append(body)
            page = self.pages.get(head.split(b" ")[1].decode("latin-1"), response(status=404))
            if callable(page):
                page(client)
            else:
                client.sendall(page)
            client.close()
