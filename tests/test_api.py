"""The API's calls, what each refuses, and that what is refused leaves no trace."""

from __future__ import annotations

import copy
import functools
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import openapi
from service.keys import VapidKey, b64url
from service.models import Audience, Content, Outcome, SubscriptionId, Topic
from service.store.sending import Result
from service.store.services import Pace
from tests.client import API, VAPID, Client, browser, make_app, stored

SUBSCRIPTIONS = f"{API}/subscriptions"
NOTIFICATIONS = f"{API}/notifications"
NEWS = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": {"everyone": True},
}


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    client = Client(make_app(redis_url))
    for slug in ("world", "sport"):
        client.runtime.store.house.add_topic(Topic(slug, slug.title()))
    yield client
    client.runtime.store.redis.close()


@pytest.fixture
def token(client: Client) -> str:
    return client.add_token()


def subscribe(client: Client, number: int = 0, **preferences: Any) -> dict[str, str]:
    """A browser's id and token."""
    said = {"subscription": browser(number), **preferences}
    answer = client.call("POST", SUBSCRIPTIONS, said)
    assert answer.status_code == 201
    return answer.json


def own(reader: dict[str, str]) -> dict[str, str]:
    """Where a reader's subscription is, and with what token."""
    return {"path": f"{SUBSCRIPTIONS}/{reader['id']}", "token": reader["token"]}


# Readers ----------------------------------------------------------------------------------------


def test_a_page_learns_the_name_the_key_the_topics_and_when_to_ask(client: Client) -> None:
    answer = client.call("GET", f"{API}/site")
    assert answer.json == {
        "name": "The Daily Example",
        "vapid_public_key": client.runtime.vapid_public_key,
        "topics": [
            {"slug": "world", "name": "World", "description": "", "default": False},
            {"slug": "sport", "name": "Sport", "description": "", "default": False},
        ],
        "prompt": {"page_views": 2, "delay_seconds": 20},
        "defaults": {"quiet_hours": None, "daily_limit": None},
    }
    assert answer.headers["Cache-Control"].startswith("public, max-age=300, stale-while-revalidate")


def test_what_a_reader_chose_is_kept_in_its_usual_spelling(client: Client) -> None:
    reader = subscribe(
        client, topics=["world", "sport"], locale="zh-hant-tw", timezone="Europe/Riga"
    )
    shown = client.call("GET", **own(reader)).json
    assert shown["topics"] == ["sport", "world"]
    assert (shown["locale"], shown["timezone"]) == ("zh-Hant-TW", "Europe/Riga")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("en", "en"),
        ("EN-gb", "en-GB"),
        ("es-419", "es-419"),
        ("sr-latn-rs", "sr-Latn-RS"),
        ("ca-VALENCIA", "ca-valencia"),
        ("en-us-U-HC-H12", "en-US-u-hc-h12"),
    ],
)
def test_a_language_is_kept_in_the_spelling_of_rfc_5646(
    client: Client, said: str, kept: str
) -> None:
    assert client.call("GET", **own(subscribe(client, locale=said))).json["locale"] == kept


def test_a_known_browser_gets_the_same_id_and_token_again(client: Client) -> None:
    reader = subscribe(client, topics=["world"])
    padded = browser()
    padded["keys"] = {
        name: key.ljust(-len(key) % 4 + len(key), "=") for name, key in padded["keys"].items()
    }
    padded["invented by a browser of next year"] = {"endpoint": 1}
    again = client.call("POST", SUBSCRIPTIONS, {"subscription": padded})
    assert (again.status_code, again.json) == (200, reader)
    assert client.call("GET", **own(reader)).json["topics"] == ["world"]


def test_other_keys_need_the_readers_own_token(client: Client) -> None:
    reader, other = subscribe(client, 0, topics=["world"]), subscribe(client, 1)
    said = {"subscription": browser(0, keys=2), "topics": []}
    before = stored(client)
    for wrong in (None, "", other["token"], reader["token"][:-1]):
        assert client.call("POST", SUBSCRIPTIONS, said, token=wrong).status_code == 409
    assert stored(client) == before
    answer = client.call("POST", SUBSCRIPTIONS, said, token=reader["token"])
    assert answer.status_code == 200
    assert answer.json["id"] == reader["id"]
    assert answer.json["token"] != reader["token"]
    assert client.call("GET", **own(reader)).status_code == 404
    assert client.call("GET", **own(answer.json)).json["topics"] == []


def test_checking_in_never_subscribes(client: Client) -> None:
    said = {"subscription": browser(), "refresh": True}
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, said).status_code == 404
    assert stored(client) == before
    reader = subscribe(client)
    assert client.call("POST", SUBSCRIPTIONS, said).json == reader
    assert client.call("DELETE", **own(reader)).status_code == 204
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, said).status_code == 410
    assert stored(client) == before
    assert subscribe(client)["id"] != reader["id"]


def test_a_reader_changes_only_what_is_mentioned(client: Client) -> None:
    reader = subscribe(client, topics=["world"], locale="lv", timezone="Europe/Riga")
    before = client.call("GET", **own(reader)).json
    answer = client.call("PATCH", said={"topics": ["sport"], "locale": None}, **own(reader))
    assert answer.json == {**before, **reader, "topics": ["sport"]}
    assert client.call("PATCH", said={"topics": []}, **own(reader)).json["topics"] == []


