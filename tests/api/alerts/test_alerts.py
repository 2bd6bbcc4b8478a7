"""The calls of editors' tools: alerts, audiences and topics."""

from __future__ import annotations

import functools
import time
from datetime import datetime, timezone

import pytest

from service.model.notifications import Outcome
from service.store.alerts.outcomes import Result
from service.store.sending.push_services import Pace
from tests.support.client import API, NOTIFICATIONS, Client, Reader, stored
from tests.support.inputs import NEWS

UNSEEN = "Characters that no reader sees were left out, or became a space: {}."


def test_a_published_alert_can_be_shown_and_counted(client: Client, token: str) -> None:
    for number, topics in enumerate((["world"], ["sport"], ["world", "sport"])):
        Reader(client, number, topics=topics, locale="en-GB")
    body = {
        **NEWS,
        "title": "  Ferry aground \n",
        "body": "One.\r\nTwo.",
        "icon": "https://paper.example/icon.png",
        "actions": [{"title": "Live", "url": "http://localhost:8000/live"}],
        "audience": {"topics": ["world"], "exclude": ["sport"], "locales": ["EN"]},
    }
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.status_code == 202
    assert response.json == {
        "id": "1",
        "status": "sending",
        "recipients": 1,
        "warnings": [{"field": "title", "detail": UNSEEN.format("U+000A")}],
    }
    shown = client.call("GET", response.headers["Location"], token=token).json
    progress, created_at = shown.pop("progress"), shown.pop("created_at")
    assert shown == {
        **body,
        "id": "1",
        "status": "sending",
        "title": "Ferry aground",
        "body": "One.\nTwo.",
        "badge": None,
        "image": None,
        "kind": "news",
        "urgency": "high",
        "ttl": 4 * 3600,
        "lang": None,
        "story": None,
        "audience": {"topics": ["world"], "exclude": ["sport"], "locales": ["en"]},
        "spread_minutes": None,
        "second_text": None,
        "repeat": None,
        "send_at": None,
        "local_time": False,
        "time_zone": None,
        "late": "draft",
        "missed": False,
        "waits_for_approval": False,
        "corrects": None,
        "corrections": [],
        "opens": body["url"],
        "text_now": {
            "title": "Ferry aground",
            "body": "One.\nTwo.",
            "url": body["url"],
            "opens": body["url"],
        },
        "created_by": "a test",
    }
    assert progress.pop("started_at") == created_at
    assert progress == {
        "recipients": 0,
        "done": 0,
        "outcomes": dict.fromkeys((outcome.value for outcome in Outcome), 0),
        "skipped": {"quiet": 0, "limit": 0, "paused": 0, "over": 0},
        "by_service": {},
        "receipts": {"shown": 0, "clicked": 0, "dismissed": 0},
        "receipts_error": {"shown": 0, "clicked": 0, "dismissed": 0},
        "on_screen": None,
        "conversions": {},
        "limits": [],
        "held": {
            "waiting": 0,
            "first_at": None,
            "last_at": None,
            "alone": 0,
            "together": 0,
            "waves": [],
        },
        "finished_at": None,
        "rate_per_second": 0,
    }
    assert created_at.endswith("Z")


def test_breaking_news_has_a_longer_default_ttl(client: Client, token: str) -> None:
    body = {**NEWS, "kind": "breaking"}
    client.call("POST", NOTIFICATIONS, body, token=token)
    client.call("POST", NOTIFICATIONS, {**body, "ttl": 60, "urgency": "low"}, token=token)
    second, first = client.call("GET", NOTIFICATIONS, token=token).json["notifications"]
    assert (first["ttl"], first["urgency"]) == (12 * 3600, "high")
    assert (second["ttl"], second["urgency"]) == (60, "low")


@pytest.mark.usefixtures("one_partition")
def test_progress_adds_up_by_outcome_and_by_push_service(client: Client, token: str) -> None:
    for number in range(5):
        Reader(client, number)
    id = int(client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"])
    client.runtime.planning.plan(client.runtime.publishing.get(id))
    sending = client.runtime.store.batches
    claim = sending.claim(id, 0, "a worker", 60_000)
    assert claim is not None
    results = {
        Result(Outcome.ACCEPTED, "google", 1): [0, 1],
        Result(Outcome.GONE, "google", 1): [2],
        Result(Outcome.ACCEPTED, "apple", 2): [3],
    }
    client.runtime.store.outcomes.record(id, claim.batch, "a worker", 60_000, results)
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


def test_cancelling_a_cancelled_alert_is_409_and_an_unknown_one_404(
    client: Client, token: str
) -> None:
    location = client.call("POST", NOTIFICATIONS, NEWS, token=token).headers["Location"]
    assert client.call("POST", f"{location}/cancel", token=token).status_code == 202
    assert client.call("POST", f"{location}/cancel", token=token).status_code == 409
    for id in ("2", "9" * 30):
        assert client.call("POST", f"{NOTIFICATIONS}/{id}/cancel", token=token).status_code == 404
        assert client.call("GET", f"{NOTIFICATIONS}/{id}", token=token).status_code == 404


def test_the_same_idempotency_key_publishes_once(client: Client, token: str) -> None:
    Reader(client, 0)
    headers = {"Idempotency-Key": "~" * 255}
    first = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    Reader(client, 1)
    again = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    other = {**NEWS, "title": "Another"}
    before = stored(client)
    response = client.call("POST", NOTIFICATIONS, other, token=token, headers=headers)
    assert response.status_code == 409
    assert stored(client) == before
    # The same key of another token is another key.
    third = client.call(
        "POST", NOTIFICATIONS, other, token=client.add_token("another"), headers=headers
    )
    assert third.status_code == 202
    listed = client.call("GET", NOTIFICATIONS, token=token).json["notifications"]
    assert [one["title"] for one in listed] == ["Another", "Ferry aground"]


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "é"])
def test_an_idempotency_key_must_be_visible_ascii(client: Client, token: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    before = stored(client)
    response = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=headers)
    assert response.status_code == 400
    assert "Idempotency-Key" in response.json["detail"]
    assert stored(client) == before


