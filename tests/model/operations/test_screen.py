"""How soon an alert was on screens: what browsers say is read as far as it makes sense."""

from __future__ import annotations

import math

import pytest

from service.model.operations.promises import Promise
from service.model.operations.screen import FEWEST, OnScreen, read_ago, seconds_until_shown, step

PROMISE = Promise(90, 45)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (0, 0.0),
        (2.31, 2.31),
        (86_400, 86_400.0),
        (-0.001, None),
        (1e12, None),
        (10**400, None),
        (math.inf, None),
        (math.nan, None),
        (True, None),
        ("2", None),
        ([2], None),
        ({}, None),
        (None, None),
    ],
    ids=str,
)
def test_only_a_span_that_can_be_is_taken_from_a_browser(said: object, read: float | None) -> None:
    assert read_ago(said) == read


def test_the_time_is_ours_whatever_the_clock_of_the_reader_says() -> None:
    assert seconds_until_shown(began=1000.0, arrived=1012.5, ago=2.5) == 10.0
    # A report that waited in the browser for hours.
    assert seconds_until_shown(began=1000.0, arrived=1000.0 + 7205, ago=7200.0) == 5.0
    # The clocks of two of our hosts differ a little; and a clock of a reader's that was set.
    assert seconds_until_shown(began=1000.0, arrived=999.0, ago=0.0) == 0.0
    assert seconds_until_shown(began=1000.0, arrived=1010.0, ago=3600.0) is None


def test_a_time_counts_in_the_step_that_ends_at_or_after_it() -> None:
    steps = [step(seconds, None) for seconds in (0, 1, 1.01, 45, 60, 14_400, 14_401, 1e6)]
    assert steps == ["1", "1", "2", "60", "60", "14400", "inf", "inf"]
    assert [step(seconds, PROMISE) for seconds in (31, 45, 46, 601)] == ["45", "45", "60", "1800"]


def on_screen(promise: Promise | None = PROMISE, **steps: int) -> OnScreen:
    return OnScreen.of({name.removeprefix("s"): n for name, n in steps.items()}, promise)


def test_browsers_that_slept_do_not_count_for_the_share() -> None:
    awake = on_screen(s1=30, s45=41, s60=20, s600=9)
    assert (awake.percent, awake.browsers, awake.later) == (71, 100, 0)
    asleep = on_screen(s1=30, s45=41, s60=20, s600=9, s1800=40, sinf=860)
    assert (asleep.percent, asleep.browsers, asleep.later) == (71, 100, 900)
    assert asleep.up_to[math.inf] == 1000
    assert on_screen(sinf=3).percent is None


def test_a_promise_is_kept_or_missed_only_by_enough_browsers() -> None:
    assert on_screen(s30=90, s60=10).is_kept is True
    assert on_screen(s30=89, s60=11).is_kept is False
    assert on_screen(s60=FEWEST - 1).is_kept is None
    assert on_screen(s60=10, s1800=FEWEST).is_kept is None
    assert on_screen(None, s1800=1000).is_kept is None


def test_without_a_promise_the_share_is_that_of_a_minute() -> None:
    found = on_screen(None, s30=70, s60=10, s120=20)
    assert (found.seconds, found.percent) == (60, 80)


def test_a_long_promise_waits_longer_for_browsers() -> None:
    long = on_screen(Promise(90, 3600), s600=80, s3600=10, s7200=10, sinf=1)
    assert (long.percent, long.browsers, long.later) == (90, 100, 1)


def test_the_error_is_that_of_sampling_and_of_counting() -> None:
    few = on_screen(s30=50, s60=50)
    assert few.error == pytest.approx(100 * math.sqrt(0.25 / 100 + 0.25 * 0.0081**2))
    many = on_screen(s30=500_000, s60=500_000)
    assert many.error == pytest.approx(0.41, abs=0.01)
