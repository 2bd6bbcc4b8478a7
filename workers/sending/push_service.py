"""One push service, as a worker knows it, and how many messages it may have under way there.

It starts with a few and gets one more for each answer, up to what is enough where answers come at
once. Where they come late, it gets as many as its delay needs and no more, which Little's law says:
the answers a second times the seconds that one takes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from service.model.subscriptions import SubscriptionId
from service.store.sending.push_services import Rest
from workers.sending import policy

FIRST: Final = 16  # messages under way at a push service that has not answered yet
ENOUGH: Final = 256  # messages under way where answers come at once
# More messages may be under way than the delay needs, by this factor. With them the rate grows, or
# the answers only come later: then they wait for each other at the push service.
_TO_SPARE: Final = 1.5
_MEANINGFUL: Final = 32  # answers, at least, whose average delay says something
_FIT: Final = 0.25  # seconds between two looks at the delay, at least
# If answers come late though few messages are under way, half as many are for so many looks, and
# not again for so many times the delay. If answers are still late then, the delay has changed.
_TRIAL: Final = 2
_NEXT_TRIAL: Final = 40
CREDENTIALS: Final = "credentials"  # the reason for a rest: our signatures are rejected


@dataclass(slots=True)
class Service:
    """One push service, as far as this worker knows it."""

    origin: str
    name: str  # as in `EndpointPolicy`
    share: int  # messages under way, at most, that leave room for the other push services
    wildcard: str  # that allows its host; may be empty
    is_made_up: bool  # a stranger may have made up its host, as it never accepted a message
    starts: bool  # nobody knows how many messages it takes
    limit: int = FIRST  # messages under way, at most; grows with each answer
    under_way: int = 0
    fitted_at: float = 0.0  # by the monotonic clock, when its delay was looked at last
    was_full: bool = False  # as many were under way as may be, since then
    answers: int = 0  # since then
    took: float = 0.0  # seconds, all these answers together
    delay: float = math.inf  # seconds, where no message waits there for another; the average
    trial: int = 0  # looks at the delay until it is learned anew
    tried_at: float = 0.0  # by the monotonic clock
    room: int = 0  # at its connections, less the messages started since they were asked
    room_asked: int = -1  # the look for work in which they were asked: see `Health.look_again`
    begun: bool = False  # a message was started since the last `refresh`
    failed_in_a_row: int = 0
    lost_in_a_row: int = 0  # requests that it did not process
    rest: Rest | None = None  # kept after its end, until an answer shows that it is well
    # The latest answers: CREDENTIALS, LIMITED, or nothing for one that shows that it is well.
    last: deque[str] = field(default_factory=lambda: deque(maxlen=policy.LAST_ANSWERS))
    rejected: dict[SubscriptionId, None] = field(default_factory=dict)  # recipients, oldest first
    limited: dict[SubscriptionId, None] = field(default_factory=dict)
    limited_in_a_row: set[SubscriptionId] = field(default_factory=set)
    answered_at: float = 0.0  # by the monotonic clock, as it should
    accepted: int = 0  # messages since it was last asked for tokens, while it starts
    asked_at: float = 0.0  # when the store was asked who was accepted recently (monotonic)
    tokens: int = 0  # messages that its pace allows
    tokens_until: float = 0.0  # by the monotonic clock; then unused tokens are void
    more_at: float = 0.0  # by the monotonic clock, when to ask for more tokens

    @property
    def is_known(self) -> bool:
        """Whether it is known to bear as much as we send."""
        return not (self.starts or self.is_made_up)

    @property
    def rests_for_credentials(self) -> bool:
        """Whether it rests because it rejects our signatures."""
        return self.rest is not None and self.rest.why == CREDENTIALS

    def fit(self, now: float, window: int) -> None:
        """Let it have as many messages under way as its delay needs, of the window at most."""
        passed = now - self.fitted_at
        delay = self.took / max(1, self.answers)
        # Messages that were started together are answered together, a delay later.
        if passed < max(_FIT, 2 * delay):
            return
        if self.answers >= _MEANINGFUL and self.is_known:
            self._fit_to(delay, self.answers / passed, now, window)
        self.fitted_at = now
        self.was_full, self.answers, self.took = False, 0, 0.0

    def _fit_to(self, delay: float, rate: float, now: float, window: int) -> None:
        """Fit its limit to its average delay and to its answers a second."""
        if self.trial:
            self.trial -= 1
            if not self.trial:
                self.delay, self.limit = delay, min(ENOUGH, window)
            return
        self.delay = min(self.delay, delay)
        if not self.was_full or self.limit < ENOUGH:
            return
        needed = int(rate * self.delay * _TO_SPARE)
        self.limit = min(max(needed, ENOUGH), window)
        is_late = needed < ENOUGH and delay > self.delay * _TO_SPARE
        if is_late and now - self.tried_at >= _NEXT_TRIAL * delay:
            self.limit, self.trial, self.tried_at = ENOUGH // 2, _TRIAL, now
