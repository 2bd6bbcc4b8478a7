"""How a browser subscribes, changes its preferences, unsubscribes and sends receipts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.domain.sending.receipts import EVENTS
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience, Topic
from service.model.subscriptions import SubscriptionId
from service.model.tokens import Tokens
from tests.support.client import (
    API,
    NOTIFICATIONS,
    SITE,
    SUBSCRIPTIONS,
    VAPID,
    Client,
    Reader,
    browser,
    make_app,
    open_client,
    stored,
)
from tests.support.inputs import NEWS
from tests.support.processes.installation import content


def test_a_page_gets_the_sites_name_key_topics_and_prompt(client: Client) -> None:
    response = client.call("GET", f"{API}/site")
    assert response.json == {
        "name": "The Daily Example",
        "vapid_public_key": client.runtime.keys.current,
        "topics": [
            {"slug": "world", "name": "World", "description": "", "default": False},
            {"slug": "sport", "name": "Sport", "description": "", "default": False},
        ],
        "prompt": {"page_views": 2, "delay_seconds": 20, "texts": {}},
        "defaults": {"quiet_hours": None, "daily_limit": None},
        "alerts_a_day": None,
        "welcome": False,
    }
    assert response.headers["Cache-Control"].startswith(
        "public, max-age=300, stale-while-revalidate"
    )


def test_settings_decide_when_a_page_asks_its_reader(redis_url: str) -> None:
    client = Client(make_app(redis_url, ASK_PAGE_VIEWS="5", ASK_SECONDS="90"))
    site = client.call("GET", f"{API}/site").json
    assert site["prompt"] == {"page_views": 5, "delay_seconds": 90, "texts": {}}
    client.runtime.store.redis.close()


def test_preferences_are_stored_in_their_usual_spelling(client: Client) -> None:
    reader = Reader(client, topics=["world", "sport"], locale="zh-hant-tw", timezone="Europe/Riga")
    shown = reader.call("GET").json
    assert shown["topics"] == ["sport", "world"]
    assert (shown["locale"], shown["timezone"]) == ("zh-Hant-TW", "Europe/Riga")


@pytest.mark.parametrize(
    ("given", "stored_as"),
    [
        ("en", "en"),
        ("EN-gb", "en-GB"),
        ("es-419", "es-419"),
        ("sr-latn-rs", "sr-Latn-RS"),
        ("ca-VALENCIA", "ca-valencia"),
        ("en-us-U-HC-H12", "en-US-u-hc-h12"),
    ],
)
def test_a_language_is_stored_in_the_spelling_of_rfc_5646(
    client: Client, given: str, stored_as: str
) -> None:
    assert Reader(client, locale=given).call("GET").json["locale"] == stored_as


def test_a_known_browser_gets_the_same_id_and_token(client: Client) -> None:
    reader = Reader(client, topics=["world"])
    padded = browser()
    padded["keys"] = {
        name: key.ljust(-len(key) % 4 + len(key), "=") for name, key in padded["keys"].items()
    }
    padded["invented by a browser of next year"] = {"endpoint": 1}
    again = client.call("POST", SUBSCRIPTIONS, {"subscription": padded})
    assert (again.status_code, again.json) == (200, reader.credentials)
    assert reader.call("GET").json["topics"] == ["world"]


def test_new_keys_for_a_known_endpoint_need_the_readers_token(client: Client) -> None:
    reader, other = Reader(client, 0, topics=["world"]), Reader(client, 1)
    body = {"subscription": browser(0, keys=2), "topics": []}
    before = stored(client)
    for wrong in (None, "", other.token, reader.token[:-1]):
        assert client.call("POST", SUBSCRIPTIONS, body, token=wrong).status_code == 409
    assert stored(client) == before
    response = client.call("POST", SUBSCRIPTIONS, body, token=reader.token)
    assert response.status_code == 200
    assert response.json["id"] == reader.id
    assert response.json["token"] != reader.token
    assert reader.call("GET").status_code == 404
    assert Reader.known(client, response.json).call("GET").json["topics"] == []


def test_refresh_never_subscribes(client: Client) -> None:
    body = {"subscription": browser(), "refresh": True}
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, body).status_code == 404
    assert stored(client) == before
    reader = Reader(client)
    assert client.call("POST", SUBSCRIPTIONS, body).json == reader.credentials
    assert reader.call("DELETE").status_code == 204
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, body).status_code == 410
    assert stored(client) == before
    assert Reader(client).id != reader.id


def test_a_reader_has_not_left_if_the_browser_lost_the_subscription(client: Client) -> None:
    """Chrome takes permissions back by itself; the reader may say yes again, and is counted so."""
    ended = client.runtime.store.departures.counts
    lost, left = Reader(client, 0), Reader(client, 1)
    assert lost.call("DELETE", "?why=lost").status_code == 204
    assert left.call("DELETE").status_code == 204
    assert ended() == {"lost": 1, "left": 1}
    for number, status in ((0, 404), (1, 410)):
        body = {"subscription": browser(number), "refresh": True}
        assert client.call("POST", SUBSCRIPTIONS, body).status_code == status
    figures = client.call("GET", "/metrics", token=client.add_token(scopes=["read"])).text
    for why, count in (("lost", 1), ("left", 1), ("gone", 0), ("unproven", 0)):
        assert f'stoppress_subscriptions_ended_total{{why="{why}"}} {count}.0' in figures


def test_an_origin_that_was_forgotten_is_noted_for_the_doctor(client: Client) -> None:
    noted = client.runtime.refused_origins.latest
    site = f"{API}/site"
    for origin in (SITE, "http://localhost", "null", "https://x\x1b[31m.example", "chrome://x"):
        assert client.call("GET", site, headers={"Origin": origin}).status_code == 200
    assert noted() == []
    for number in range(30):
        origin = f"https://{number}.paper.example"
        response = client.call("GET", site, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in response.headers
    assert len(noted()) == 20, "strangers cannot fill the store"
    assert noted()[0] == "https://29.paper.example"


def test_a_change_leaves_missing_fields_as_they_are(client: Client) -> None:
    reader = Reader(client, topics=["world"], locale="lv", timezone="Europe/Riga")
    before = reader.call("GET").json
    response = reader.call("PATCH", json={"topics": ["sport"], "locale": None})
    assert response.json == {**before, **reader.credentials, "topics": ["sport"]}
    assert reader.call("PATCH", json={"topics": []}).json["topics"] == []


def test_preferences_survive_a_change_of_endpoint(client: Client) -> None:
    reader = Reader(client, 0, topics=["world"], locale="lv")
    response = reader.call("PATCH", json={"subscription": browser(1)}).json
    assert response["id"] != reader.id
    assert (response["topics"], response["locale"]) == (["world"], "lv")
    assert reader.call("GET").status_code == 404
    assert Reader.known(client, response).call("GET").status_code == 200
    stored_one = client.runtime.store.subscriptions.get(SubscriptionId.parse(response["id"]))
    assert stored_one.endpoint.url == browser(1)["endpoint"]


def test_a_reader_cannot_take_over_another_readers_endpoint(client: Client) -> None:
    reader, victim = Reader(client, 0), Reader(client, 1)
    before = stored(client)
    response = reader.call("PATCH", json={"subscription": browser(1, keys=0)})
    assert response.status_code == 409
    assert stored(client) == before
    assert victim.call("GET").status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_wrong_token_and_an_unknown_id_cannot_be_told_apart(client: Client, method: str) -> None:
    reader, other = Reader(client, 0), Reader(client, 1)
    body = {"topics": []} if method == "PATCH" else None
    before = stored(client)
    responses = {
        (response.status_code, response.data)
        for response in (
            client.call(method, f"{SUBSCRIPTIONS}/{id}", body, token=token)
            for id, token in (
                (reader.id, other.token),
                (reader.id, "x"),
                (reader.id, "é"),
                ("0-99", reader.token),
                ("9-0", reader.token),
                ("0-00", reader.token),
                ("9" * 4000, reader.token),
                ("\ud7ff", reader.token),
            )
        )
    }
    assert len(responses) == 1
    assert responses.pop()[0] == 404
    assert stored(client) == before


@pytest.mark.parametrize("path", ["/subscriptions/0-0", "/notifications"])
def test_a_call_without_a_token_is_401(client: Client, path: str) -> None:
    for authorization in (None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer a=b"):
        headers = {} if authorization is None else {"Authorization": authorization}
        response = client.call("GET", API + path, headers=headers)
        assert response.status_code == 401, authorization
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_receipt_counts_once_and_a_forged_one_never(client: Client, token: str) -> None:
    reader = Reader(client)
    sent = client.call("POST", NOTIFICATIONS, NEWS, token=token)
    receipt = client.runtime.tokens.receipt(int(sent.json["id"]), SubscriptionId.parse(reader.id))
    unknown = client.runtime.tokens.receipt(77, SubscriptionId(0, 0))
    foreign = Tokens("the secret of another installation").receipt(1, SubscriptionId(0, 1))
    assert sent.json["id"] == "1"
    for one in (receipt, receipt, "x" * 22, "é", "", unknown, foreign):
        for event in ("shown", "clicked"):
            response = client.call("POST", f"{API}/receipts", {"token": one, "event": event})
            assert response.status_code == 204
    several = [{"token": one, "event": "dismissed"} for one in (unknown, receipt, receipt, "")]
    response = client.call("POST", f"{API}/receipts", {"receipts": several})
    assert response.status_code == 204
    shown = client.call("GET", sent.headers["Location"], token=token).json["progress"]["receipts"]
    assert shown == {"shown": 1, "clicked": 1, "dismissed": 1}
    assert not [key for key in stored(client) if b":77" in key]


def test_what_readers_did_after_a_click_is_counted_once_for_the_alert(redis_url: str) -> None:
    client = Client(make_app(redis_url, CONVERSIONS="subscription, newsletter"))
    reader, silent = Reader(client), Reader(client, 1, receipts=False)
    id = client.runtime.publishing.publish(content(), Audience(everyone=True), by="cms").id
    client.runtime.planning.plan(client.runtime.publishing.get(id))

    def report(one: Reader, event: str) -> int:
        receipt = client.runtime.tokens.receipt(id, SubscriptionId.parse(one.id))
        body = {"token": receipt, "event": event}
        return client.call("POST", f"{API}/receipts", body).status_code

    assert report(reader, "converted:subscription") == 204
    assert report(reader, "converted:subscription") == 204
    assert report(silent, "converted:subscription") == 204  # who wants nothing counted
    for unknown in ("converted:lottery", "converted:", "converted", "bought"):
        assert report(reader, unknown) == 422
    counts = client.runtime.receipts
    assert counts.conversions(id) == {"subscription": 1, "newsletter": 0}
    assert counts.of(id) == dict.fromkeys(EVENTS, 0)
    none = Client(make_app(redis_url))
    assert (
        none.call("POST", f"{API}/receipts", {"token": "x", "event": "converted:a"}).status_code
        == 422
    )


def test_pages_get_the_first_of_the_vapid_keys(redis_url: str) -> None:
    new = VapidKey.generate()
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{new.text} {VAPID.text}"))
    site = client.call("GET", f"{API}/site")
    assert site.json["vapid_public_key"] == b64url(new.public)


def started(client: Client, days_ago: float, **audience: Any) -> None:
    """Send an alert, so many days ago."""
    runtime = client.runtime
    alert = runtime.publishing.publish(content(), Audience(**audience), by="cms")
    runtime.planning.plan(runtime.publishing.get(alert.id))
    at = repr(time.time() - days_ago * 86_400)
    runtime.store.redis.hset(f"{{g}}:n:{alert.id}", "started_at", at)


def test_a_page_is_told_how_many_alerts_a_day_a_new_reader_would_get(redis_url: str) -> None:
    client = open_client(redis_url)
    client.runtime.topics.add(Topic("breaking", "Breaking", default=True))
    Reader(client)
    started(client, 1, everyone=True)
    assert a_day(redis_url) is None, "one day says nothing yet"
    for day in range(10):
        for _ in range(2):
            started(client, day + 0.5, everyone=True)
        started(client, day + 0.5, topics=("breaking",))
        started(client, day + 0.5, topics=("sport",))  # is not ticked beforehand
    assert a_day(redis_url) == 3
    started(client, 40, everyone=True)
    assert a_day(redis_url) == 2, "over two weeks"


def a_day(redis_url: str) -> Any:
    """What a web process that starts now tells pages."""
    return Client(make_app(redis_url)).call("GET", f"{API}/site").json["alerts_a_day"]


@pytest.mark.parametrize(("mode", "welcome"), [("no", False), ("yes", True), ("confirm", True)])
def test_a_page_is_told_whether_a_welcome_comes(redis_url: str, mode: str, welcome: bool) -> None:
    client = Client(make_app(redis_url, WELCOME=mode))
    assert client.call("GET", f"{API}/site").json["welcome"] is welcome
