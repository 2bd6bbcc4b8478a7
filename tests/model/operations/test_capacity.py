"""How many workers an alert to everyone needs."""

from __future__ import annotations

import pytest

from service.model.operations.capacity import BEGIN, USED, Speed, workers_needed
from service.model.operations.promises import Promise

PROMISE = Promise(90, 60)
WINDOW = 2048


def speed(delay: float, cost: float, answers: int = 100_000) -> Speed:
    """How fast workers were, by the seconds that a message took at push services and of a core."""
    return Speed(answers, int(answers * delay * 1e6), int(answers * cost * 1e6))


@pytest.mark.parametrize(
    ("readers", "delay", "cost", "workers"),
    [
        (100, 0.1, 50e-6, 1),
        (1_000_000, 0.01, 50e-6, 1),  # a core sends 16,000 a second: 928,000 in the time
        (2_000_000, 0.01, 50e-6, 2),
        (10_000_000, 0.01, 50e-6, 10),
        (10_000_000, 0.1, 50e-6, 10),  # a window lets 20,000 a second through, a core still fewer
        (10_000_000, 0.4, 50e-6, 38),  # here the window is what limits
        (10_000_000, 0.4, 10e-6, 38),
        (4_000, 60.0, 50e-6, 3),
    ],
)
def test_workers_are_counted_by_the_core_or_by_the_window(
    readers: int, delay: float, cost: float, workers: int
) -> None:
    needed = workers_needed(readers, PROMISE, WINDOW, 10_000, speed(delay, cost))
    assert needed == workers
    rate = USED * min(1 / cost, WINDOW / delay) * (60 - BEGIN)
    assert (workers - 1) * rate < 0.9 * readers
    assert workers * rate >= 0.9 * readers


def test_no_more_workers_are_needed_than_there_are_batches_nor_fewer_than_one() -> None:
    slow = speed(30.0, 50e-6)
    assert workers_needed(1_000_000, PROMISE, WINDOW, 500, slow) == 285
    assert workers_needed(1_000_000, PROMISE, WINDOW, 100, slow) == 100
    assert workers_needed(0, PROMISE, WINDOW, 0, slow) == 1


def test_a_promise_of_a_second_leaves_a_second() -> None:
    assert workers_needed(16_000, Promise(100, 1), WINDOW, 99, speed(0.01, 50e-6)) == 1


def test_figures_are_assumed_until_enough_was_sent() -> None:
    few = speed(0.001, 1e-6, answers=100)
    assert not few.is_known
    assert few.rate(WINDOW) == Speed(0, 0, 0).rate(WINDOW) == pytest.approx(USED * 20_000)
    assert (few + speed(0.2, 1e-5)).is_known
