"""Trying two texts of an alert: how each does in the sample, and which one all others get."""

from __future__ import annotations

from service.domain.sending.receipts import COUNTING_ERROR
from service.model import alert_log
from service.model.notifications import Notification, Progress, State
from service.model.time import clock
from service.model.two_texts import TEXTS, Decision, Tried, better, chance
from service.store import Store

_BY_CLOCK = (State.SENDING.value,)
_BY_HAND = (State.SENDING.value, State.PAUSED.value)


class TwoTexts:
    """The alerts with two texts of one installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tried(self, one: Notification, progress: Progress) -> tuple[Tried, Tried]:
        """Return what became of text A and text B: at the decision, or until now."""
        if one.decision is not None:
            return one.decision.tried
        clicked = self._store.two_texts.clicked(one.id)
        a, b = (
            Tried(accepted, clicks, silent)
            for text, clicks in zip(TEXTS, clicked, strict=True)
            for accepted, silent in (progress.tried.get(text, (0, 0)),)
        )
        return a, b

    @staticmethod
    def chance(tried: tuple[Tried, Tried]) -> float | None:
        """Return in what share of tests chance alone makes so large a difference."""
        return chance(tried, COUNTING_ERROR)

    def decide_due(self, one: Notification) -> bool:
        """Decide between the texts of an alert if it is time; whether this call did."""
        if not (one.sampling and one.decides_at <= clock.time() <= one.last_start):
            return False
        tried = self._tried_now(one)
        return self._decide(one, Decision(better(tried), clock.time(), "", tried), _BY_CLOCK)

    def choose(self, one: Notification, text: str, by: str) -> bool:
        """Give this text to all other readers; False if that is decided, or the alert is over."""
        if not one.sampling or clock.time() > one.last_start:
            return False
        decision = Decision(text, clock.time(), by, self._tried_now(one))
        return self._decide(one, decision, _BY_HAND)

    def _tried_now(self, one: Notification) -> tuple[Tried, Tried]:
        return self.tried(one, self._store.outcomes.progress(one.id))

    def _decide(self, one: Notification, decision: Decision, states: tuple[str, ...]) -> bool:
        entry = alert_log.chosen(one, decision.text, decision.by)
        return self._store.two_texts.decide(one.id, decision, entry, states)
