"""Preferences of a reader: stored, shown with the newsroom's defaults, and changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.model.notifications import Audience, Content
from service.model.subscriptions import SubscriptionId
from tests.support.client import API, SUBSCRIPTIONS, Client, Reader, browser

pytestmark = pytest.mark.redis

CHOSEN = {
    "quiet_hours": {"from": "23:15", "to": "06:45"},
    "daily_limit": 3,
    "allow_breaking": True,
    "receipts": False,
}


@pytest.fixture
def client(client_with: Callable[..., Client]) -> Client:
    return client_with()


def soon(**ahead: int) -> datetime:
    return datetime.now(timezone(timedelta(hours=2))) + timedelta(**ahead)


def test_preferences_chosen_when_subscribing_are_shown(client: Client) -> None:
    reader = Reader(client, wording=7, **CHOSEN)
    shown = reader.sees()
    assert {name: shown[name] for name in CHOSEN} == CHOSEN
    assert (shown["paused_until"], shown["wording"]) == (None, 7)
    today = datetime.now(timezone.utc).date()
    assert date_of(shown) in (today, today - timedelta(days=1))


def date_of(shown: dict[str, str]) -> Any:
    return datetime.fromisoformat(shown["subscribed_on"]).date()


def test_reader_who_chose_nothing_has_the_newsrooms_present_defaults(
    client_with: Callable[..., Client],
) -> None:
    reader = Reader(client_with(QUIET_HOURS="22:00-07:00", DAILY_LIMIT="10"))
    names = ("quiet_hours", "daily_limit", "allow_breaking", "receipts")
    assert reader.sees(*names) == ({"from": "22:00", "to": "07:00"}, 10, False, True)
    reader.client = client_with(QUIET_HOURS="none", DAILY_LIMIT="none")
    assert reader.sees(*names) == (None, None, False, True)
    site = reader.client.call("GET", f"{API}/site").json
    assert site["defaults"] == {"quiet_hours": None, "daily_limit": None}
    reader.change(daily_limit=14)
    reader.client = client_with(QUIET_HOURS="21:30-08:00", DAILY_LIMIT="4")
    assert reader.sees(*names[:2]) == ({"from": "21:30", "to": "08:00"}, 14)
    site = reader.client.call("GET", f"{API}/site").json
    assert site["defaults"] == {"quiet_hours": {"from": "21:30", "to": "08:00"}, "daily_limit": 4}


def test_null_means_none_and_a_missing_field_stays_as_it_is(client: Client) -> None:
    reader = Reader(client, **CHOSEN)
    before = reader.sees()
    assert reader.change(topics=[]) == {**before, "token": reader.token}
    assert reader.change(quiet_hours=None)["quiet_hours"] is None
    assert reader.change(daily_limit=None)["daily_limit"] is None
    # For a yes-or-no field, null changes nothing.
    assert reader.change(allow_breaking=None, receipts=None)["allow_breaking"] is True
    after = {**before, "quiet_hours": None, "daily_limit": None}
    assert reader.sees() == after


def test_refresh_leaves_preferences_as_they_are(client: Client) -> None:
    reader = Reader(client, wording=7, **CHOSEN)
    before = reader.sees()
    client.call("POST", SUBSCRIPTIONS, {"subscription": browser(), "refresh": True})
    assert reader.sees() == before


def test_new_endpoint_keeps_the_preferences(client: Client) -> None:
    reader = Reader(client, wording=7, **CHOSEN)
    before = reader.sees()
    moved = reader.change(subscription=browser(1), daily_limit=4)
    assert moved["id"] != before["id"]
    kept = {**before, "daily_limit": 4, "id": moved["id"], "token": moved["token"]}
    assert moved == kept


def test_pause_lasts_to_the_end_of_its_hour_and_null_ends_it(client: Client) -> None:
    reader = Reader(client)
    until = soon(days=3)
    shown = reader.change(paused_until=until.isoformat())["paused_until"]
    rounded = datetime.fromisoformat(shown.replace("Z", "+00:00"))
    assert timedelta() <= rounded - until < timedelta(hours=1)
    assert (rounded.minute, rounded.second) == (0, 0)
    # The time that is shown can be sent again.
    assert reader.change(paused_until=shown)["paused_until"] == shown
    assert reader.change(daily_limit=2)["paused_until"] == shown
    assert reader.change(paused_until=None)["paused_until"] is None
    reader.change(paused_until=shown)
    assert reader.change(paused_until="2020-01-01T00:00:00Z")["paused_until"] is None


def test_pause_for_a_span_begins_now_by_the_services_clock(client: Client) -> None:
    reader = Reader(client)
    until = soon(hours=5)
    shown = reader.change(paused_for=5 * 3600)["paused_until"]
    rounded = datetime.fromisoformat(shown.replace("Z", "+00:00"))
    assert timedelta() <= rounded - until < timedelta(hours=1, seconds=5)
    assert reader.change(paused_for=None)["paused_until"] == shown
    assert reader.change(paused_for=366 * 86_400, paused_until=None)["paused_until"] > shown
    assert Reader(client, 1, paused_for=3600).sees("paused_until") != (None,)


def test_pause_that_is_over_is_not_shown(client: Client, monkeypatch: Any) -> None:
    reader = Reader(client, paused_until=soon(hours=2).isoformat())
    assert reader.sees("paused_until") != (None,)
    later = soon(hours=4).timestamp()
    monkeypatch.setattr(time, "time", lambda: later)
    assert reader.sees("paused_until") == (None,)


def test_pause_is_at_most_a_year(client: Client) -> None:
    reader = Reader(client)
    reader.change(paused_until=soon(days=365).isoformat())
    body = {"paused_until": soon(days=368).isoformat()}
    answer = reader.call("PATCH", json=body)
    assert answer.status_code == 422
    assert [row["field"] for row in answer.json["errors"]] == ["paused_until"]


@pytest.mark.parametrize("willing", [True, False])
def test_no_receipt_is_counted_of_a_reader_who_wants_none(client: Client, willing: bool) -> None:
    reader, publishing = Reader(client, receipts=not willing), client.runtime.publishing
    id = publishing.publish(
        Content("Late news", "https://paper.example/"), Audience(everyone=True), by="a test"
    ).id
    receipt = client.runtime.tokens.receipt(id, SubscriptionId.parse(reader.id))
    reader.change(receipts=willing)
    body = {"receipts": [{"token": receipt, "event": event} for event in ("shown", "clicked")]}
    assert client.call("POST", f"{API}/receipts", body).status_code == 204
    counted = {"shown": int(willing), "clicked": int(willing), "dismissed": 0}
    assert client.runtime.receipts.of(id) == counted
    reader.change(receipts=True)
    reader.call("DELETE")
    client.call("POST", f"{API}/receipts", body)
    assert client.runtime.receipts.of(id) == counted, "a reader who left is not counted either"


def test_receipts_are_kept_for_the_days_that_are_set(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(RECEIPTS_KEPT_DAYS="2")
    reader = Reader(client)
    id = client.runtime.publishing.publish(
        Content("Late news", "https://paper.example/"), Audience(everyone=True), by="a test"
    ).id
    receipt = client.runtime.tokens.receipt(id, SubscriptionId.parse(reader.id))
    client.call("POST", f"{API}/receipts", {"token": receipt, "event": "shown"})
    redis = client.runtime.store.redis
    (key,) = [key for key in redis.scan_iter() if key.endswith(b":shown")]
    assert 86_400 < redis.ttl(key) <= 2 * 86_400
