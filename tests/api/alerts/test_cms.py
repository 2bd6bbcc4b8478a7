"""What CMSs send, and what they are told: plans, keys, bodies, texts."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from service.domain.alerts.gate import NOBODY
from service.model.notifications import State
from tests.support.client import API, NOTIFICATIONS, Client, Reader, stored
from tests.support.inputs import NEWS


@pytest.fixture
def later() -> dict[str, Any]:
    """A body that schedules an alert for in an hour."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    return {**NEWS, "send_at": at}


# Plans ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "method", "path"),
    [("draft", "DELETE", ""), ("scheduled", "DELETE", ""), ("scheduled", "POST", "/cancel")],
)
def test_the_key_of_a_withdrawn_plan_sends_nothing_and_says_so(
    client: Client, token: str, later: dict[str, Any], planned: str, method: str, path: str
) -> None:
    body = later if planned == "scheduled" else {**NEWS, "draft": True}
    key = {"Idempotency-Key": "story-4711"}
    first = client.call("POST", NOTIFICATIONS, body, token=token, headers=key)
    withdrawn = client.call(method, first.headers["Location"] + path, token=token)
    assert withdrawn.status_code < 300
    before = stored(client)
    for again in (body, {**body, "title": "Another"}):
        response = client.call("POST", NOTIFICATIONS, again, token=token, headers=key)
        assert response.status_code == 410
        assert "another key" in response.json["detail"]
    assert stored(client) == before
    other = {"Idempotency-Key": "story-4711-again"}
    assert client.call("POST", NOTIFICATIONS, body, token=token, headers=other).status_code == 202


def test_a_story_that_is_saved_again_changes_the_plan_of_its_reference(
    client: Client, token: str, later: dict[str, Any]
) -> None:
    body = {**later, "reference": "cms/4711"}
    id = client.call("POST", NOTIFICATIONS, body, token=token).json["id"]
    for change in ({"title": "Another"}, {}, {"send_at": None, "draft": True}, {}):
        response = client.call("POST", NOTIFICATIONS, {**body, **change}, token=token)
        assert (response.status_code, response.json["id"]) == (202, id)
        one = client.runtime.publishing.get(int(id))
        assert one.content.title == {**body, **change}["title"]
        assert response.json["status"] == one.state.value
        assert one.state is (State.DRAFT if "draft" in change else State.SCHEDULED)
    changes = client.runtime.publishing.get(int(id)).changes
    assert client.call("POST", NOTIFICATIONS, body, token=token).status_code == 202
    assert client.runtime.publishing.get(int(id)).changes == changes, "nothing has changed"
    other = {**body, "reference": "cms/4712"}
    assert client.call("POST", NOTIFICATIONS, other, token=token).json["id"] != id
    another = client.add_token("another")
    assert client.call("POST", NOTIFICATIONS, body, token=another).json["id"] != id


def test_what_was_sent_by_its_reference_is_not_sent_again(
    client: Client, token: str, later: dict[str, Any]
) -> None:
    Reader(client)
    body = {**NEWS, "reference": "cms/4711"}
    ids = {client.call("POST", NOTIFICATIONS, body, token=token).json["id"] for _ in range(2)}
    (id,) = ids
    past = {**later, "reference": "cms/4711", "send_at": "2020-01-01T00:00Z"}
    for again in ({**body, "title": "Another"}, {**later, "reference": "cms/4711"}, past):
        response = client.call("POST", NOTIFICATIONS, again, token=token)
        assert (response.status_code, response.json["alert"]) == (409, id)
        assert f"alert {id}, which was sent" in response.json["detail"]
    assert len(client.runtime.publishing.latest(9)) == 1
    both = client.call(
        "POST", NOTIFICATIONS, body, token=token, headers={"Idempotency-Key": "story"}
    )
    assert both.status_code == 400


def test_the_reference_of_a_deleted_plan_sends_nothing_and_says_so(
    client: Client, token: str, later: dict[str, Any]
) -> None:
    body = {**later, "reference": "cms/4711"}
    first = client.call("POST", NOTIFICATIONS, body, token=token)
    assert client.call("DELETE", first.headers["Location"], token=token).status_code == 204
    assert client.call("POST", NOTIFICATIONS, body, token=token).status_code == 410
    assert client.runtime.publishing.latest(9) == []


