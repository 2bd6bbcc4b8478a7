"""The page of the topics: their order and their words, merging and removing them."""

from __future__ import annotations

import logging
import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.alerts.topics import Topics
from service.model.notifications import Audience, Topic
from service.runtime import Runtime
from tests.support.desk.pages import NASTY, Page, only, open_form, post, review, seen, words
from tests.support.desk.planned import edit, opened
from workers import clock


def send(client: FlaskClient, path: str = "", **fields: str) -> TestResponse:
    return post(client, f"/desk/topics{path}", page="/desk/topics", **fields)


def shown(client: FlaskClient) -> list[str]:
    return re.findall(r'<li id="topic-([^"]+)"', client.get("/desk/topics").text)


def offered(client: FlaskClient) -> list[str]:
    site = client.get("/api/v1/site").json
    assert site
    return [topic["name"] for topic in site["topics"]]


def test_a_topic_is_added_with_a_short_name_made_from_its_name(
    editor: FlaskClient, runtime: Runtime
) -> None:
    added = send(editor, name=" Fähre & Häfen ", description="Ships", default="yes")
    assert (added.status_code, added.location) == (303, "/desk/topics#topic-fahre-hafen")
    topic = Topic("fahre-hafen", "Fähre & Häfen", "Ships", default=True)
    assert runtime.topics.get("fahre-hafen") == topic
    assert send(editor, name="Наука", slug="science").status_code == 303
    assert shown(editor) == ["world", "sport", "fahre-hafen", "science"]
    assert offered(editor) == ["World", "Sport", "Fähre & Häfen", "Наука"]


WRONG: list[tuple[dict[str, str], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 61}, "name"),
    ({"name": "\u200b", "slug": "x"}, "name"),
    ({"name": "Наука"}, "slug"),
    ({"name": "Science", "slug": "Not A Slug"}, "slug"),
    ({"name": "World"}, "slug"),
    ({"name": "X", "description": "x" * 201}, "description"),
]


def test_what_is_wrong_with_a_new_topic_is_said_beside_what_was_typed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for fields, field in WRONG:
        page = send(editor, **fields)
        assert page.status_code in (409, 422), fields
        assert f'id="{field}-error"' in page.text
        Page(page.text)
    assert list(runtime.topics.all()) == ["world", "sport"]


def test_a_topic_is_changed_hidden_and_moved(editor: FlaskClient, runtime: Runtime) -> None:
    changed = {"name": "The world", "description": "Far away", "hidden": "yes"}
    assert send(editor, "/world", **changed).status_code == 303
    assert runtime.topics.get("world") == Topic("world", "The world", "Far away", hidden=True)
    assert offered(editor) == ["Sport"]
    assert "0 browsers, hidden" in words(editor.get("/desk/topics").text)
    assert "The world" in open_form(editor), "editors can still write to those who follow it"
    send(editor, "/world", name="The world")
    moved = send(editor, "/world/move", to="down")
    assert moved.location == "/desk/topics#topic-world"
    assert (shown(editor), offered(editor)) == (["sport", "world"], ["Sport", "The world"])
    for _ in range(2):
        send(editor, "/world/move", to="up")
    assert shown(editor) == ["world", "sport"]
    refused = send(editor, "/sport", name="")
    assert refused.status_code == 422
    assert "name-2-error" in refused.text
    Page(refused.text)


def test_a_topic_that_another_editor_changed_is_not_overwritten_unseen(
    editor: FlaskClient, runtime: Runtime
) -> None:
    opened_at = seen(editor.get("/desk/topics").text)
    runtime.topics.change("world", description="From abroad", hidden=True)
    faulty = send(editor, "/world", name="", seen=opened_at)
    assert (faulty.status_code, seen(faulty.text)) == (422, opened_at)
    refused = send(editor, "/world", name="The world", seen=opened_at)
    assert refused.status_code == 409
    Page(refused.text)
    assert 'value="The world"' in refused.text
    assert "From abroad 0 browsers, hidden" in words(refused.text)
    assert "Another editor has changed this topic" in words(refused.text)
    assert runtime.topics.get("world").hidden
    assert send(editor, "/world", name="The world", seen=seen(refused.text)).status_code == 303
    assert runtime.topics.get("world") == Topic("world", "The world")


