"""What the service knows of the alerts of one reader, to show to that reader alone."""

from __future__ import annotations

from itertools import islice

from service.model import clock
from service.model.clocks import QUARTER, day
from service.model.notifications import MAX_TTL, Notification, State
from service.model.retention import ACCEPTED_KEPT, COUNTS_KEPT
from service.model.subscriptions import Subscription, SubscriptionId
from service.store import Store

_LOOKED_THROUGH = 200  # alerts read at once
_MOST_MISSED = 10


class AlertHistory:
    """Which alerts a reader has got, or could have got."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
            if one.audience.includes(
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

    def counted(self, reader: Subscription) -> dict[int, int]:
        """Return how many alerts counted against the daily limit, by date, as far as that is kept.

        A date is the reader's own, as a number such as 20260329.
        """
        now, (partition, number) = int(clock.time()), reader.id
        dates = {
            day(reader.zone, (now - ago) // QUARTER) for ago in range(0, COUNTS_KEPT + 1, 86_400)
        }
        counts = {
            date: self._store.daily_counts.had(partition, date, [number])[0] for date in dates
        }
        return {date: counts[date] for date in sorted(dates) if counts[date]}