def test_every_conflict_names_its_alert(client: Client, token: str, later: dict[str, Any]) -> None:
    Reader(client)
    key = {"Idempotency-Key": "story-4711"}
    id = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=key).json["id"]
    plan = client.call("POST", NOTIFICATIONS, later, token=token).json["id"]
    other = {**NEWS, "title": "Another"}
    response = client.call("POST", NOTIFICATIONS, other, token=token, headers=key)
    assert (response.status_code, response.json["alert"]) == (409, id)
    assert f"alert {id}" in response.json["detail"]
    for method, path, body, about in (
        ("POST", f"/{id}/resume", None, id),
        ("POST", f"/{id}/send", None, id),
        ("DELETE", f"/{id}", None, id),
        ("PATCH", f"/{id}", {"title": "Another"}, id),
        ("POST", f"/{plan}/correct", {"title": "Another"}, plan),
        ("POST", f"/{plan}/pause", None, plan),
    ):
        response = client.call(method, NOTIFICATIONS + path, body, token=token)
        assert (response.status_code, response.json["alert"]) == (409, about)


def overdue(client: Client, id: str) -> None:
    """Let a scheduled alert's time come, while no clock runs."""
    publishing = client.runtime.publishing
    one = publishing.get(int(id))
    assert one.send_at is not None
    publishing.change(
        one,
        one.content,
        one.audience,
        by="a test",
        send_at=replace(one.send_at, at=time.time() - 5),
    )


@pytest.mark.parametrize(
    "change",
    [{"title": "Ferry afloat"}, {"body": ""}, {"late": "send"}, {"draft": False}, {}],
    ids=str,
)
def test_a_plan_whose_time_has_come_can_be_changed_until_it_starts(
    client: Client, token: str, later: dict[str, Any], change: dict[str, Any]
) -> None:
    id = client.call("POST", NOTIFICATIONS, later, token=token).json["id"]
    overdue(client, id)
    before = client.call("GET", f"{NOTIFICATIONS}/{id}", token=token).json
    response = client.call("PATCH", f"{NOTIFICATIONS}/{id}", change, token=token)
    assert response.status_code == 200
    unsaid = {name: value for name, value in change.items() if name != "draft"}
    shown = {name: value for name, value in response.json.items() if name != "warnings"}
    assert shown == {**before, **unsaid, "text_now": shown["text_now"]}
    client.runtime.publishing.send_due()
    assert client.runtime.publishing.get(int(id)).state is State.SENDING


def test_a_plan_keeps_its_time_on_each_readers_own_clock(client: Client, token: str) -> None:
    wall = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 48 * 3600))
    body = {**NEWS, "send_at": wall, "local_time": True}
    id = client.call("POST", NOTIFICATIONS, body, token=token).json["id"]
    path = f"{NOTIFICATIONS}/{id}"
    before = client.call("GET", path, token=token).json
    after = client.call("PATCH", path, {"title": "Ferry afloat"}, token=token).json
    assert (after["send_at"], after["local_time"]) == (before["send_at"], True)
    for change in ({"local_time": False}, {"spread_minutes": 30}):
        response = client.call("PATCH", path, change, token=token)
        assert response.status_code == 422
        assert [row["field"] for row in response.json["errors"]] == list(change)


@pytest.mark.parametrize("planned", ["draft", "scheduled"])
def test_a_plan_whose_topic_was_deleted_can_be_changed(
    client: Client, token: str, later: dict[str, Any], planned: str
) -> None:
    body = {**later, "audience": {"topics": ["world"]}}
    if planned == "draft":
        body = {**NEWS, "audience": {"topics": ["world"]}, "draft": True}
    path = client.call("POST", NOTIFICATIONS, body, token=token).headers["Location"]
    client.call("DELETE", f"{API}/topics/world", token=token)
    response = client.call("PATCH", path, {"title": "Ferry afloat"}, token=token)
    assert (response.status_code, response.json["audience"]) == (200, {"topics": ["world"]})
    refused = client.call("PATCH", path, {"audience": {"topics": ["world"]}}, token=token)
    assert [row["field"] for row in refused.json["errors"]] == ["audience.topics"]