def test_a_browser_whose_endpoint_changed_keeps_what_its_reader_chose(client: Client) -> None:
    reader = subscribe(client, 0, topics=["world"], locale="lv")
    answer = client.call("PATCH", said={"subscription": browser(1)}, **own(reader)).json
    assert answer["id"] != reader["id"]
    assert (answer["topics"], answer["locale"]) == (["world"], "lv")
    assert client.call("GET", **own(reader)).status_code == 404
    assert client.call("GET", **own(answer)).status_code == 200
    stored_one = client.runtime.store.subscriptions.get(SubscriptionId.parse(answer["id"]))
    assert stored_one.endpoint.url == browser(1)["endpoint"]


def test_nobody_takes_over_an_endpoint_by_moving_to_it(client: Client) -> None:
    reader, victim = subscribe(client, 0), subscribe(client, 1)
    before = stored(client)
    answer = client.call("PATCH", said={"subscription": browser(1, keys=0)}, **own(reader))
    assert answer.status_code == 409
    assert stored(client) == before
    assert client.call("GET", **own(victim)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_wrong_token_and_an_unknown_id_cannot_be_told_apart(client: Client, method: str) -> None:
    reader, other = subscribe(client, 0), subscribe(client, 1)
    said = {"topics": []} if method == "PATCH" else None
    before = stored(client)
    answers = {
        (answer.status_code, answer.data)
        for answer in (
            client.call(method, f"{SUBSCRIPTIONS}/{id}", said, token=token)
            for id, token in (
                (reader["id"], other["token"]),
                (reader["id"], "x"),
                (reader["id"], "é"),
                ("0-99", reader["token"]),
                ("9-0", reader["token"]),
                ("0-00", reader["token"]),
                ("9" * 4000, reader["token"]),
                ("\ud7ff", reader["token"]),
            )
        )
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404
    assert stored(client) == before


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer a=b"]
)
@pytest.mark.parametrize("path", ["/subscriptions/0-0", "/notifications"])
def test_without_a_token_the_caller_is_told_to_bring_one(
    client: Client, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = client.call("GET", API + path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_receipt_counts_a_browser_once_and_a_forgery_never(client: Client, token: str) -> None:
    reader = subscribe(client)
    sent = client.call("POST", NOTIFICATIONS, NEWS, token=token)
    receipt = client.runtime.tokens.receipt(
        int(sent.json["id"]), SubscriptionId.parse(reader["id"])
    )
    unknown = client.runtime.tokens.receipt(77, SubscriptionId(0, 0))
    for one in (receipt, receipt, "x" * 22, "é", "", unknown):
        for event in ("shown", "clicked"):
            answer = client.call("POST", f"{API}/receipts", {"token": one, "event": event})
            assert answer.status_code == 204
    several = [{"token": one, "event": "dismissed"} for one in (unknown, receipt, receipt, "")]
    answer = client.call("POST", f"{API}/receipts", {"receipts": several})
    assert answer.status_code == 204
    shown = client.call("GET", sent.headers["Location"], token=token).json["progress"]["receipts"]
    assert shown == {"shown": 1, "clicked": 1, "dismissed": 1}
    assert not [key for key in stored(client) if b":77" in key]


# Editors' tools ---------------------------------------------------------------------------------


def test_an_alert_is_taken_on_shown_and_counted(client: Client, token: str) -> None:
    for number, topics in enumerate((["world"], ["sport"], ["world", "sport"])):
        subscribe(client, number, topics=topics, locale="en-GB")
    said = {
        **NEWS,
        "title": "  Ferry aground \n",
        "body": "One.\r\nTwo.",
        "icon": "https://paper.example/icon.png",
        "actions": [{"title": "Live", "url": "http://localhost:8000/live"}],
        "audience": {"topics": ["world"], "exclude": ["sport"], "locales": ["EN"]},
    }
    answer = client.call("POST", NOTIFICATIONS, said, token=token)
    assert answer.status_code == 202
    assert answer.json == {"id": "1", "status": "sending", "recipients": 1}
    shown = client.call("GET", answer.headers["Location"], token=token).json
    progress, created_at = shown.pop("progress"), shown.pop("created_at")
    assert shown == {
        **said,
        "id": "1",
        "status": "sending",
        "title": "Ferry aground",
        "body": "One.\nTwo.",
        "image": None,
        "kind": "news",
        "urgency": "high",
        "ttl": 4 * 3600,
        "story": None,
        "audience": {"topics": ["world"], "exclude": ["sport"], "locales": ["en"]},
        "spread_minutes": None,
        "send_at": None,
        "local_time": False,
        "time_zone": None,
        "late": "draft",
        "missed": False,
        "corrects": None,
        "corrections": [],
        "text_now": {"title": "Ferry aground", "body": "One.\nTwo.", "url": said["url"]},
        "created_by": "a test",
    }
    assert progress.pop("started_at") == created_at
    held = progress.pop("held")
    assert (held["waiting"], held["first_at"], held["waves"]) == (0, None, [])
    assert progress == {
        "recipients": 0,
        "done": 0,
        "outcomes": dict.fromkeys((outcome.value for outcome in Outcome), 0),
        "skipped": {"quiet": 0, "limit": 0, "paused": 0, "over": 0},
        "by_service": {},
        "receipts": {"shown": 0, "clicked": 0, "dismissed": 0},
        "receipts_error": {"shown": 0, "clicked": 0, "dismissed": 0},
        "limits": [],
        "finished_at": None,
        "rate_per_second": 0,
    }
    assert created_at.endswith("Z")


def test_breaking_news_is_good_for_longer(client: Client, token: str) -> None:
    said = {**NEWS, "kind": "breaking"}
    client.call("POST", NOTIFICATIONS, said, token=token)
    client.call("POST", NOTIFICATIONS, {**said, "ttl": 60, "urgency": "low"}, token=token)
    second, first = client.call("GET", NOTIFICATIONS, token=token).json["notifications"]
    assert (first["ttl"], first["urgency"]) == (12 * 3600, "high")
    assert (second["ttl"], second["urgency"]) == (60, "low")


def test_progress_adds_up_by_outcome_and_by_push_service(client: Client, token: str) -> None:
    for number in range(5):
        subscribe(client, number)
    id = int(client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"])
    client.runtime.dispatch.plan(client.runtime.publishing.get(id))
    sending = client.runtime.store.sending
    claim = sending.claim(id, 0, "a worker", 60_000)
    assert claim is not None
    results = {
        Result(Outcome.ACCEPTED, "google", 1): [0, 1],
        Result(Outcome.GONE, "google", 1): [2],
        Result(Outcome.ACCEPTED, "apple", 2): [3],
    }
    sending.record(id, claim.batch, "a worker", 60_000, results)
    path = f"{NOTIFICATIONS}/{id}"
    progress = client.call("GET", path, token=token).json["progress"]
    assert (progress["recipients"], progress["done"]) == (5, 4)
    assert progress["by_service"] == {
        "google": {"accepted": 2, "gone": 1},
        "apple": {"accepted": 1},
    }
    sending.release(id, claim.batch, "a worker", wait_ms=0)
    assert client.call("POST", f"{path}/cancel", token=token).json["status"] == "cancelled"
    shown = client.call("GET", path, token=token).json
    assert shown["status"] == "cancelled"
    assert shown["progress"]["finished_at"] >= shown["progress"]["started_at"]
    outcomes = {name: n for name, n in shown["progress"]["outcomes"].items() if n}
    assert outcomes == {"accepted": 3, "gone": 1, "cancelled": 1}
    assert sum(outcomes.values()) == shown["progress"]["recipients"]


def test_what_is_over_cannot_be_cancelled_nor_what_never_was(client: Client, token: str) -> None:
    location = client.call("POST", NOTIFICATIONS, NEWS, token=token).headers["Location"]
    assert client.call("POST", f"{location}/cancel", token=token).status_code == 202
    assert client.call("POST", f"{location}/cancel", token=token).status_code == 409
    for id in ("2", "9" * 30):
        assert client.call("POST", f"{NOTIFICATIONS}/{id}/cancel", token=token).status_code == 404
        assert client.call("GET", f"{NOTIFICATIONS}/{id}", token=token).status_code == 404


def test_the_same_key_is_the_same_alert(client: Client, token: str) -> None:
    subscribe(client, 0)
    headers = {"Idempotency-Key": "~" * 255}
    first = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    subscribe(client, 1)
    again = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    other = {**NEWS, "title": "Another"}
    before = stored(client)
    answer = client.call("POST", NOTIFICATIONS, other, token=token, headers=headers)
    assert answer.status_code == 409
    assert stored(client) == before
    # Somebody else's key of that name is another key.
    third = client.call(
        "POST", NOTIFICATIONS, other, token=client.add_token("another"), headers=headers
    )
    assert third.status_code == 202
    listed = client.call("GET", NOTIFICATIONS, token=token).json["notifications"]
    assert [one["title"] for one in listed] == ["Another", "Ferry aground"]


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "é"])
def test_an_idempotency_key_is_visible_ascii(client: Client, token: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    before = stored(client)
    answer = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json["detail"]
    assert stored(client) == before


def test_a_list_is_read_page_by_page_newest_first(client: Client, token: str) -> None:
    for number in range(5):
        client.call("POST", NOTIFICATIONS, {**NEWS, "title": f"{number}"}, token=token)
    pages, cursor = [], ""
    while cursor is not None:
        path = f"{NOTIFICATIONS}?limit=2" + (f"&cursor={cursor}" if cursor else "")
        answer = client.call("GET", path, token=token).json
        pages.append([one["title"] for one in answer["notifications"]])
        cursor = answer["next_cursor"]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=" + "9" * 400, "cursor"),
    ],
)
def test_a_page_that_cannot_be_is_refused(
    client: Client, token: str, query: str, field: str
) -> None:
    answer = client.call("GET", f"{NOTIFICATIONS}?{query}", token=token)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == field


def test_an_audience_is_counted_without_sending(client: Client, token: str) -> None:
    for number, topics in enumerate((["world"], ["sport"], [])):
        subscribe(client, number, topics=topics)
    for said, reach in (
        ({"everyone": True}, 3),
        ({"everyone": True, "topics": None, "exclude": ["sport"]}, 2),
        ({"topics": ["world", "sport"]}, 2),
        ({"topics": ["world"], "locales": ["fr"]}, 0),
    ):
        answer = client.call("POST", f"{API}/audience", said, token=token)
        assert answer.json == {"recipients": reach}


def test_a_topic_is_made_reworded_and_taken_away(client: Client, token: str) -> None:
    said = {"slug": "late-news", "name": " Late news ", "description": "", "default": True}
    made = client.call("POST", f"{API}/topics", said, token=token)
    assert made.status_code == 201
    assert made.json == {**said, "name": "Late news"}
    assert client.call("POST", f"{API}/topics", said, token=token).status_code == 409
    path = made.headers["Location"]
    change = {"description": "After midnight", "default": False, "name": None}
    assert client.call("PATCH", path, change, token=token).json == {
        **made.json,
        **change,
        "name": "Late news",
    }
    assert client.call("GET", path, token=token).json["description"] == "After midnight"
    listed = client.call("GET", f"{API}/topics", token=token).json["topics"]
    assert [topic["slug"] for topic in listed] == ["world", "sport", "late-news"]
    assert client.call("DELETE", path, token=token).status_code == 204
    for method, change in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert client.call(method, path, change, token=token).status_code == 404


def test_a_topic_that_comes_back_has_no_followers(client: Client, token: str) -> None:
    reader = subscribe(client, topics=["world"])
    assert client.call("DELETE", f"{API}/topics/world", token=token).status_code == 204
    assert client.call("GET", **own(reader)).json["topics"] == []
    client.call("POST", f"{API}/topics", {"slug": "world", "name": "World"}, token=token)
    reach = client.call("POST", f"{API}/audience", {"topics": ["world"]}, token=token)
    assert reach.json == {"recipients": 0}
    assert client.call("GET", **own(reader)).json["topics"] == []


def test_the_states_of_an_alert_allow_what_they_allow(client: Client, token: str) -> None:
    subscribe(client)
    id = client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"]

    def do(what: str) -> tuple[int, str]:
        answer = client.call("POST", f"{NOTIFICATIONS}/{id}/{what}", token=token).json
        return answer["status"], answer.get("detail", "")

    assert do("resume") == (409, "This alert is already sending; it cannot be resumed.")
    assert do("pause") == ("paused", "")
    assert do("pause") == (409, "This alert is already paused; it cannot be paused.")
    assert do("resume") == ("sending", "")
    assert do("pause") == ("paused", "")
    assert do("cancel") == ("cancelled", "")
    for what in ("cancel", "pause", "resume"):
        status, words = do(what)
        assert status == 409
        assert "already cancelled" in words


def test_what_keeps_readers_waiting_is_said_with_the_pace_and_the_last_ones_time(
    client: Client, token: str
) -> None:
    for number in range(30):
        subscribe(client, number)
    id = int(client.call("POST", NOTIFICATIONS, NEWS | {"ttl": 120}, token=token).json["id"])
    runtime, now = client.runtime, time.time()
    runtime.dispatch.plan(runtime.publishing.get(id))
    origin = "https://fcm.googleapis.com"
    runtime.store.services.pace(origin, Pace(10, now))
    path = f"{NOTIFICATIONS}/{id}"
    (limit,) = client.call("GET", path, token=token).json["progress"]["limits"]
    assert (limit["service"], limit["per_minute"], limit["waiting"]) == ("google", 10, 30)
    assert 15 <= limit["will_expire"] <= 25, "a minute's worth, and half of the other has no time"
    assert limit["last_reader_at"] > limit_time(now + 170)
    assert limit["resting_until"] is None


def limit_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]


