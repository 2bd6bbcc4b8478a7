"""The question whether a reader wants alerts: how often it was asked, and how far that went."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone

from service.model import clock
from service.store import Store
from service.store.questions import Asked

# The panel was shown, its “Yes” was pressed, and the browser is subscribed.
STEPS = ("shown", "yes", "subscribed")
_LONGEST = 60  # characters of a page's name


class Questions:
    """The questions of one installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, step: str, path: str) -> None:
        """Count a step of a question on the page with this path."""
        today = datetime.fromtimestamp(clock.time(), timezone.utc).date()
        self._store.questions.count(_number(today), Asked(step, part_of_site(path)))

    def between(self, last: date, days: int) -> dict[str, Counter[str]]:
        """Return how often each step was reached, by page, on so many days up to `last`."""
        dates = [_number(last - timedelta(ago)) for ago in range(days)]
        found: dict[str, Counter[str]] = {}
        for counts in self._store.questions.days(dates):
            for (step, page), n in counts.items():
                found.setdefault(page, Counter())[step] += n
        return found


def part_of_site(path: str) -> str:
    """Return the first part of a path, which names a section on most sites: `/sport`."""
    first = path.lstrip("/").partition("/")[0]
    return f"/{first[:_LONGEST]}"


def _number(day: date) -> int:
    return int(f"{day:%Y%m%d}")
