"""A writer hands in a draft; those who send see it, send it or give it back."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.model.notifications import State
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import EMAIL, Page, hidden_fields, only, post, review, sign_in, words

WRITER = "wim@paper.example"


@pytest.fixture
def writer(app: Flask, runtime: Runtime, editor: FlaskClient) -> FlaskClient:
    runtime.store.access.add_editor(WRITER, "a hash", Person("writes"))
    return sign_in(app, runtime, WRITER)


@pytest.fixture
def page(writer: FlaskClient, readers: int) -> str:
    """The page of a draft that the writer has handed in."""
    page = review(writer, when="draft").location
    assert page
    assert "Hand in" in words(writer.get(page).text)
    for _ in range(2):  # a double click
        assert post(writer, f"{page}/hand-in", page=page).location == page
    return page


def test_those_who_send_see_who_handed_it_in_and_how_many_wait(
    editor: FlaskClient, writer: FlaskClient, runtime: Runtime, page: str
) -> None:
    one = only(runtime)
    assert (one.state, one.is_ready) == (State.DRAFT, True)
    assert [(e.action, e.by) for e in runtime.alert_log.of(one.id)] == [
        ("written", WRITER),
        ("handed in", WRITER),
    ]
    listed = editor.get("/desk/").text
    Page(listed)
    assert f"ready: by {WRITER}, " in words(listed)
    assert "Alerts 1 to decide about" in words(listed)
    assert "to decide about" not in words(writer.get("/desk/").text)
    shown = words(editor.get(page).text)
    assert f"Draft, ready to be sent. {WRITER} handed it in (" in shown
    assert "Send now…" in shown and "Send it back" in shown and "Hand in" not in shown
    own = words(writer.get(page).text)
    assert "An editor who sends decides about it now." in own
    assert "Hand in" not in own and "Send it back" not in own


def test_it_is_sent_by_the_usual_confirmation(
    editor: FlaskClient, runtime: Runtime, page: str
) -> None:
    assert editor.post(page, data=hidden_fields(editor.get(f"{page}/send").text)).location == page
    one = only(runtime)
    assert (one.state, one.request) == (State.SENDING, None)
    assert one.authors == (WRITER, EMAIL)
    assert "to decide about" not in words(editor.get("/desk/").text)


def test_it_is_given_back_with_a_word_and_handed_in_again(
    editor: FlaskClient, writer: FlaskClient, runtime: Runtime, page: str
) -> None:
    given = {"digest": only(runtime).digest, "word": "Which pier?"}
    assert post(editor, f"{page}/send-back", page=page, **given).location == page
    assert f"Draft. {EMAIL} sent it back: “ Which pier? ”" in words(writer.get(page).text)
    post(writer, f"{page}/hand-in", page=page)
    assert only(runtime).is_ready


def test_a_change_by_its_writer_takes_it_back(
    writer: FlaskClient, runtime: Runtime, page: str
) -> None:
    one = only(runtime)
    before = {"by": WRITER, "draft": True}
    runtime.publishing.change(one, one.content, one.audience, **before)
    assert only(runtime).request is None
    assert "Hand in" in words(writer.get(page).text)


def test_only_a_draft_is_handed_in(writer: FlaskClient, runtime: Runtime, page: str) -> None:
    runtime.publishing.send(only(runtime).id, by=EMAIL)
    late = post(writer, f"{page}/hand-in", page=page)
    assert late.status_code == 409
    assert only(runtime).state is State.SENDING


class TestUndo:
    """Where what is sent can be taken back for some seconds."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"UNDO_SECONDS": "20", "UNDO_BREAKING_SECONDS": "20"}

    @pytest.mark.parametrize(("title", "is_ready"), [(None, True), ("Another ferry", False)])
    def test_taken_back_it_is_handed_in_as_before_unless_its_text_was_changed(
        self, editor: FlaskClient, runtime: Runtime, page: str, title: str | None, is_ready: bool
    ) -> None:
        before = only(runtime)
        form = hidden_fields(editor.get(f"{page}/send").text)
        editor.post(page, data={**form, "title": title or form["title"]})
        assert only(runtime).waits_for_undo
        assert "to decide about" not in words(editor.get("/desk/").text)
        post(editor, f"{page}/take-back", page=page)
        one = only(runtime)
        assert (one.is_ready, one.request) == (is_ready, before.request if is_ready else None)
        listed = words(editor.get("/desk/").text)
        assert (f"ready: by {WRITER}, " in listed) is is_ready
        assert ("Alerts 1 to decide about" in listed) is is_ready


class TestManyReaders:
    """Where a second person is needed, who sends approves what a writer has handed in."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"TWO_PERSON_ABOVE": "1"}

    def test_the_editor_who_did_not_write_it_approves_it(
        self, editor: FlaskClient, runtime: Runtime, page: str
    ) -> None:
        shown = words(editor.get(page).text)
        assert "Approve: notify" in shown and "Send now…" not in shown
        digest = only(runtime).digest
        assert post(editor, f"{page}/approve", page=page, digest=digest).location == page
        assert only(runtime).approved_by == EMAIL
