"""Whether an alert may reach a reader now: pause, quiet hours, local time, how many a day.

Looked up with the record in hand when the message is about to leave, so that it holds when the
push arrives, however long ago the send began.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from service.model import notifications
from service.model.notifications import (
    MIN_TTL,
    MOST_LATE,
    PAUSED,
    QUIET,
    Notification,
    Outcome,
    Record,
)
from service.model.preferences import QUARTER, NewsroomDefaults, Preferences, day, hours, moment

# Seconds before quiet hours end in which it is waited for that. What is held is written down before
# those who wake are looked for.
_SOON = 60.0
_MOST_KEPT = 10_000  # answers for as many zones and choices


class Ruling(NamedTuple):
    """What holds for some readers; times in seconds since 1970.

    `outcome` and `why`: it is not sent to them. `waits_until`: not yet. `expires`: until when a
    push service may keep it. `wakes`: the quarter hour in which what is held comes. `limit`: how
    many alerts a day, 0 for any number, and `day` is their date.
    """

    expires: float
    outcome: Outcome | None = None
    why: str = ""
    waits_until: float = 0.0
    wakes: int = 0
    limit: int = 0
    day: int = 0


# In a wave, for whom nothing of what was held is left.
OVER = Ruling(0.0, Outcome.SKIPPED, notifications.OVER)


class DeliveryRules:
    """What readers chose, as it applies to one notification."""

    def __init__(
        self, notification: Notification, defaults: NewsroomDefaults, zone: Callable[[int], str]
    ) -> None:
        self._notification = notification
        # Seconds that must be left: a `ttl` of a minute has half of it to start in.
        self._least = min(MIN_TTL, notification.content.ttl / 2)
        self._defaults = defaults
        self._zone = zone
        self._known: dict[tuple[int, bytes], tuple[float, Ruling]] = {}

    def of(self, record: Record, now: float) -> Ruling:
        """Return what holds for the reader of `record` at this moment."""
        key = record.zone, record.preferences
        until, ruling = self._known.get(key, (0.0, _NONE))
        if now >= until:
            preferences, zone = Preferences.unpack(record.preferences), self._zone(record.zone)
            ruling = self._judge(preferences, zone, now)
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[key] = self._good_until(ruling, preferences, now), ruling
        return ruling

    def date(self, record: Record, at: float) -> int:
        """Return the date on a reader's clock at that moment, as `Timing.day` has it."""
        return day(self._zone(record.zone), int(at // QUARTER))

    def _good_until(self, ruling: Ruling, preferences: Preferences, now: float) -> float:
        """Return when to look again: clocks and quiet hours go by quarter hours."""
        ends = [ruling.expires - least for least in (MIN_TTL, self._least)]
        wakes = ruling.wakes * QUARTER - _SOON
        changes = (ruling.waits_until, preferences.paused_until, wakes, *ends)
        return min([(now // QUARTER + 1) * QUARTER, *(at for at in changes if at > now)])

    def _judge(self, preferences: Preferences, zone: str, now: float) -> Ruling:
        notification = self._notification
        expires = notification.deadline
        if notification.audience.subscription is not None:
            return Ruling(expires)  # a test, which its reader waits for
        if notification.wall:
            begins = moment(zone, notification.wall)
            expires = begins + notification.content.ttl
            if begins > now:
                return Ruling(expires, waits_until=begins)
            started = notification.started_at or notification.created_at
            if begins < started - MOST_LATE or expires - now < self._least:
                return Ruling(expires, Outcome.EXPIRED)
        if preferences.paused_until > now:
            return Ruling(expires, Outcome.SKIPPED, PAUSED)
        if notification.urgent and preferences.allow_breaking:
            return Ruling(expires)
        quiet, quarter = self._defaults.quiet_of(preferences), int(now // QUARTER)
        there = hours(zone, quiet, quarter)
        if there.quiet_from and there.quiet_from - now < MIN_TTL:
            there = hours(zone, quiet, quarter + 1)  # it would arrive in quiet time
        if there.quiet_until and there.quiet_until - now < _SOON:
            return Ruling(expires, waits_until=there.quiet_until)
        if there.quiet_until:
            wakes = there.quiet_until // QUARTER
            return Ruling(expires, Outcome.SKIPPED, QUIET, wakes=wakes)
        limited = not (notification.urgent or notification.corrects)
        return Ruling(
            min(expires, there.quiet_from or math.inf),
            limit=self._defaults.limit_of(preferences) if limited else 0,
            day=day(zone, quarter),
        )


_NONE = Ruling(0.0)
