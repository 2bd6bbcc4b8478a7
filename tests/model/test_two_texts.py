"""Two texts: who gets which, and whether their difference is more than chance."""

from __future__ import annotations

import random

import pytest

from service.model.two_texts import (
    LEAST_CLICKS,
    Decision,
    Tried,
    better,
    chance,
    outside_sample,
    sample_shares,
    text_of,
)


@pytest.mark.parametrize("percent", [2, 10, 50])
def test_every_reader_is_in_exactly_one_part_and_the_parts_have_their_size(percent: int) -> None:
    readers = 20_000
    given = [text_of(7, 3, number, percent) for number in range(readers)]
    audience = b"\xff" * (readers // 8)
    rest = outside_sample(7, 3, audience, percent)
    bits = "".join(f"{byte:08b}" for byte in rest)
    assert [bit == "1" for bit in bits] == [text == "" for text in given]
    share = sample_shares(percent)
    assert share == pytest.approx(percent / 200, abs=1 / 512)
    for text in ("A", "B"):
        deviation = (readers * share * (1 - share)) ** 0.5
        assert abs(given.count(text) - readers * share) < 4 * deviation


def test_only_readers_of_the_audience_are_in_the_rest_whatever_its_length() -> None:
    for length in (0, 1, 31, 32, 33, 95):
        audience = random.Random(length).randbytes(length)
        rest = outside_sample(1, 0, audience, 20)
        assert len(rest) == length
        assert all(one & ~other == 0 for one, other in zip(rest, audience, strict=True))


def test_another_alert_and_another_partition_have_another_sample() -> None:
    samples = {
        (alert, partition): [text_of(alert, partition, number, 10) for number in range(2000)]
        for alert in (1, 2)
        for partition in (0, 1)
    }
    assert len(set(map(tuple, samples.values()))) == 4
    both = sum(bool(a and b) for a, b in zip(samples[1, 0], samples[2, 0], strict=True))
    assert both < 60, "the same readers would be asked again and again"


# The values are those of scipy 1.17: `chi2_contingency(table, correction=False)`. Its statistic is
# the square of this one.
@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        (Tried(1000, 30), Tried(1000, 45), 0.077485),
        (Tried(200, 15), Tried(300, 30), 0.338593),
        (Tried(5000, 150), Tried(5000, 200), 0.006515),
        (Tried(100, 10), Tried(100, 10), 1.0),
        (Tried(226, 9), Tried(242, 22), 0.026380),
    ],
    ids=str,
)
def test_chance_is_that_of_the_test_of_two_proportions(a: Tried, b: Tried, p: float) -> None:
    assert chance((a, b)) == pytest.approx(p, abs=0.000001)
    assert chance((b, a)) == pytest.approx(p, abs=0.000001)


def test_chance_makes_a_difference_as_often_as_it_says() -> None:
    draw = random.Random(1)
    tests = 1000
    rare = 0
    for _ in range(tests):
        a, b = (Tried(400, sum(draw.random() < 0.06 for _ in range(400))) for _ in range(2))
        found = chance((a, b))
        rare += found is not None and found <= 0.05
    assert 0.03 < rare / tests < 0.07


def test_counting_that_is_not_exact_makes_chance_likelier() -> None:
    tried = (Tried(1_000_000, 40_000), Tried(1_000_000, 40_700))
    exact, counted = chance(tried), chance(tried, counting_error=0.0081)
    assert exact is not None and exact < 0.02
    assert counted is not None and counted > 0.1


def test_nothing_is_compared_where_nothing_was_reported() -> None:
    assert chance((Tried(), Tried())) is None
    assert chance((Tried(100, 0), Tried(100, 0))) is None
    assert chance((Tried(0, 0, 50), Tried(0, 0, 50))) is None
    assert chance((Tried(10, 10), Tried(10, 10))) == 1.0
    assert Tried(10, 12).share == 1.0


def test_the_better_text_is_that_with_more_clicks_for_its_readers_and_else_the_first() -> None:
    few = LEAST_CLICKS // 2
    assert better((Tried(200, few), Tried(100, few))) == "B"
    assert better((Tried(100, few), Tried(200, few))) == "A"
    assert better((Tried(100, few), Tried(100, few))) == "A"
    assert better((Tried(100, 0), Tried(100, LEAST_CLICKS - 1))) == "A"
    assert better((Tried(100, 0), Tried(100, LEAST_CLICKS))) == "B"
    assert better((Tried(0, 0), Tried(100, 50))) == "A"


def test_a_decision_is_read_as_it_was_written_and_without_what_a_newer_release_adds() -> None:
    one = Decision("B", 12.5, "nora@paper.example", (Tried(100, 3, 4), Tried(90, 5, 6)))
    newer = one.as_json() | {"reason": "better", "tried": [[*row, 7] for row in one.tried]}
    assert Decision.from_json(one.as_json()) == Decision.from_json(newer) == one
