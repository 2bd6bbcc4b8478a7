"""Receipts: what browsers report of an alert, and how many browsers that stands for."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from service.model.retention import DAY
from service.model.subscriptions import SubscriptionId
from service.store import Store
from service.store.subscriptions import NotSubscribed

EVENTS = ("shown", "clicked", "dismissed")
# A million browsers that report within seconds are a load of their own. Of a larger audience than
# this, so many browsers report that they have shown or dismissed the alert.
MOST_REPORTING = 250_000
_LEAST_REPORTING = 0.0001
_COUNTING_ERROR = 0.0081  # standard error of Redis' HyperLogLog (PFCOUNT), at any number


class Receipts:
    """The receipts of one installation, each browser counted once for each alert and event."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, id: int) -> dict[str, int]:
        """Return how many browsers reported each event of a notification; see `estimates`."""
        return self._store.notifications.receipts(id, EVENTS)

    def count(
        self, receipts: Collection[tuple[int, SubscriptionId, str]], *, kept_days: int
    ) -> None:
        """Count receipts: notification, subscription and event of each.

        A receipt counts nothing if the notification or the subscription does not exist, or if the
        reader wants nothing counted. One that says "shown" or "clicked" confirms the reader, since
        the welcome has arrived then.
        """
        known: dict[int, bool] = {}
        preferences = self._store.subscriptions.preferences({one for _, one, _ in receipts})
        seen = {one for _, one, event in receipts if event in ("shown", "clicked")}
        for subscription in seen & preferences.keys():
            if not preferences[subscription].confirmed:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(subscription)
        for id, subscription, event in receipts:
            if id not in known:
                known[id] = self._store.notifications.state(id) is not None
            willing = subscription in preferences and preferences[subscription].receipts
            if known[id] and willing and event in EVENTS:
                kept = kept_days * DAY
                self._store.notifications.count_receipt(id, event, str(subscription), kept)


def reporting(recipients: int) -> float:
    """Return the probability with which each of so many browsers reports what it shows.

    Rounded to 0.0001, because the payload has room for no more.
    """
    share = round(MOST_REPORTING / max(recipients, MOST_REPORTING), 4)
    return max(share, _LEAST_REPORTING)


class Estimate(NamedTuple):
    """How many browsers did something, estimated from their reports."""

    browsers: int
    error: float  # standard error, in browsers


def estimates(reported: dict[str, int], reporting: float) -> dict[str, Estimate]:
    """Return an estimate for each event, if each browser reports with this probability.

    Every browser reports a click. The error is that of sampling and that of counting together.
    """
    shares = {"clicked": 1.0}
    return {
        event: _estimate(count, shares.get(event, reporting)) for event, count in reported.items()
    }


def _estimate(reported: int, share: float) -> Estimate:
    sampling = reported * (1 - share)  # variance of a binomial distribution
    counting = (_COUNTING_ERROR * reported) ** 2
    return Estimate(round(reported / share), math.sqrt(sampling + counting) / share)
