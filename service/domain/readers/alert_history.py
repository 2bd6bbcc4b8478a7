"""What the service knows of the alerts of one reader, to show to that reader alone."""

from __future__ import annotations

import time
from collections.abc import Collection, Set
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from redis.exceptions import RedisError

from service.model.notifications import MAX_TTL, Notification, State, Topic
from service.model.retention import ACCEPTED_KEPT, COUNTS_KEPT, DAY
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.time import clock
from service.model.time.clocks import QUARTER, day
from service.store import Store

_LOOKED_THROUGH = 200  # alerts read at once
_MOST_MISSED = 10
_RATE_DAYS = 14  # over so many days the alerts of a day are averaged
_LEAST_DAYS = 2  # an installation that is younger has no rate
_RATE_ASKED = 600.0  # seconds between two questions of one process


class AlertHistory:
    """Which alerts a reader has got, or could have got."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rate: tuple[float, int | None] = (0.0, None)

    def a_day(self, topics: Collection[Topic]) -> int | None:
        """Return how many alerts a day a new reader would have got lately; None if nobody knows.

        A new reader has the topics that are ticked beforehand, or, if there are none, any of them.
        """
        until, rate = self._rate
        if (now := time.monotonic()) >= until:
            ticked = {one.slug for one in topics if one.default}
            with suppress(RedisError):  # the site is described without Redis for a while
                rate = self._average(ticked or {one.slug for one in topics})
            self._rate = (now + _RATE_ASKED, rate)
        return rate

    def _average(self, topics: Set[str]) -> int | None:
        latest = self._store.notifications.started(_LOOKED_THROUGH)
        started = [one.started_at for one in latest if one.started_at and self._counts(one, topics)]
        now = clock.time()
        days = min((now - min(started, default=now)) / DAY, _RATE_DAYS)
        if days < _LEAST_DAYS:
            return None
        recent = [at for at in started if at >= now - days * DAY]
        return max(1, round(len(recent) / days))

    def _counts(self, one: Notification, topics: Set[str]) -> bool:
        audience = self._store.topics.current_audience(one.audience)
        ours = replace(audience, locales=(), exclude=())
        return one.corrects is None and ours.includes(topics, "", followed=set(), muted=set())

    def missed(self, reader: Subscription) -> list[Notification]:
        """Return the latest alerts whose audience this reader belongs to now."""
        going_out = (State.SENDING, State.PAUSED, State.SENT)
        sent = (
            one
            for one in self._store.notifications.started(_LOOKED_THROUGH)
            if one.corrects is None and one.state in going_out
        )
        theirs = (
            one
            for one in sent
            if self._store.topics.current_audience(one.audience).includes(
                reader.topics, reader.locale, followed=reader.followed, muted=reader.muted
            )
        )
        return list(islice(theirs, _MOST_MISSED))

    def handed_over(self, reader: SubscriptionId) -> list[Notification]:
        """Return the alerts that the push service took for this reader, as far as that is kept."""
        found: list[Notification] = []
        before, since = None, clock.time() - ACCEPTED_KEPT
        while page := self._store.notifications.started(_LOOKED_THROUGH, before):
            before = page[-1].id
            # Of an alert that was over before `since` it is forgotten.
            known = [one for one in page if one.finished_at is None or one.finished_at >= since]
            accepted = self._store.recipients.accepted(known, reader)
            found += [one for one, was in zip(known, accepted, strict=True) if was]
            if (page[-1].started_at or 0.0) < since - MAX_TTL:
                break
        return found

    def held(self, reader: SubscriptionId) -> list[Notification]:
        """Return the latest alerts that wait or waited until this reader's quiet hours end."""
        latest = {one.id: one for one in self._store.notifications.started(_LOOKED_THROUGH)}
        found = self._store.held_alerts.of(reader.partition, [reader.number], latest)
        return [latest[id] for id in found.get(reader.number, ())]

    def clicked(self, reader: SubscriptionId) -> list[Notification]:
        """Return the alerts that this reader clicked, as far as that is kept."""
        return self._store.notifications.all(self._store.clicks.of(reader))

    def counted(self, reader: Subscription) -> dict[int, int]:
        """Return how many alerts counted against the daily limit, by date, as far as that is kept.

        A date is the reader's own, as a number such as 20260329.
        """
        now, (partition, number) = int(clock.time()), reader.id
        dates = {
            day(reader.zone, (now - ago) // QUARTER) for ago in range(0, COUNTS_KEPT + 1, 86_400)
        }
        wanted = {(partition, date): [number] for date in sorted(dates)}
        counts = self._store.daily_counts.had(wanted)
        return {date: had for (_, date), (had,) in counts.items() if had}