def test_an_idempotency_key_belongs_to_one_address(client: Client, token: str) -> None:
    subscribe(client)
    for _ in range(2):
        client.call("POST", NOTIFICATIONS, NEWS, token=token)
    said, key = {"title": "Ferry afloat"}, {"Idempotency-Key": "one"}
    call = functools.partial(client.call, "POST", token=token, said=said, headers=key)
    first = call(f"{NOTIFICATIONS}/1/correct")
    assert first.status_code == 202
    assert call(f"{NOTIFICATIONS}/1/correct").json == first.json
    assert call(f"{NOTIFICATIONS}/2/correct").status_code == 409


def test_a_correction_is_measured_with_the_text_that_it_changes(client: Client, token: str) -> None:
    subscribe(client)
    long, path = "https://paper.example/" + "x" * 1900, f"{NOTIFICATIONS}/1/correct"
    client.call("POST", NOTIFICATIONS, NEWS, token=token)
    child = client.call("POST", path, {"title": "B"}, token=token).json["id"]
    assert client.call("POST", path, {"url": long, "title": "C"}, token=token).status_code == 202
    of_child = f"{NOTIFICATIONS}/{child}/correct"
    too_long = client.call("POST", of_child, {"body": "ü" * 1000}, token=token)
    assert too_long.status_code == 422
    assert client.call("POST", of_child, {"title": "C"}, token=token).status_code == 422
    assert client.call("POST", of_child, {"title": "B"}, token=token).status_code == 202


