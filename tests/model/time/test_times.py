"""Times as publishers write them, above all when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.notifications import SendAt
from service.model.time import times

ZONES = (
    *("Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "Asia/Kolkata"),
    *("Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu", "UTC"),
)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-03-29T18:00:00+02:00", "2026-03-29T16:00:00Z"),
        ("2026-03-29t18:00:00z", "2026-03-29T18:00:00Z"),
        ("2026-03-29T18:00Z", "2026-03-29T18:00:00Z"),
        ("2026-03-29T18:00:00.250-11:30", "2026-03-30T05:30:00.25Z"),
        ("2026-06-15T18:00[Europe/Berlin]", "2026-06-15T16:00:00Z"),
        ("2026-12-15T18:00[!Europe/Berlin]", "2026-12-15T17:00:00Z"),
        ("2026-06-15T18:00:00+02:00[Europe/Berlin]", "2026-06-15T16:00:00Z"),
        ("2026-06-15T16:00:00Z[Europe/Berlin]", "2026-06-15T16:00:00Z"),
        # Clocks go from 02:00 to 03:00: half past two does not exist, and moves forward.
        ("2026-03-29T01:59:59[Europe/Berlin]", "2026-03-29T00:59:59Z"),
        ("2026-03-29T02:30[Europe/Berlin]", "2026-03-29T01:30:00Z"),
        ("2026-03-29T03:00[Europe/Berlin]", "2026-03-29T01:00:00Z"),
        # Clocks go from 03:00 to 02:00: half past two comes twice, first with +02:00.
        ("2026-10-25T02:30[Europe/Berlin]", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30+02:00[Europe/Berlin]", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30+01:00[Europe/Berlin]", "2026-10-25T01:30:00Z"),
        ("2026-10-25T03:00[Europe/Berlin]", "2026-10-25T02:00:00Z"),
        # Half an hour only, in the other half of the year.
        ("2026-10-04T02:15[Australia/Lord_Howe]", "2026-10-03T15:45:00Z"),
        ("2026-04-05T01:45[Australia/Lord_Howe]", "2026-04-04T14:45:00Z"),
        # Samoa left a whole day out.
        ("2011-12-30T12:00[Pacific/Apia]", "2011-12-30T22:00:00Z"),
    ],
)
def test_time_is_read_as_clocks_in_its_zone_show_it(text: str, means: str) -> None:
    expected = datetime.fromisoformat(
        means.replace("Z", "0000+00:00" if "." in means else "+00:00")
    )
    assert times.read(text).at == expected.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "18:00", "2026-03-29", "1774800000", "2026-03-29T18:00", "2026-03-29 18:00Z"),
        *("2026-03-29T18:00[Europe/Bielefeld]", "2026-03-29T18:00[]", "2026-03-29T18:00[UTC"),
        *("2026-03-29T18:00[+02:00]", "2026-03-29T18:00[u-ca=hebrew]", "2026-03-29T18:00[../UTC]"),
        *("2026-02-29T18:00Z", "2026-13-01T18:00Z", "2026-03-29T25:00Z", "2026-03-29T18:60Z"),
        *(
            "2026-03-29T18:00+25:00",
            "2026-03-29T18:00+05:60",
            "0000-01-01T00:00Z",
            "0001-01-01T00:00[Asia/Kolkata]x",
        ),
        *("2026-06-15T18:00+01:00[Europe/Berlin]", "2026-03-29T02:30+01:00[Europe/Berlin]"),
        *("2026-03-29T18:00Z\n", "٢٠٢٦-03-29T18:00Z", "+002026-03-29T18:00Z"),
    ],
)
def test_text_that_is_no_time_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is|has) "):
        times.read(text)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)),
    st.sampled_from(ZONES),
)
def test_wall_time_means_its_first_moment_or_is_moved_forward(wall: datetime, zone: str) -> None:
    wall = wall.replace(microsecond=0)

    moment = datetime.fromtimestamp(times.read(f"{wall.isoformat()}[{zone}]").at, timezone.utc)

    shown = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    before = (moment - timedelta(days=1)).astimezone(ZoneInfo(zone))
    if shown == wall:
        # No earlier moment of the day before shows the same.
        for back in range(15, 181, 15):
            earlier = (moment - timedelta(minutes=back)).astimezone(ZoneInfo(zone))
            assert earlier.replace(tzinfo=None) != wall
    else:
        assert shown > wall
        assert shown - wall in (timedelta(minutes=30), timedelta(hours=1), timedelta(days=1))
        assert before.utcoffset() != moment.astimezone(ZoneInfo(zone)).utcoffset()


@given(st.integers(0, 7_000_000_000), st.sampled_from(("", *ZONES)))
def test_written_time_is_read_as_the_same(at: int, zone: str) -> None:
    assert times.read(times.write(SendAt(at, zone))) == SendAt(at, zone)
