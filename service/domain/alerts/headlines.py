"""What an editor should look at again in a title, found without any outside service."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from service.model.language.graphemes import length, words_of
from service.model.notifications import Notification, Outcome, State
from service.store import Store

PHONE = 60  # characters of a title that an iPhone shows; Android shows fewer
_LEAST_CAPITALS = 10  # letters; “NATO, EU” is no shouting
_LATEST = 3  # alerts with which a title is compared
_LOOKED_THROUGH = 20  # alerts among which these are found: corrections and tests do not count
_NEARLY = 0.75  # share of the words of two titles that are in both


@dataclass(frozen=True, slots=True)
class Hints:
    """What is odd about a title."""

    characters: int = 0  # its length, if that is too much for a phone
    capitals: bool = False
    like: Notification | None = None  # one of the latest alerts with nearly the same words
    is_same: bool = False  # whether it has exactly these words


class Headlines:
    """Compares titles with the latest alerts of an installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def hints(self, title: str, *, but: int | None) -> Hints:
        """Return what is odd about a title; `but` is the alert that has it."""
        characters = length(title)
        words, like, is_same = words_of(title), None, False
        for one in self._latest(but) if words else ():
            theirs = words_of(one.text.title)
            if len(words & theirs) >= _NEARLY * len(words | theirs):
                like, is_same = one, words == theirs
                break
        return Hints(
            characters=characters if characters > PHONE else 0,
            capitals=_is_shouted(title),
            like=like,
            is_same=is_same,
        )

    def _latest(self, but: int | None) -> list[Notification]:
        found = self._store.notifications.started(_LOOKED_THROUGH)
        seen = (
            one
            for one in found
            if one.id != but
            and one.corrects is None
            and one.audience.subscription is None
            and not self._reached_nobody(one)
        )
        return list(islice(seen, _LATEST))

    def _reached_nobody(self, one: Notification) -> bool:
        if one.state not in (State.CANCELLED, State.EXPIRED):
            return False
        report = self._store.outcomes.report(one.id)
        return report is not None and not report.of(Outcome.ACCEPTED)


def _is_shouted(title: str) -> bool:
    """Whether all letters of a title are capitals; many scripts have none."""
    letters = sum(one.isupper() for one in title)
    return letters >= _LEAST_CAPITALS and title.isupper()
