"""How the doctor calls a push service: it follows no redirect, and connects where it may."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

NotConnected = NewConnectionError
NAME_UNKNOWN = "its name is not known"
NOT_PUBLIC = "its address is not public"


class Session(requests.Session):
    """A session that asks `may_connect` for each address to which a host name leads."""

    def __init__(self, may_connect: Callable[[str], bool]) -> None:
        super().__init__()
        adapter = HTTPAdapter()
        adapter.poolmanager.pool_classes_by_scheme = {
            "http": _pool(HTTPConnectionPool, HTTPConnection, may_connect),
            "https": _pool(HTTPSConnectionPool, HTTPSConnection, may_connect),
        }
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, _: object) -> None:
        """Follow no redirect: what is sent is for one push service only."""


def _pool(pool: Any, connection: Any, may_connect: Callable[[str], bool]) -> Any:
    class Connection(connection):  # type: ignore[misc]
        _dns_host: str

        def _new_conn(self) -> socket.socket:
            name: str = self._dns_host
            error: NotConnected | None = None
            try:
                found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)
                for address in dict.fromkeys(str(row[4][0]) for row in found):
                    if not may_connect(address):
                        continue
                    self._dns_host = address  # so that the name is not looked up again
                    try:
                        sock: socket.socket = super()._new_conn()
                    except NotConnected as failed:
                        error = failed
                    else:
                        return sock
            except (socket.gaierror, UnicodeError):  # the latter of a name that is too long
                error = NotConnected(self, NAME_UNKNOWN)
            finally:
                self._dns_host = name
            raise error or NotConnected(self, NOT_PUBLIC)

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
