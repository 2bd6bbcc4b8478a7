"""Which push services keep an alert's readers waiting, why, and when the last one has it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from service.model.endpoints import EndpointPolicy, origin_of
from service.model.notifications import Notification
from service.store import Store


@dataclass(frozen=True, slots=True)
class Limit:
    """One push service that does not take messages as fast as they come; seconds since 1970.

    `service` is as `EndpointPolicy` names it. `why` is a status, "no answer" or "credentials".
    With a pace (`per_minute`) it is known when the last reader has it, and how many of those
    waiting run out of time before.
    """

    service: str
    why: str
    waiting: int
    resting_until: float | None = None
    per_minute: int | None = None
    last_reader_at: float | None = None
    will_expire: int = 0


def limits(store: Store, notification: Notification, now: float) -> list[Limit]:
    """Return what keeps the readers of a notification waiting; only where some do."""
    paced, resting = store.services.paced(), store.services.resting()
    slow = paced.keys() | resting.keys()
    if notification.over or not slow:
        return []
    bases: defaultdict[str, list[int]] = defaultdict(list)
    for url, number in store.installation.bases.all().items():
        if origin_of(url) in slow:
            bases[origin_of(url)].append(number)
    found = []
    for origin, numbers in sorted(bases.items()):
        waiting = store.recipients.waiting(notification.id, numbers)
        if not waiting:
            continue
        pace, rest = paced.get(origin), resting.get(origin)
        last = now + waiting / pace.per_second if pace else None
        left = max(0.0, notification.last_start - now)
        found.append(
            Limit(
                service=EndpointPolicy().service(origin),
                why=rest.why if rest else "429",
                waiting=waiting,
                resting_until=rest.until if rest and rest.until > now else None,
                per_minute=pace.per_minute if pace else None,
                last_reader_at=last,
                will_expire=max(0, waiting - int(left * pace.per_second)) if pace else 0,
            )
        )
    return found
