"""Spans of time in words."""

from __future__ import annotations

import pytest

from service.model.retention import DAY
from service.model.time.spans import one_of_spans, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 seconds"),
        (0, "0 seconds"),
        (0.44, "0.4 seconds"),
        (1.04, "1 second"),
        (6.1, "6.1 seconds"),
        (9.96, "10 seconds"),
        (59.4, "59 seconds"),
        (59.6, "1 minute"),
        (125, "2 minutes 5 seconds"),
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (3650, "1 hour"),
        (7980, "2 hours 13 minutes"),
        (4 * 3600, "4 hours"),
        (90_061, "1 day 1 hour"),
        (28 * 86_400, "28 days"),
        (1500 * 86_400, "1,500 days"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("language", "spans"),
    [
        ("en", {60: "1 minute", DAY: "1 day", 2 * DAY: "2 days", DAY // 2: "12 hours"}),
        ("fr", {DAY: "1\xa0jour", 30 * DAY: "30\xa0jours"}),
        ("ru", {3 * DAY: "3 дня", 11 * DAY: "11 дней", 21 * DAY: "21 день", 30 * DAY: "30 дней"}),
        ("ar", {2 * DAY: "يومان", 7 * DAY: "7 أيام", 30 * DAY: "30 يومًا", 101 * DAY: "101 يوم"}),
    ],
)
def test_a_span_of_time_is_written_as_the_language_counts(
    language: str, spans: dict[int, str]
) -> None:
    assert {seconds: span(seconds, language) for seconds in spans} == spans


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "1 minute, 15 minutes, or 1 day"),
        ("de", "1 Minute, 15 Minuten oder 1 Tag"),
        ("ar", "دقيقة أو 15 دقيقة أو يوم"),
    ],
)
def test_spans_are_a_choice_in_the_readers_language(language: str, said: str) -> None:
    assert one_of_spans((60, 900, 86_400), language) == said
