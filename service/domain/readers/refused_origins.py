"""Origins whose pages call us although `SITE_ORIGINS` does not name them."""

from __future__ import annotations

import re
import time
from contextlib import suppress

from redis import RedisError

from service.store import Store

_ORIGIN = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
_AGAIN = 3600.0  # seconds after which a process notes the same origin again
_MOST = 100  # origins noted in that time; anybody can make them up


class RefusedOrigins:
    """They are noted for the doctor, because an operator may have forgotten one of their own."""

    def __init__(self, store: Store) -> None:
        self._installation = store.installation
        self._noted: dict[str, float] = {}

    def note(self, origin: str) -> None:
        """Note an origin; seldom, because pages call us often."""
        now = time.monotonic()
        self._noted = {one: at for one, at in self._noted.items() if now - at < _AGAIN}
        if origin in self._noted or len(self._noted) >= _MOST or not _ORIGIN.fullmatch(origin):
            return
        self._noted[origin] = now
        with suppress(RedisError):  # the call itself matters more
            self._installation.note_refused_origin(origin)

    def latest(self) -> list[str]:
        """Return those of the last week, the latest first."""
        return self._installation.refused_origins()
