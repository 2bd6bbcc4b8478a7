"""What editors and tools do with an alert of two texts: see how each does, and choose one."""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import RedisError

from service.domain.alerts.publishing import Conflict, Publishing
from service.domain.sending.job_queue import JobQueue
from service.domain.sending.two_texts import TwoTexts
from service.model.notifications import Notification
from service.model.two_texts import Tried

_ONE_TEXT = "This alert has only one text: there is nothing to choose."
_OVER = "The text that all others get is chosen already, or the alert is over."


class TextChoice:
    """The choice between two texts, for one installation. The clock has its own (`Planning`)."""

    def __init__(self, publishing: Publishing, two_texts: TwoTexts, jobs: JobQueue) -> None:
        self._publishing = publishing
        self._two_texts = two_texts
        self._jobs = jobs

    def tried(self, one: Notification) -> tuple[Tried, Tried]:
        """Return what became of text A and of text B in the sample."""
        return self._two_texts.tried(one, self._publishing.progress(one.id))

    def chance(self, tried: tuple[Tried, Tried]) -> float | None:
        """Return in what share of tests chance alone makes so large a difference."""
        return self._two_texts.chance(tried)

    def choose(self, id: int, text: str, *, by: str) -> None:
        """Send text A or B to all who are not in the sample; nothing happens if it is chosen.

        `Conflict` unless only a sample gets the alert so far.
        """
        one = self._publishing.get(id)
        if self._two_texts.choose(one, text, by):
            with suppress(RedisError):  # it is stored by now: the clock wakes workers instead
                self._jobs.wake(1, at_front=one.urgent)
            return
        one = self._publishing.get(id)
        if one.second_text is None:
            raise Conflict(id, _ONE_TEXT)
        if one.planned:
            raise Conflict(id, f"This alert is {one.state.value}: nobody has either text yet.")
        if one.decision is None or one.decision.text != text:
            raise Conflict(id, _OVER)
