"""What one reader has had of the alerts, and what not: for their own eyes."""

from __future__ import annotations

import time
from itertools import islice

from service.model.notifications import MAX_TTL, Notification, State, SubscriptionId
from service.store import Store
from service.store.outcomes import ACCEPTED_KEPT
from service.store.records import Subscription

_LOOKED_THROUGH = 200  # alerts read at once
_MOST_MISSED = 10


def missed(store: Store, reader: Subscription) -> list[Notification]:
    """Return the last alerts that went to an audience in which this reader is now."""
    going_out = (State.SENDING, State.PAUSED, State.SENT)
    sent = (
        one
        for one in store.notifications.started(_LOOKED_THROUGH)
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


def handed_over(store: Store, reader: SubscriptionId) -> list[Notification]:
    """Return the alerts of which the store still knows that they were handed over for them."""
    found: list[Notification] = []
    before, since = None, time.time() - ACCEPTED_KEPT
    while page := store.notifications.started(_LOOKED_THROUGH, before):
        before = page[-1].id
        # Of what was over before then it is forgotten.
        known = [one for one in page if one.finished_at is None or one.finished_at >= since]
        accepted = store.recipients.accepted(known, reader)
        found += [one for one, was in zip(known, accepted, strict=True) if was]
        if (page[-1].started_at or 0.0) < since - MAX_TTL:
            break
    return found


def held_for(store: Store, reader: SubscriptionId) -> list[Notification]:
    """Return which of the latest alerts are, or were, held for them until they wake."""
    latest = {one.id: one for one in store.notifications.started(_LOOKED_THROUGH)}
    found = store.held.of(reader.partition, [reader.number], latest)
    return [latest[id] for id in found.get(reader.number, ())]
