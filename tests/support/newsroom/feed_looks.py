"""A feed that is looked at again and again, and items for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.model.newsroom.feed_items import Decided, KnownItem, LeftOut, decide
from service.model.newsroom.feeds import FeedItem, FeedReading, FeedRules

HOUR, DAY = 3600.0, 86400.0
START = 1_700_000_000.0  # of the clock
PAPER = "https://paper.example"
NO_LIMITS = FeedRules(name="Paper", most_per_hour=0, most_per_day=0)


TITLES = {
    "A": "Ferry runs aground in the harbour",
    "B": "Parliament votes on the budget",
    "C": "Storm warning for the whole coast",
    "new": "Mayor of Kiel resigns",
}


def item(name: str, age: float | None = 2, **more: Any) -> FeedItem:
    """Return an item that was published so many hours before START."""
    made = FeedItem(
        guid=f"id-{name}",
        link=f"{PAPER}/{name}",
        title=TITLES.get(name) or f"All that is known of {name}",
        published=None if age is None else START - age * HOUR,
    )
    return replace(made, **more)


@dataclass
class Watched:
    """A feed that is looked at, as the clock does it."""

    rules: FeedRules = NO_LIMITS
    now: float = START
    known: tuple[KnownItem, ...] = ()
    last_read: float | None = None
    alerted: list[float] = field(default_factory=list)
    decided: Decided = field(default_factory=lambda: Decided((), ()))

    def look(self, items: Sequence[FeedItem], minutes: float = 5) -> list[str]:
        """Return the titles that are alerted some minutes after the last look."""
        self.now += 60 * minutes
        self.decided = decide(
            self.known,
            FeedReading(PAPER, 200, items=tuple(items)),
            self.rules,
            now=self.now,
            alerted=self.alerted,
            last_read=self.last_read,
        )
        # As it is stored and read.
        self.known = tuple(KnownItem.from_json(one.as_json()) for one in self.decided.known)
        self.last_read = self.now
        sent = [one for one in self.decided.decisions if one.left_out is None]
        self.alerted += [self.now] * len(sent)
        return [one.item.title for one in sent]

    def reasons(self) -> list[LeftOut]:
        return [one.left_out for one in self.decided.decisions if one.left_out]


A, B, C = item("A", 3), item("B", 2), item("C", 1)
NEW = item("new", 0)
OLD = [C, B, A]


def all_of(**more: Any) -> list[FeedItem]:
    return [replace(one, **more) for one in OLD]


def many(start: str, **more: Any) -> list[FeedItem]:
    return [item(f"{start}{n}", 24 + n, **more) for n in range(50)]
