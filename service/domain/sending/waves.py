"""What became of an alert that is held for readers until their quiet hours end.

Held alerts are sent by waves, one wave for each quarter hour in which quiet hours end
(decision 40).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.model.notifications import QUIET, Notification, State
from service.model.time.clocks import QUARTER
from service.store import Store
from service.store.sending.held_alerts import AWAKE, wakes_in_time

MOST_HELD = 100  # alerts that are looked through


class Wave(NamedTuple):
    """How many browsers got one alert by one wave."""

    id: int  # of the wave
    at: float  # when its readers' quiet hours ended, in seconds since 1970
    alone: int  # browsers that got the alert itself
    together: int  # browsers that got it with others in one message


@dataclass(frozen=True, slots=True)
class HeldSummary:
    """How many browsers an alert is still held for, and the waves by which others got it."""

    waiting: int = 0
    first_at: float | None = None  # when the first of those waiting wakes, in seconds since 1970
    # When the last one wakes; both None if none waits, or only those who woke during a pause.
    last_at: float | None = None
    waves: tuple[Wave, ...] = ()

    @property
    def by_wave(self) -> int:
        """How many browsers got it by a wave."""
        return self.alone + self.together

    @property
    def alone(self) -> int:
        """How many got the alert itself: their receipts are the alert's."""
        return sum(wave.alone for wave in self.waves)

    @property
    def together(self) -> int:
        """How many got it with others in one message: their receipts are the wave's."""
        return sum(wave.together for wave in self.waves)


def wave_may_send(quarter: int, notification: Notification) -> bool:
    """Whether the wave of a quarter hour may send a notification.

    It may not while that is paused, nor if it was cancelled or ran out of time during a pause.
    """
    stopped = notification.state in (State.CANCELLED, State.PAUSED) or notification.withheld
    return not stopped and wakes_in_time(quarter, notification)


def newer_of_story(one: Notification, latest: Sequence[Notification]) -> list[Notification]:
    """Return the newer alerts of the same story: a reader who gets one of them does not get `one`.

    `latest` are the latest alerts, the latest first. A cancelled alert replaces nothing, because
    it may have reached nobody. A correction is as old as the alert that it corrects.
    """
    if not one.story:
        return []
    places = {alert.id: place for place, alert in enumerate(latest)}

    def place(alert: Notification) -> int:
        return places.get(alert.corrects or alert.id, len(latest))

    of_story = [alert for alert in latest if alert.story == one.story]
    return [
        alert
        for alert in of_story
        if alert.state is not State.CANCELLED and place(alert) < place(one)
    ]


def held_summary(store: Store, notification: Notification) -> HeldSummary:
    """Return for how many browsers a notification is held now, and what its waves have sent."""
    if not store.progress(notification.id).skipped(QUIET):
        return HeldSummary()
    return held_summaries(store, [notification])[0]


def held_summaries(store: Store, notifications: Sequence[Notification]) -> list[HeldSummary]:
    """Return the summary of each notification; the running waves are read once for all."""
    if not notifications:
        return []
    running = [
        one
        for one in store.notifications.all(store.notifications.active())
        if one.wave and one.state is not State.CANCELLED
    ]
    by_running = {one.id: store.outcomes.progress(one.id).delivered for one in running}
    pending = {*store.held_alerts.pending(), *(one.audience.waking or 0 for one in running)}
    # The latest alerts are read only for one of a story.
    in_stories = any(one.story for one in notifications)
    latest = store.notifications.started(MOST_HELD) if in_stories else []
    ended = {one.id: _ended(one) for one in running}
    known = {id for one in notifications for id, _, _ in one.waves} - ended.keys()
    ended |= {one.id: _ended(one) for one in store.notifications.all(known)}

    def summary(notification: Notification) -> HeldSummary:
        delivered = {id: (alone, together) for id, alone, together in notification.waves}
        for wave, counts in by_running.items():
            if (found := counts.get(notification.id)) and wave not in delivered:
                delivered[wave] = found
        # An export of an earlier release has no waves.
        waves = tuple(
            Wave(id, ended[id], *delivered[id]) for id in sorted(delivered) if id in ended
        )
        if notification.state is State.CANCELLED or notification.withheld:
            return HeldSummary(waves=waves)
        to_come = [one for one in sorted(pending) if wakes_in_time(one, notification)]
        instead = [(one.id, one.revision) for one in newer_of_story(notification, latest)]
        is_paused = notification.state is State.PAUSED
        waiting: dict[int, int] = {}
        if to_come or is_paused:
            waiting = store.held_alerts.waiting(notification.id, to_come, instead)
        awake = waiting.pop(AWAKE, 0)
        return HeldSummary(
            waiting=sum(waiting.values()) + (awake if is_paused else 0),
            first_at=min(waiting) * QUARTER if waiting else None,
            last_at=max(waiting) * QUARTER if waiting else None,
            waves=waves,
        )

    return [summary(one) for one in notifications]


def stoppable(store: Store, notification: Notification) -> list[State]:
    """Return the states in which a notification may still reach a reader."""
    if notification.over and held_summary(store, notification).waiting:
        return [State.SENT, State.EXPIRED]
    return [State.SENDING, State.PAUSED]


def _ended(wave: Notification) -> float:
    """Return when the quiet hours ended of the readers of a wave, in seconds since 1970."""
    return (wave.audience.waking or 0) * QUARTER
