"""Readers whom a push service calls gone: believed one by one, doubted where they are too many.

404 and 410 take a reader out of every audience at once. The record is deleted a minute later,
unless the push service calls so many gone within a minute that it may itself be at fault: then
everybody's record is kept until a person has said whether it is true.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from service.model.endpoints import origin_of
from service.store import Store
from service.store.gone import Farewell

# The breaker (design, section 4): so many gone, and that share of all answers, within 60 s.
WINDOW = 60.0
TOO_MANY = 200
TOO_LARGE_A_SHARE = 0.3
_AT_ONCE = 20  # rows looked at together
_PATIENCE = 0.25  # seconds of each of the clock's


@dataclass(frozen=True, slots=True)
class Doubt:
    """A push service whose "gone" is not believed, since when, and how many wait for a word."""

    origin: str
    since: float
    browsers: int


class Gone:
    """What the clock does about those who are gone, and what a person decides."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look_after(self, now: float) -> None:
        """Doubt what is to be doubted; delete what is left of those who have been gone for long."""
        self._doubt(now)
        self._bid_farewell(now)
        self._store.subscriptions.forget_left(now)

    def doubts(self) -> list[Doubt]:
        """Return which push services are doubted."""
        doubted = self._store.services.doubted()
        if not doubted:
            return []
        waiting: Counter[str] = Counter()
        for one in self._store.farewells.waiting():
            waiting[self._origin(one.base)] += len(one.numbers)
        return [Doubt(origin, since, waiting[origin]) for origin, since in sorted(doubted.items())]

    def confirm(self, origin: str) -> None:
        """Believe that those of a push service are gone: their records are deleted now."""
        self._store.services.believe(origin, time.time())
        for one in self._waiting_of(origin):
            self._store.farewells.let_go(one)

    def take_back(self, origin: str) -> None:
        """Count those of a push service in again: it was wrong about them."""
        for one in self._waiting_of(origin):
            self._store.farewells.take_back(one)
        self._store.services.believe(origin, time.time())

    def _doubt(self, now: float) -> None:
        answers: Counter[str] = Counter()
        gone: Counter[str] = Counter()
        for base, (n, n_gone) in self._store.farewells.answers(now).items():
            answers[self._origin(base)] += n
            gone[self._origin(base)] += n_gone
        for origin, n in gone.items():
            too_many = n >= TOO_MANY and n >= TOO_LARGE_A_SHARE * answers[origin]
            # What a person has decided about is still among the answers of the last minute.
            if too_many and self._store.services.believed_since(origin) < now - WINDOW:
                self._store.services.doubt(origin, now)

    def _bid_farewell(self, now: float) -> None:
        """Delete what is due, for a moment of the clock's at most."""
        doubted = self._store.services.doubted()
        until = time.monotonic() + _PATIENCE
        while rows := self._store.farewells.due(now, _AT_ONCE):
            for one in rows:
                if time.monotonic() > until:
                    return
                if self._origin(one.base) in doubted:
                    self._store.farewells.hold(one)
                else:
                    self._delete(one)

    def _delete(self, one: Farewell) -> None:
        # Some left, or were deleted before this was interrupted.
        self._store.subscriptions.remove_all(one.ids, only_gone=True)
        self._store.farewells.forget(one)

    def _waiting_of(self, origin: str) -> list[Farewell]:
        rows = self._store.farewells.waiting()
        return [one for one in rows if self._origin(one.base) == origin]

    def _origin(self, base: int) -> str:
        return origin_of(self._store.installation.bases.name(base))
