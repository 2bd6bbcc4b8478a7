"""A site in the test's own process, so that the test sees every request."""

from __future__ import annotations

import threading
from typing import TypeVar

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

T = TypeVar("T", bound="Served")

# Of this process: a browser that several tests share would take a site at one of these for the
# earlier site, and its reader for a subscriber.
_ports: set[int] = set()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Log nothing, because browsers request icons that do not exist."""


class Served:
    """An application on a free port, or on the one given; a context manager."""

    def __init__(self, app: Flask, port: int = 0) -> None:
        self._server = _listening(app, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port: int = self._server.port

    def __enter__(self: T) -> T:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _listening(app: Flask, port: int) -> BaseWSGIServer:
    """Listen on this port; for 0, on one that no earlier site of this process had."""
    while True:
        server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
        if port or server.port not in _ports:
            _ports.add(server.port)
            return server
        server.server_close()
