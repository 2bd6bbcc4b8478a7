"""The question whether a reader wants alerts: how often it was asked, and how far that went."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from unicodedata import category
from urllib.parse import unquote

from service.model.time import clock
from service.store import Store
from service.store.readers.questions import OTHERS, Asked
from service.store.readers.questions import STEPS as STEPS

_LONGEST = 40  # characters of a section's name
# Runs of digits, or of digits in hex, which may be the number of a reader, an order or a phone.
_LONG_NUMBER = re.compile(r"\d{5}|[0-9a-f]{8}", re.I)


class Questions:
    """The questions of one installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, step: str, path: str, admit: Callable[[], bool] = lambda: True) -> None:
        """Count a step of a question on the page with this path.

        `admit` is asked whether a section that is new on this day gets a row of its own.
        """
        today = _number(datetime.fromtimestamp(clock.time(), timezone.utc).date())
        asked, counts = Asked(step, part_of_site(path)), self._store.questions
        if asked.page != OTHERS and not counts.has(today, asked) and not admit():
            asked = Asked(step, OTHERS)
        counts.count(today, asked)

    def between(self, last: date, days: int) -> dict[str, Counter[str]]:
        """Return how often each step was reached, by page, on so many days up to `last`."""
        dates = [_number(last - timedelta(ago)) for ago in range(days)]
        found: dict[str, Counter[str]] = {}
        for counts in self._store.questions.days(dates):
            for (step, page), n in counts.items():
                found.setdefault(page, Counter())[step] += n
        return found


def part_of_site(path: str) -> str:
    """Return the first part of a path, which names a section on most sites: `/sport`.

    `OTHERS` for a name as no section has it: it may stand for a reader, and it may be made up.
    """
    first = unquote(path.lstrip("/").partition("/")[0])
    is_name = all(one.isalnum() or one in "_.~-" or category(one)[0] == "M" for one in first)
    if len(first) > _LONGEST or not is_name or _LONG_NUMBER.search(first):
        return OTHERS
    return f"/{first}"


def _number(day: date) -> int:
    return int(f"{day:%Y%m%d}")
