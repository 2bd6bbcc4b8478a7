"""Counts what this process does, and adds it now and then to what all processes have counted.

To count takes no command of Redis, and loses nothing while Redis is away. What a killed process
counted in its last seconds is lost. If an answer of Redis is lost, that part counts twice.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

from service.model.operations.capacity import Speed
from service.model.operations.measures import MICRO, PUSH_ANSWERS, WORKER_CPU, Key, Measure
from service.store.operations.counted import Counted


class Counting:
    """What this process has counted since it began."""

    def __init__(self) -> None:
        self._rows: dict[Key, list[int]] = {}
        self._lock = threading.Lock()  # of `_rows`; web processes have many threads
        self._added: dict[Key, list[int]] = {}  # how much of it all processes' counts contain
        self._adding = threading.Lock()

    def count(self, measure: Measure, *labels: str, times: int = 1) -> None:
        """Count that something happened."""
        key = (measure.name, *labels)
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = [0] * measure.places
            row[0] += times

    def observe(self, measure: Measure, seconds: float, *labels: str, times: int = 1) -> None:
        """Count that something happened, and how long it took each time."""
        key = (measure.name, *labels)
        place = 1 + bisect_left(measure.bounds, seconds)
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = [0] * measure.places
            row[0] += int(seconds * MICRO) * times
            row[place] += times

    def add_to(self, counted: Counted) -> None:
        """Add what is new to what all processes have counted; `RedisError`."""
        with self._adding:
            with self._lock:
                rows = {key: list(row) for key, row in self._rows.items()}
            new = {
                (key, place): number - before
                for key, row in rows.items()
                for place, (number, before) in enumerate(
                    zip(row, self._added.get(key) or [0] * len(row), strict=True)
                )
                if number != before
            }
            if new:
                counted.add(new, _speed(new))
                self._added = rows


def _speed(new: dict[tuple[Key, int], int]) -> Speed:
    """Return how fast this process was as a worker."""
    answers = waited = 0
    for (key, place), number in new.items():
        if key[0] == PUSH_ANSWERS.name and key[2] != NO_ANSWER:
            waited += 0 if place else number
            answers += number if place else 0
    return Speed(answers, waited, new.get(((WORKER_CPU.name,), 0), 0))


NO_ANSWER = "none"
_CLASSES = (NO_ANSWER, "1xx", "2xx", "3xx", "4xx", "5xx")


def status_class(status: int) -> str:
    """Return the class of a push service's status; 0 is none."""
    return _CLASSES[status // 100] if status < 600 else _CLASSES[5]
