"""An alert to very many browsers is sent once a second person has approved it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.desk.alerts import alert_list
from service.domain.alerts import publishing as publishing_module
from service.domain.alerts.alert_search import Search
from service.domain.alerts.gate import TwoPersonRule
from service.model.notifications import State
from service.runtime import Runtime
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.desk.approving import SECOND, WRITER, press, publish, reached_by_all, sign_in_as
from tests.support.desk.pages import EMAIL, Page, hidden_fields, only, review, words
from tests.support.desk.planned import miss, plan

SAME = "https://paper.example/same"
ALERT = {"title": "Late", "url": "https://paper.example/", "audience": {"everyone": True}}


def test_notify_makes_it_wait_and_the_list_and_its_page_say_so(
    editor: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    assert asked.location == f"/desk/alerts/{one.id}"
    assert (one.state, one.send_at) == (State.DRAFT, None)
    assert one.request
    assert one.request.by == EMAIL
    assert "waits for a second person" in words(editor.get("/desk/").text)
    page = editor.get(asked.location).text
    Page(page)
    assert f"It waits for a second person. {EMAIL} asked for one" in words(page)
    assert "another editor who sends has to approve it" in words(page)
    assert "Approve:" not in page
    assert [entry.action for entry in runtime.alert_log.of(one.id)] == ["asked"]


@pytest.mark.redis
def test_what_an_editor_decides_about_is_listed_before_many_drafts(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = runtime.publishing
    root = reached_by_all(runtime)
    correction = runtime.corrections.correct(
        root, title="A", body=None, url=None, replace=True, by=EMAIL
    ).id
    waiting, missed, soon = publish(runtime).id, miss(runtime), plan(runtime, 3600, url=SAME)
    drafts = [plan(runtime) for _ in range(12)]
    back = publishing.get(waiting)
    runtime.approvals.send_back(waiting, back.digest, "Not so.", by=SECOND)
    assert publishing.plan().ids == [missed, correction, soon, *reversed(drafts), waiting]
    for where in (publishing_module, alert_list):
        monkeypatch.setattr(where, "MOST_PLANNED", 2)
    assert [one.id for one in publishing.planned()] == [missed, correction]
    page = words(editor.get("/desk/").text)
    assert "14 more are not shown. See all drafts and scheduled alerts." in page
    assert runtime.alert_search.found(Search(state=State.DRAFT))[2] == drafts[-1]
    assert [one.id for one in runtime.approvals.corrections(root)] == [correction]
    found = publishing.same_link.latest(SAME)
    assert found and found.id == soon


def test_a_second_person_sees_it_whole_and_approves_it_in_both_names(
    second: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    page = second.get(asked.location).text
    Page(page)
    for part in ("Ferry aground", "All aboard are safe.", "https://paper.example/ferry", "Kind"):
        assert part in page
    assert "Approve: notify 100 browsers" in words(page)
    assert "Delivery" in page
    answer = press(second, one.id, "approve", one.digest)
    assert (answer.status_code, answer.location) == (303, asked.location)
    sent = runtime.publishing.get(one.id)
    assert (sent.state, sent.created_by, sent.approved_by) == (State.SENDING, EMAIL, SECOND)
    assert f"by {SECOND}" in words(second.get(asked.location).text)
    log = [(entry.action, entry.by) for entry in runtime.alert_log.of(one.id)]
    assert log == [("asked", EMAIL), ("approved", SECOND)]
    assert press(second, one.id, "approve", one.digest).status_code == 409, "once"
    assert runtime.store.notifications.active() == [one.id]


def test_its_author_does_not_approve_it(
    editor: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    answer = press(editor, one.id, "approve", one.digest)
    assert answer.status_code == 409
    assert "Another editor has to approve this alert" in words(answer.text)
    assert only(runtime).state is State.DRAFT


def test_an_editor_who_only_writes_does_not_approve_it(
    app: Flask, runtime: Runtime, asked: TestResponse
) -> None:
    writer = sign_in_as(app, runtime, WRITER, "writes")
    one = only(runtime)
    assert "Approve:" not in writer.get(asked.location).text
    assert press(writer, one.id, "approve", one.digest).status_code == 403
    assert only(runtime).state is State.DRAFT


def test_a_second_person_sends_it_back_with_a_word(
    editor: FlaskClient, second: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    answer = press(second, one.id, "send-back", one.digest, word="Which ferry?")
    assert answer.status_code == 303
    page = words(editor.get(asked.location).text)
    assert f"{SECOND} sent it back: “ Which ferry? ”" in page
    assert f"{SECOND} sent it back: Which ferry?" in page, "in the log"
    assert "sent back" in words(editor.get("/desk/").text)
    assert press(second, one.id, "approve", one.digest).status_code == 409
    again = press(second, one.id, "send-back", one.digest, word="Which port?")
    assert again.status_code == 409
    assert "You wrote: “ Which port? ”" in words(again.text), "it is not lost"
    assert only(runtime).state is State.DRAFT


def test_a_second_click_on_notify_leads_to_the_same_page(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, audience="everyone", when="draft").location
    fields = hidden_fields(editor.get(f"{page}/send").text)
    for _ in range(2):
        assert editor.post(page, data=fields).location == page
    assert only(runtime).waits_for_approval


def test_what_was_to_wait_is_not_sent_when_fewer_would_get_it_by_then(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button said “Ask another editor”."""
    page = review(editor, audience="everyone").text
    form = hidden_fields(page)
    monkeypatch.setattr(runtime.approvals, "_rule", TwoPersonRule(100))
    answer = editor.post("/desk/alerts", data=form)
    assert answer.status_code == 409
    assert "Nothing was sent. Fewer browsers would get it now" in words(answer.text)
    assert "Notify 100 browsers" in words(answer.text)
    assert runtime.publishing.latest(10) == []
    draft = review(editor, audience="everyone", when="draft").location
    asked = hidden_fields(editor.get(f"{draft}/send").text) | {"asked": ["yes"]}
    assert editor.post(draft, data=asked).status_code == 409
    assert only(runtime).state is State.DRAFT


def test_the_api_says_that_an_alert_waits_for_a_second_person(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(TWO_PERSON_ABOVE="1")
    for number in range(2):
        Reader(client, number)
    token = client.add_token()
    answer = client.call("POST", NOTIFICATIONS, ALERT, token=token)
    assert answer.status_code == 202
    shown = answer.json or {}
    assert shown["status"] == "draft"
    assert [one["field"] for one in shown["warnings"]] == ["status"]
    path = f"{API}/notifications/{shown['id']}"
    assert (client.call("GET", path, token=token).json or {})["waits_for_approval"] is True
    sent = client.call("POST", f"{path}/send", token=token).json or {}
    assert sent["status"] == "draft"
    assert [one["field"] for one in sent["warnings"]] == ["status"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 9000))
    changed = client.call("PATCH", path, {"send_at": at}, token=token).json or {}
    assert (changed["status"], changed["waits_for_approval"]) == ("draft", True)
    assert client.runtime.publishing.next_due() is None


def test_a_second_alert_with_the_same_link_is_warned_of_while_the_first_one_waits(
    editor: FlaskClient, asked: TestResponse
) -> None:
    page = review(editor, audience="everyone", title="Ferry afloat")
    assert "The same link waits for a second person, by" in words(page.text)
    again = editor.post("/desk/alerts", data=hidden_fields(page.text)).location
    assert "Same link waits for a second person: Ferry aground" in words(editor.get(again).text)
