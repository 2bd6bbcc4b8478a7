"""What readers' browsers named and this installation does not know: for its operators."""

from __future__ import annotations

import re
from contextlib import suppress

from redis.exceptions import RedisError

from service.store import Store

PUSH_SERVICES, LOCALES, TIME_ZONES = "push-services", "locales", "time-zones"
KINDS = (PUSH_SERVICES, LOCALES, TIME_ZONES)

# What an operator can be shown anywhere; strangers may name anything.
_SHOWABLE = re.compile(r"(?=\S)[\w.:/+@,;=() -]{0,99}[\w.:/+@,;=()-]", re.ASCII)
_OTHER = "(unprintable)"


class UnknownValues:
    """Counts such values for 30 days."""

    def __init__(self, store: Store) -> None:
        self._values = store.unknown_values

    def note(self, kind: str, value: object) -> str | None:
        """Count a value; return it as it may be logged if it is new.

        Once strangers have made up too many, no further one is logged. A full Redis cannot count,
        which costs its reader nothing.
        """
        shown = value if isinstance(value, str) and _SHOWABLE.fullmatch(value) else _OTHER
        with suppress(RedisError):
            if self._values.count(kind, shown):
                return shown
        return None

    def counts(self, kind: str) -> dict[str, int]:
        """Return how often each value of a kind was named, the most frequent first."""
        return self._values.counts(kind)
