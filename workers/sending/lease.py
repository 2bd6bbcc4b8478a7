"""A batch that a worker holds: who of it is still to be tried, who waits, and what came of it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.model.delivery_rules import Ruling
from service.model.notifications import Batch, Outcome
from service.model.subscriptions import Record
from service.store.batches import Retry
from service.store.held_alerts import NOTHING, Brought
from service.store.newest_first import NewestFirst
from service.store.outcomes import Result
from service.store.records import BUCKET
from workers.sending import wire
from workers.sending.send import Base, Send

# Recipients in a bucket, on average, from which on its prepared keys are taken: taking them, and
# putting back what is left over, costs as much as deriving seven (measured).
WORTHWHILE = 8


@dataclass(slots=True)
class Lease:
    """A batch this worker holds, and what has become of it so far. `until` is monotonic.

    `again` has for each base at which somebody must be tried again the time when, in seconds since
    1970, and `tried` whether somebody there was tried in vain since the batch was claimed.
    `paced` are the origins that had a pace when it was claimed: their recipients are in the batch
    `Recent` and in no other, for as long as the lease lasts. `left` says that there are some,
    `newest` finds them. `begun`: somebody in it was tried. `later`: when it is time for the first
    of those whose clock does not say so yet. `counted` are those who were counted for a date,
    `uncounted` those to take back; `receipts` is what each browser reports with; `held` has, in a
    wave, which notifications are held for whom. `undone`: how many in it have no outcome, as far as
    this worker knows.
    """

    send: Send
    batch: Batch
    owner: str
    until: float
    todo: deque[int]
    sparse: bool
    earlier: dict[int, Retry]
    paced: frozenset[str]
    undone: int
    newest: NewestFirst | None = None
    left: bool = False
    again: dict[int, float] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)
    ready: deque[tuple[int, Record]] = field(default_factory=deque)
    held_back: dict[int, deque[tuple[int, Record]]] = field(default_factory=dict)
    keys: dict[int, dict[int, wire.PreparedKey]] = field(default_factory=dict)
    results: dict[Result, list[int]] = field(default_factory=dict)
    unrecorded: int = 0
    recorded_at: float = 0.0
    find_at: float = 0.0
    under_way: int = 0
    begun: bool = False
    later: float = math.inf
    counted: dict[int, int] = field(default_factory=dict)
    uncounted: dict[int, list[int]] = field(default_factory=dict)
    receipts: dict[int, str] = field(default_factory=dict)
    held: dict[int, list[int]] = field(default_factory=dict)
    lost: bool = False
    outdated: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether somebody in it was not tried yet, and need not wait."""
        more = self.newest is not None and not self.newest.over
        return more or bool(self.todo or self.ready or self.held_back)

    @property
    def may_find_more(self) -> bool:
        """Whether it is time to look for more of `Recent`."""
        if self.newest is None or self.newest.over or self.todo or self.ready or self.held_back:
            return False
        settled = not (self.under_way or self.unrecorded)
        return time.monotonic() >= self.find_at and (settled or not self.newest.on_last_stretch)

    @property
    def going_on(self) -> bool:
        """Whether more of it may be started."""
        return self.unfinished and not self.lost and not self.outdated and self.send.going_on

    def note(
        self,
        number: int,
        outcome: Outcome,
        base: Base | None,
        revision: int | None = None,
        brought: Brought = NOTHING,
    ) -> None:
        """Keep an outcome until it is recorded."""
        name, asked = (base.service.name, base.number) if base else ("", 0)
        if outcome is Outcome.EXPIRED:
            asked = 0  # no answer: it must not make the share of those called gone look smaller
        self._keep(Result(outcome, name, asked, revision, brought=brought), number)

    def pass_over(self, number: int, ruling: Ruling) -> bool:
        """Keep why a reader is not sent it, until that is recorded; False where they are."""
        if ruling.outcome is None:
            return False
        # What a wave brings is held already: only when its reader wakes is another time.
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
        """Let a message that was counted for its reader's day not count."""
        if (date := self.counted.pop(number, None)) is not None:
            self.uncounted.setdefault(date, []).append(number)

    def wait(self, base: int, until: float) -> None:
        """Let those at `base` who had no outcome yet wait until then, in seconds since 1970."""
        self.again[base] = max(self.again.get(base, 0.0), until)

    def retries(self) -> dict[int, Retry]:
        """Return for each base at which somebody waits how often it was tried, and until when."""
        return {
            base: Retry(self.attempts(base) + (base in self.tried), int(at * 1000))
            for base, at in self.again.items()
        }

    def attempts(self, base: int) -> int:
        """Return how often recipients at `base` were tried in vain before this lease."""
        earlier = self.earlier.get(base)
        return earlier.attempts if earlier is not None else 0


def is_sparse(numbers: Sequence[int]) -> bool:
    """Whether so few of each bucket are in a batch that taking prepared keys costs too much."""
    return len(numbers) <= WORTHWHILE * len({number // BUCKET for number in numbers})
