"""When a webhook is called again, and when it is called no more."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime

import pytest

from service.model.newsroom.webhooks import (
    ENDED_AFTER,
    FAILING,
    GONE,
    SCHEDULE,
    TEST,
    Answer,
    Health,
    Waiting,
)
from service.model.retention import DAY

NOW = 1_790_000_000.0
EVENT = Waiting("msg_1", "alert.sent", "{}")
FAILS, TAKES = Answer(500), Answer(204)


def event(attempts: int, type: str = "alert.sent") -> Waiting:
    return Waiting("msg_1", type, "{}", attempts)


def test_an_event_is_tried_again_by_the_schedule_and_then_dropped() -> None:
    waits = []
    for attempts in range(len(SCHEDULE) + 1):
        _, again = Health().after(event(attempts), FAILS, NOW)
        waits.append(None if again is None else again - NOW)
    assert waits == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None]


def test_a_success_ends_all_trouble() -> None:
    health, _ = Health().after(EVENT, FAILS, NOW)
    assert (health.failing_since, health.failures) == (NOW, 1)
    health, again = health.after(event(1), TAKES, NOW + 5)
    assert again is None
    assert (health.failing_since, health.failures, health.rests_until) == (0, 0, 0)
    assert [(one.status, one.attempt) for one in health.results] == [(204, 2), (500, 1)]


def test_while_a_target_fails_it_is_called_seldom_whatever_waits() -> None:
    health, _ = Health().after(EVENT, FAILS, NOW)
    assert health.rests_until == NOW + 5
    for _ in range(3):
        health, _ = health.after(EVENT, FAILS, NOW)
        assert health.rests_until == NOW + 300


def test_410_ends_a_webhook_at_once() -> None:
    health, _ = Health().after(EVENT, Answer(410), NOW)
    assert (health.ended_at, health.ended_why) == (NOW, GONE)
    assert health.results[0].again_at == 0


def test_five_days_of_nothing_but_failures_end_a_webhook() -> None:
    health, now = Health(), NOW
    while now < NOW + ENDED_AFTER:
        assert not health.ended_at
        health, _ = health.after(EVENT, Answer(fault="unreachable"), now)
        now += DAY / 2
    health, _ = health.after(EVENT, FAILS, now)
    assert (health.ended_at, health.ended_why) == (now, FAILING)
    going_on = health.going_on()
    assert (going_on.ended_at, going_on.failing_since) == (0, 0)
    assert going_on.results == health.results


def test_a_success_within_five_days_begins_the_count_anew() -> None:
    health, _ = Health().after(EVENT, FAILS, NOW)
    health, _ = health.after(EVENT, TAKES, NOW + 4 * DAY)
    health, _ = health.after(EVENT, FAILS, NOW + 8 * DAY)
    assert not health.ended_at


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("60", 60),
        ("999999999999999999999999", 3600),
        (format_datetime(datetime.fromtimestamp(NOW + 90, timezone.utc)), 90),
        (format_datetime(datetime.fromtimestamp(NOW - 90, timezone.utc)), 5),
        ("", 5),
        ("-1", 5),
        ("soon", 5),
        ("\N{ARABIC-INDIC DIGIT THREE}0", 5),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 5),
    ],
)
def test_a_target_may_ask_for_time_up_to_an_hour(header: str, wait: float) -> None:
    health, again = Health().after(EVENT, Answer(429, retry_after=header), NOW)
    assert again == NOW + wait
    assert health.rests_until == NOW + wait


@pytest.mark.parametrize("status", [0, 100, 301, 404, 503, 999])
def test_only_2xx_is_a_success(status: int) -> None:
    _, again = Health().after(EVENT, Answer(status), NOW)
    assert again == NOW + 5


def test_a_test_is_sent_once() -> None:
    _, again = Health().after(event(0, TEST), FAILS, NOW)
    assert again is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"null",
        b"[" * 5000,
        b'{"status": "200", "fault": "", "retry_after": ""}',
        b'{"status": true, "fault": "", "retry_after": ""}',
        b'{"status": 200, "fault": null, "retry_after": ""}',
        b'{"status": 200}',
    ],
)
def test_what_is_no_answer_counts_as_none(text: bytes) -> None:
    assert Answer.from_json(text) == Answer()


def test_what_is_stored_is_read_again_also_with_fields_of_a_newer_release() -> None:
    health, _ = Health().after(EVENT, FAILS, NOW)
    newer = health.as_json().replace('{"version": 1', '{"version": 1, "new": 1')
    assert Health.from_json(newer.encode()) == health
