"""Asks readers who have not visited for long whether they still want alerts; retires the others.

A round asks all readers whose last visit was in some month or before; the next one begins when it
is over, and only with a later month. All that counts is the day of the last visit, which a record
has anyway (decision 125).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from service.domain.alerts.publishing import Publishing, UnknownNotification
from service.domain.alerts.requests import Idempotency
from service.domain.alerts.stops import Stops
from service.model.inactive import (
    NOBODY_FOR,
    InactivePolicy,
    Round,
    brake,
    last_month,
    question,
)
from service.model.language.languages import supported_language
from service.model.notifications import Audience, State
from service.model.retention import DAY, HELD_KEPT
from service.model.subscriptions import Record
from service.store import Store
from service.store.layout.bitmaps import month_of

BY = "Stop Press"
_AT_ONCE = 256  # readers removed together
_PATIENCE = 0.25  # seconds of each second of the clock
_LOOK_AGAIN = 300.0  # seconds until we look again whether so many can be inactive


class Retiring:
    """What the clock does about readers who do not visit."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        stops: Stops,
        policy: Callable[[], InactivePolicy],
    ) -> None:
        self._rows = store.retiring
        self._partitions = store.partitions
        self._subscriptions = store.subscriptions
        self._departures = store.departures
        self._publishing = publishing
        self._stops = stops
        self._policy = policy
        self._look_at = 0.0  # seconds since 1970

    def look_after(self, now: float) -> None:
        """Begin a round, go on with it, or end it: what the clock does every second."""
        policy, latest = self._policy(), self._rows.round()
        if latest.alert and policy.after_days:
            self._go_on(latest, policy, now)
        elif latest.alert:
            self._end(latest)
        elif policy.after_days:
            self._begin(latest, policy, now)
        elif latest.held:
            self._rows.put(Round(latest.until))

    def _begin(self, latest: Round, policy: InactivePolicy, now: float) -> None:
        until = last_month(now, policy.after_days)
        if until <= latest.until or self._stops.holds() or now < self._look_at:
            return
        audience = Audience(everyone=True, last_seen_until=until)
        if not (inactive := self._publishing.reach(audience)):
            self._rows.put(Round(until))
            return
        if not self._can_be(inactive, latest, now):
            return
        content = question(policy, supported_language(policy.language))
        # A clock that was killed before it noted the alert finds the same one.
        once = Idempotency("retire", until, b"")
        published = self._publishing.publish(content, audience, by=BY, idempotency=once)
        self._rows.put(Round(until, published.id))

    def _go_on(self, latest: Round, policy: InactivePolicy, now: float) -> None:
        if latest.noted:
            if now >= latest.retire_at and self._may_retire(latest, now):
                self._retire(latest)
            return None
        try:
            one = self._publishing.get(latest.alert)
        except UnknownNotification:
            return self._end(latest)
        if one.state is State.CANCELLED:
            return self._end(latest)  # an editor did not want it, so nobody is retired
        if one.finished_at is None:
            return None
        if not latest.retire_at:
            # Until then, waves deliver it to readers whose quiet hours held it.
            until = one.finished_at + HELD_KEPT
            answered = one.finished_at + DAY * policy.answer_days
            self._rows.put(replace(latest, noted_at=until, retire_at=answered))
        elif now >= latest.noted_at:
            self._rows.note_asked(one.id, range(one.revision + 1))
            self._rows.put(replace(latest, noted=True))
        return None

    def _may_retire(self, latest: Round, now: float) -> bool:
        """Whether the brake has let this round pass; it is asked once for all of its readers."""
        if latest.passed:
            return True
        if now < self._look_at:
            return False
        inactive = self._rows.count_unanswered(latest.until)
        if not self._can_be(inactive, latest, now):
            return False
        self._rows.put(replace(latest, held="", passed=True))
        return True

    def _can_be(self, inactive: int, latest: Round, now: float) -> bool:
        """Whether so many inactive readers are plausible; if not, note why, for `Causes`."""
        today = int(now // DAY)
        visits = self._rows.any_seen_since(today - NOBODY_FOR, today)
        why = brake(inactive, self._subscriptions.count(), visits=visits)
        if why:
            self._look_at = now + _LOOK_AGAIN
        if why != latest.held:
            self._rows.put(replace(latest, held=why))
        return not why

    def _retire(self, latest: Round) -> None:
        if self._has_retired_all(latest.until):
            self._end(latest)

    def _has_retired_all(self, until: str) -> bool:
        """Retire some readers; return whether none is left."""

        def has_not_come(record: Record) -> bool:
            return month_of(record.seen) <= until

        for partition in self._partitions:
            left = self._rows.unanswered(partition, until)
            patience = time.monotonic() + _PATIENCE
            for at in range(0, len(left), _AT_ONCE):
                some = left[at : at + _AT_ONCE]
                count = self._subscriptions.remove_all(some, only_if=has_not_come)
                self._departures.count("retired", count)
                if time.monotonic() > patience:
                    return False
            if left:
                return False  # the next partition is for the next second
        return True

    def _end(self, latest: Round) -> None:
        self._rows.forget_asked()
        self._rows.put(Round(latest.until))
