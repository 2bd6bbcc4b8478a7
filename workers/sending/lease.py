"""A leased batch: recipients still to try, recipients waiting, results not yet recorded."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.model.delivery_rules import Ruling
from service.model.network.endpoints import SILENT
from service.model.notifications import Batch, Outcome
from service.model.operations.traces import NOT_RECORDED, Span
from service.store.alerts.outcomes import Result
from service.store.layout.records import BUCKET
from service.store.sending.batches import Recent, Retry
from service.store.sending.held_alerts import NOTHING, WaveDelivery
from service.store.sending.newest_first import NewestFirst
from workers.sending import wire
from workers.sending.destinations import Base
from workers.sending.send import Row, Send

# Recipients per bucket, on average, from which on prepared keys are taken. Taking a bucket's keys
# and putting back the rest costs as much as deriving seven keys (measured).
WORTHWHILE = 8


@dataclass(slots=True)
class Wait:
    """A recipient who waits after a failed attempt."""

    base: int
    attempts: int  # that failed so far
    until: float  # by the monotonic clock; they may be tried again then
    is_over: bool = False  # they may be tried again now


@dataclass(slots=True)
class Lease:
    """A batch that this worker holds, and what became of its recipients so far."""

    send: Send
    batch: Batch
    owner: str  # names this claim in the store
    until: float  # by the monotonic clock; later another worker may have the batch
    todo: deque[int]  # recipients whose records are still to be read
    sparse: bool  # so few recipients in each bucket that prepared keys are not taken
    # Origins that had a pace when the batch was claimed. During the lease their recipients are in
    # the batch `Recent` and in no other.
    paced: frozenset[str]
    undone: int  # recipients without an outcome, as far as this worker knows
    newest: NewestFirst | None = None  # finds the recipients, if the batch is `Recent`
    left: bool = False  # some recipients were left to `Recent`
    waits: dict[int, Wait] = field(default_factory=dict)  # by recipient
    wake_at: float = math.inf  # by the monotonic clock, when the first of them may be tried again
    # By base, until when its push service rests, in seconds since 1970, and its recipients wait.
    resting: dict[int, float] = field(default_factory=dict)
    small: set[int] = field(default_factory=set)  # recipients who get a smaller message
    ready: deque[Row] = field(default_factory=deque)  # recipients admitted and not started yet
    # By base, admitted recipients whose push service had no room.
    held_back: dict[int, deque[Row]] = field(default_factory=dict)
    # By bucket and recipient, prepared keys that were taken and not used yet.
    keys: dict[int, dict[int, wire.PreparedKey]] = field(default_factory=dict)
    results: dict[Result, list[int]] = field(default_factory=dict)  # not recorded yet
    unrecorded: int = 0  # recipients in `results`
    recorded_at: float = 0.0  # by the monotonic clock
    find_at: float = 0.0  # by the monotonic clock, when to ask `newest` again
    under_way: int = 0  # messages
    begun: bool = False  # making messages for it has begun
    later: float = math.inf  # when the first recipient may get it who waits for a local time
    counted: dict[int, int] = field(default_factory=dict)  # by recipient, the date it counts for
    uncounted: dict[int, list[int]] = field(default_factory=dict)  # by date, counts to take back
    receipts: dict[int, str] = field(default_factory=dict)  # by recipient, the token for reports
    held: dict[int, list[int]] = field(default_factory=dict)  # in a wave, by recipient, held alerts
    lost: bool = False  # another worker may have the batch
    outdated: bool = False  # other origins have a pace than when it was claimed
    span: Span = NOT_RECORDED
    messages: int = 0  # begun
    recorded: Counter[Outcome] = field(default_factory=Counter)

    @property
    def unfinished(self) -> bool:
        """Whether it has recipients that were not tried yet and need not wait."""
        more = self.newest is not None and not self.newest.over
        return more or bool(self.todo or self.ready or self.held_back or self.may_wake)

    @property
    def may_find_more(self) -> bool:
        """Whether to ask `newest` for more recipients now."""
        if self.newest is None or self.newest.over or self.todo or self.ready or self.held_back:
            return False
        settled = not (self.under_way or self.unrecorded)
        return time.monotonic() >= self.find_at and (settled or not self.newest.on_last_stretch)

    @property
    def may_wake(self) -> bool:
        """Whether some recipients may be tried again now."""
        return self.wake_at < math.inf and self.newest is None and time.monotonic() >= self.wake_at

    @property
    def going_on(self) -> bool:
        """Whether more messages of it may be started."""
        return self.unfinished and not self.lost and not self.outdated and self.send.going_on

    def note(
        self,
        number: int,
        outcome: Outcome,
        base: Base | None,
        revision: int | None = None,
        delivery: WaveDelivery = NOTHING,
        *,
        text: str = "",
        answered: bool = True,
        is_dead: bool = False,
    ) -> None:
        """Keep a recipient's outcome until it is recorded.

        Without an answer it must not lower the share of answers that say "gone". `is_dead`: there
        is no answer because the push service was asked again and again and gave none. `text`: which
        of two texts was accepted in the sample.
        """
        name, asked = (base.service.name, base.number if answered else 0) if base else ("", 0)
        in_vain = (
            outcome is Outcome.REFUSED
            and base is not None
            and base.service.is_made_up
            and (answered or is_dead)
        )
        result = Result(outcome, name, asked, revision, delivery=delivery, in_vain=in_vain)
        if text:
            result = result._replace(text=text, silent=name == SILENT)
        self._keep(result, number)

    def pass_over(self, number: int, ruling: Ruling) -> bool:
        """Keep why a recipient gets no message until it is recorded; False if they get one."""
        if ruling.outcome is None:
            return False
        # The alerts of a wave are held already; only the time when the reader wakes changes.
        is_held = bool(ruling.wakes) and self.send.digest is None
        result = Result(ruling.outcome, ruling.why, 0, wakes=ruling.wakes, is_held=is_held)
        self._keep(result, number)
        return True

    def _keep(self, result: Result, number: int) -> None:
        self.results.setdefault(result, []).append(number)
        self.unrecorded += 1
        self.undone -= 1
        self.receipts.pop(number, None)
        self.held.pop(number, None)
        if self.waits:
            self.waits.pop(number, None)
        if result.outcome is Outcome.ACCEPTED:
            self.counted.pop(number, None)
        else:
            self.take_back(number)

    def forget_results(self) -> None:
        """Forget what is recorded by now, but for the numbers."""
        for result, numbers in self.results.items():
            self.recorded[result.outcome] += len(numbers)
        self.results, self.unrecorded = {}, 0

    def end_span(self, *, done: bool) -> None:
        """Record what became of this lease; `done`: nobody in the batch is left to try."""
        self.span.note({f"stoppress.{one.value}": n for one, n in self.recorded.items()})
        self.span.note({"stoppress.batch": str(self.batch)})
        self.span.note({"stoppress.partition": self.batch.partition})
        self.span.note({"stoppress.messages": self.messages, "stoppress.done": int(done)})
        self.span.end()

    def take_back(self, number: int) -> None:
        """Stop counting the alert against this reader's day."""
        if (date := self.counted.pop(number, None)) is not None:
            self.uncounted.setdefault(date, []).append(number)

    def rest(self, base: int, until: float) -> None:
        """Let recipients at `base` without outcome wait until then, in seconds since 1970."""
        self.resting[base] = max(self.resting.get(base, 0.0), until)

    def wait(self, number: int, base: int, attempts: int, seconds: float) -> None:
        """Let one recipient wait after so many failed attempts at `base`."""
        until = time.monotonic() + seconds
        self.waits[number] = Wait(base, attempts, until)
        self.wake_at = min(self.wake_at, until)

    def keep_waiting(self, retries: Mapping[int, Retry]) -> None:
        """Let recipients of a batch just claimed wait who had failed attempts before."""
        now = time.monotonic()
        pending = set(self.todo)
        for number, (base, attempts, in_ms) in retries.items():
            if number in pending or isinstance(self.batch, Recent):
                self.waits[number] = Wait(base, attempts, now + in_ms / 1000, in_ms <= 0)
                if in_ms > 0:
                    self.wake_at = min(self.wake_at, now + in_ms / 1000)
        self.todo = deque(number for number in self.todo if not self.waiting(number))

    def waiting(self, number: int) -> bool:
        """Whether a recipient waits for another attempt."""
        wait = self.waits.get(number)
        return wait is not None and not wait.is_over

    def wake(self) -> None:
        """Try those recipients again whose wait is over.

        In `Recent` they are tried in the next lease, because `newest` may yet find them by itself.
        """
        now = time.monotonic()
        self.wake_at = math.inf
        for number, wait in self.waits.items():
            if wait.is_over:
                continue
            if wait.until <= now:
                wait.is_over = True
                self.todo.append(number)
            else:
                self.wake_at = min(self.wake_at, wait.until)

    def retries(self) -> dict[int, Retry]:
        """Return by recipient how many attempts failed, and when to try again."""
        now = time.monotonic()
        return {
            number: Retry(wait.base, wait.attempts, max(0, int((wait.until - now) * 1000)))
            for number, wait in self.waits.items()
        }

    def attempts(self, number: int) -> int:
        """Return how many attempts failed for a recipient."""
        wait = self.waits.get(number)
        return wait.attempts if wait is not None else 0


def is_sparse(numbers: Sequence[int]) -> bool:
    """Whether a batch has so few recipients per bucket that taking keys costs too much."""
    return len(numbers) <= WORTHWHILE * len({number // BUCKET for number in numbers})
