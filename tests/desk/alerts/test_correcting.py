"""Corrections at the desk."""

from __future__ import annotations

import re
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.model.notifications import Audience, Content, State
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from tests.support.desk.approving import sign_in_as
from tests.support.desk.pages import EMAIL, correct, filled, publish, words


def test_the_correction_form_shows_the_current_text_and_who_has_it(
    editor: FlaskClient, half_sent: int
) -> None:
    page = editor.get(f"/desk/alerts/{half_sent}/correct").text
    assert ">\nFerry aground</textarea>" in page
    assert "One\nTwo</textarea>" in page
    assert 'value="https://paper.example/"' in page
    assert "40 browsers have the alert. 60 more browsers will get it with the new text." in words(
        page
    )
    assert re.search(r'value="replace" checked', page)


def test_a_correction_replaces_the_alert_and_the_pages_link_to_each_other(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = correct(editor, half_sent)
    assert answer.status_code == 303
    correction, root = runtime.publishing.latest(2)
    assert answer.location == f"/desk/alerts/{correction.id}"
    assert (correction.corrects, correction.content.title) == (half_sent, "Ferry afloat")
    assert (correction.content.body, correction.created_by) == ("One\nTwo", EMAIL)
    assert root.text.title == "Ferry afloat"

    page = editor.get(answer.location).text
    assert f'Correction of <a dir="auto" href="/desk/alerts/{half_sent}">Ferry aground</a>' in page
    page = editor.get(f"/desk/alerts/{half_sent}").text
    assert f'href="{answer.location}">Ferry afloat</a>' in page
    assert "Current text" in page
    listed = words(editor.get("/desk/").text)
    assert "Correction Ferry afloat Browsers that got the original alert" in listed
    assert "Sending, corrected" in listed
    assert "Ferry afloat Before: Ferry aground" in listed
    # Corrected again, from the page of the correction.
    again = correct(editor, correction.id, title="Ferry in port")
    assert runtime.publishing.get(int(again.location.rpartition("/")[2])).corrects == half_sent


def test_a_correction_can_leave_the_old_text_where_readers_have_it(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = correct(editor, half_sent, reached="leave")
    assert (answer.status_code, answer.location) == (303, f"/desk/alerts/{half_sent}")
    (id,) = runtime.publishing.get(half_sent).corrections
    assert runtime.publishing.progress(id).recipients == 0
    assert runtime.publishing.get(half_sent).text.title == "Ferry afloat"
    assert "only for browsers that did not have the alert yet" in words(
        editor.get(answer.location).text
    )
    assert "Browsers that had the alert kept the old text." in words(
        editor.get(f"/desk/alerts/{id}").text
    )


def test_a_finished_alert_can_only_be_replaced(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = f"/desk/alerts/{half_sent}/correct"
    before = filled(editor.get(page).text)
    runtime.publishing.cancel(half_sent, by="a test")
    assert "Correct…" in editor.get(f"/desk/alerts/{half_sent}").text
    late = editor.post(page, data={**before, "reached": "leave"})
    assert late.status_code == 409
    assert "can only be replaced" in late.text
    assert ">\nFerry afloat</textarea>" in late.text, "the typed text is kept"
    assert runtime.publishing.get(half_sent).corrections == ()
    assert 'value="leave"' not in editor.get(page).text
    assert correct(editor, half_sent).status_code == 303


def test_a_double_click_corrects_once_and_a_new_text_needs_a_new_form(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = f"/desk/alerts/{half_sent}/correct"
    fields = filled(editor.get(page).text)
    first, second = (editor.post(page, data=fields) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    other = editor.post(page, data={**fields, "title": "Ferry in port"})
    assert other.status_code == 409
    assert "Nothing was changed this time" in other.text
    assert "Idempotency-Key" not in other.text
    assert len(runtime.publishing.get(half_sent).corrections) == 1
    assert editor.post(page, data=filled(other.text)).status_code == 422, "no change at all"
    assert editor.post(page, data={**filled(other.text), "title": "New"}).status_code == 303
    assert editor.post(page, data={**fields, "nonce": "x"}).status_code == 400


def test_an_invalid_correction_is_explained_at_its_field_and_changes_nothing(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    for changes, complaint in (
        ({"title": "Ferry aground"}, "Nothing has changed yet: write a new title, text or link."),
        ({"title": "  "}, "Write a title."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"title": "\u200b"}, "that readers can see"),
        ({"body": "x" * 1001}, "at most 1000 characters"),
        ({"body": "\U0001f9e8" * 990}, "too long to be pushed"),
        ({"url": ""}, "Paste the link"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"reached": "both"}, "leave"),
    ):
        answer = correct(editor, half_sent, **changes)
        assert answer.status_code == 422, changes
        said = rf'class="error" id="\w+-error">[^<]*{re.escape(complaint)}'
        assert re.search(said, answer.text), changes
    assert runtime.publishing.get(half_sent).corrections == ()


def test_an_alert_that_nobody_has_and_a_test_cannot_be_corrected(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    nobody = publish(runtime)
    fields = filled(editor.get(f"/desk/alerts/{nobody}/correct").text)
    runtime.publishing.cancel(nobody, by="a test")
    one = Audience(subscription=SubscriptionId(0, 7))
    test = runtime.publishing.publish(Content("A", "https://a.example/"), one, by="a test").id
    for id, complaint in ((nobody, "Nobody has this alert on screen"), (test, "a test to one")):
        assert "Correct…" not in editor.get(f"/desk/alerts/{id}").text
        answer = editor.post(f"/desk/alerts/{id}/correct", data=fields)
        assert answer.status_code == 409
        assert complaint in answer.text
    assert editor.get(f"/desk/alerts/{test}/correct").status_code == 409
    assert editor.get("/desk/alerts/9999/correct").status_code == 404
    assert len(runtime.publishing.latest(10)) == 1


def test_under_the_rehearsal_prefix_all_links_and_forms_stay_there(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    runtime.store.push_services.doubt("https://push.example", time.time())
    for path in ("/desk/", f"/desk/alerts/{half_sent}", f"/desk/alerts/{half_sent}/correct"):
        page = editor.get(path, environ_overrides={"SCRIPT_NAME": "/rehearsal"}).text
        leads = re.findall(r'(?:href|action|hx-get|src)="(/[^"]*)"', page)
        assert len(leads) > 5
        assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []


@pytest.mark.parametrize("page", ["correct", "retract"])
def test_a_correction_that_another_editor_made_is_not_replaced_unseen(
    app: Flask, editor: FlaskClient, runtime: Runtime, half_sent: int, page: str
) -> None:
    path = f"/desk/alerts/{half_sent}/{page}"
    opened = filled(editor.get(path).text)
    other = sign_in_as(app, runtime, "ben@paper.example", "sends")
    assert correct(other, half_sent, title="Ferry afloat again").status_code == 303

    answer = editor.post(path, data={**opened, "title": "  "})
    assert answer.status_code == 422, "a mistake does not hide it either"
    assert "was corrected meanwhile" in words(answer.text)
    answer = editor.post(path, data={**opened, "title": "Ferry sunk"})
    assert answer.status_code == 409
    said = words(answer.text)
    assert "This alert was corrected meanwhile. Your text is not sent" in said
    assert "ben@paper.example: title “Ferry aground” → “Ferry afloat again”" in said
    one = runtime.publishing.get(half_sent)
    assert (one.text.title, one.revision) == ("Ferry afloat again", 1)
    assert one.state is State.SENDING, "it is not stopped either"

    again = {**filled(answer.text), "title": "Ferry sunk"}
    assert editor.post(path, data=again).status_code == 303
    assert editor.post(path, data=again).status_code == 303, "the second of two clicks"
    one = runtime.publishing.get(half_sent)
    assert (one.text.title, one.revision) == ("Ferry sunk", 2)


@pytest.mark.parametrize("page", ["correct", "retract"])
def test_enter_in_a_field_sends_no_correction(
    editor: FlaskClient, runtime: Runtime, half_sent: int, page: str
) -> None:
    """A browser's Enter presses the first button of a form, and a disabled one does nothing."""
    if page == "retract":
        runtime.publishing.pause(half_sent, by=EMAIL)
    html = editor.get(f"/desk/alerts/{half_sent}/{page}").text
    form = html[html.index('<form class="compose"') :]
    first, *others = re.findall(r"<button[^>]*>", form)
    assert first == "<button disabled hidden>"
    assert any("Control+Enter" in one for one in others)
