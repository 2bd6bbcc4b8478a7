"""Loaded by gunicorn before it forks, so that its processes share what they import.

Each process makes its own application after the fork, since no socket may be shared.
"""

import service.app  # noqa: F401
