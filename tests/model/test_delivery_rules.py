"""The delivery rules of one alert, asked again while readers' clocks go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from service.model.delivery_rules import DeliveryRules
from service.model.notifications import Audience, Content, Notification, Outcome, SendAt, State
from service.model.preferences import NO_QUIET, NewsroomDefaults, Preferences, Quiet
from service.model.subscriptions import Record

NIGHT = Quiet.parse("22:00-07:00")
MORNING = datetime(2026, 6, 2, 7, 0, tzinfo=timezone.utc).timestamp()
EVENING = MORNING + 15 * 3600


def rules(began: float, ttl: int = 4 * 3600, send_at: SendAt | None = None) -> DeliveryRules:
    content = Content(title="Late news", url="https://paper.example/story", ttl=ttl)
    everyone = Audience(everyone=True)
    alert = Notification(
        1, content, everyone, State.SENDING, began, "a test", started_at=began, send_at=send_at
    )
    return DeliveryRules(alert, NewsroomDefaults(NIGHT, 0), lambda _zone: "UTC")


def reader(**chosen: object) -> Record:
    return Record(
        1, "x", b"\x04" + bytes(64), bytes(16), 1, 1, 1, 1, 1, Preferences(**chosen).pack()
    )  # type: ignore[arg-type]


def test_alert_is_held_in_quiet_hours_and_waits_in_their_last_minute() -> None:
    asked = rules(MORNING - 300)
    before = asked.of(reader(), MORNING - 61)
    assert (before.outcome, before.wakes) == (Outcome.SKIPPED, int(MORNING) // 900)
    assert asked.of(reader(), MORNING - 59).waits_until == MORNING
    after = asked.of(reader(), MORNING)
    assert (after.outcome, after.waits_until) == (None, 0)


def test_last_minute_before_quiet_hours_counts_as_quiet() -> None:
    asked = rules(EVENING - 300)
    assert asked.of(reader(), EVENING - 61).expires == EVENING
    assert asked.of(reader(), EVENING - 59).why == "quiet"


def test_pause_ends_on_time() -> None:
    asked, noon = rules(MORNING + 4 * 3600), MORNING + 5 * 3600
    one = reader(paused_until=int(noon))
    assert asked.of(one, noon - 1).why == "paused"
    assert asked.of(one, noon).outcome is None


def test_alert_with_a_ttl_of_a_minute_is_sent_at_its_local_time() -> None:
    send_at = SendAt(MORNING, wall="2026-06-02T12:00:00")
    asked, noon = rules(MORNING, ttl=60, send_at=send_at), MORNING + 5 * 3600
    assert asked.of(reader(), noon - 1).waits_until == noon
    assert asked.of(reader(), noon + 20).outcome is None
    assert asked.of(reader(), noon + 31).outcome is Outcome.EXPIRED


def test_alert_at_a_local_time_reaches_readers_whose_time_has_passed_only_if_it_may_be_late() -> (
    None
):
    noon, evening = MORNING + 5 * 3600, MORNING + 13 * 3600
    send_at = SendAt(MORNING, wall="2026-06-02T12:00:00")
    assert rules(evening, send_at=send_at).of(reader(), evening).outcome is Outcome.EXPIRED
    late = rules(evening, send_at=replace(send_at, however_late=True))
    ruling = late.of(reader(), evening)
    assert (ruling.outcome, ruling.expires) == (None, EVENING)  # when quiet hours begin
    awake = reader(quiet=NO_QUIET)
    assert late.of(awake, evening).expires == evening + 4 * 3600
    early = rules(MORNING, send_at=replace(send_at, however_late=True)).of(awake, MORNING)
    assert (early.waits_until, early.expires) == (noon, noon + 4 * 3600)
