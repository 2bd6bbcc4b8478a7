"""Editing planned alerts, also after another editor has changed or sent them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.model.notifications import Action, Audience, Content, Notification, SendAt, State
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, filled, hidden_fields, only, review, words
from tests.support.desk.planned import (
    RIGA,
    WORLD,
    confirmed,
    edit,
    go_on,
    later,
    miss,
    moment,
    opened,
    plan,
    wall,
)


def test_the_edit_form_is_filled_and_is_confirmed_like_a_new_alert(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    made = hidden_fields(review(editor, **later(), spread="30", kind="breaking").text)
    id = int(editor.post("/desk/alerts", data=made).location.rpartition("/")[2])
    fields = opened(editor, id)
    for name in ("title", "body", "url", "audience", "kind", "spread", "when", "at", "zone"):
        assert [fields[name]] == made[name], name
    assert fields["topic"] == ["world"]
    at = wall(12_000)
    page = edit(editor, id, title="Ferry afloat", topic=["sport"], at=at)
    assert f"(Sport) {FILTERS['when'](moment(at), 'Europe/Riga')}?" in words(page.text)
    assert runtime.publishing.get(id).content.title == "Ferry aground"
    first, second = (confirmed(editor, id, page) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.location == second.location == f"/desk/alerts/{id}"
    one = only(runtime)
    assert (one.content.title, one.audience.topics) == ("Ferry afloat", ("sport",))
    assert (one.send_at, one.changes) == (SendAt(moment(at), "Europe/Riga"), 1)


def test_an_edit_leaves_the_alert_in_its_story(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    audience = replace(WORLD, story="quake")
    content = Content("The earth shook", "https://paper.example/quake")
    id = runtime.publishing.publish(content, audience, by="the CMS", draft=True).id
    fields = {**opened(editor, id), "title": "The earth shook again", "when": "now"}
    page = go_on(editor, fields)
    assert "Story quake, which starts with this alert" in words(page.text)
    assert confirmed(editor, id, page).status_code == 303
    one = runtime.publishing.get(id)
    assert (one.content.title, one.audience) == ("The earth shook again", audience)
    assert list(runtime.store.stories.open()) == ["quake"]


def test_an_edit_turns_a_scheduled_alert_into_a_draft_and_back(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    fields = {**opened(editor, id), "when": "draft"}
    path = f"/desk/alerts/{id}"
    first, second = (go_on(editor, fields) for _ in range(2))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.location == second.location == path
    assert runtime.publishing.get(id).state is State.DRAFT
    assert opened(editor, id)["when"] == "draft"
    assert confirmed(editor, id, edit(editor, id, **later())).status_code == 303
    assert runtime.publishing.get(id).state is State.SCHEDULED
    missed = miss(runtime)
    assert confirmed(editor, missed, edit(editor, missed, **later())).status_code == 303
    assert not runtime.publishing.get(missed).missed


@pytest.mark.parametrize(
    ("audience", "question"),
    [
        (
            Audience(everyone=True, exclude=("sport",)),
            "browsers (everyone, except followers of Sport)",
        ),
        (
            Audience(topics=("world", "sport"), locales=("en",)),
            "browsers (World or Sport, only readers of English)",
        ),
    ],
)
def test_an_edit_keeps_all_that_a_tool_has_set(
    editor: FlaskClient,
    runtime: Runtime,
    readers: int,
    audience: Audience,
    question: str,
) -> None:
    content = Content(
        title="Kick-off",
        url="https://paper.example/match",
        icon="https://paper.example/icon.png",
        image="https://paper.example/image.jpg",
        actions=(Action("Listen", "https://paper.example/radio"),),
        urgency="low",
        ttl=7200,
    )
    # The form has minutes only.
    send_at = SendAt(int(time.time()) // 60 * 60 + 7242.5, "Europe/Berlin", however_late=True)
    id = runtime.publishing.publish(
        content, audience, by="a CMS", spread_minutes=45, send_at=send_at
    ).id
    before = runtime.publishing.get(id)
    fields = opened(editor, id)
    reach = editor.get(f"/desk/reach?{urlencode(fields, doseq=True)}").text
    expected = runtime.publishing.reach(audience)
    assert (f">{expected}<" if expected else "No browser is subscribed to this yet") in reach

    # The browser sends the time in the editor's zone.
    at = f"{datetime.fromtimestamp(send_at.at, RIGA):%Y-%m-%dT%H:%M}"
    asked = edit(editor, id, title="Delayed", at=at, zone="Europe/Riga")
    when = FILTERS["when"](send_at.at, "Europe/Riga")
    assert f"{question} {when}?" in words(asked.text)
    assert confirmed(editor, id, asked).status_code == 303

    after = runtime.publishing.get(id)
    after_edit = replace(before, content=replace(content, title="Delayed"), changes=1)
    assert after == replace(after_edit, authors=("a CMS", EMAIL))


def test_the_ttl_follows_the_kind_unless_it_was_set(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    for before, after in ((4 * 3600, 12 * 3600), (7200, 7200)):
        id = plan(runtime, ttl=before)
        assert edit(editor, id, kind="breaking").status_code == 303
        assert runtime.publishing.get(id).content.ttl == after


def test_an_edit_after_another_editors_change_is_refused_and_keeps_the_text(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    mine = {**opened(editor, id), **later(), "title": "Mine", "body": "As I typed it."}
    asked = go_on(editor, mine)
    before = runtime.publishing.to_change(id)
    theirs = replace(before.content, title="Theirs")
    runtime.publishing.change(before, theirs, WORLD, by="ben@paper.example", send_at=before.send_at)

    for answer in (
        go_on(editor, mine),
        go_on(editor, {**mine, "when": "draft"}),
        confirmed(editor, id, asked),
    ):
        assert answer.status_code == 409
        assert "Another editor has changed this alert meanwhile." in words(answer.text)
        assert ">\nMine</textarea>" in answer.text and "As I typed it." in answer.text
        assert runtime.publishing.get(id).content.title == "Theirs"
    again = {**mine, **hidden_fields(answer.text), "at": mine["at"], "zone": mine["zone"]}
    assert confirmed(editor, id, go_on(editor, again)).location.endswith(f"/{id}")
    assert runtime.publishing.get(id).content.title == "Mine"


def test_an_edit_of_an_alert_sent_meanwhile_becomes_a_correction(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    mine = {**opened(editor, id), "title": "Mine", "body": "As I typed it."}
    asked = go_on(editor, mine)
    runtime.publishing.send(id, by="a test")
    for answer in (
        go_on(editor, mine),
        go_on(editor, {**mine, "when": "draft"}),
        go_on(editor, {**mine, "when": "now"}),
        confirmed(editor, id, asked),
    ):
        assert answer.status_code == 409
        assert "This alert was sent meanwhile, without your changes." in words(answer.text)
        assert f'action="/desk/alerts/{id}/correct"' in answer.text
        assert ">\nMine</textarea>" in answer.text and "As I typed it." in answer.text
    assert runtime.publishing.get(id).content.title == "Kick-off"


def test_saving_a_draft_of_an_alert_sent_meanwhile_is_refused(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    """The text is the same, but the editor wanted to hold the alert back."""
    id = plan(runtime, 3600)
    mine = {**opened(editor, id), "when": "draft"}
    runtime.publishing.send(id, by="a test")
    assert go_on(editor, mine).status_code == 409


@pytest.mark.parametrize("how", ["remove", "cancel"])
def test_an_edit_of_an_alert_deleted_or_cancelled_meanwhile_becomes_a_new_one(
    editor: FlaskClient, runtime: Runtime, readers: int, how: str
) -> None:
    id = plan(runtime, 3600)
    mine = {**opened(editor, id), "title": "Mine", "body": "As I typed it."}
    asked = go_on(editor, mine)
    getattr(runtime.publishing, how)(id, by="ben@paper.example")
    now = {**mine, "title": "Kick-off", "body": "", "when": "now"}
    assert editor.post(f"/desk/alerts/{id}", data=now).status_code == 409, "it was not sent"
    for answer in (go_on(editor, mine), confirmed(editor, id, asked)):
        assert answer.status_code == 409
        assert "Another editor has deleted or cancelled this alert meanwhile." in words(answer.text)
        assert 'name="alert"' not in answer.text, "it would be a new alert"
        assert ">\nMine</textarea>" in answer.text and "As I typed it." in answer.text


def test_many_clicks_at_once_change_once_and_all_lead_to_the_alert(
    app: Flask, editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime)
    fields = hidden_fields(editor.get(f"/desk/alerts/{id}/send").text)
    answers = at_once(app, editor, f"/desk/alerts/{id}", fields)
    assert answers == {(303, f"/desk/alerts/{id}")}
    assert (runtime.publishing.get(id).changes, len(runtime.publishing.latest(9))) == (1, 1)


def test_both_clicks_of_a_double_click_on_correct_lead_to_the_same_page(
    editor: FlaskClient, runtime: Runtime, half_sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request is handled while the second is already being handled."""
    page = f"/desk/alerts/{half_sent}/correct"
    fields = filled(editor.get(page).text)
    root, looks, first = runtime.corrections.root, iter(range(9)), []

    def look(id: int) -> Notification:
        if next(looks) == 1:
            first.append(editor.post(page, data=fields))
        return root(id)

    monkeypatch.setattr(runtime.corrections, "root", look)
    second = editor.post(page, data=fields)

    (correction,) = runtime.publishing.get(half_sent).corrections
    assert [answer.status_code for answer in (*first, second)] == [303, 303]
    assert first[0].location == second.location == f"/desk/alerts/{correction}"