def test_a_change_that_does_not_fit_names_a_field_that_was_sent(client: Client, token: str) -> None:
    body = {**NEWS, "spread_minutes": 30, "draft": True}
    path = client.call("POST", NOTIFICATIONS, body, token=token).headers["Location"]
    long = "https://paper.example/".ljust(2000, "x")
    for change in ({"ttl": 60}, {"icon": long, "image": long}):
        response = client.call("PATCH", path, change, token=token)
        assert response.status_code == 422
        assert [row["field"] for row in response.json["errors"]] == [next(iter(change))]


@pytest.mark.parametrize("name", ["title", "url", "audience"])
def test_what_an_alert_must_have_cannot_be_taken_away(
    client: Client, token: str, name: str
) -> None:
    body = {**NEWS, "draft": True}
    path = client.call("POST", NOTIFICATIONS, body, token=token).headers["Location"]
    response = client.call("PATCH", path, {name: None}, token=token)
    assert [row["field"] for row in response.json["errors"]] == [name]


# Bodies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "GZIP", "gzip, identity"])
def test_a_compressed_body_is_refused_with_the_reason(
    client: Client, token: str, coding: str
) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    data = gzip.compress(json.dumps(NEWS).encode())
    response = client.call("POST", NOTIFICATIONS, token=token, headers=headers, data=data)
    assert response.status_code == 415
    assert "compression" in response.json["detail"]
    assert response.headers["Accept-Encoding"] == "identity"
    plain = {**headers, "Content-Encoding": "identity"}
    response = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=plain)
    assert response.status_code == 202


WRONG = {
    "the same field twice": (
        b'{"title": "Ferry aground", "url": "https://paper.example/", "title": "Ferry afloat"}',
        "The body has title twice.",
    ),
    "the same field twice within another": (
        b'{"audience": {"everyone": true, "everyone": null}}',
        "The body has everyone twice.",
    ),
    "the same field twice without a name": (b'{"": 1, "": 2}', 'The body has "" twice.'),
    "half an emoji": (b'{"title": "Ferry \\ud83d"}', "title has half a character"),
    "half an emoji in a button": (
        b'{"actions": [{"title": "\\udea2 live"}]}',
        "actions.0.title has half a character",
    ),
    "half an emoji in a name": (b'{"\\ud83d": 1}', "The body has half a character"),
    "a byte order mark": (b'\xef\xbb\xbf{"title": "x"}', "byte order mark"),
    "UTF-16": ('{"title": "x"}'.encode("utf-16-le"), "Expecting property name"),
    "Latin-1": ('{"title": "Fähre"}'.encode("latin-1"), "not UTF-8, from byte 12 on"),
    "nothing": (b"", "It is empty"),
    "a comma too many": (b'{"title": "x",\n}', "(line 2, column 1)"),
    "a form": (b"title=x&url=y", "Expecting value (line 1, column 1)"),
    "cut off": (b'{"title": "Ferry agr', "(line 1, column 11)"),
    "an escape within 600 lists": (b"[" * 600 + b'"\\u0041"' + b"]" * 600, "nested too deeply"),
    "300 lists": (b'{"title": ' + b"[" * 300 + b"]" * 300 + b"}", "title: Must be text"),
    "a number without end": (b'{"ttl": ' + b"9" * 5000 + b"}", "too long"),
}


def test_a_body_that_says_nothing_clear_is_refused_with_the_reason(
    client: Client, token: str
) -> None:
    before = stored(client)
    for what, (body, why) in WRONG.items():
        response = client.call(
            "POST", NOTIFICATIONS, token=token, data=body, content_type="application/json"
        )
        assert response.status_code in (400, 422), what
        assert why in response.json["detail"], what
        assert stored(client) == before, what


def test_a_whole_emoji_by_escapes_is_accepted(client: Client, token: str) -> None:
    body = json.dumps({**NEWS, "title": "Ferry 🛳️🇱🇻"})
    assert "\\ud83d" in body
    response = client.call(
        "POST", NOTIFICATIONS, token=token, data=body, content_type="application/json"
    )
    assert response.status_code == 202


def test_a_field_with_an_endless_name_is_not_repeated_whole(client: Client, token: str) -> None:
    response = client.call("POST", NOTIFICATIONS, {**NEWS, "x" * 50_000: 1}, token=token)
    assert response.status_code == 422
    assert len(response.data) < 1000


