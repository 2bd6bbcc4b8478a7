"""What processes count as it happens: names, labels and bounds, as Prometheus shows them.

The names follow Prometheus' conventions, without the prefix `stoppress_`. The values of labels are
few: names of push services, status codes, and routes as the code has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

# A measure's name, and the values of its labels.
Key: TypeAlias = tuple[str, ...]

# Beside the measures: how many subscriptions had ended when Redis started, by why.
ENDED_BEFORE = "ended_before"
MICRO = 1_000_000  # times are counted in whole microseconds, because sums of floats drift


@dataclass(frozen=True, slots=True)
class Measure:
    """One counter, or with `bounds` one histogram of seconds."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # upper ones, in seconds; the last, +Inf, is left out
    # Values of labels that show 0 before anything is counted: the first count of a series that was
    # not there before is no increase to Prometheus.
    known: tuple[Key, ...] = ()
    is_time: bool = False  # a counter of seconds

    @property
    def places(self) -> int:
        """How many numbers are kept: of a histogram the sum, and how many are in each bucket."""
        return len(self.bounds) + 2 if self.bounds else 1


@dataclass(slots=True)
class Histogram:
    """What a histogram says: how many are up to each of its bounds, the last of which is +Inf."""

    seconds: float  # all together
    up_to: list[int]

    @classmethod
    def of(cls, row: list[int]) -> Histogram:
        """Read what was kept of it."""
        return cls(row[0] / MICRO, list(accumulate(row[1:])))


_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

PUSH_ANSWERS = Measure(
    "push_answer_seconds",
    "Time until a push service answered a message, by status class; none: no answer came.",
    ("service", "status"),
    _FAST,
)
PUSH_RETRIES = Measure(
    "push_retries",
    "Messages that are tried again, by push service and why: it limits us, it failed or did not"
    " answer, it rejects our signature, it was not processed, or it called a new browser gone.",
    ("service", "why"),
)
CHECKPOINTS = Measure(
    "checkpoint_seconds", "Time in which Redis recorded outcomes of a worker.", (), _FAST
)
WORKER_CPU = Measure(
    "worker_cpu_seconds", "Processor time of workers while they send.", is_time=True
)
HTTP_REQUESTS = Measure(
    "http_request_seconds",
    "Time until web processes had a response, by method, route and status; none: no such route.",
    ("method", "route", "status"),
    _FAST[:-1],
)
ALERTS_ENDED = Measure(
    "alerts_ended",
    "Alerts that are over.",
    ("state",),
    known=(("sent",), ("cancelled",), ("expired",)),
)
ALERT_TIMES = Measure(
    "alert_seconds",
    "Time from an alert's beginning until push services had accepted it for 50 % and 90 % of the"
    " browsers that can get it, and until nothing was left to send (all).",
    ("share",),
    _SLOW,
    known=(("50",), ("90",), ("all",)),
)
PROMISES = Measure(
    "promises",
    "Alerts that are over, by whether they kept the newsroom's promise (PROMISE).",
    ("kept",),
    known=(("yes",), ("no",)),
)

PUBLISH_TO_SCREEN = Measure(
    "publish_to_screen_seconds",
    "Time from an alert's beginning until it was on a screen, by the browsers that report it.",
    (),
    (*_SLOW, 3600.0, 14_400.0),
)
SCREEN_PROMISES = Measure(
    "screen_promises",
    "Alerts by whether they kept the promise (PROMISE) on the screens of browsers that were awake.",
    ("kept",),
    known=(("yes",), ("no",)),
)

MEASURES = {one.name: one for one in tuple(globals().values()) if isinstance(one, Measure)}
