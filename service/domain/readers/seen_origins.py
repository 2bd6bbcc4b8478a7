"""Origins of `SITE_ORIGINS` whose pages have our script, for a newsroom that sets it up."""

from __future__ import annotations

import time
from contextlib import suppress

from redis import RedisError

from service.store import Store

_AGAIN = 60.0  # seconds after which a process notes the same origin again


class SeenOrigins:
    """When a page of each origin called us last."""

    def __init__(self, store: Store) -> None:
        self._installation = store.installation
        self._noted: dict[str, float] = {}

    def note(self, origin: str) -> None:
        """Note an origin of `SITE_ORIGINS`; seldom, because its pages call us often."""
        now = time.monotonic()
        if now < self._noted.get(origin, -_AGAIN) + _AGAIN:
            return
        self._noted[origin] = now
        with suppress(RedisError):  # the call itself matters more
            self._installation.note_seen_origin(origin)

    def latest(self) -> dict[str, float]:
        """Return those of the last week, each with when (seconds since 1970), the latest first."""
        return self._installation.seen_origins()