def test_a_cancelled_alert_takes_its_correction_with_it(client: Client, token: str) -> None:
    subscribe(client)
    client.call("POST", NOTIFICATIONS, NEWS, token=token)
    child = client.call("POST", f"{NOTIFICATIONS}/1/correct", {"title": "B"}, token=token).json
    client.call("POST", f"{NOTIFICATIONS}/1/cancel", token=token)
    shown = client.call("GET", f"{NOTIFICATIONS}/{child['id']}", token=token).json
    assert shown["status"] == "cancelled"


EDITORS_CALLS = [
    ("POST", f"{API}/notifications", NEWS, {"send"}),
    ("GET", f"{API}/notifications", None, {"send", "read"}),
    ("GET", f"{API}/notifications/1", None, {"send", "read"}),
    ("PATCH", f"{API}/notifications/1", {"title": "Other news"}, {"send"}),
    ("DELETE", f"{API}/notifications/1", None, {"send"}),
    ("POST", f"{API}/notifications/1/send", None, {"send"}),
    ("POST", f"{API}/notifications/1/cancel", None, {"send"}),
    ("POST", f"{API}/notifications/1/pause", None, {"send"}),
    ("POST", f"{API}/notifications/1/resume", None, {"send"}),
    ("POST", f"{API}/notifications/1/correct", {"title": "Other news"}, {"send"}),
    ("POST", f"{API}/notifications/1/test", {"subscription_id": "0-0"}, {"send"}),
    ("POST", f"{API}/audience", {"everyone": True}, {"send", "read"}),
    ("GET", f"{API}/topics", None, {"send", "read", "topics"}),
    ("GET", f"{API}/topics/world", None, {"send", "read", "topics"}),
    ("POST", f"{API}/topics", {"slug": "new", "name": "New"}, {"topics"}),
    ("PATCH", f"{API}/topics/world", {}, {"topics"}),
    ("DELETE", f"{API}/topics/world", None, {"topics"}),
    ("GET", f"{API}/stories", None, {"send", "read"}),
    ("DELETE", f"{API}/stories/quake", None, {"send"}),
    ("GET", "/metrics", None, {"read"}),
]