def test_removing_says_how_many_follow_and_forgets_them(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = words(editor.get("/desk/topics").text)
    assert f"{readers} browsers follow it." in page
    for _ in range(2):  # a double click
        assert send(editor, "/world/remove").status_code == 303
    assert shown(editor) == ["sport"]
    assert runtime.subscriptions.count() == 100


def test_merging_says_how_many_follow_and_moves_them(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    review(editor, when="draft", topic=["world"])
    draft = only(runtime).id
    page = words(editor.get("/desk/topics").text)
    assert f"{readers} browsers follow World. This topic ends" in page
    for _ in range(2):
        assert send(editor, "/world/merge", into="sport").status_code == 303
    assert shown(editor) == ["sport"]
    assert "100 browsers, also reached as world" in words(editor.get("/desk/topics").text)
    assert runtime.publishing.reach(Audience(topics=("world",))) == 100
    # The draft for the topic that ended is one for the other.
    assert "Sport" in words(editor.get(f"/desk/alerts/{draft}").text)
    assert opened(editor, draft)["topic"] == ["sport"]
    assert edit(editor, draft, body="More").status_code == 303
    assert only(runtime).audience.topics == ("sport",)
    taken = send(editor, name="World")
    assert taken.status_code == 409
    assert "“world” was merged into the topic “Sport” (sport)" in words(taken.text)
    assert 'id="slug-error"' in taken.text
    assert list(runtime.topics.all()) == ["sport"]


def test_the_clock_moves_the_followers_after_some_seconds(runtime: Runtime, readers: int) -> None:
    runtime.topics.merge("world", "sport")
    for do in clock._duties(runtime):
        do()
    assert list(runtime.store.redis.scan_iter("*:topic:world"))
    runtime.store.redis.hincrby("{g}:topics:merging", "world", -5)
    for do in clock._duties(runtime):
        do()
    assert not list(runtime.store.redis.scan_iter("*:topic:world"))
    assert runtime.topics.followers() == {"sport": 100}


def test_a_topic_is_merged_only_into_another_one(editor: FlaskClient, runtime: Runtime) -> None:
    for into in ("", "world", "unknown", NASTY):
        page = send(editor, "/world/merge", into=into)
        assert page.status_code == 422, into
        assert "Choose the topic that gets the followers." in words(page.text)
        Page(page.text)
    assert list(runtime.topics.all()) == ["world", "sport"]


def test_topics_that_are_not_there_and_strange_fields_break_nothing(
    editor: FlaskClient, runtime: Runtime
) -> None:
    assert send(editor, "/unknown", name="X").status_code == 404
    assert send(editor, "/unknown/merge", into="world").status_code == 404
    assert send(editor, "/unknown/remove").status_code == 303
    assert send(editor, "/unknown/move", to="up").status_code == 303
    assert send(editor, "/world/move", to="sideways").status_code == 400
    send(editor, name=NASTY.replace("\n", " "), slug="nasty", description=NASTY.replace("\n", " "))
    page = editor.get("/desk/topics").text
    Page(page)
    assert "<script>alert" not in page


def test_a_hundred_topics_are_enough(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.readers.topics.MOST_TOPICS", 2)
    full = send(editor, name="Culture")
    assert (full.status_code, "as many as there may be" in words(full.text)) == (409, True)


def test_who_did_what_with_topics_is_in_the_log(
    editor: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        send(editor, name="Culture")
        send(editor, "/culture", name="Culture")  # nothing is changed
        send(editor, "/culture", name="The arts")
        send(editor, "/culture/merge", into="world")
        send(editor, "/sport/remove")
    said = [line.partition(" ")[2] for line in caplog.messages]
    assert said == [
        "added the topic culture",
        "changed the topic culture",
        "merged the topic culture into world",
        "removed the topic sport",
    ]
    assert isinstance(runtime.topics, Topics)
