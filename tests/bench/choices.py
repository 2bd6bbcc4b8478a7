"""Checks that an alert is delivered as every reader's preferences require.

It works out the delivery a second time, as simply as possible and without the engine's code: the
time in the reader's zone, whether that is within their quiet hours, and what follows. Held readers
are compared one by one, the others by their number.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from service.local import pretend_readers
from service.model.notifications import LIMIT, PAUSED, QUIET, Audience, Outcome
from service.model.preferences import NO_QUIET, UNLIMITED, Quiet
from workers.bench.figures import Bench, Figure
from workers.bench.installation import TOPICS, BenchInstallation, installation
from workers.trials.push_service import any_sink

_NIGHT: Final = "22:00-07:00"
_ZONES: Final = sorted(zone for zone in available_timezones() if zone.count("/") == 1)
_UNDECIDED: Final = "undecided"
_SEEN = 4096  # readers looked up at once


def _choices(now: float) -> Sequence[Mapping[str, Any]]:
    """Return the preferences that readers choose in turn; half of them keep the defaults."""
    return [
        *[{}] * 4,
        {"quiet": NO_QUIET, "daily_limit": UNLIMITED},
        {"quiet": Quiet.parse("13:15-06:45")},
        {"quiet": NO_QUIET, "paused_until": int(now) + 30 * 86_400},
        {"quiet": NO_QUIET, "daily_limit": 1},
    ]


@dataclass(frozen=True, slots=True)
class _Sent:
    """When an alert was sent. A reader whose state is the same at all `times` had it throughout.

    The engine looks a minute ahead, so that quiet hours are quiet when the push arrives.
    """

    times: tuple[float, ...]

    @classmethod
    def between(cls, first: float, last: float) -> _Sent:
        return cls((first, first + 61, last, last + 61))

    def is_quiet(self, zone: str, quiet: str) -> set[bool]:
        return {_is_quiet(zone, quiet, at) for at in self.times}

    def dates(self, zone: str) -> set[str]:
        return {_clock(zone, at)[:10] for at in self.times}


@lru_cache(maxsize=100_000)
def _clock(zone: str, at: float) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat()


@lru_cache(maxsize=100_000)
def _is_quiet(zone: str, quiet: str, at: float) -> bool:
    start, end = quiet.split("-")
    clock = _clock(zone, at)[11:16]
    return start <= clock < end if start <= end else clock >= start or clock < end


def choices(bench: Bench) -> Iterator[Figure]:
    """Send two alerts to readers in all zones; the second exceeds the limits of one a day."""
    menu = _choices(time.time())

    def choose(number: int) -> pretend_readers.Chosen:
        zone, more = number % len(_ZONES), number // len(_ZONES)
        return _ZONES[zone], menu[more % len(menu)]

    # With one partition a reader's number is that of the subscription.
    settings = {
        "PREPARE_KEYS": "no",
        "QUIET_HOURS": _NIGHT,
        "DAILY_LIMIT": "10",
        "STORE_PARTITIONS": "1",
    }
    with any_sink(bench.folder) as sink, installation(bench, [sink], **settings) as ours:
        ours.seed(bench.recipients, choose=choose)
        with ours.workers(bench.workers):
            began = time.time()
            ours.send("to followers of one topic", audience=Audience(topics=(TOPICS[0],)))
            first = _Sent.between(began, time.time())
            began = time.time()
            run = ours.send("to everyone")
            second = _Sent.between(began, time.time())
        progress = ours.runtime.publishing.progress(run.id)
        counted = [_expected(*choose(n), n, first, second) for n in range(bench.recipients)]
        wrong = _wrongly_held(ours, run.id, counted)
    found = {name: progress.skipped(name) for name in (QUIET, PAUSED, LIMIT)}
    found["accepted"] = progress.of(Outcome.ACCEPTED)
    expected = Counter(counted)
    undecided = expected.pop(_UNDECIDED, 0)
    off = sum(max(0, abs(found[name] - expected[name]) - undecided) for name in found)
    yield Figure(f"readers of {len(_ZONES)} zones: alerted", found["accepted"])
    yield Figure("  held until their quiet hours end", found[QUIET])
    yield Figure("  paused", found[PAUSED])
    yield Figure("  had their one of the day", found[LIMIT])
    yield Figure("otherwise than counted one by one", wrong + off, most=0)
    yield Figure("  not compared: their quarter hour changed", undecided)
    yield Figure("CPU a reader, alerted or not", run.cpu * 1e6, "µs")


def _expected(
    zone: str, chosen: Mapping[str, Any], number: int, first: _Sent, second: _Sent
) -> str:
    """Return what should happen to a reader in the second alert."""
    if "paused_until" in chosen:
        return PAUSED
    quiet = str(chosen["quiet"]) if "quiet" in chosen else _NIGHT
    if len(is_quiet := second.is_quiet(zone, quiet)) > 1:
        return _UNDECIDED
    if True in is_quiet:
        return QUIET
    if chosen.get("daily_limit") == 1 and TOPICS[0] in pretend_readers.follows(number, TOPICS):
        # They have no quiet hours, so the first alert used up their limit if it was the same day.
        return LIMIT if len(first.dates(zone) | second.dates(zone)) == 1 else _UNDECIDED
    return "accepted"


def _wrongly_held(ours: BenchInstallation, id: int, counted: Sequence[str]) -> int:
    """Return how many readers are held and should not be, or are not held and should be."""
    wrong = 0
    for start in range(0, len(counted), _SEEN):
        numbers = range(start, min(start + _SEEN, len(counted)))
        held = ours.runtime.store.held_alerts.of(0, numbers, [id])
        wrong += sum(
            (number in held) is not (counted[number] == QUIET)
            for number in numbers
            if counted[number] != _UNDECIDED
        )
    return wrong
