"""The health of all push services: how they share the window, when one rests, and its pace.

A push service that fails as a whole rests for all workers and is then tried with one message. So a
push service that hangs holds little of a window and costs the others nothing. If it limits us again
and again, it gets a pace that all workers share. A push service that nobody knows starts slowly,
also in messages a second, gets few connections, and gets a pace as soon as it limits us.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from service.model.network.endpoints import OTHER
from service.model.notifications import Outcome
from service.model.operations.canary import CANARY
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.sending.push_services import (
    AHEAD,
    GOOD_SPELL,
    LIMITED,
    PROVEN,
    START_AHEAD,
    Pace,
    PushServices,
    Rest,
)
from workers.sending import policy
from workers.sending.push_service import CREDENTIALS, ENOUGH, FIRST, Service

_log = logging.getLogger(__name__)

_PROBES: Final = 1  # messages under way at a push service that has rested
_ASK_AGAIN: Final = 1.0  # seconds between two questions to the store who was accepted recently
_ASK_FOR_MORE: Final = 0.1  # seconds, about, between two looks at what a pace allows
_NO_ANSWER: Final = "no answer"
# Seconds; no longer, since an operator mends the fault meanwhile.
_CREDENTIALS_PAUSE: Final = 10.0
_OTHERS_ANSWERED: Final = 600.0  # seconds for which an answer shows that our network works
_MOST_KNOWN: Final = 1000  # push services that a worker keeps in mind; real ones are far fewer


class Room(Protocol):
    """Messages that the connections to an origin take now: `Transport.room`."""

    def __call__(self, origin: str, group: str, /, *, wanted: int, gently: bool) -> int:
        """See there."""


class Health:
    """The health of all push services that this worker has sent to."""

    def __init__(
        self,
        shared: PushServices,
        window: int,
        room: Room,
        # Whether any of these subscriptions accepted an alert in the last days.
        accepted_recently: Callable[[Collection[SubscriptionId]], bool],
        answers_in_a_minute: Callable[[str], int],  # that an origin has let through
        others_answer: Callable[[str], bool] = lambda _origin: False,  # in the last minute
    ) -> None:
        self._shared = shared
        self._window = window
        self._enough = min(ENOUGH, window)
        self._room = room
        self._looks = 0
        self._short: set[str] = set()
        self._accepted_recently = accepted_recently
        self._answers_in_a_minute = answers_in_a_minute
        self._others_answer = others_answer
        self._looked_at = time.monotonic()
        self._network_fails = False  # a push service that nobody can make up does not answer
        self._services: dict[str, Service] = {}
        self._paces: dict[str, Pace] = {}

    @property
    def paced(self) -> frozenset[str]:
        """The origins that have a pace."""
        return frozenset(self._paces)

    def of(self, origin: str, name: str, wildcard: str = "") -> Service:
        """Return a push service; a new one starts with what other workers know of it.

        `wildcard`: the one of `EndpointPolicy` that allows its host, if one does.
        """
        service = self._services.get(origin)
        if service is None:
            service = self._new(origin, name, wildcard)
        return service

    def _new(self, origin: str, name: str, wildcard: str) -> Service:
        unknown = name == OTHER
        proof = self._shared.proof(origin) if wildcard or unknown else PROVEN
        service = Service(
            origin,
            name,
            self._window,
            wildcard,
            is_made_up=bool(wildcard) and not proof,
            starts=unknown and proof < PROVEN,
        )
        self._services[origin] = service
        self._learn(service, self._shared.resting().get(origin))
        return service

    def forget_made_up(self) -> None:
        """Forget hosts that strangers may have made up, if there are many; none may be in use.

        There can be new ones every day, and a worker runs for months.
        """
        if len(self._services) > _MOST_KNOWN:
            self._services = {o: one for o, one in self._services.items() if not one.is_made_up}
            self._short.clear()

    @staticmethod
    def _group(service: Service) -> str:
        """Return the group of push services whose connections share a limit.

        Hosts that a stranger may have made up are one group for each wildcard; hosts under it that
        have accepted a message are another.
        """
        if not service.wildcard:
            return service.origin
        return f"{'new' if service.is_made_up else 'known'} {service.wildcard}"

    def refresh(self) -> None:
        """Take over what other workers found out, and share the window out again."""
        resting = self._shared.resting()
        before, self._paces = self._paces, self._shared.paced()
        for service in self._services.values():
            if service.name != CANARY:  # whose rests only this worker knows
                self._learn(service, resting.get(service.origin))
            if service.origin in before and service.origin not in self._paces:
                service.starts = (
                    service.name == OTHER and self._shared.proof(service.origin) < PROVEN
                )
        self._network_fails = any(
            service.rest.why == _NO_ANSWER and not service.is_made_up and self.rests_until(service)
            for service in self._services.values()
            if service.rest is not None and service.name != CANARY
        )
        now = time.monotonic()
        for service in self._services.values():
            service.fit(now, self._window)
        self._share_out()

    def _share_out(self) -> None:
        """Give each push service the part of the window that the others cannot use.

        That is at least half of it.
        """
        half = self._window // 2
        services = self._services.values()
        wanted = [min(one.limit, half) if one.begun or one.under_way else 0 for one in services]
        by_all = sum(wanted)
        for service, its_own in zip(services, wanted, strict=True):
            service.share = max(half, self._window - (by_all - its_own))
            service.begun = False

    def rests_until(self, service: Service) -> float:
        """Return until when it rests, in seconds since 1970; 0 if it does not."""
        rest = service.rest
        return rest.until if rest is not None and rest.until > clock.time() else 0.0

    def is_dead(self, service: Service) -> bool:
        """Whether a host that a stranger made up is not there; each rest ends with an attempt."""
        rest = service.rest
        return (
            rest is not None
            and rest.why == _NO_ANSWER
            and rest.attempts >= policy.DEAD_AFTER
            and rest.others_answer
            and not self._network_fails
            and rest.until > clock.time()
        )

    def look_again(self) -> None:
        """Begin another look for work, in which the connections are asked for room once."""
        self._looks += 1
        self._looked_at = time.monotonic()

    def ask_for_more(self) -> None:
        """Ask for more connections where the started messages took all the room."""
        for origin in self._short:
            self._room_at(self._services[origin])
        self._short.clear()

    def _room_at(self, service: Service) -> int:
        """Return the messages that its connections take; more connections if they take none."""
        return self._room(
            service.origin,
            self._group(service),
            wanted=min(service.limit, service.share) - service.under_way,
            gently=not service.is_known,
        )

    def room(self, service: Service) -> int:
        """How many messages may be started there now; ask only when you have one."""
        room = min(service.limit, service.share) - service.under_way
        if room <= 0:
            service.was_full = True
            return 0
        if service.room_asked != self._looks:
            service.room = self._room_at(service)
            service.room_asked = self._looks
        elif service.room <= 0:
            self._short.add(service.origin)
        if service.room <= 0:
            return 0
        room = min(room, service.room)
        pace = self._paces.get(service.origin)
        if pace is None and not service.starts:
            return room
        return min(room, self._tokens(service, pace))

    def _tokens(self, service: Service, pace: Pace | None) -> int:
        """How many messages its pace or its start allows now; unused tokens become void."""
        now = time.monotonic()
        if service.tokens > 0 and now < service.tokens_until:
            return service.tokens
        if now < service.more_at:
            return 0
        # If two workers asked in step, the second would never get any tokens.
        service.more_at = now + _ASK_FOR_MORE * random.uniform(0.5, 1.5)  # noqa: S311
        if pace is not None:
            service.tokens = self._shared.take(service.origin, pace)
            service.tokens_until = now + AHEAD
        else:
            service.tokens, proof = self._shared.take_at_start(service.origin, service.accepted)
            service.tokens_until = now + START_AHEAD
            service.accepted = 0
            service.starts = proof < PROVEN
        return service.tokens

    def started(self, service: Service, messages: int) -> None:
        """Count messages that are under way."""
        service.under_way += messages
        service.room -= messages
        service.tokens -= messages
        service.begun = True

    def not_started(self, service: Service) -> None:
        """Take back the count of a message that is not sent after all."""
        service.under_way -= 1
        service.room += 1
        service.tokens += 1

    def found_no_room(self, service: Service) -> None:
        """Note that its connections have less room than they said, because one was lost."""
        service.room = 0

    def unreachable(self, origin: str, why: str) -> None:
        """Let a push service rest to which no connection can be made."""
        if (service := self._services.get(origin)) is not None:
            service.failed_in_a_row += 1
            if service.rest is None:
                _log.warning("%s: no connection: %s", origin, why)
            self._let_rest(service, _NO_ANSWER, None)

    def answered(
        self,
        service: Service,
        id: SubscriptionId,
        verdict: policy.Verdict,
        status: int,
        took: float = 0.0,
    ) -> None:
        """Take an answer, which took so many seconds, for what it says about the push service."""
        service.under_way -= 1
        if status:
            service.answers += 1
            service.took += took
        if verdict.at_once:
            service.lost_in_a_row += 1
            if service.lost_in_a_row >= self._window:
                self._let_rest(service, _NO_ANSWER, None)
        elif verdict.rejected:
            self._rejected(service, id)
        elif verdict.limited:
            self._limited(service, id, verdict)
        elif verdict.service_failed:
            service.failed_in_a_row += 1
            often = service.failed_in_a_row >= policy.FAILURES_IN_A_ROW or service.rest is not None
            wait = policy.sensible(verdict.retry_after)
            if often or wait is not None:
                self._let_rest(service, str(status or _NO_ANSWER), wait)
        else:
            self._well(service)
            if verdict.outcome is Outcome.ACCEPTED and (service.starts or service.is_made_up):
                self._prove(service)

    def _prove(self, service: Service) -> None:
        """Count an accepted message of a push service that is not known well.

        What it accepts at its pace says nothing about how many it takes without one.
        """
        service.accepted += service.starts and service.origin not in self._paces
        if service.is_made_up:
            service.is_made_up = False
            self._shared.prove(service.origin, 1)

    def _well(self, service: Service) -> None:
        service.answered_at = self._looked_at
        service.failed_in_a_row = service.lost_in_a_row = 0
        if service.limited_in_a_row:
            service.limited_in_a_row.clear()
        service.last.append("")
        if service.limit < self._enough and not service.trial:
            service.limit += 1
        if service.rest is not None:
            service.rest = None
            service.rejected.clear()
            service.limited.clear()
            service.last.clear()
            self._shared.recovered(service.origin)

    def _rejected(self, service: Service, id: SubscriptionId) -> None:
        """Decide whether our signature is at fault, or a few subscriptions made with another key.

        It is ours if many were rejected and one of them accepted an alert recently.
        """
        service.last.append(CREDENTIALS)
        service.rejected[id] = None
        if service.rests_for_credentials:
            self._let_rest(service, CREDENTIALS, _CREDENTIALS_PAUSE)
            return
        often = service.last.count(CREDENTIALS) >= policy.REJECTED
        many = often and len(service.rejected) >= policy.REJECTED
        now = time.monotonic()
        if many and now - service.asked_at >= _ASK_AGAIN:
            service.asked_at = now
            if self._accepted_recently(service.rejected):
                self._let_rest(service, CREDENTIALS, _CREDENTIALS_PAUSE)
            while len(service.rejected) > policy.LAST_ANSWERS:
                del service.rejected[next(iter(service.rejected))]

    def _limited(self, service: Service, id: SubscriptionId, verdict: policy.Verdict) -> None:
        """Decide whether the push service limits us, or only a few recipients."""
        service.last.append(LIMITED)
        service.limited[id] = None
        if len(service.limited) > policy.LAST_ANSWERS:
            del service.limited[next(iter(service.limited))]
        service.limited_in_a_row.add(id)
        often = service.last.count(LIMITED) >= policy.LIMITED
        enough = policy.LIMITED_SENDER if verdict.service_failed else policy.LIMITED_TOGETHER
        if service.origin in self._paces:
            enough = 1  # it is known to limit us
        us = (often and len(service.limited) >= policy.LIMITED) or (
            len(service.limited_in_a_row) >= enough
        )
        if us or (service.rest is not None and service.rest.why == LIMITED):
            self._let_rest(service, LIMITED, policy.sensible(verdict.retry_after))

    def _let_rest(self, service: Service, why: str, wait: float | None) -> None:
        now = clock.time()
        before = service.rest
        if before is not None and before.until > now:
            return  # this message was under way when the rest began
        attempts = before.attempts if before is not None else 0
        until = now + policy.pause(attempts, wait, random.random)
        others_answer = (before is not None and before.others_answer) or (
            service.is_made_up
            and not self._shared.proof(service.origin)
            and self._do_others_answer(service)
        )
        rest = Rest(attempts + 1, before.since if before else now, until, why, others_answer)
        self._learn(service, rest)
        if service.name == CANARY:
            return  # editors and operators look at the push services of readers
        if self._shared.rest(service.origin, rest) and why == LIMITED:
            self._keep_pace(service, rest)

    def _do_others_answer(self, service: Service) -> bool:
        """Whether another push service answered lately, here or to another worker."""
        lately = time.monotonic() - _OTHERS_ANSWERED
        return self._others_answer(service.origin) or any(
            one is not service and one.name != CANARY and one.answered_at > max(lately, 0.0)
            for one in self._services.values()
        )

    def _keep_pace(self, service: Service, rest: Rest) -> None:
        """Give it a pace if it limits us again and again, or a slower one."""
        now, origin = clock.time(), service.origin
        pace = self._paces.get(origin)
        limit = self._shared.limited(origin, now, rest.until)
        if pace is not None:
            if rest.attempts == 1:  # it was well at first
                self._slow_down(origin, pace, now)
        elif service.starts:
            # What it takes is not known. It accepted too many while it started, so half of that.
            rate = self._shared.start_over(origin)
            service.accepted = 0
            allowed = self._answers_in_a_minute(origin) if rate is None else 60 * rate
            self._shared.pace(origin, Pace(max(1, int(allowed / policy.TOO_FAST)), now))
        elif limit.times >= policy.LIMITED_IN_A_ROW and now - limit.since >= policy.LIMITED_FOR:
            allowed = max(policy.LEAST_PACE, self._answers_in_a_minute(origin))
            self._shared.pace(origin, Pace(allowed, now))

    def _slow_down(self, origin: str, pace: Pace, now: float) -> None:
        """Give it a slower pace, and a much slower one if it was slowed down repeatedly."""
        soon = now - pace.since < GOOD_SPELL
        times = pace.slowed + 1 if soon else 1
        divisor = policy.TOO_FAST if times < 3 else policy.TOO_FAST**2
        slower = Pace(max(1, pace.per_minute // divisor), now, times)
        self._shared.pace(origin, slower, pace)

    @staticmethod
    def _learn(service: Service, rest: Rest | None) -> None:
        before = service.rest
        if rest is None:
            if before is not None:
                service.limit = FIRST
        elif rest != before:
            service.limit, service.trial = _PROBES, 0
            service.failed_in_a_row = service.lost_in_a_row = 0
            service.limited_in_a_row.clear()
        service.rest = rest
