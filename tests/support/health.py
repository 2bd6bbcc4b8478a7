"""How push services fare, as one worker sees it."""

from __future__ import annotations

from service.model.notifications import Outcome
from service.model.subscriptions import SubscriptionId
from service.store import Store
from workers.sending import policy
from workers.sending.health import Health

WINDOW = 256
ACCEPTED = policy.Verdict(Outcome.ACCEPTED)
READER = SubscriptionId(0, 1)


def worker(store: Store, window: int = WINDOW) -> Health:
    """Return the health as one worker sees it; another call makes another worker."""
    return Health(
        store.push_services,
        window,
        lambda _origin, _group, **_: 9999,
        lambda _ids: False,
        lambda _origin: 0,
    )
