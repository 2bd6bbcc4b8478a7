"""A hostile feed cannot make the clock compare titles for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from difflib import Match, SequenceMatcher
from random import Random
from typing import Any

import pytest

from service.model.newsroom import feed_forms
from service.model.newsroom.feed_forms import (
    MOST_WORK,
    Form,
    Remembered,
    Titles,
    page_of,
    recognise,
    words_in_order,
)
from service.model.newsroom.feeds import FeedItem
from tests.support.newsroom.feed_looks import NEW, PAPER, Watched, item

WORDS = ["ferry", "harbour", "budget", "storm", "coast", "mayor", "school", "bridge", "river"]
MOST = 2_000_000  # letters, or pairs of equal letters, of one reading


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the pairs of equal letters that each search of difflib goes through."""
    found: list[int] = []
    real: Callable[..., Match] = SequenceMatcher.find_longest_match

    def counted(self: Any, alo: int, ahi: int, blo: int, bhi: int) -> Match:
        found.append(sum(self.b.count(one) for one in self.a[alo:ahi]))
        return real(self, alo, ahi, blo, bhi)

    monkeypatch.setattr(SequenceMatcher, "find_longest_match", counted)
    return found


def twenty_to_a_date(name: str, title: Callable[[int], str]) -> list[FeedItem]:
    """Return 200 items without a common id or link."""
    return [item(f"{name}{n}", 1 + n // 20 / 4, title=title(n)) for n in range(200)]


@pytest.mark.parametrize("letters", ["ab", "aaaaaaaab", "ab "])
def test_hostile_titles_of_one_time_are_compared_so_long_only(
    letters: str, compared: list[int]
) -> None:
    random = Random(1)
    feed = Watched()

    def title(_: int) -> str:
        return "".join(random.choices(letters, k=200))

    feed.look(twenty_to_a_date("old", title), 0)
    alerted = feed.look(twenty_to_a_date("new", title))
    assert sum(compared) <= MOST
    assert len(alerted) < 5  # in doubt they were known


def test_hostile_entries_with_one_id_are_compared_so_long_only(compared: list[int]) -> None:
    random = Random(1)
    titles = ["".join(random.sample("ab" * 100, 200)) for _ in range(500)]
    feed = Watched()
    feed.look([], 0)
    alerted = feed.look([replace(NEW, title=one) for one in titles])
    assert sum(compared) <= MOST
    assert alerted == titles[:1]


def test_letters_of_hostile_titles_are_counted_so_long_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = Random(1)
    letters = [chr(0x4E00 + n) for n in range(2000)]  # Chinese: few titles have the same
    counted: list[int] = []

    class Counted(Counter[str]):
        def __init__(self, title: str = "") -> None:
            counted.append(len(title))
            super().__init__(title)

    def forms(n: int, many: int) -> list[Form]:
        titles = ["".join(random.choices(letters, k=200)) for _ in range(many)]
        return [Form(one, f"{PAPER}/{one}", one, n // 20) for one in titles]

    monkeypatch.setattr(feed_forms, "Counter", Counted)
    known = [Remembered(f"{n}", forms(n, 10), was_there=True) for n in range(200)]
    recognise(known, [form for n in range(200) for form in forms(n, 1)])
    assert MOST / 2 < sum(counted) <= MOST


def test_one_pair_of_titles_is_not_compared_beyond_the_bound(compared: list[int]) -> None:
    titles = Titles()
    titles.work = MOST_WORK - 1000
    assert titles.nearly_same("ab" * 100, "ba" * 100)
    assert sum(compared) <= 1000


@pytest.mark.parametrize("forms", [1, 10])
def test_a_site_that_changes_everything_is_within_the_bound(forms: int) -> None:
    random = Random(1)
    titles = [" ".join(random.choices(WORDS, k=12)) for _ in range(200)]
    feed = Watched()
    for form in range(forms):  # each reading has ids and links of its own
        feed.look(twenty_to_a_date(f"old{form}.", titles.__getitem__), 5 if form else 0)
    corrected = twenty_to_a_date("c", lambda n: f"{titles[n][:20]}x{titles[n][21:]}")
    # The last item gives way to a new one of the same time.
    new = item("new", 1 + 9 / 4, title="Zoo opens its gates again to young visitors")
    assert feed.look([*corrected[:-1], new]) == [new.title]
    assert len(feed.known) == 201


def test_a_link_of_a_thousand_parameters_is_not_taken_apart() -> None:
    link = f"{PAPER}/a?" + "&".join(["a="] * 1000)
    assert page_of(link) == link


def test_a_title_whose_letters_become_many_is_cut() -> None:
    assert len(words_in_order("\ufdfa" * 200)) <= 1000  # each is four Arabic words
    korean = "한국" * 100
    assert words_in_order(korean) == korean
