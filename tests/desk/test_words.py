"""The words of the desk: forecasts, estimates and audiences."""

from __future__ import annotations

import pytest

from service.desk.words import FILTERS, describe, estimate_words, forecast_words, plural
from service.domain.alerts.forecast import Forecast
from service.domain.sending.receipts import estimates
from service.model.notifications import Audience, SubscriptionId, Topic
from service.model.time import clock


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        (Forecast(10, 10, 0, 0, 0, 0), "all right away"),
        (Forecast(99_999, 1000, 0, 0, 0, 0), "nearly all right away"),
        (
            Forecast(1500, 1500, 1200, 0, 0, 0),
            "300 right away; 1,200 when their quiet hours end",
        ),
        (
            Forecast(99_999, 1000, 287, 12, 6, 0),
            "about 70 % right away; about 29 % when their quiet hours end; about 2 % not at all,"
            " because the reader paused alerts or reached the daily limit"
            " (estimated from 1,000 browsers, chosen at random)",
        ),
        (
            Forecast(99_999, 1000, 997, 0, 0, 3),
            "nearly all when their quiet hours end; less than 1 % not at all,"
            " because that time has passed in their time zone"
            " (estimated from 1,000 browsers, chosen at random)",
        ),
    ],
)
def test_a_forecast_is_no_more_exact_than_what_is_known(forecast: Forecast, words: str) -> None:
    assert forecast_words(forecast, "right away") == words


@pytest.mark.parametrize(
    ("reported", "share", "words"),
    [
        (0, 1.0, "0"),
        (1, 1.0, "1"),
        (60, 1.0, "60"),
        (12_004, 1.0, "about 12,000 (± 100)"),
        (203_086, 0.25, "about 812,000 (± 7,000)"),
        (1, 0.025, "about 40 (± 40)"),
        (0, 0.025, "0"),
    ],
)
def test_an_estimate_is_no_more_exact_than_what_is_known(
    reported: int, share: float, words: str
) -> None:
    estimate = estimates({"shown": reported, "clicked": reported}, share)
    assert estimate_words(estimate["shown"]) == words
    assert estimate["clicked"].browsers == reported


@pytest.mark.parametrize(
    ("audience", "words"),
    [
        (Audience(everyone=True), "everyone"),
        (Audience(topics=("world",)), "World"),
        (Audience(topics=("world", "sport", "arts")), "World, Sport, or arts"),
        (
            Audience(everyone=True, exclude=("sport",), locales=("de", "en-GB", "tlh")),
            "everyone, except followers of Sport,"
            " only readers of German, English (United Kingdom), or tlh",
        ),
        (
            Audience(everyone=True, story="quake"),
            "everyone, except readers who muted the story quake",
        ),
        (Audience(topics=("world",), story="quake"), "World, and followers of the story quake"),
        (Audience(subscription=SubscriptionId(0, 7)), "one browser, as a test"),
        (Audience(waking=7), "readers whose quiet hours have ended"),
    ],
)
def test_an_audience_is_described_with_the_names_of_topics_and_languages(
    audience: Audience, words: str
) -> None:
    topics = {slug: Topic(slug, slug.title()) for slug in ("world", "sport")}
    assert describe(audience, topics) == words


def test_a_number_has_its_own_form_of_the_word() -> None:
    assert [plural(n, "browser", "browsers") for n in (0, 1, 2, 1000)] == [
        *("browsers", "browser", "browsers", "browsers"),
    ]


def test_a_time_is_written_in_the_zone_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = 1_790_596_800.0  # Monday, 28 September 2026
    monkeypatch.setattr(clock, "time", lambda: noon - 3 * 86_400)
    zones = ("Europe/Riga", "Europe/Lisbon", "UTC", "Europe/Riga")
    assert [FILTERS["time_words"](noon, zone) for zone in zones] == [
        "Mon 28 Sep, 15:00",
        "Mon 28 Sep, 13:00",
        "Mon 28 Sep, 12:00 UTC",
        "Mon 28 Sep, 15:00",
    ]
    assert FILTERS["wall_time"]("2026-03-29T07:00:00") == "Sun 29 Mar, 07:00"
    assert FILTERS["wall_time"]("2027-03-29T07:00:00") == "Mon 29 Mar 2027, 07:00"


def test_a_time_of_today_is_only_that_and_another_year_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noon = 1_790_596_800.0
    monkeypatch.setattr(clock, "time", lambda: noon + 11.5 * 3600)
    assert FILTERS["time_words"](noon) == "12:00 UTC"
    assert FILTERS["seconds"]("2026-09-28T12:00:00.000Z") == noon
    assert FILTERS["when"](noon, "UTC") == "at 12:00 UTC"
    assert FILTERS["at_time"](noon).endswith(" data-word>at 12:00 UTC</time>")
    assert FILTERS["when"](noon, "Europe/Riga") == "on Mon 28 Sep, 15:00", "it is tomorrow there"
    monkeypatch.setattr(clock, "time", lambda: noon + 200 * 86_400)
    assert FILTERS["time"](noon) == (
        '<time class="figures" datetime="2026-09-28T12:00:00Z">Mon 28 Sep 2026, 12:00 UTC</time>'
    )
