"""How many workers an alert to everyone needs to keep the newsroom's promise: a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.model.operations.measures import MICRO
from service.model.operations.promises import Promise

# A worker keeps its window full, or its core busy, for about this part of a send. The rest goes by
# while it begins, waits for the last answers of a batch, or waits for a place at a push service.
USED = 0.8
BEGIN = 2.0  # seconds until all workers send, and that the clock may be late
_TELLING = 500  # answers that say something
# Until there were so many: seconds until an answer, and of a core for a message.
_DELAY = 0.1
_COST = 50e-6


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast workers were."""

    answers: int  # of push services
    waited: int  # microseconds from a message to its answer, all of them together
    worked: int  # microseconds of processor time

    def __add__(self, other: Speed) -> Speed:
        """Return both together."""
        return Speed(
            self.answers + other.answers, self.waited + other.waited, self.worked + other.worked
        )

    @property
    def is_known(self) -> bool:
        """Whether it was measured; else the figures below are assumed."""
        return self.answers >= _TELLING

    @property
    def delay(self) -> float:
        """Return the seconds from a message to its answer."""
        return self.waited / self.answers / MICRO if self.is_known else _DELAY

    @property
    def cost(self) -> float:
        """Return the seconds of a core that a message takes."""
        return self.worked / self.answers / MICRO if self.is_known else _COST

    def rate(self, window: int) -> float:
        """Return how many messages a second one worker sends, with a core of its own."""
        return USED * min(1 / max(self.cost, 1e-6), window / max(self.delay, 1e-6))


def workers_needed(readers: int, promise: Promise, window: int, batches: int, speed: Speed) -> int:
    """Return how many workers hand an alert to that share of the readers in that time.

    Not more than there are batches, because each is one worker's, nor less than one.
    """
    messages = math.ceil(readers * promise.share / 100)
    seconds = max(promise.seconds - BEGIN, 1.0)
    needed = math.ceil(messages / (speed.rate(window) * seconds))
    return max(1, min(needed, batches))
