"""The settings as they hold now: those of the environment, and what editors set at the desk.

A document in the store has what is set at the desk. Each process asks for it at most every two
seconds, when it needs a setting, so that no request or message costs a round trip of its own, and
every process follows within five seconds (decision 98).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from redis import RedisError

from service.config import Config, ConfigError, desk_settings, parsed
from service.model.time import clock
from service.store.newsroom.desk_settings import DeskDocument, DeskSettings
from service.store.newsroom.desk_settings import DeskSetting as DeskSetting

READ_AGAIN = 2.0  # seconds
AFTER_A_FAULT = 4.0  # seconds without asking a Redis that did not respond


class WrongSettings(Exception):
    """Settings that cannot be used: by name, one line that says why."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(errors))
        self.errors = errors


class ChangedMeanwhile(Exception):
    """Another editor has changed the settings since they were shown."""


class LiveSettings:
    """The settings of one process."""

    def __init__(self, environment: Config, rows: DeskSettings) -> None:
        """Read the store once; `RedisError`."""
        self.environment = environment
        self._rows = rows
        self._document = DeskDocument()
        self._config = environment
        self._until = 0.0  # by the monotonic clock: when the store is asked again
        self._take(rows.read())

    @property
    def config(self) -> Config:
        """The settings now; the same object while nothing is changed.

        While Redis does not respond they stay as they were, and one caller in some seconds waits.
        """
        now = time.monotonic()
        if now >= self._until:
            self._until = now + AFTER_A_FAULT  # first, so that no other thread asks as well
            try:
                self._take(self._rows.read())
            except RedisError:
                self._until = time.monotonic() + AFTER_A_FAULT
        return self._config

    def document(self) -> DeskDocument:
        """Return what is set at the desk, as of now."""
        self._take(self._rows.read())
        return self._document

    def change(self, texts: Mapping[str, str], revision: int, by: str) -> list[str]:
        """Set these settings, each checked as in the environment; return which ones have changed.

        An empty text gives a setting up. What the environment sets stays as it is.
        `ChangedMeanwhile` if `revision` is not the last, else `WrongSettings`; nothing is changed
        then.
        """
        before = self.document()
        errors: dict[str, str] = {}
        after = dict(before.settings)
        for row in desk_settings():
            name = row.name
            text = texts.get(name, before.texts.get(name, "")).strip()
            if name in self.environment.given or text == before.texts.get(name, ""):
                continue
            try:
                parsed(row, text)
            except ConfigError as error:
                errors[name] = str(error).partition(": ")[2]
            after[name] = DeskSetting(text, by, clock.time())
            if not text:
                del after[name]
        names = {*before.settings, *after}
        changed = [name for name in names if before.settings.get(name) != after.get(name)]
        if (errors or changed) and revision != before.revision:
            raise ChangedMeanwhile
        if errors:
            raise WrongSettings(errors)
        if changed:
            if not self._rows.save(revision, after):
                raise ChangedMeanwhile
            self._take(self._rows.read())
        return sorted(changed)

    def _take(self, document: DeskDocument) -> None:
        self._until = time.monotonic() + READ_AGAIN
        if document != self._document:
            self._document = document
            self._config = self.environment.with_desk(document.texts)
