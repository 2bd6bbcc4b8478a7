"""How a browser subscribes, changes what its reader chose and leaves; what it reports back."""

from __future__ import annotations

import pytest

from service.model.keys import VapidKey, b64url
from service.model.subscriptions import SubscriptionId
from service.model.tokens import Tokens
from tests.support.client import (
    API,
    NOTIFICATIONS,
    SUBSCRIPTIONS,
    VAPID,
    Client,
    Reader,
    browser,
    make_app,
    stored,
)
from tests.support.inputs import NEWS

pytestmark = pytest.mark.redis


def test_a_page_learns_the_name_the_key_the_topics_and_when_to_ask(client: Client) -> None:
    answer = client.call("GET", f"{API}/site")
    assert answer.json == {
        "name": "The Daily Example",
        "vapid_public_key": client.runtime.keys.current,
        "topics": [
            {"slug": "world", "name": "World", "description": "", "default": False},
            {"slug": "sport", "name": "Sport", "description": "", "default": False},
        ],
        "prompt": {"page_views": 2, "delay_seconds": 20},
        "defaults": {"quiet_hours": None, "daily_limit": None},
    }
    assert answer.headers["Cache-Control"].startswith("public, max-age=300, stale-while-revalidate")


def test_the_newsroom_says_when_its_readers_are_asked(redis_url: str) -> None:
    client = Client(make_app(redis_url, ASK_PAGE_VIEWS="5", ASK_SECONDS="90"))
    site = client.call("GET", f"{API}/site").json
    assert site["prompt"] == {"page_views": 5, "delay_seconds": 90}
    client.runtime.store.redis.close()


def test_what_a_reader_chose_is_kept_in_its_usual_spelling(client: Client) -> None:
    reader = Reader(client, topics=["world", "sport"], locale="zh-hant-tw", timezone="Europe/Riga")
    shown = reader.call("GET").json
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
    assert Reader(client, locale=said).call("GET").json["locale"] == kept


def test_a_known_browser_gets_the_same_id_and_token_again(client: Client) -> None:
    reader = Reader(client, topics=["world"])
    padded = browser()
    padded["keys"] = {
        name: key.ljust(-len(key) % 4 + len(key), "=") for name, key in padded["keys"].items()
    }
    padded["invented by a browser of next year"] = {"endpoint": 1}
    again = client.call("POST", SUBSCRIPTIONS, {"subscription": padded})
    assert (again.status_code, again.json) == (200, reader.credentials)
    assert reader.call("GET").json["topics"] == ["world"]


def test_other_keys_need_the_readers_own_token(client: Client) -> None:
    reader, other = Reader(client, 0, topics=["world"]), Reader(client, 1)
    said = {"subscription": browser(0, keys=2), "topics": []}
    before = stored(client)
    for wrong in (None, "", other.token, reader.token[:-1]):
        assert client.call("POST", SUBSCRIPTIONS, said, token=wrong).status_code == 409
    assert stored(client) == before
    answer = client.call("POST", SUBSCRIPTIONS, said, token=reader.token)
    assert answer.status_code == 200
    assert answer.json["id"] == reader.id
    assert answer.json["token"] != reader.token
    assert reader.call("GET").status_code == 404
    assert Reader.known(client, answer.json).call("GET").json["topics"] == []


def test_checking_in_never_subscribes(client: Client) -> None:
    said = {"subscription": browser(), "refresh": True}
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, said).status_code == 404
    assert stored(client) == before
    reader = Reader(client)
    assert client.call("POST", SUBSCRIPTIONS, said).json == reader.credentials
    assert reader.call("DELETE").status_code == 204
    before = stored(client)
    assert client.call("POST", SUBSCRIPTIONS, said).status_code == 410
    assert stored(client) == before
    assert Reader(client).id != reader.id


def test_a_reader_changes_only_what_is_mentioned(client: Client) -> None:
    reader = Reader(client, topics=["world"], locale="lv", timezone="Europe/Riga")
    before = reader.call("GET").json
    answer = reader.call("PATCH", said={"topics": ["sport"], "locale": None})
    assert answer.json == {**before, **reader.credentials, "topics": ["sport"]}
    assert reader.call("PATCH", said={"topics": []}).json["topics"] == []


def test_a_browser_whose_endpoint_changed_keeps_what_its_reader_chose(client: Client) -> None:
    reader = Reader(client, 0, topics=["world"], locale="lv")
    answer = reader.call("PATCH", said={"subscription": browser(1)}).json
    assert answer["id"] != reader.id
    assert (answer["topics"], answer["locale"]) == (["world"], "lv")
    assert reader.call("GET").status_code == 404
    assert Reader.known(client, answer).call("GET").status_code == 200
    stored_one = client.runtime.store.subscriptions.get(SubscriptionId.parse(answer["id"]))
    assert stored_one.endpoint.url == browser(1)["endpoint"]


def test_nobody_takes_over_an_endpoint_by_moving_to_it(client: Client) -> None:
    reader, victim = Reader(client, 0), Reader(client, 1)
    before = stored(client)
    answer = reader.call("PATCH", said={"subscription": browser(1, keys=0)})
    assert answer.status_code == 409
    assert stored(client) == before
    assert victim.call("GET").status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_wrong_token_and_an_unknown_id_cannot_be_told_apart(client: Client, method: str) -> None:
    reader, other = Reader(client, 0), Reader(client, 1)
    said = {"topics": []} if method == "PATCH" else None
    before = stored(client)
    answers = {
        (answer.status_code, answer.data)
        for answer in (
            client.call(method, f"{SUBSCRIPTIONS}/{id}", said, token=token)
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
    reader = Reader(client)
    sent = client.call("POST", NOTIFICATIONS, NEWS, token=token)
    receipt = client.runtime.tokens.receipt(int(sent.json["id"]), SubscriptionId.parse(reader.id))
    unknown = client.runtime.tokens.receipt(77, SubscriptionId(0, 0))
    foreign = Tokens("the secret of another house than this").receipt(1, SubscriptionId(0, 1))
    assert sent.json["id"] == "1"
    for one in (receipt, receipt, "x" * 22, "é", "", unknown, foreign):
        for event in ("shown", "clicked"):
            answer = client.call("POST", f"{API}/receipts", {"token": one, "event": event})
            assert answer.status_code == 204
    several = [{"token": one, "event": "dismissed"} for one in (unknown, receipt, receipt, "")]
    answer = client.call("POST", f"{API}/receipts", {"receipts": several})
    assert answer.status_code == 204
    shown = client.call("GET", sent.headers["Location"], token=token).json["progress"]["receipts"]
    assert shown == {"shown": 1, "clicked": 1, "dismissed": 1}
    assert not [key for key in stored(client) if b":77" in key]


def test_the_key_that_pages_are_given_is_the_first_of_those_set(redis_url: str) -> None:
    new = VapidKey.generate()
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{new.text} {VAPID.text}"))
    site = client.call("GET", f"{API}/site")
    assert site.json["vapid_public_key"] == b64url(new.public)
