"""Loaded by gunicorn before it forks, so that its processes share what they import.

Each process makes its own application after the fork, since no socket may be shared. gunicorn calls
the functions here by name (its "server hooks").
"""

from __future__ import annotations

from typing import Any

import service.app  # noqa: F401 - loaded here
from service.domain.processes import Presence

_presence: Presence | None = None


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
