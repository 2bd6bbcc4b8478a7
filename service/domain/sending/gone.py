"""Readers that a push service reports as gone.

404 and 410 take a reader out of every audience at once. The record is deleted a minute later. But
if a push service reports very many readers as gone within a minute, it may itself be at fault:
then their records are kept until an editor has decided.

Readers who were taken over from another service are another matter: in old lists a third of them
are gone. Until an alert was accepted for them here, their "gone" makes nobody doubt the push
service, unless it says so of nearly everybody.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from service.model.network.endpoints import origin_of
from service.model.time import clock
from service.store import Store
from service.store.sending.gone import GoneRow

# A push service is doubted if it reports this many readers as gone within the window, and if they
# are this share of all its answers.
WINDOW = 60.0  # seconds
TOO_MANY = 200
TOO_LARGE_A_SHARE = 0.3
NEARLY_ALL = 0.9  # of all its answers; no list is as old as that
_AT_ONCE = 20  # rows looked at together
_PATIENCE = 0.25  # seconds of each second of the clock


@dataclass(frozen=True, slots=True)
class Doubt:
    """A push service whose "gone" is doubted until an editor decides."""

    origin: str
    since: float  # seconds since 1970
    browsers: int  # that it reports as gone, and whose records are kept


class Gone:
    """What the clock does about readers who are gone, and what an editor decides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._judged_at = 0.0  # when this process judged all push services

    def look_after(self, now: float) -> None:
        """Doubt push services that report too many as gone; delete records that are due."""
        for at in self._to_judge(now):
            self._doubt(at)
        self._judged_at = now
        self._delete_due(now)
        self._finish_confirming()
        self._store.departures.drop_left(now)

    def doubts(self) -> list[Doubt]:
        """Return the push services that are doubted."""
        doubted = self._store.push_services.doubted()
        if not doubted:
            return []
        waiting: Counter[str] = Counter()
        for one in self._store.gone.waiting():
            waiting[self._origin(one.base)] += len(one.numbers)
        return [Doubt(origin, since, waiting[origin]) for origin, since in sorted(doubted.items())]

    def confirm(self, origin: str) -> None:
        """Decide that the readers of a push service are gone: their records are deleted soon."""
        self._store.push_services.believe(origin, clock.time())
        for one in self._waiting_of(origin):
            self._store.gone.confirm(one)

    def take_back(self, origin: str) -> None:
        """Decide that a push service was wrong: its readers belong to audiences again."""
        for one in self._waiting_of(origin):
            self._store.gone.take_back(one)
        self._store.push_services.end_doubt(origin)

    def _to_judge(self, now: float) -> Iterator[float]:
        """Yield the times of which the last minute is judged: now, and those when no clock looked.

        Else nobody would be asked about what came while the clock was away or Redis was full.
        Minutes without reports are left out: a copy of the data may be restored months later.
        """
        if now - self._judged_at > WINDOW / 2:
            at = self._store.gone.first_reported(0.0)
            while at < now:
                yield at
                at = max(at + WINDOW / 2, self._store.gone.first_reported(at - WINDOW / 2))
        yield now

    def _doubt(self, at: float) -> None:
        rows = self._store.gone.reported(at)
        gone: Counter[str] = Counter()
        for one in rows:
            gone[self._origin(one.base)] += len(one.numbers)
        if not gone or max(gone.values()) < TOO_MANY:
            return
        answers: Counter[str] = Counter()
        for base, n in self._store.gone.responses(at).items():
            answers[self._origin(base)] += n
        untried: Counter[str] = Counter()
        for base, n in self._store.gone.untried(rows).items():
            untried[self._origin(base)] += n
        for origin, n in gone.items():
            known, of = untried[origin], answers[origin]
            too_many = n >= NEARLY_ALL * of or _too_many(n - known, of - known)
            # Answers that an editor has decided about may still be among those of the last minute.
            believed = self._store.push_services.believed_since(origin) >= at - WINDOW
            if _too_many(n, of) and too_many and not believed:
                self._store.push_services.doubt(origin, at)

    def _delete_due(self, now: float) -> None:
        doubted = self._store.push_services.doubted()
        until = time.monotonic() + _PATIENCE
        while rows := self._store.gone.due(now, _AT_ONCE):
            for one in rows:
                if time.monotonic() > until:
                    return
                if self._origin(one.base) in doubted:
                    self._store.gone.doubt(one)
                else:
                    self._delete(one)

    def _delete(self, one: GoneRow) -> None:
        # Some may have left meanwhile, or were deleted by a call that was interrupted here.
        self._store.subscriptions.remove_all(one.ids, only_gone=True)
        self._store.departures.count("gone", len(one.ids))
        self._store.gone.forget(one)

    def _finish_confirming(self) -> None:
        """Confirm what is left where the process ended in which an editor confirmed."""
        if self._store.push_services.doubted():
            return
        for one in self._store.gone.doubted():
            if self._store.push_services.believed_since(self._origin(one.base)):
                self._store.gone.confirm(one)

    def _waiting_of(self, origin: str) -> list[GoneRow]:
        rows = self._store.gone.waiting()
        return [one for one in rows if self._origin(one.base) == origin]

    def _origin(self, base: int) -> str:
        return origin_of(self._store.names.bases.name(base))


def _too_many(gone: int, answers: int) -> bool:
    return gone >= TOO_MANY and gone >= TOO_LARGE_A_SHARE * answers
