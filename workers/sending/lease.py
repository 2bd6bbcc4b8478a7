"""A leased batch: recipients still to try, recipients waiting, results not yet recorded."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.model.delivery_rules import Ruling
from service.model.notifications import Batch, Outcome
from service.store.batches import Retry
from service.store.held_alerts import NOTHING, WaveDelivery
from service.store.newest_first import NewestFirst
from service.store.outcomes import Result
from service.store.records import BUCKET
from workers.sending import wire
from workers.sending.destinations import Base
from workers.sending.send import Row, Send

# Recipients per bucket, on average, from which on prepared keys are taken. Taking a bucket's keys
# and putting back the rest costs as much as deriving seven keys (measured).
WORTHWHILE = 8


@dataclass(slots=True)
class Lease:
    """A batch that this worker holds, and what became of its recipients so far."""

    send: Send
    batch: Batch
    owner: str  # names this claim in the store
    until: float  # by the monotonic clock; later another worker may have the batch
    todo: deque[int]  # recipients whose records are still to be read
    sparse: bool  # so few recipients in each bucket that prepared keys are not taken
    earlier: dict[int, Retry]  # by base, attempts that failed before this lease
    # Origins that had a pace when the batch was claimed. During the lease their recipients are in
    # the batch `Recent` and in no other.
    paced: frozenset[str]
    undone: int  # recipients without an outcome, as far as this worker knows
    newest: NewestFirst | None = None  # finds the recipients, if the batch is `Recent`
    left: bool = False  # some recipients were left to `Recent`
    # By base, when its waiting recipients may be tried again, in seconds since 1970.
    again: dict[int, float] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)  # bases at which an attempt failed since the claim
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

    @property
    def unfinished(self) -> bool:
        """Whether it has recipients that were not tried yet and need not wait."""
        more = self.newest is not None and not self.newest.over
        return more or bool(self.todo or self.ready or self.held_back)

    @property
    def may_find_more(self) -> bool:
        """Whether to ask `newest` for more recipients now."""
        if self.newest is None or self.newest.over or self.todo or self.ready or self.held_back:
            return False
        settled = not (self.under_way or self.unrecorded)
        return time.monotonic() >= self.find_at and (settled or not self.newest.on_last_stretch)

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
    ) -> None:
        """Keep a recipient's outcome until it is recorded."""
        name, asked = (base.service.name, base.number) if base else ("", 0)
        if outcome is Outcome.EXPIRED:
            asked = 0  # no answer came: it must not lower the share of answers that say "gone"
        self._keep(Result(outcome, name, asked, revision, delivery=delivery), number)

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
        if result.outcome is Outcome.ACCEPTED:
            self.counted.pop(number, None)
        else:
            self.take_back(number)

    def take_back(self, number: int) -> None:
        """Stop counting the alert against this reader's day."""
        if (date := self.counted.pop(number, None)) is not None:
            self.uncounted.setdefault(date, []).append(number)

    def wait(self, base: int, until: float) -> None:
        """Let recipients at `base` without outcome wait until then, in seconds since 1970."""
        self.again[base] = max(self.again.get(base, 0.0), until)

    def retries(self) -> dict[int, Retry]:
        """Return for each base with waiting recipients how often it failed, and when to retry."""
        return {
            base: Retry(self.attempts(base) + (base in self.tried), int(at * 1000))
            for base, at in self.again.items()
        }

    def attempts(self, base: int) -> int:
        """Return how many attempts at `base` failed before this lease."""
        earlier = self.earlier.get(base)
        return earlier.attempts if earlier is not None else 0


def is_sparse(numbers: Sequence[int]) -> bool:
    """Whether a batch has so few recipients per bucket that taking keys costs too much."""
    return len(numbers) <= WORTHWHILE * len({number // BUCKET for number in numbers})