# Texts ------------------------------------------------------------------------------------------


def warnings(response: Any) -> dict[str, str]:
    return {row["field"]: row["detail"] for row in response.json["warnings"]}


@pytest.mark.parametrize("character", ["\x07", "\x0b", "\u2028", "\n", "\u200b", "\ufeff"])
def test_a_cms_is_told_what_became_of_a_title_that_no_screen_can_show(
    client: Client, token: str, character: str
) -> None:
    body = {**NEWS, "title": f"Ferry {character}aground", "draft": True}
    body["actions"] = [{"title": f"Live{character}", "url": NEWS["url"]}]
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.status_code == 202
    assert set(warnings(response)) == {"title", "actions.0.title"}
    assert f"U+{ord(character):04X}" in warnings(response)["title"]
    path = response.headers["Location"]
    shown = client.call("GET", path, token=token).json
    assert (shown["title"], shown["actions"][0]["title"]) == ("Ferry aground", "Live")
    assert "warnings" not in shown
    changed = client.call("PATCH", path, {"title": f"Ferry{character}"}, token=token)
    assert changed.json["title"] == "Ferry"
    assert set(warnings(changed)) == {"title"}
    assert client.call("PATCH", path, {"ttl": 60}, token=token).json["warnings"] == []
    refused = client.call("POST", NOTIFICATIONS, {**NEWS, "title": character * 3}, token=token)
    assert [row["field"] for row in refused.json["errors"]] == ["title"]


def test_the_same_key_gives_the_same_warnings_again(client: Client, token: str) -> None:
    body, key = {**NEWS, "title": "Fish &amp; chips"}, {"Idempotency-Key": "story-4711"}
    first, again = (
        client.call("POST", NOTIFICATIONS, body, token=token, headers=key) for _ in range(2)
    )
    assert first.json == again.json
    assert "&amp;" in warnings(again)["title"]
    shown = client.call("GET", first.headers["Location"], token=token).json
    assert shown["title"] == "Fish &amp; chips", "as it was said"


def test_a_call_that_is_repeated_with_its_fields_in_another_order_is_the_same(
    client: Client, token: str
) -> None:
    key = {"Idempotency-Key": "story-4711"}
    spellings = (
        json.dumps(NEWS),
        json.dumps(dict(reversed(NEWS.items())), indent=1),
        json.dumps(NEWS).replace("a", "\\u0061"),
    )
    same = [
        client.call(
            "POST",
            NOTIFICATIONS,
            token=token,
            headers=key,
            data=text,
            content_type="application/json",
        )
        for text in spellings
    ]
    assert [(one.status_code, one.json) for one in same] == 3 * [(202, same[0].json)]
    other = client.call("POST", NOTIFICATIONS, {**NEWS, "ttl": 60}, token=token, headers=key)
    assert other.status_code == 409


def test_a_correction_is_read_like_the_alert(client: Client, token: str) -> None:
    path = client.call("POST", NOTIFICATIONS, NEWS, token=token).headers["Location"]
    body = {"title": "Ferry\u2028afloat", "body": "<b>All</b> safe.\u2029", "reached": "leave"}
    response = client.call("POST", f"{path}/correct", body, token=token)
    assert set(warnings(response)) == {"title", "body"}
    text = client.call("GET", path, token=token).json["text_now"]
    assert (text["title"], text["body"]) == ("Ferry afloat", "<b>All</b> safe.")


def test_a_cms_is_told_when_an_alert_is_too_large_for_some_browsers(
    client: Client, token: str
) -> None:
    picture = "https://paper.example/picture.jpg?" + "x" * 1500
    body = {**NEWS, "body": "Late news. " * 50, "image": picture, "draft": True}
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.json["warnings"] == []
    path = response.headers["Location"]
    longer = client.call("PATCH", path, {"body": "Late news. " * 90}, token=token)
    assert "Firefox on Android" in warnings(longer)["body"]
    again = client.call("PATCH", path, {"ttl": 60}, token=token)
    assert "Firefox on Android" in warnings(again)["body"], "it is still too large"
    assert client.call("PATCH", path, {"image": None}, token=token).json["warnings"] == []


