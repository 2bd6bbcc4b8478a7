"""Searching alerts by their words, state, kind, topic, author and day."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

from service.model.notifications import Notification, State
from service.store import Store
from service.store.alerts.alert_search import BETWEEN, folded, row_of

_PLANNED = (State.DRAFT, State.SCHEDULED)
_MOST_WORDS = 20


@dataclass(frozen=True)
class Search:
    """Which alerts are looked for; all conditions apply together."""

    text: str = ""  # words, or parts of words, that are all in the title or the text, in any case
    state: State | None = None
    kind: str = ""
    topic: str = ""  # slug; alerts to its followers
    by: str = ""  # a part of the address of an editor or of the name of a token, in any case
    since: float = 0.0  # seconds since 1970
    until: float = math.inf

    @cached_property
    def _words(self) -> list[bytes]:
        return [folded(word) for word in self.text.split()[:_MOST_WORDS]]

    @cached_property
    def _by(self) -> bytes:
        return folded(self.by)

    def fits(self, row: bytes, slugs: Set[str]) -> bool:
        """Whether this is one of them by all but its state and time; `slugs` mean its topic."""
        _, kind, topics, by, text = row.split(BETWEEN)
        return (
            all(map(text.__contains__, self._words))
            and self._by in by
            and (not self.kind or self.kind == kind.decode())
            and (not self.topic or not slugs.isdisjoint(topics.decode().split()))
        )

    def fits_planned(self, one: Notification, slugs: Set[str]) -> bool:
        """Whether a planned alert is one of them; its time is when it is to be sent."""
        at = one.send_at.at if one.send_at else one.created_at
        return (
            self.since <= at < self.until
            and self.state in (None, one.state)
            and self.fits(row_of(one), slugs)
        )


class AlertSearch:
    """Searches the alerts of an installation; no waves, nor readers' tests."""

    def __init__(self, store: Store) -> None:
        self._rows = store.search_rows
        self._notifications = store.notifications
        self._planned = store.planned
        self._topics = store.topics

    def found(self, search: Search) -> list[int]:
        """Return the alerts that fit: planned ones, then the others, the latest start first."""
        planned: list[int] = []
        slugs = self._same_as(search.topic)
        if search.state in (None, *_PLANNED):
            some = self._notifications.all(self._planned.read().ids)
            planned = [one.id for one in some if one.planned and search.fits_planned(one, slugs)]
        if search.state in _PLANNED:
            return planned
        began = self._rows.began(search.since, search.until)
        ids = began
        if search.text or search.by or search.kind or search.topic:
            rows = self._rows.rows(began)
            ids = [id for id, row in rows if search.fits(row, slugs)]
        if search.state is not None:
            ids = self._rows.in_state(ids, search.state)
        return planned + ids

    def _same_as(self, topic: str) -> Set[str]:
        """Return all slugs that mean this topic now: a sent alert keeps the one that it had."""
        if not topic:
            return frozenset()
        (now,) = self._topics.current([topic])
        return {now, *(old for old, new in self._topics.merged().items() if new == now)}
