"""Loaded by gunicorn before it forks, so that its processes share what they import.

Each process makes its own application after the fork, since no socket may be shared. gunicorn calls
the functions here by name (its "server hooks").
"""

from __future__ import annotations

import signal
from typing import Any

import service.app  # noqa: F401 - loaded here
from service.domain.operations.processes import Presence
from service.local.listening import take_no_more

_presence: Presence | None = None


def when_ready(server: Any) -> None:
    """When everything shall end, stop taking connections before the sockets are closed.

    A process that ends alone does not: the others go on with the same sockets.
    """

    def end(number: int, frame: Any) -> None:
        is_shared = server.systemd or server.reexec_pid or server.master_pid
        if not is_shared:  # with systemd, or with another gunicorn that takes over
            take_no_more(server.LISTENERS)
        server.signal(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, end)


def post_worker_init(worker: Any) -> None:
    """Let a web process show in the store that it is alive, and with which settings."""
    global _presence
    runtime = getattr(worker.wsgi, "extensions", {}).get("stoppress")
    # The benchmark serves an empty application too, and the desk of a rehearsal has an address that
    # its workers do not know.
    if runtime is None or "REHEARSAL" in worker.wsgi.config:
        return
    _presence = Presence("web", runtime.config.addresses, runtime.shared, runtime.counting)
    _presence.start()


def worker_exit(_server: Any, _worker: Any) -> None:
    """Sign off."""
    if _presence is not None:
        _presence.stop()