def test_a_correction_has_the_same_warnings_as_a_new_alert(client: Client, token: str) -> None:
    picture = "https://paper.example/picture.jpg?" + "x" * 1500
    small = {**NEWS, "body": "Late news. " * 50, "image": picture, "audience": {"everyone": True}}
    large = {"title": "Ferry\u2028aground", "body": "Late news. " * 90}
    Reader(client)
    new = client.call("POST", NOTIFICATIONS, {**small, **large}, token=token)
    first = client.call("POST", NOTIFICATIONS, small, token=token)
    assert (set(warnings(new)), warnings(first)) == ({"title", "body"}, {})
    path = f"{first.headers['Location']}/correct"
    assert warnings(client.call("POST", path, large, token=token)) == warnings(new)
    again = client.call("POST", path, {"url": "https://paper.example/2"}, token=token)
    assert set(warnings(again)) == {"body"}, "it is still too large"


def test_only_an_alert_that_nobody_gets_has_a_warning_of_its_audience(
    client: Client, token: str
) -> None:
    key = {"Idempotency-Key": "story-4711"}
    for _ in "12":
        response = client.call("POST", NOTIFICATIONS, NEWS, token=token, headers=key)
        assert (response.json["recipients"], warnings(response)) == (0, {"audience": NOBODY})
    draft = client.call("POST", NOTIFICATIONS, {**NEWS, "draft": True}, token=token)
    Reader(client)
    sent = client.call("POST", NOTIFICATIONS, NEWS, token=token)
    assert (warnings(draft), warnings(sent)) == ({}, {})


def test_an_alert_with_nothing_odd_has_no_warnings(client: Client, token: str) -> None:
    Reader(client)
    body = {**NEWS, "title": "« Fähre »: R&D 👩‍👩‍👧", "body": "One.\r\nTwo."}
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.json["warnings"] == []


def test_a_refusal_says_all_that_is_wrong_in_plain_words(client: Client, token: str) -> None:
    audience = {"topics": ["world", "ferry"]}
    body = {"title": "Late news", "audience": audience, "reference": "story 4711"}
    said = client.call("POST", NOTIFICATIONS, body, token=token).json["detail"]
    for what in (
        "url: Is required.",
        "audience.topics: Names a topic that this site does not have: ferry (there are ",
        "reference: Must be visible ASCII characters without spaces",
    ):
        assert what in said
    assert "under errors" not in said
    more = client.call("POST", NOTIFICATIONS, {**body, "ttl": "x"}, token=token).json
    assert "(1 more under errors.)" in more["detail"]
    assert len(more["errors"]) == 4


def test_names_of_topics_are_cleaned_and_the_answer_says_so(client: Client, token: str) -> None:
    body = {"slug": "cafe", "name": " Cafe\u0301\u200b ", "description": "One\nline &amp; more"}
    made = client.call("POST", f"{API}/topics", body, token=token)
    assert (made.json["name"], made.json["description"]) == ("Café", "One line &amp; more")
    unseen = "Characters that no reader sees were left out, or became a space: {}."
    as_it_is = "Readers will see “&amp;” as it is, because alerts are plain text."
    assert made.json["warnings"] == [
        {"field": "name", "detail": unseen.format("U+200B")},
        {"field": "description", "detail": unseen.format("U+000A")},
        {"field": "description", "detail": as_it_is},
    ]
    changed = client.call("PATCH", f"{API}/topics/cafe", {"name": "Bar\x07"}, token=token)
    assert changed.json["name"] == "Bar"
    assert changed.json["warnings"] == [{"field": "name", "detail": unseen.format("U+0007")}]
    for name in ("\u200b", " "):
        path = f"{API}/topics/cafe"
        assert client.call("PATCH", path, {"name": name}, token=token).status_code == 422


def test_accents_of_an_alert_come_in_one_piece_and_links_stay(client: Client, token: str) -> None:
    link = "https://paper.example/cafe\u0301"
    body = {**NEWS, "title": "Cafe\u0301", "body": "Zu\u0308rich", "url": link}
    body |= {"actions": [{"title": "E\u0301lysée", "url": link}]}
    Reader(client)
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.json["warnings"] == [], "a reader sees no difference"
    shown = client.call("GET", response.headers["Location"], token=token).json
    assert (shown["title"], shown["body"], shown["url"]) == ("Café", "Zürich", link)
    assert shown["actions"][0]["title"] == "Élysée"
