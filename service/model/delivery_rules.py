"""Whether an alert may reach a reader now: pause, quiet hours, local time, daily limit.

Each message asks just before it leaves, so that the rules hold when the push arrives, however long
ago the send began.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from service.model import notifications
from service.model.notifications import MIN_TTL, MOST_LATE, PAUSED, QUIET, Notification, Outcome
from service.model.preferences import NewsroomDefaults, Preferences
from service.model.subscriptions import Record
from service.model.time.clocks import QUARTER, day, moment, quiet_times

# Seconds before quiet hours end in which a message waits for the end instead of being held, because
# the wave of that quarter hour may be planned already.
_SOON = 60.0
_MOST_CACHED = 10_000  # pairs of zone and preferences


class Ruling(NamedTuple):
    """What the rules say for a reader; times are seconds since 1970."""

    expires: float  # a push service may keep the message until then
    outcome: Outcome | None = None  # the message is not sent, and this is the reader's outcome
    why: str = ""  # one of `SKIPPED`
    waits_until: float = 0.0  # the message is not sent before; 0: now
    wakes: int = 0  # the alert is held until this quarter hour, counted from 1970
    limit: int = 0  # alerts a day; 0: no limit
    day: int = 0  # the date that counts for the limit, 20260329


# In a wave no held alert is left for this reader; else they got a newer alert of the same story.
OVER = Ruling(0.0, Outcome.SKIPPED, notifications.OVER)


class DeliveryRules:
    """The rules as they apply to one notification."""

    def __init__(
        self, notification: Notification, defaults: NewsroomDefaults, zone: Callable[[int], str]
    ) -> None:
        self._notification = notification
        # Seconds of lifetime that must be left: with a `ttl` of a minute half of it is enough.
        self._least = min(MIN_TTL, notification.content.ttl / 2)
        self._defaults = defaults
        self._zone = zone
        self._known: dict[tuple[int, bytes], tuple[float, Ruling]] = {}

    def of(self, record: Record, now: float) -> Ruling:
        """Return the ruling for the reader of `record` at this time."""
        key = record.zone, record.preferences
        until, ruling = self._known.get(key, (0.0, _NONE))
        if now >= until:
            preferences, zone = Preferences.unpack(record.preferences), self._zone(record.zone)
            ruling = self._judge(preferences, zone, now)
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            self._known[key] = self._good_until(ruling, preferences, now), ruling
        return ruling

    def date(self, record: Record, at: float) -> int:
        """Return the date on a reader's clock at that time, as `Ruling.day`."""
        return day(self._zone(record.zone), int(at // QUARTER))

    def _good_until(self, ruling: Ruling, preferences: Preferences, now: float) -> float:
        """Return until when a ruling holds; quiet hours and clocks change at quarter hours."""
        ends = [ruling.expires - least for least in (MIN_TTL, self._least)]
        wakes = ruling.wakes * QUARTER - _SOON
        changes = (ruling.waits_until, preferences.paused_until, wakes, *ends)
        return min([(now // QUARTER + 1) * QUARTER, *(at for at in changes if at > now)])

    def _judge(self, preferences: Preferences, zone: str, now: float) -> Ruling:
        notification = self._notification
        expires = notification.deadline
        if notification.audience.subscription is not None:
            return Ruling(expires)  # a test; its reader waits for it
        if notification.send_at is not None and notification.wall:
            begins = moment(zone, notification.wall)
            started = notification.started_at or notification.created_at
            is_late = begins < started - MOST_LATE
            if notification.send_at.however_late:
                begins, is_late = max(begins, started), False
            expires = begins + notification.content.ttl
            if begins > now:
                return Ruling(expires, waits_until=begins)
            if is_late or expires - now < self._least:
                return Ruling(expires, Outcome.EXPIRED)
        if preferences.paused_until > now:
            return Ruling(expires, Outcome.SKIPPED, PAUSED)
        if notification.urgent and preferences.allow_breaking:
            return Ruling(expires)
        quiet, quarter = self._defaults.quiet_of(preferences), int(now // QUARTER)
        times = quiet_times(zone, quiet, quarter)
        if times.quiet_from and times.quiet_from - now < MIN_TTL:
            times = quiet_times(zone, quiet, quarter + 1)  # it would arrive in quiet time
        if times.quiet_until and times.quiet_until - now < _SOON:
            return Ruling(expires, waits_until=times.quiet_until)
        if times.quiet_until:
            wakes = times.quiet_until // QUARTER
            return Ruling(expires, Outcome.SKIPPED, QUIET, wakes=wakes)
        limited = not (notification.urgent or notification.corrects)
        return Ruling(
            min(expires, times.quiet_from or math.inf),
            limit=self._defaults.limit_of(preferences) if limited else 0,
            day=day(zone, quarter),
        )


_NONE = Ruling(0.0)
