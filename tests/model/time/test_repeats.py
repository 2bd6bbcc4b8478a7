"""Alerts that repeat: when the next one is due, in any zone and through clock changes; digests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.language import digests
from service.model.notifications import Audience, Content, Notification, SendAt, State
from service.model.time import occurrences, times
from service.model.time.repeats import WEEKDAYS, Digest, Repeat

ZONES = sorted(available_timezones() - {"Factory", "localtime"})


def planned(at: str, *days: str, **fields: object) -> tuple[SendAt, Repeat]:
    """The first occurrence at a time, which names its zone or is that of each reader's clock."""
    send_at = times.read_wall(at) if times.is_wall(at) else times.read(at)
    repeat = Repeat(days or WEEKDAYS, **fields)  # type: ignore[arg-type]
    return send_at, occurrences.planned(repeat, send_at)


def dates(at: str, *days: str, times: int = 4) -> list[str]:
    """What clocks in the zone show at the occurrences after the first, each sent in time."""
    send_at, repeat = planned(at, *days)
    found = []
    for _ in range(times):
        send_at, repeat = occurrences.following(repeat, send_at, send_at.at)
        zone = ZoneInfo(send_at.zone)
        found.append(f"{datetime.fromtimestamp(send_at.at, zone):%a %d %H:%M %z}")
    return found


def test_an_alert_repeats_on_its_days_through_both_changes_of_the_clock() -> None:
    assert dates("2026-03-27T17:00[Europe/Riga]", "fri", "sun", times=3) == [
        "Sun 29 17:00 +0300",
        "Fri 03 17:00 +0300",
        "Sun 05 17:00 +0300",
    ]
    assert dates("2026-10-23T17:00[Europe/Riga]", "fri", times=2) == [
        "Fri 30 17:00 +0200",
        "Fri 06 17:00 +0200",
    ]


def test_a_time_that_clocks_skip_is_later_that_day_alone_and_a_doubled_one_comes_once() -> None:
    assert dates("2026-03-28T03:30[Europe/Riga]", times=2) == [
        "Sun 29 04:30 +0300",
        "Mon 30 03:30 +0300",
    ]
    assert dates("2026-10-24T03:30[Europe/Riga]", times=2) == [
        "Sun 25 03:30 +0300",
        "Mon 26 03:30 +0200",
    ]


def test_a_day_that_a_zone_skipped_has_no_occurrence() -> None:
    assert dates("2011-12-29T10:00[Pacific/Apia]", times=1) == ["Sat 31 10:00 +1400"]
    assert dates("2011-12-23T10:00[Pacific/Apia]", "fri", times=1) == ["Fri 06 10:00 +1400"]


def test_the_first_may_be_on_another_day_than_the_later_ones() -> None:
    assert dates("2026-12-02T17:00[Europe/Riga]", "fri", times=1) == ["Fri 04 17:00 +0200"]


@pytest.mark.parametrize(
    ("moved_to", "next_one"),
    [
        ("2026-12-03T17:00", "2026-12-11T17:00"),  # to Thursday: it is this week's
        ("2026-12-05T18:30", "2026-12-11T18:30"),  # the time of day holds for later ones
        ("2026-12-18T17:00", "2026-12-25T17:00"),  # to another Friday: the series goes on there
        ("2026-12-14T17:00", "2026-12-18T17:00"),
    ],
)
def test_a_moved_occurrence_is_still_that_of_its_week(moved_to: str, next_one: str) -> None:
    _, before = planned("2026-12-04T17:00[Europe/Riga]", "fri")
    moved = times.read(f"{moved_to}[Europe/Riga]")
    repeat = occurrences.planned(Repeat(("fri",)), moved, before)
    after, _ = occurrences.following(repeat, moved, moved.at)
    assert after == times.read(f"{next_one}[Europe/Riga]")


def test_an_edit_in_the_hour_that_clocks_skip_keeps_the_time_that_was_meant() -> None:
    send_at, repeat = planned("2026-03-28T03:30[Europe/Riga]")
    send_at, repeat = occurrences.following(repeat, send_at, send_at.at)
    edited = occurrences.planned(Repeat(("mon", "sun")), send_at, repeat)
    assert edited.stands_for == "2026-03-29T03:30:00"
    assert occurrences.following(edited, send_at, send_at.at)[0] == times.read(
        "2026-03-30T03:30[Europe/Riga]"
    )


def test_at_each_readers_own_time_it_repeats_at_their_own_time() -> None:
    send_at, repeat = planned("2026-12-04T07:00", "fri")
    after, repeat = occurrences.following(repeat, send_at, send_at.at)
    assert after == times.read_wall("2026-12-11T07:00")
    # After an outage of ten days, a day that no clock shows yet.
    after, _ = occurrences.following(repeat, after, after.at + 10 * 86_400)
    assert after == times.read_wall("2026-12-25T07:00")


