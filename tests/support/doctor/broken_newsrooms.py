"""A table of what is broken in a newsroom, and of all that the doctor then says."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.doctor.whole_newsroom import Newsroom

Breaks = Callable[[Newsroom], object]


class Table:
    """Its rows are functions that break one thing of a newsroom where all is well.

    All that the doctor then finds is in the row, sentence by sentence; `…` stands for what differs
    from run to run.
    """

    def __init__(self, *, with_page: bool = False) -> None:
        self.breaks: dict[str, tuple[Breaks, tuple[str, ...]]] = {}
        self._with_page = with_page

    def __call__(self, *sentences: str) -> Callable[[Breaks], None]:
        """Add a row: what the function breaks is found, and said in these sentences."""

        def add(breaks: Breaks) -> None:
            self.breaks[breaks.__name__] = (breaks, sentences)

        return add

    def check(self, newsroom: Newsroom, name: str) -> None:
        """Break what a row breaks, and compare."""
        breaks, sentences = self.breaks[name]
        breaks(newsroom)
        told = newsroom.found(with_page=self._with_page)
        expected = [
            one.format(ours=newsroom.ours, paper=newsroom.paper.origin) for one in sentences
        ]
        patterns = [".*".join(map(re.escape, one.split("…"))) for one in expected]
        fits = len(told) == len(patterns) and all(map(re.fullmatch, patterns, told))
        assert fits, "\n".join(["The doctor says", *told, "and not", *expected])
