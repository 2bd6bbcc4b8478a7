"""How many files and sockets a process may have open at once."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

_ENOUGH: Final = 4096


def open_files() -> int:
    """Let this process have as many as it needs, if the host allows it; return how many.

    Most hosts allow far more than they give a process that does not ask (`ulimit -n`, and -Hn).
    """
    given, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if given == resource.RLIM_INFINITY or given >= _ENOUGH:
        return _ENOUGH
    more = _ENOUGH if allowed == resource.RLIM_INFINITY else min(allowed, _ENOUGH)
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, allowed))
        given = more
    return given