@pytest.mark.parametrize(
    ("method", "path", "said", "scopes"),
    EDITORS_CALLS,
    ids=[f"{method} {path}" for method, path, _, _ in EDITORS_CALLS],
)
def test_a_call_needs_a_token_of_its_scope(
    client: Client, method: str, path: str, said: Any, scopes: set[str]
) -> None:
    subscribe(client)
    planned = method in ("PATCH", "DELETE") or path.endswith("send")
    first = NEWS | {"draft": planned and "stories" not in path, "story": "quake"}
    client.call("POST", NOTIFICATIONS, first, token=client.add_token())
    if path.endswith("resume"):
        client.runtime.publishing.pause(1)
    every = {"send", "read", "topics"}
    tokens = {scope: client.add_token(scope, [scope]) for scope in every}
    before = stored(client)
    for scope in every - scopes:
        answer = client.call(method, path, said, token=tokens[scope])
        assert answer.status_code == 403
        assert min(scopes) in answer.json["detail"]
    for wrong in (None, "unknown", "é" * 50):
        assert client.call(method, path, said, token=wrong).status_code == 401
    assert stored(client) == before
    assert client.call(method, path, said, token=tokens[min(scopes)]).status_code < 300


def test_every_call_that_needs_an_api_token_is_in_that_table(client: Client) -> None:
    described = client.call("GET", f"{API}/openapi.json").json["paths"]
    guarded = {
        (method.upper(), path)
        for path, calls in described.items()
        for method, call in calls.items()
        if call.get("security") == [{"editor": []}]
    }
    named = {
        (
            method,
            path.replace("/1", "/{id}").replace("/world", "/{slug}").replace("/quake", "/{slug}"),
        )
        for method, path, _, _ in EDITORS_CALLS
    }
    assert named == guarded


# What is refused --------------------------------------------------------------------------------