def at_once(
    app: Flask, editor: FlaskClient, path: str, fields: dict[str, Any]
) -> set[tuple[int, str]]:
    """Send a form from several browsers of one editor at the same moment."""
    session = editor.get_cookie("stoppress")
    assert session
    answers: set[tuple[int, str]] = set()
    clicks = threading.Barrier(6)

    def click() -> None:
        browser = app.test_client()
        browser.set_cookie("stoppress", session.value)
        clicks.wait()
        answer = browser.post(path, data=fields)
        answers.add((answer.status_code, answer.location))

    many = [threading.Thread(target=click) for _ in range(clicks.parties)]
    for one in many:
        one.start()
    for one in many:
        one.join()
    return answers


def test_an_edit_form_without_a_valid_version_changes_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    for changes in ("", "-1", "99", "x" * 9000, "\x00", "٣"):
        answer = edit(editor, id, title="Mine", changes=changes, when="draft")
        assert answer.status_code == 409, changes
        assert runtime.publishing.get(id).changes == 0, changes


@pytest.mark.parametrize("path", ["/edit", "/send"])
def test_an_unknown_alert_has_no_edit_page(
    editor: FlaskClient, runtime: Runtime, path: str
) -> None:
    assert editor.get(f"/desk/alerts/9999{path}").status_code == 404
