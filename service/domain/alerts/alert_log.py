"""Who did what with alerts, and when, for editors who look for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from service.model import alert_log
from service.model.alert_log import LogEntry
from service.store import Store


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries are looked for; all conditions apply together."""

    title: str = ""  # a part of the alert's title, in any case
    by: str = ""  # a part of the address of an editor or of the name of a token, in any case
    action: str = ""
    since: float = 0.0  # seconds since 1970
    until: float = math.inf

    def fits(self, entry: LogEntry) -> bool:
        """Whether this is one of them; `since` is for the caller, who reads backwards."""
        return (
            entry.at < self.until
            and self.title.lower() in entry.title.lower()
            and self.by.lower() in entry.by.lower()
            and self.action in ("", entry.action)
        )


class AlertLog:
    """The log of an installation."""

    def __init__(self, store: Store, kept: float) -> None:
        """Entries are kept for so many seconds."""
        self._log = store.alert_log
        self._kept = kept

    def of(self, alert: int) -> list[LogEntry]:
        """Return the entries of an alert, the oldest first."""
        return self._log.of(alert)

    def found(self, search: Search, before: str = "") -> Iterator[LogEntry]:
        """Yield the entries that are looked for, the latest first, after that named `before`."""
        for entry in self._log.all(before):
            if entry.at < search.since:
                return
            if search.fits(entry):
                yield entry

    def note_import(self, readers: int, known: int, by: str) -> None:
        """Note an import of readers; `known` more of the file were here already."""
        self._log.note(alert_log.imported(readers, known, by))

    def forget_old(self, now: float) -> None:
        """Drop what is older than it is kept: what the clock does."""
        self._log.forget(now - self._kept)