ROUTES = {
    "subscribe": ("POST", "/subscriptions"),
    "change": ("PATCH", "/subscriptions/{id}"),
    "report": ("POST", "/receipts"),
    "publish": ("POST", "/notifications"),
    "replan": ("PATCH", "/notifications/2"),
    "correct": ("POST", "/notifications/1/correct"),
    "test": ("POST", "/notifications/1/test"),
    "audience": ("POST", "/audience"),
    "add topic": ("POST", "/topics"),
    "change topic": ("PATCH", "/topics/world"),
}
GOOD: dict[str, Any] = {
    "subscribe": {
        "subscription": browser(1),
        "topics": ["world"],
        "locale": "en-GB",
        "timezone": "Europe/Riga",
        "refresh": False,
    },
    "change": {
        "subscription": browser(2),
        "topics": [],
        "locale": "lv",
        "timezone": "UTC",
        "quiet_hours": {"from": "22:00", "to": "07:00"},
        "daily_limit": 5,
        "allow_breaking": True,
        "paused_until": None,
        "receipts": True,
        "muted_stories": [],
        "followed_stories": ["storm"],
    },
    "report": {"token": "x" * 22, "event": "shown"},
    "publish": {
        **NEWS,
        "icon": "https://paper.example/icon.png",
        "image": None,
        "actions": [{"title": "Live", "url": "https://paper.example/live"}],
        "kind": "news",
        "urgency": "normal",
        "ttl": 3600,
        "audience": {"topics": ["world"], "exclude": [], "locales": ["en"]},
        "story": "quake",
        "spread_minutes": 30,
    },
    "replan": {
        "title": "Ferry afloat again",
        "url": "https://paper.example/ferry",
        "audience": {"topics": ["world"]},
        "story": None,
        "draft": True,
    },
    "correct": {
        "title": "Ferry afloat again",
        "body": "",
        "url": "https://paper.example/ferry",
        "reached": "leave",
    },
    "test": {"subscription_id": "0-0"},
    "audience": {
        "topics": ["world"],
        "exclude": ["sport"],
        "locales": ["en"],
        "story": "never-heard-of",
    },
    "add topic": {"slug": "new", "name": "New", "description": "", "default": False},
    "change topic": {"name": "New", "description": "", "default": False},
}
OFF_CURVE = "BA" + "A" * 84 + "B"  # 0x04, then x = 0 and y = 1
GOOGLE = "https://fcm.googleapis.com/fcm/send/"
LINKS = [
    "",
    "/ferry",
    "ferry",
    "http://paper.example/",
    "http://localhost.evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:paper.example",
    "https:///ferry",
    "https://",
    "https://reader:secret@paper.example/",
    "https://paper.example:99999/",
    "https://[::1",
    "https://paper..example/",
    "https://%70aper.example/",
    "https://paper.example/a b",
    "https://paper.example/\\evil",
    "https://paper.example\\@evil.example/",
    "https://paper.example/\n",
    "https://paper.example/\x00",
    "https://paper.example/".ljust(2001, "x"),
]
# Route, the field that is set, to what, and the field that the answer names.
BAD = [
    ("publish", "spread_minutes", 0, "spread_minutes"),
    ("publish", "spread_minutes", 60, "spread_minutes"),
    ("publish", "spread_minutes", "30", "spread_minutes"),
    ("replan", "title", "", "title"),
    ("replan", "url", "ferry", "url"),
    ("replan", "audience", {}, "audience"),
    ("replan", "send_at", "tomorrow", "send_at"),
    ("replan", "draft", False, "draft"),
    ("replan", "status", "sent", "status"),
    ("correct", "title", "", "title"),
    ("correct", "body", "x" * 1001, "body"),
    ("correct", "url", "http://paper.example/", "url"),
    ("correct", "reached", "ignore", "reached"),
    ("test", "subscription_id", "DELETE", "subscription_id"),
    ("test", "subscription_id", "0-7", "subscription_id"),
    ("test", "subscription_id", 5, "subscription_id"),
    ("subscribe", "subscription", "DELETE", "subscription"),
    ("subscribe", "subscription", None, "subscription"),
    ("subscribe", "subscription", [], "subscription"),
    ("subscribe", "subscription.endpoint", "DELETE", "subscription.endpoint"),
    ("subscribe", "subscription.endpoint", 5, "subscription.endpoint"),
    ("subscribe", "subscription.endpoint", "https://evil.example/x", "subscription.endpoint"),
    ("subscribe", "subscription.endpoint", "https://127.0.0.1:8443/x", "subscription.endpoint"),
    ("subscribe", "subscription.endpoint", GOOGLE + "x" * 2048, "subscription.endpoint"),
    ("subscribe", "subscription.keys", "DELETE", "subscription.keys"),
    ("subscribe", "subscription.keys.p256dh", "DELETE", "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", None, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", "", "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", "é" * 87, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", "+" * 87, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", OFF_CURVE, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", "B" + "A" * 86, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.p256dh", "A" * 44, "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.auth", "DELETE", "subscription.keys.auth"),
    ("subscribe", "subscription.keys.auth", "A" * 20, "subscription.keys.auth"),
    ("subscribe", "subscription.keys.auth", "A" * 23, "subscription.keys.auth"),
    ("subscribe", "subscription.keys.auth", "A" * 21 + "B", "subscription.keys.auth"),
    ("subscribe", "topics", ["cooking"], "topics"),
    ("subscribe", "topics", ["world", "world"], "topics"),
    ("subscribe", "topics", "world", "topics"),
    ("subscribe", "topics", [1], "topics.0"),
    ("subscribe", "topics", [f"t{number}" for number in range(101)], "topics"),
    ("subscribe", "locale", "english", "locale"),
    ("subscribe", "locale", "en_GB", "locale"),
    ("subscribe", "locale", "\u212an", "locale"),
    ("subscribe", "locale", "en" + "-abcdefgh" * 4, "locale"),
    ("subscribe", "timezone", "Europe/Atlantis", "timezone"),
    ("subscribe", "timezone", "../../etc/passwd", "timezone"),
    ("subscribe", "timezone", "europe/riga", "timezone"),
    ("subscribe", "refresh", "yes", "refresh"),
    ("subscribe", "refresh", 1, "refresh"),
    *(("subscribe", name, 1, name) for name in ("expirationTime", "user", "story")),
    ("subscribe", "wording", 256, "wording"),
    ("subscribe", "wording", -1, "wording"),
    ("subscribe", "wording", "1", "wording"),
    ("subscribe", "daily_limit", 15, "daily_limit"),
    ("change", "quiet_hours", "22:00-07:00", "quiet_hours"),
    ("change", "quiet_hours", {"from": "22:00"}, "quiet_hours.to"),
    ("change", "quiet_hours.from", "22:10", "quiet_hours.from"),
    ("change", "quiet_hours.from", "24:00", "quiet_hours.from"),
    ("change", "quiet_hours.from", "9:00", "quiet_hours.from"),
    ("change", "quiet_hours.from", "\u0661\u0662:00", "quiet_hours.from"),
    ("change", "quiet_hours.to", 7, "quiet_hours.to"),
    ("change", "quiet_hours.to", "22:00", "quiet_hours"),
    ("change", "quiet_hours.start", "22:00", "quiet_hours.start"),
    ("change", "daily_limit", 0, "daily_limit"),
    ("change", "daily_limit", 15, "daily_limit"),
    ("change", "daily_limit", "5", "daily_limit"),
    ("change", "daily_limit", 5.5, "daily_limit"),
    ("change", "daily_limit", True, "daily_limit"),
    ("change", "allow_breaking", "yes", "allow_breaking"),
    ("change", "receipts", 0, "receipts"),
    ("change", "paused_until", "tomorrow", "paused_until"),
    ("change", "paused_until", 1900000000, "paused_until"),
    ("change", "paused_until", "9999-01-01T00:00:00Z", "paused_until"),
    ("change", "paused_until", "2099-01-01T00:00:00", "paused_until"),
    ("change", "paused_until", "2099-01-01T00:00[Europe/Riga]", "paused_until"),
    ("change", "wording", 1, "wording"),
    ("change", "muted_stories", ["flood"], "muted_stories"),
    ("change", "muted_stories", ["storm"] * 2, "muted_stories"),
    ("change", "muted_stories", "storm", "muted_stories"),
    ("change", "followed_stories", [f"s{number}" for number in range(51)], "followed_stories"),
    ("change", "followed_stories", [None], "followed_stories.0"),
    ("change", "followed_stories", ["storm\x00"], "followed_stories"),
    ("subscribe", "followed_stories", ["flood"], "followed_stories"),
    ("publish", "story", "Quake", "story"),
    ("publish", "story", "", "story"),
    ("publish", "story", "x" * 41, "story"),
    ("publish", "story", 5, "story"),
    ("publish", "audience.story", "quake", "audience.story"),
    ("replan", "story", "qu ake", "story"),
    ("audience", "story", "*", "story"),
    ("change", "subscription.endpoint", "https://evil.example/x", "subscription.endpoint"),
    ("change", "topics", ["cooking"], "topics"),
    ("change", "refresh", True, "refresh"),
    *(("change", name, None, name) for name in ("id", "token", "subscribed_on")),
    ("report", "token", "DELETE", ""),
    ("report", "receipts", [], "receipts"),
    ("report", "receipts", [{"token": "x", "event": "shown"}], ""),
    ("report", "receipts", [{"token": "x", "event": "shown"}] * 51, "receipts"),
    ("report", "receipts", [{"token": "x"}], "receipts.0.event"),
    ("report", "token", 5, "token"),
    ("report", "token", "x" * 101, "token"),
    ("report", "event", "closed", "event"),
    ("report", "reader", "me", "reader"),
    ("publish", "title", "DELETE", "title"),
    ("publish", "title", " \u2028", "title"),
    ("publish", "title", "x" * 201, "title"),
    ("publish", "title", "two\nlines", "title"),
    ("publish", "title", "bell\x07", "title"),
    ("publish", "title", "next\x85line", "title"),
    ("publish", "title", "a\u2028b", "title"),
    ("publish", "title", None, "title"),
    ("publish", "body", "x" * 1001, "body"),
    ("publish", "body", "a\rb", "body"),
    ("publish", "body", "a\tb", "body"),
    ("publish", "body", "a\u2029b", "body"),
    ("publish", "body", 5, "body"),
    ("publish", "url", "DELETE", "url"),
    *(("publish", "url", link, "url") for link in LINKS),
    ("publish", "icon", "http://paper.example/icon.png", "icon"),
    ("publish", "image", "javascript:alert(1)", "image"),
    ("publish", "actions", [{"title": "x", "url": NEWS["url"]}] * 3, "actions"),
    ("publish", "actions", [{"title": "x" * 61, "url": NEWS["url"]}], "actions.0.title"),
    ("publish", "actions", [{"title": "x", "url": "javascript:x"}], "actions.0.url"),
    ("publish", "actions", [{"title": "x", "url": NEWS["url"], "icon": ""}], "actions.0.icon"),
    ("publish", "kind", "urgent", "kind"),
    ("publish", "urgency", "highest", "urgency"),
    ("publish", "ttl", 59, "ttl"),
    ("publish", "ttl", 2_419_201, "ttl"),
    ("publish", "ttl", 10**400, "ttl"),
    ("publish", "ttl", 3600.0, "ttl"),
    ("publish", "ttl", "3600", "ttl"),
    ("publish", "ttl", True, "ttl"),
    ("publish", "audience", "DELETE", "audience"),
    ("publish", "audience", None, "audience"),
    ("publish", "audience", {}, "audience"),
    ("publish", "audience", {"everyone": False}, "audience"),
    ("publish", "audience", {"everyone": False, "topics": ["world"]}, "audience"),
    ("publish", "audience", {"everyone": True, "topics": ["world"]}, "audience"),
    ("publish", "audience", {"exclude": ["world"]}, "audience"),
    ("publish", "audience.everyone", 1, "audience.everyone"),
    ("publish", "audience.everyone", "true", "audience.everyone"),
    ("publish", "audience.topics", [], "audience.topics"),
    ("publish", "audience.topics", ["cooking"], "audience.topics"),
    ("publish", "audience.exclude", ["cooking"], "audience.exclude"),
    ("publish", "audience.locales", ["german"], "audience.locales.0"),
    ("publish", "audience.subscription", "0-0", "audience.subscription"),
    *(("publish", name, None, name) for name in ("tag", "id")),
    ("publish", "send_at", 1900000000, "send_at"),
    ("publish", "send_at", "tomorrow", "send_at"),
    ("publish", "send_at", "2020-01-01T00:00:00Z", "send_at"),
    ("publish", "send_at", "9999-01-01T00:00:00Z", "send_at"),
    ("publish", "send_at", "2026-03-29T07:00", "send_at"),
    ("publish", "local_time", True, "local_time"),
    ("publish", "local_time", "yes", "local_time"),
    ("publish", "draft", None, "draft"),
    ("publish", "draft", "yes", "draft"),
    ("publish", "late", "send", "late"),
    ("publish", "late", "never", "late"),
    ("audience", "topics", ["cooking"], "topics"),
    ("audience", "everyone", False, ""),
    ("add topic", "slug", "DELETE", "slug"),
    ("add topic", "slug", "", "slug"),
    ("add topic", "slug", "World", "slug"),
    ("add topic", "slug", "-world", "slug"),
    ("add topic", "slug", "wörld", "slug"),
    ("add topic", "slug", "world\n", "slug"),
    ("add topic", "slug", "x" * 41, "slug"),
    ("add topic", "name", "", "name"),
    ("add topic", "name", "x" * 61, "name"),
    ("add topic", "description", "x" * 201, "description"),
    ("add topic", "description", "a\nb", "description"),
    ("add topic", "default", "yes", "default"),
    ("change topic", "slug", "other", "slug"),
    ("change topic", "name", "", "name"),
]


class Doorstep:
    """Everything that a route needs to be called rightly, but for the body."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.reader = subscribe(client)
        for draft in (False, True):
            client.runtime.publishing.publish(
                Content("Late news", "https://paper.example/"),
                Audience(everyone=True, story="storm"),
                by="a test",
                draft=draft,
            )
        self.tokens = {"readers": self.reader["token"], "editors": client.add_token()}

    def call(self, route: str, **body: Any) -> Any:
        method, path = ROUTES[route]
        whose = "readers" if route == "change" else "editors"
        path = API + path.format(id=self.reader["id"])
        return self.client.call(method, path, token=self.tokens[whose], **body)


@pytest.fixture
def doorstep(client: Client) -> Doorstep:
    return Doorstep(client)


@pytest.mark.parametrize("route", ROUTES)
def test_what_the_bad_inputs_spoil_is_taken_as_it_is(doorstep: Doorstep, route: str) -> None:
    assert doorstep.call(route, said=GOOD[route]).status_code < 300


def test_every_call_with_a_body_is_among_those_that_are_tried(client: Client) -> None:
    taking = {name for name, operation in openapi.OPERATIONS.items() if operation.takes}
    assert len(taking) == len(ROUTES)


@pytest.mark.parametrize(
    ("route", "field", "value", "named"),
    BAD,
    ids=[f"{route} {field} {str(value)[:30]!a}" for route, field, value, _ in BAD],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(
    doorstep: Doorstep, route: str, field: str, value: Any, named: str
) -> None:
    said = copy.deepcopy(GOOD[route])
    *outer, last = field.split(".")
    within = said
    for name in outer:
        within = within[name]
    if value == "DELETE":
        del within[last]
    else:
        within[last] = value
    before = stored(doorstep.client)
    answer = doorstep.call(route, said=said)
    assert answer.status_code == 422
    assert [row["field"] for row in answer.json["errors"]] == [named]
    assert all(row["detail"].endswith(".") for row in answer.json["errors"])
    assert stored(doorstep.client) == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_an_alert_may_lead_to_this_machine_without_tls(doorstep: Doorstep, host: str) -> None:
    said = {**NEWS, "url": f"http://{host}:8000/demo/"}
    assert doorstep.call("publish", said=said).status_code == 202


@pytest.mark.parametrize("url", ["https://пример.рф/новость?ü=1#x", "https://paper.example:8443"])
def test_an_alert_may_lead_to_any_page_over_https(doorstep: Doorstep, url: str) -> None:
    assert doorstep.call("publish", said={**NEWS, "url": url}).status_code == 202


def test_an_alert_is_as_long_as_a_push_can_carry_to_the_byte(doorstep: Doorstep) -> None:
    icon = "https://paper.example/".ljust(2000, "x")
    over = doorstep.call("publish", said={**NEWS, "icon": icon, "body": "é" * 1000})
    assert over.status_code == 422
    (error,) = over.json["errors"]
    assert error["field"] == "body"
    too_many = int(error["detail"].split()[3])
    fitting = {**NEWS, "icon": icon[:-too_many], "body": "é" * 1000}
    assert doorstep.call("publish", said=fitting).status_code == 202
    one_more = {**fitting, "title": f"{NEWS['title']}!"}
    assert "1 byte too long" in doorstep.call("publish", said=one_more).json["detail"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b"\xff\xfe{\x00}\x00", 400),
        (b'{"title": "\\ud800"}', 400),
        (b'{"a": ' * 100_000, 413),
        (b"[" * 8000, 400),
        (b"{}".ljust(65_537), 413),
    ],
)
def test_what_is_no_json_object_is_refused(
    doorstep: Doorstep, route: str, body: bytes, status: int
) -> None:
    before = stored(doorstep.client)
    answer = doorstep.call(route, data=body, content_type="application/json")
    assert answer.status_code == status
    assert stored(doorstep.client) == before


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_json_must_be_called_json(doorstep: Doorstep, route: str, type: str | None) -> None:
    before = stored(doorstep.client)
    answer = doorstep.call(route, data=json.dumps(GOOD[route]), content_type=type)
    assert answer.status_code == 415
    assert stored(doorstep.client) == before


@pytest.mark.parametrize("route", ["subscribe", "change", "report"])
@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, 413),
        # As gunicorn hands on a body that comes in chunks: it is cut off, and no JSON any more.
        ({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}, 400),
    ],
    ids=["announced", "in chunks"],
)
def test_a_reader_says_at_most_eight_kib(
    doorstep: Doorstep, route: str, environ: dict[str, Any], status: int
) -> None:
    said = json.dumps(GOOD[route]).encode()
    over, longest = (
        doorstep.call(
            route,
            data=said.rjust(size),
            content_type="application/json",
            environ_overrides=environ,
        )
        for size in (8193, 8192)
    )
    assert over.status_code == status
    assert longest.status_code < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """`good` with something in it replaced by anything."""
    if isinstance(good, dict) and good and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(good)))
        return {**good, name: draw(spoilt(good[name]))}
    if isinstance(good, list) and good and draw(st.booleans()):
        return [draw(spoilt(good[0])), *good[1:]]
    return draw(JSON)


@pytest.mark.once
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_that_can_be_said_is_a_surprise(doorstep: Doorstep, route: str) -> None:
    bodies = st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda said: json.dumps(said).encode()),
        spoilt(GOOD[route]).map(lambda said: json.dumps(said).encode()),
    )

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies)
    def say(body: bytes) -> None:
        before = stored(doorstep.client)
        answer = doorstep.call(route, data=body, content_type="application/json")
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert stored(doorstep.client) == before

    say()


def test_the_key_that_pages_are_given_is_the_first_of_those_set(redis_url: str) -> None:
    new = VapidKey.generate()
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{new.text} {VAPID.text}"))
    site = client.call("GET", f"{API}/site")
    assert site.json["vapid_public_key"] == b64url(new.public)
    client.runtime.store.redis.close()
