"""Push services that do not take messages as fast as they come, and what to do about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from service.model.network.endpoints import EndpointPolicy, origin_of
from service.model.notifications import Notification
from service.model.retention import PACE_KEPT, REST_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store import Store
from service.store.sending.push_services import Pace, Rest

# Seconds after which every message that left before has its answer: 15 for the push service, half
# a second until a worker notices, and as much again for a machine that is too busy.
UNDER_WAY = 30.0
_CLOCKS_DIFFER = 60.0  # seconds; processes that have just asked Redis differ by less than one
_LATEST = 20  # alerts looked through for a recently accepted subscription


@dataclass(frozen=True, slots=True)
class SlowService:
    """A push service that keeps readers of an alert waiting; times in seconds since 1970."""

    service: str  # as `EndpointPolicy.service` names it
    why: str  # a status, "no answer" or "credentials"
    waiting: int  # browsers
    resting_until: float | None = None  # when it is tried again; None: it is being tried
    per_minute: int | None = None  # messages it allows us; None: not known
    # The following two are known only with `per_minute`.
    last_reader_at: float | None = None  # when the last of the waiting readers has the alert
    will_expire: int = 0  # how many of them run out of time before


@dataclass(frozen=True, slots=True)
class Retried:
    """Browsers of one push service that did not take an alert, and for which it is tried again."""

    service: str  # as `EndpointPolicy.service` names it
    waiting: int  # browsers
    next_at: float  # when the first of them is tried again, in seconds since 1970
    or_more: bool  # they are more than were counted


class PushServices:
    """How the push services fare, for workers, the clock and operators."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._services = store.push_services

    def resting(self) -> dict[str, Rest]:
        """Return the push services that fail or refuse, by origin."""
        return self._services.resting()

    def paced(self) -> dict[str, Pace]:
        """Return the push services that get messages at a limited pace, by origin."""
        return self._services.paced()

    def release(self, origin: str) -> bool:
        """End the rest and the pace of a push service; False if it had neither."""
        return self._services.release(origin, clock.time())

    def slowing(self, notification: Notification) -> list[SlowService]:
        """Return the push services that keep readers of a notification waiting now."""
        now = clock.time()
        paced, resting = self.paced(), self.resting()
        slow = paced.keys() | resting.keys()
        if notification.over or not slow:
            return []
        bases: defaultdict[str, list[int]] = defaultdict(list)
        for url, number in self._store.names.bases.all().items():
            if origin_of(url) in slow:
                bases[origin_of(url)].append(number)
        found = []
        for origin, numbers in sorted(bases.items()):
            waiting = self._store.recipients.waiting(notification.id, numbers)
            if not waiting:
                continue
            pace, rest = paced.get(origin), resting.get(origin)
            left = max(0.0, notification.last_start - now)
            found.append(
                SlowService(
                    service=EndpointPolicy().service(origin),
                    why=rest.why if rest else "429",
                    waiting=waiting,
                    resting_until=rest.until if rest and rest.until > now else None,
                    per_minute=pace.per_minute if pace else None,
                    last_reader_at=now + waiting / pace.per_second if pace else None,
                    will_expire=max(0, waiting - int(left * pace.per_second)) if pace else 0,
                )
            )
        return found

    def retried(self, notification: Notification) -> list[Retried]:
        """Return, by push service, the recipients who are tried again one by one.

        Push services that make all recipients wait are left out; see `slowing`.
        """
        waiting = {} if notification.over else self._store.retries.waiting(notification.id)
        if not waiting:
            return []
        slow = self.paced().keys() | self.resting().keys()
        origins = {number: origin_of(url) for url, number in self._store.names.bases.all().items()}
        found: dict[str, Retried] = {}
        for base, (n, at, more) in waiting.items():
            if base not in origins or origins[base] in slow:
                continue
            service = EndpointPolicy().service(origins[base])
            before = found.get(service, Retried(service, 0, at, or_more=False))
            next_at, or_more = min(before.next_at, at), before.or_more or more
            found[service] = Retried(service, before.waiting + n, next_at, or_more)
        return [found[service] for service in sorted(found)]

    def accepted_recently(self, ids: Collection[SubscriptionId]) -> bool:
        """Whether any of these subscriptions was accepted in one of the latest alerts."""
        return any(
            self._store.recipients.accepted_any(one.id, one.revision, ids)
            for one in self._store.notifications.started(_LATEST)
        )

    def answers_in_a_minute(self, origin: str) -> int:
        """Return how many recipients at an origin have got their outcome in the last minute."""
        bases = self._bases(origin)
        answers = self._store.gone.responses(clock.time()).items()
        return sum(n for base, n in answers if base in bases)

    def others_answer(self, origin: str) -> bool:
        """Whether a push service other than `origin` has answered in the last minute."""
        bases = self._bases(origin)
        return any(base not in bases for base in self._store.gone.responses(clock.time()))

    def forget_rests(self, now: float) -> None:
        """Forget rests that were over long ago, because nothing was sent there since.

        Else a host that a stranger made up would be reported as failing for ever. A push service
        that refuses our signature is reported until it accepts one.
        """
        for origin, rest in self.resting().items():
            if rest.why != "credentials" and rest.until < now - REST_KEPT:
                self._services.recovered(origin)

    def end_rests_of_the_future(self, now: float) -> None:
        """Release push services whose rest began later than now: Redis' clock was set back since.

        It would last longer by as much, such as the hours of a time zone.
        """
        for origin, rest in self.resting().items():
            if rest.since > now + _CLOCKS_DIFFER:
                self.release(origin)

    def end_paces(self, now: float) -> None:
        """End each pace that has been enough for a day, which is Chrome's shortest penalty."""
        since = now - PACE_KEPT
        for origin, pace in self.paced().items():
            if pace.since < since:
                self._services.unpace(origin, since)

    def try_released(self, now: float) -> None:
        """Let the recipients at released push services be tried at once.

        This is repeated for half a minute, because a worker may still hold a batch, and gives it
        back with recipients that wait.
        """
        for origin, at in self._services.released().items():
            if now > at + UNDER_WAY or origin in self._services.resting():
                self._services.forget_release(origin)
                continue
            bases = self._bases(origin)
            for id in self._store.notifications.active():
                self._store.batches.try_now(id, bases)

    def _bases(self, origin: str) -> list[int]:
        bases = self._store.names.bases.all()
        return [number for url, number in bases.items() if origin_of(url) == origin]
