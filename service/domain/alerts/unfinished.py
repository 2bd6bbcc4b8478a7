"""What an editor is writing: kept while it is typed, so that nothing is lost."""

from __future__ import annotations

import json
from typing import Any

from service.domain.alerts.requests import Idempotency
from service.model.retention import UNFINISHED_KEPT, WRITERS_SEEN
from service.model.time import clock
from service.store import Store
from service.store.alerts.unfinished import Unfinished

__all__ = ["AlreadySent", "ChangedElsewhere", "TooLong", "Unfinished", "UnfinishedAlerts"]

_LONGEST = 20_000  # characters of a form's fields; its texts may have 1,200


class AlreadySent(Exception):
    """The alert was sent: what is typed afterwards changes nothing."""


class ChangedElsewhere(Exception):
    """The same form was saved from another window, or by another process, since it was opened."""


class TooLong(Exception):
    """A form too long to be kept."""


class UnfinishedAlerts:
    """The unfinished alerts of each editor; nobody else sees them."""

    def __init__(self, store: Store) -> None:
        self._forms = store.unfinished

    def save(
        self,
        key: str,
        by: str,
        fields: dict[str, Any],
        *,
        revision: int,
        alert: int | None = None,
        changes: int = 0,
    ) -> int:
        """Keep what is typed; return the revision that the next call must name.

        `alert` is the planned alert that is changed, and `changes` its version when the form was
        opened. `AlreadySent`, `ChangedElsewhere`, `TooLong`.
        """
        if len(json.dumps(fields)) > _LONGEST:
            raise TooLong
        form = Unfinished(key, by, fields, revision, clock.time(), alert, changes)
        result = self._forms.save(form, sent_by(by, key).digest)
        if result == "sent":
            raise AlreadySent
        if not isinstance(result, int):
            raise ChangedElsewhere
        return result

    def get(self, key: str, by: str) -> Unfinished | None:
        """Return an editor's unfinished alert; None if there is none, or it is another's."""
        form = self._forms.get(key)
        return form if form is not None and form.by == by else None

    def is_anothers(self, key: str, by: str) -> bool:
        """Whether another editor writes under this key."""
        form = self._forms.get(key)
        return form is not None and form.by != by

    def of(self, by: str) -> list[Unfinished]:
        """Return an editor's unfinished alerts, the last changed first."""
        return self._forms.of(by)

    def at(self, alert: int, by: str) -> Unfinished | None:
        """Return the form in which an editor is changing a planned alert, if there is one."""
        return next((form for form in self.of(by) if form.alert == alert), None)

    def others(self, alert: int, by: str) -> list[str]:
        """Return the other editors who are changing a planned alert at this moment."""
        since = (clock.time() - WRITERS_SEEN) * 1000
        return [one for one in self._forms.writers(alert, since) if one != by]

    def remove(self, key: str, by: str) -> None:
        """Forget an unfinished alert, once it is sent, saved or not wanted any more."""
        if (form := self.get(key, by)) is not None:
            self._forms.remove(form)


def sent_by(by: str, key: str, body: bytes = b"") -> Idempotency:
    """Return what makes the form of an editor send one alert, as long as it may be kept."""
    return Idempotency(f"desk {by}", key, body, UNFINISHED_KEPT)
