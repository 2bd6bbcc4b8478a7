"""Readers' clocks: quiet hours and dates in any zone, across every change of clocks."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given
from hypothesis import strategies as st

from service.model.preferences import (
    Quiet,
)
from service.model.time.clocks import QUARTER, QuietTimes, day, moment, quiet_times

ZONES = st.sampled_from(sorted(available_timezones()))
QUIET = st.builds(Quiet, st.integers(0, 95), st.integers(0, 95))
# Two years from the beginning of 2026.
QUARTERS = st.integers(1_767_225_600 // QUARTER, 1_830_297_600 // QUARTER)
NIGHT = Quiet.parse("22:00-07:00")


def quarter(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) // QUARTER


def utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%d %H:%M}"


def there(zone: str, at: int) -> int:
    now = datetime.fromtimestamp(at * QUARTER, ZoneInfo(zone))
    return now.hour * 4 + now.minute // 15


@given(ZONES, QUIET, QUARTERS)
def test_quiet_hours_follow_the_readers_clock_at_every_quarter_hour(
    zone: str, quiet: Quiet, at: int
) -> None:
    times = quiet_times(zone, quiet, at)
    if quiet.start == quiet.end:
        assert times == QuietTimes(0, 0)
        return
    assert bool(times.quiet_until) == quiet.covers(there(zone, at))
    until = times.quiet_until // QUARTER if times.quiet_until else at
    assert all(quiet.covers(there(zone, one)) for one in range(at, until))
    assert not quiet.covers(there(zone, until))
    next = times.quiet_from // QUARTER
    assert all(not quiet.covers(there(zone, one)) for one in range(until, next))
    assert quiet.covers(there(zone, next))


def test_night_in_which_clocks_change_is_an_hour_shorter_or_longer() -> None:
    # Riga is two hours ahead of UTC in winter, three in summer.
    spring = quiet_times("Europe/Riga", NIGHT, quarter("2026-03-28T23:00"))
    assert (utc(spring.quiet_until), utc(spring.quiet_from)) == ("29 04:00", "29 19:00")
    autumn = quiet_times("Europe/Riga", NIGHT, quarter("2026-10-24T23:00"))
    assert (utc(autumn.quiet_until), utc(autumn.quiet_from)) == ("25 05:00", "25 20:00")


def test_reader_without_a_zone_has_utc() -> None:
    assert utc(quiet_times("", NIGHT, quarter("2026-06-01T23:00")).quiet_until) == "02 07:00"
    assert day("", quarter("2026-06-01T23:45")) == 20260601


def test_reader_in_a_zone_unknown_to_this_machine_has_utc() -> None:
    at = quarter("2026-06-01T23:00")
    assert quiet_times("Mars/Olympus_Mons", NIGHT, at) == quiet_times("", NIGHT, at)


def test_date_begins_at_midnight_in_the_readers_zone() -> None:
    at = quarter("2026-06-01T20:45")
    assert [day("Europe/Riga", at), day("Europe/Riga", at + 1)] == [20260601, 20260602]
    assert day("America/Los_Angeles", at) == 20260601


def test_missing_time_moves_forward_and_of_a_doubled_one_the_first_counts() -> None:
    assert moment("Europe/Riga", "2026-03-29T03:30") == quarter("2026-03-29T01:30") * QUARTER
    assert moment("Europe/Riga", "2026-10-25T03:30") == quarter("2026-10-25T00:30") * QUARTER