# Any zone, year and days, and any outage in between.
@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2005, 1, 1), datetime(2037, 1, 1)),
    days=st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    late=st.lists(st.one_of(st.just(0), st.integers(0, 20 * 86_400)), min_size=8, max_size=8),
)
def test_occurrences_go_up_on_the_right_days_at_the_right_time_once_a_date(
    zone: str, start: datetime, days: set[str], late: list[int]
) -> None:
    start = start.replace(microsecond=0)
    send_at, repeat = planned(f"{start.isoformat()}[{zone}]", *sorted(days))
    meant = datetime.fromisoformat(repeat.stands_for).time()
    seen = [datetime.fromtimestamp(send_at.at, ZoneInfo(zone)).date()]
    for outage in late:
        now, before = send_at.at + outage, send_at
        send_at, repeat = occurrences.following(repeat, send_at, now)
        shown = datetime.fromtimestamp(send_at.at, ZoneInfo(zone))
        assert send_at.at > max(now, before.at)
        assert send_at.at - now < 15 * 86_400
        assert WEEKDAYS[shown.weekday()] in days
        assert shown.date() > seen[-1]
        seen.append(shown.date())
        wall = datetime.combine(shown.date(), meant)
        there = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
        is_skipped = there.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall
        assert shown.fold == 0
        assert is_skipped or shown.replace(tzinfo=None) == wall


def test_what_is_stored_is_read_again_also_as_a_newer_release_writes_it() -> None:
    repeat = Repeat(("fri",), "2026-12-04T17:00:00", "Europe/Riga", Digest(3, ("world",)))
    assert Repeat.from_json(repeat.as_json()) == repeat
    assert Repeat.from_json({**repeat.as_json(), "until": 5}) == repeat
    assert Repeat.from_json({"weekdays": ["fri"]}) == Repeat(("fri",))


# Digests ------------------------------------------------------------------------------------------


def alert(title: str, state: State = State.SENT, **fields: object) -> Notification:
    content = Content(title=title, url=f"https://paper.example/{len(title)}")
    return Notification(
        1,
        content,
        Audience(topics=("world",)),
        state,
        0,
        "ada",
        **fields,  # type: ignore[arg-type]
    )


DIGEST = Content(title="{count} since yesterday", url="https://paper.example/")


def test_the_text_of_a_digest_is_the_titles_and_their_number() -> None:
    alerts = [alert("Newest"), alert("Second {count}"), alert("Third")]
    made = digests.filled(DIGEST, alerts, 2)
    assert (made.title, made.body) == ("3 since yesterday", "Newest\nSecond {count}")
    assert made.url == DIGEST.url
    made = digests.filled(replace(DIGEST, body="Read: {titles}. {0.x} {no} {"), alerts[:1], 5)
    assert made.body == "Read: Newest. {0.x} {no} {"
    assert made.url == alerts[0].content.url


def test_a_digest_is_cut_between_letters_to_what_an_alert_may_have() -> None:
    flag = "\U0001f1f1\U0001f1fb"
    made = digests.filled(replace(DIGEST, title="{titles}"), [alert(flag * 150)] * 9, 9)
    for text, most in ((made.title, 200), (made.body, 1000)):
        assert most - 6 <= len(text) <= most
        assert set(text.replace("\n", "").replace(flag, "")) <= set("… ·")
    shorter = digests.filled(DIGEST, [alert("x" * 199)] * 5, 5, lambda one: len(one.body) < 300)
    assert 200 < len(shorter.body) < 300


@pytest.mark.parametrize(
    ("one", "belongs"),
    [
        (alert("Sent"), True),
        (alert("Under way", State.SENDING), True),
        (alert("Cancelled", State.CANCELLED), False),
        (alert("Paused by an editor", State.PAUSED), False),
        (alert("Ran out of time while paused", withheld=True), False),
        (alert("A correction", corrects=7), False),
        (alert("A digest", repeat=Repeat(("fri",), digest=Digest(), followed=True)), False),
        (alert("Repeats", repeat=Repeat(("fri",), followed=True)), True),
    ],
    ids=lambda value: value.text.title if isinstance(value, Notification) else "",
)
def test_only_what_stands_belongs_into_a_digest(one: Notification, belongs: bool) -> None:
    everything: frozenset[str] = frozenset()
    world, sport = frozenset({"world"}), frozenset({"sport"})
    assert digests.belongs(one, everything, world) is belongs
    assert digests.belongs(one, world, world | sport) is belongs
    assert not digests.belongs(one, sport, world)


def test_a_digest_looks_back_to_the_one_before_and_a_week_at_most() -> None:
    send_at, repeat = planned("2026-12-07T08:00[Europe/Riga]", "mon", "fri", digest=Digest())
    day = 86_400
    assert occurrences.looks_back_to(repeat, send_at.at) == send_at.at - 3 * day
    later = replace(repeat, since=send_at.at - 2 * day)
    assert occurrences.looks_back_to(later, send_at.at) == send_at.at - 2 * day
    old = replace(repeat, since=send_at.at - 30 * day)
    assert occurrences.looks_back_to(old, send_at.at) == send_at.at - 7 * day
