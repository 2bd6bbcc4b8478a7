"""What became of an alert that is held for readers until their quiet hours end.

What was held comes by waves, one for each quarter hour in which readers wake (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.model.notifications import Notification, State
from service.model.preferences import QUARTER
from service.store import Store

MOST_HELD = 100  # alerts that are looked through
_DAY = 86_400  # seconds


class Wave(NamedTuple):
    """What a wave brought of one alert: `alone` as it was, `together` with others as one message.

    `id` is the wave's own, `at` when its readers' quiet hours ended, in seconds since 1970.
    """

    id: int
    at: float
    alone: int
    together: int


@dataclass(frozen=True, slots=True)
class Held:
    """How many browsers still wait for an alert, and the waves by which others have it since.

    `first_at` and `last_at` are when the first and the last of those waiting wake, in seconds since
    1970; None where nobody waits.
    """

    waiting: int = 0
    first_at: float | None = None
    last_at: float | None = None
    waves: tuple[Wave, ...] = ()

    @property
    def brought(self) -> int:
        """How many have it since."""
        return self.alone + self.together

    @property
    def alone(self) -> int:
        """How many have it since as it was: their browsers report to the alert itself."""
        return sum(wave.alone for wave in self.waves)

    @property
    def together(self) -> int:
        """How many have it since with others in one message, whose reports are the wave's."""
        return sum(wave.together for wave in self.waves)


def may_bring(quarter: int, notification: Notification) -> bool:
    """Whether it can be held until that quarter hour: quiet hours end within a day.

    What a wave did not bring in time is still marked as held, and too old for the next night's.
    """
    over_at = notification.finished_at
    return over_at is None or quarter * QUARTER <= over_at + _DAY


def newer_of_story(one: Notification, latest: Sequence[Notification]) -> list[Notification]:
    """Return those of the latest alerts, the latest first, of which any comes instead of this one.

    What was cancelled replaces nothing: it may have reached nobody. A correction is as old as what
    it corrects.
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


def held(store: Store, notification: Notification) -> Held:
    """Return who waits for a notification as of now, and what came of those who did."""
    running = [
        one
        for one in store.notifications.all(store.notifications.active())
        if one.wave and one.state is not State.CANCELLED
    ]
    brought = {id: (alone, together) for id, alone, together in notification.waves}
    for one in running:
        found = store.outcomes.progress(one.id).brought.get(notification.id)
        if found and one.id not in brought:
            brought[one.id] = found
    ended = {
        one.id: (one.audience.waking or 0) * QUARTER
        for one in [*running, *store.notifications.all(id for id, _, _ in notification.waves)]
    }
    waves = tuple(Wave(id, ended[id], *brought[id]) for id in sorted(brought))
    if notification.state is State.CANCELLED:
        return Held(waves=waves)
    quarters = {*store.held.pending(), *(one.audience.waking or 0 for one in running)}
    to_come = [quarter for quarter in sorted(quarters) if may_bring(quarter, notification)]
    # A list of alerts asks this of each: only those of a story need the others to be read.
    latest = store.notifications.started(MOST_HELD) if notification.story else []
    instead = [(one.id, one.revision) for one in newer_of_story(notification, latest)]
    waiting = store.held.waiting(notification.id, to_come, instead)
    return Held(
        waiting=sum(waiting.values()),
        first_at=min(waiting) * QUARTER if waiting else None,
        last_at=max(waiting) * QUARTER if waiting else None,
        waves=waves,
    )
