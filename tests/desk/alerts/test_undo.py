"""For some seconds after Send an editor can take an alert back: nobody has it until then."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.notifications import Outcome, SendAt, State
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, hidden_fields, only, post, review, send_all, words


@pytest.fixture
def settings() -> dict[str, str]:
    return {"UNDO_SECONDS": "20", "UNDO_BREAKING_SECONDS": "0"}


@pytest.fixture
def sent(editor: FlaskClient, readers: int) -> TestResponse:
    """The response to the click that sends an alert."""
    return editor.post("/desk/alerts", data=hidden_fields(review(editor).text))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so many seconds pass, for this process; Redis has a clock of its own."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)


def test_nothing_leaves_until_the_time_is_over(
    editor: FlaskClient, runtime: Runtime, sent: TestResponse
) -> None:
    one = only(runtime)
    assert sent.location == f"/desk/alerts/{one.id}"
    assert one.state is State.SCHEDULED
    assert one.send_at is not None
    assert one.send_at.sent_at is not None
    assert one.send_at.at - one.send_at.sent_at == 20
    assert runtime.store.notifications.active() == []
    runtime.publishing.send_due()
    assert only(runtime).state is State.SCHEDULED
    page = editor.get(sent.location)
    assert "Nobody has it yet. It leaves in" in words(page.text)
    assert "Take it back" in page.text
    assert "Send now" in page.text
    assert "Edit…" not in page.text


def test_an_alert_that_is_taken_back_is_a_draft_with_all_its_texts(
    editor: FlaskClient, runtime: Runtime, sent: TestResponse
) -> None:
    before = only(runtime)
    for _ in range(2):  # a double click
        answer = post(editor, f"{sent.location}/take-back", page=sent.location)
        assert (answer.status_code, answer.location) == (303, sent.location)
    one = only(runtime)
    assert (one.state, one.send_at) == (State.DRAFT, None)
    assert (one.content, one.audience) == (before.content, before.audience)
    page = words(editor.get(sent.location).text)
    assert "Draft. It is not sent until" in page
    said = "Taken back. Nobody has seen it."
    assert [said in page, said in editor.get(sent.location).text] == [True, False]
    assert [(e.action, e.by) for e in runtime.alert_log.of(one.id)] == [
        ("sent", EMAIL),
        ("taken back", EMAIL),
    ]


def test_send_now_does_not_wait(editor: FlaskClient, runtime: Runtime, sent: TestResponse) -> None:
    for _ in range(2):
        answer = post(editor, f"{sent.location}/send-now", page=sent.location)
        assert (answer.status_code, answer.location) == (303, sent.location)
    one = only(runtime)
    assert one.state is State.SENDING
    assert runtime.store.notifications.active() == [one.id]
    assert [e.action for e in runtime.alert_log.of(one.id)] == ["sent", "started"]
    page = words(editor.get(sent.location).text)
    assert "later, by “Send now”" in page and "no longer be taken back" not in page
    assert f"{EMAIL} did not wait" in page and "began to send it" not in page


def test_it_leaves_by_itself_when_nobody_takes_it_back(
    editor: FlaskClient, runtime: Runtime, sent: TestResponse
) -> None:
    one = only(runtime)
    due = runtime.publishing.next_due()
    assert one.send_at is not None
    assert due == int(one.send_at.at * 1000) / 1000
    now = time.time()
    due_by_now = replace(one, send_at=SendAt(now - 1, sent_at=now - 21))
    assert runtime.store.notifications.change(one, due_by_now, now, None)
    runtime.publishing.send_due()
    assert only(runtime).state is State.SENDING
    page = words(editor.get(sent.location).text)
    assert (
        "Too late: it is being sent. Something’s wrong" in page
    )  # shown at the key of "Take it back"
    assert "later, when it could no longer be taken back" in page
    assert "Stop Press began to send it" in page
    assert runtime.publishing.next_due() is None


def test_what_readers_get_by_now_is_not_taken_back(
    editor: FlaskClient, runtime: Runtime, sent: TestResponse
) -> None:
    runtime.publishing.skip_undo(only(runtime).id, by="a test")
    answer = post(editor, f"{sent.location}/take-back", page=sent.location)
    assert answer.status_code == 409
    assert "It is too late to take this alert back: it is sending." in words(answer.text)
    assert only(runtime).state is State.SENDING


@pytest.mark.parametrize("then", ["edit", "send"])
def test_it_is_not_changed_while_it_waits(
    editor: FlaskClient, sent: TestResponse, then: str
) -> None:
    answer = editor.get(f"{sent.location}/{then}")
    assert (answer.status_code, answer.location) == (302, sent.location)


def test_a_second_click_on_notify_leads_to_the_same_page(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = hidden_fields(review(editor).text)
    first = editor.post("/desk/alerts", data=fields)
    later(monkeypatch, 3)
    assert editor.post("/desk/alerts", data=fields).location == first.location
    assert len(runtime.publishing.latest(10)) == 1


def test_a_draft_that_is_sent_can_be_taken_back_too(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, when="draft").location
    fields = hidden_fields(editor.get(f"{page}/send").text)
    for _ in range(2):
        assert editor.post(page, data=fields).location == page
    assert only(runtime).waits_for_undo
    post(editor, f"{page}/take-back", page=page)
    assert only(runtime).state is State.DRAFT


def test_breaking_alerts_have_a_time_of_their_own(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    editor.post("/desk/alerts", data=hidden_fields(review(editor, kind="breaking").text))
    assert only(runtime).state is State.SENDING


def test_a_scheduled_alert_has_its_own_buttons(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7200))
    fields = hidden_fields(review(editor, when="at", at=at).text)
    page = editor.post("/desk/alerts", data=fields).location
    assert "Take it back" not in editor.get(page).text
    answer = post(editor, f"{page}/send-now", page=page)
    assert answer.status_code == 303
    assert only(runtime).state is State.SCHEDULED, "only a confirmation sends it"
    answer = post(editor, f"{page}/take-back", page=page)
    assert answer.status_code == 409
    assert "This alert is scheduled: change or delete it instead." in words(answer.text)
    assert only(runtime).state is State.SCHEDULED


def test_a_late_second_click_leads_to_an_alert_that_was_cancelled_on_its_way(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = hidden_fields(review(editor).text)
    page = editor.post("/desk/alerts", data=fields).location
    id = only(runtime).id
    runtime.publishing.skip_undo(id, by="a test")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 3})
    runtime.publishing.cancel(id, by="a test")
    again = editor.post("/desk/alerts", data=fields)
    assert (again.status_code, again.location) == (303, page)


def test_a_second_click_after_it_was_taken_back_and_deleted_sends_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = hidden_fields(review(editor).text)
    page = editor.post("/desk/alerts", data=fields).location
    post(editor, f"{page}/take-back", page=page)
    assert editor.post("/desk/alerts", data=fields).location == page, "a draft by now"
    post(editor, f"{page}/delete", page=page)
    again = editor.post("/desk/alerts", data=fields)
    assert again.status_code == 409
    assert "has deleted or cancelled this alert meanwhile" in again.text
    assert runtime.publishing.latest(10) == []


def test_an_older_release_reads_its_time_and_this_one_reads_a_newer_releases(
    editor: FlaskClient, runtime: Runtime, sent: TestResponse
) -> None:
    key = f"{{g}}:n:{only(runtime).id}"
    document = json.loads(runtime.store.redis.hget(key, "doc") or "")
    assert document["send_at"].keys() == {"at", "zone", "however_late", "wall"}
    document["send_at"]["weekly"] = True
    document["request"] = {"by": EMAIL, "at": 1.0, "weekly": True}
    before = only(runtime)
    runtime.store.redis.hset(key, "doc", json.dumps(document))
    assert only(runtime).send_at == before.send_at
    document["send_at"]["sent_at"] = document.pop("sent_at")  # as the first release with undo did
    runtime.store.redis.hset(key, "doc", json.dumps(document))
    assert only(runtime).send_at == before.send_at
    (entry, *_) = runtime.store.redis.xrange("{g}:log")
    log = json.loads(entry[1][b"entry"])
    log |= {"action": "weighed", "weight": 3}
    again = runtime.store.redis.xadd("{g}:log", {"entry": json.dumps(log)})
    runtime.store.redis.hset(key, "log", again + b" ")
    assert "weighed" in words(editor.get("/desk/log").text)
    assert "weighed" in words(editor.get(sent.location).text)