def test_a_list_of_alerts_has_pages_and_is_newest_first(client: Client, token: str) -> None:
    for number in range(5):
        client.call("POST", NOTIFICATIONS, {**NEWS, "title": f"{number}"}, token=token)
    pages, cursor = [], ""
    while cursor is not None:
        path = f"{NOTIFICATIONS}?limit=2" + (f"&cursor={cursor}" if cursor else "")
        response = client.call("GET", path, token=token).json
        pages.append([one["title"] for one in response["notifications"]])
        cursor = response["next_cursor"]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


def test_an_audience_is_counted_without_sending(client: Client, token: str) -> None:
    for number, topics in enumerate((["world"], ["sport"], [])):
        Reader(client, number, topics=topics)
    for audience, reach in (
        ({"everyone": True}, 3),
        ({"everyone": True, "topics": None, "exclude": ["sport"]}, 2),
        ({"topics": ["world", "sport"]}, 2),
        ({"topics": ["world"], "locales": ["fr"]}, 0),
    ):
        response = client.call("POST", f"{API}/audience", audience, token=token)
        assert response.json == {"recipients": reach}


def test_a_topic_is_added_changed_and_deleted(client: Client, token: str) -> None:
    body = {"slug": "late-news", "name": " Late news ", "description": "", "default": True}
    made = client.call("POST", f"{API}/topics", body, token=token)
    assert made.status_code == 201
    assert made.json == {**body, "name": "Late news", "hidden": False, "warnings": []}
    assert client.call("POST", f"{API}/topics", body, token=token).status_code == 409
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


def test_a_deleted_topic_that_is_added_again_has_no_followers(client: Client, token: str) -> None:
    reader = Reader(client, topics=["world"])
    assert client.call("DELETE", f"{API}/topics/world", token=token).status_code == 204
    assert reader.call("GET").json["topics"] == []
    client.call("POST", f"{API}/topics", {"slug": "world", "name": "World"}, token=token)
    reach = client.call("POST", f"{API}/audience", {"topics": ["world"]}, token=token)
    assert reach.json == {"recipients": 0}
    assert reader.call("GET").json["topics"] == []


def test_pausing_resuming_and_cancelling_depend_on_the_state(client: Client, token: str) -> None:
    Reader(client)
    id = client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"]

    def do(what: str) -> tuple[int, str]:
        response = client.call("POST", f"{NOTIFICATIONS}/{id}/{what}", token=token).json
        return response["status"], response.get("detail", "")

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


@pytest.mark.redis
def test_progress_names_a_slow_push_service_and_the_last_readers_time(
    client: Client, token: str
) -> None:
    for number in range(30):
        Reader(client, number)
    id = int(client.call("POST", NOTIFICATIONS, NEWS | {"ttl": 120}, token=token).json["id"])
    runtime, now = client.runtime, time.time()
    runtime.planning.plan(runtime.publishing.get(id))
    origin = "https://fcm.googleapis.com"
    runtime.store.push_services.pace(origin, Pace(10, now))
    path = f"{NOTIFICATIONS}/{id}"
    (limit,) = client.call("GET", path, token=token).json["progress"]["limits"]
    assert (limit["service"], limit["per_minute"], limit["waiting"]) == ("google", 10, 30)
    assert 15 <= limit["will_expire"] <= 25, "a minute's worth, and half of the other has no time"
    assert limit["last_reader_at"] > limit_time(now + 170)
    assert limit["resting_until"] is None


def limit_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]


def test_the_same_idempotency_key_at_another_address_is_409(client: Client, token: str) -> None:
    Reader(client)
    for _ in range(2):
        client.call("POST", NOTIFICATIONS, NEWS, token=token)
    body, key = {"title": "Ferry afloat"}, {"Idempotency-Key": "one"}
    call = functools.partial(client.call, "POST", token=token, json=body, headers=key)
    first = call(f"{NOTIFICATIONS}/1/correct")
    assert first.status_code == 202
    assert call(f"{NOTIFICATIONS}/1/correct").json == first.json
    assert call(f"{NOTIFICATIONS}/2/correct").status_code == 409


def test_the_size_of_a_correction_counts_the_text_that_stays(client: Client, token: str) -> None:
    Reader(client)
    long, path = "https://paper.example/" + "x" * 1900, f"{NOTIFICATIONS}/1/correct"
    client.call("POST", NOTIFICATIONS, NEWS, token=token)
    child = client.call("POST", path, {"title": "B"}, token=token).json["id"]
    assert client.call("POST", path, {"url": long, "title": "C"}, token=token).status_code == 202
    of_child = f"{NOTIFICATIONS}/{child}/correct"
    too_long = client.call("POST", of_child, {"body": "ü" * 1000}, token=token)
    assert too_long.status_code == 422
    assert client.call("POST", of_child, {"title": "C"}, token=token).status_code == 422
    assert client.call("POST", of_child, {"title": "B"}, token=token).status_code == 202


def test_cancelling_an_alert_cancels_its_correction(client: Client, token: str) -> None:
    Reader(client)
    client.call("POST", NOTIFICATIONS, NEWS, token=token)
    child = client.call("POST", f"{NOTIFICATIONS}/1/correct", {"title": "B"}, token=token).json
    client.call("POST", f"{NOTIFICATIONS}/1/cancel", token=token)
    shown = client.call("GET", f"{NOTIFICATIONS}/{child['id']}", token=token).json
    assert shown["status"] == "cancelled"
