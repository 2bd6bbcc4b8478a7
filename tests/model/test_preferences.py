"""Readers' preferences: read, packed and unpacked; defaults of the newsroom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.preferences import (
    MOST_A_DAY,
    NO_QUIET,
    NewsroomDefaults,
    Preferences,
    Quiet,
    quarter_of,
)

QUIET = st.builds(Quiet, st.integers(0, 95), st.integers(0, 95))
NIGHT = Quiet.parse("22:00-07:00")


@pytest.mark.parametrize(
    "text", ["22-07", "22:10-07:00", "24:00-07:00", "2:00-07:00", "22:00", "x"]
)
def test_text_that_is_no_pair_of_quarter_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Quiet.parse(text)


def test_quiet_hours_are_written_as_they_are_read() -> None:
    assert str(NIGHT) == "22:00-07:00"
    assert (Quiet.parse(""), quarter_of("06:45")) == (NO_QUIET, 27)


HOUR = 3600
PREFERENCES = st.builds(
    Preferences,
    quiet=st.none() | QUIET,
    daily_limit=st.none() | st.integers(0, MOST_A_DAY),
    allow_breaking=st.booleans(),
    paused_until=st.just(0) | st.integers(500_000, 530_000).map(lambda hour: hour * HOUR),
    receipts=st.booleans(),
    confirmed=st.booleans(),
)


@given(PREFERENCES)
def test_preferences_survive_packing_in_five_bytes(preferences: Preferences) -> None:
    assert len(preferences.pack()) == 5
    assert Preferences.unpack(preferences.pack()) == preferences


def test_end_of_a_pause_is_rounded_up_to_the_hour() -> None:
    paused = Preferences(paused_until=1_795_640_401)
    assert Preferences.unpack(paused.pack()).paused_until == 1_795_644_000


def test_preferences_of_a_reader_come_before_the_newsrooms_defaults() -> None:
    defaults = NewsroomDefaults(NIGHT, 10)
    nothing, other = Preferences(), Preferences(quiet=NO_QUIET, daily_limit=3)
    assert (defaults.quiet_of(nothing), defaults.limit_of(nothing)) == (NIGHT, 10)
    assert (defaults.quiet_of(other), defaults.limit_of(other)) == (NO_QUIET, 3)
