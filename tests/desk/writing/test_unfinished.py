"""What an editor types is kept until it is sent, for its writer alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.alerts.unfinished import Unfinished
from service.model.notifications import State
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    STORY,
    back,
    hidden_fields,
    hidden_fields_of_compose,
    open_form,
    post,
    review,
    sign_in,
    words,
)
from tests.support.desk.planned import go_on, opened, plan

BEN = "ben@paper.example"


@pytest.fixture
def ben(app: Flask, runtime: Runtime, editor: FlaskClient) -> FlaskClient:
    """The client of another editor."""
    return sign_in(app, runtime, BEN)


def new_form(client: FlaskClient) -> dict[str, Any]:
    """The hidden fields of a new form."""
    return {name: one[0] for name, one in hidden_fields_of_compose(open_form(client)).items()}


def keep(client: FlaskClient, form: dict[str, Any], **typed: object) -> TestResponse:
    """Send what is typed, as the page does while an editor types."""
    return client.post(f"/desk/unfinished/{form['nonce']}/save", data={**form, **typed})


def shown(client: FlaskClient, form: dict[str, Any]) -> str:
    """The title in a form that is opened again."""
    page = client.get(f"/desk/unfinished/{form['nonce']}").text
    title = re.search(r'<textarea id="title"[^>]*>\n(.*?)</textarea>', page, re.S)
    assert title
    return title[1]


def test_a_form_that_is_opened_while_another_window_saves_it_stands_on_what_it_shows(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = new_form(editor)
    keep(editor, form, title="Ferry agr")
    get = runtime.unfinished.get

    def saved_just_after(key: str, by: str) -> Unfinished | None:
        found = get(key, by)
        if found is not None and found.revision == 1:
            later = {**found.fields, "title": "Ferry aground"}
            runtime.unfinished.save(key, by, later, revision=1)
        return found

    monkeypatch.setattr(runtime.unfinished, "get", saved_just_after)
    page = editor.get(f"/desk/unfinished/{form['nonce']}").text
    assert ">\nFerry agr</textarea>" in page
    assert hidden_fields_of_compose(page)["revision"] == ["1"]
    late = keep(editor, {**form, "revision": 1}, title="Ferry agr, all are safe")
    assert late.status_code == 409, "it would replace the other window's text unseen"


@pytest.mark.redis
def test_half_an_alert_is_kept_and_listed_until_it_is_sent(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = new_form(editor)
    saved = keep(editor, form, title="Ferry agr", topic=["world"])
    assert (saved.status_code, saved.json["revision"]) == (200, 1)
    saved = keep(editor, {**form, "revision": 1}, title="Ferry aground", topic=["world"])
    assert saved.json["revision"] == 2
    assert shown(editor, form) == "Ferry aground"
    listed = editor.get("/desk/")
    assert "Continue writing Ferry aground" in words(listed.text)
    assert f'href="/desk/unfinished/{form["nonce"]}"' in listed.text
    assert runtime.publishing.latest(1) == []

    whole = {**form, **STORY, "revision": 2}
    editor.post("/desk/alerts", data=hidden_fields(go_on(editor, whole).text))
    assert form["nonce"] not in editor.get("/desk/").text
    assert runtime.store.redis.keys("{g}:unfinished:*") == []


@pytest.mark.redis
@pytest.mark.parametrize("how", ["sent", "saved as a draft"])
def test_what_arrives_after_send_changes_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int, how: str
) -> None:
    form = new_form(editor)
    keep(editor, form, title="Ferry")
    if how == "sent":
        page = go_on(editor, {**form, **STORY, "revision": 1})
        editor.post("/desk/alerts", data=hidden_fields(page.text))
    else:
        go_on(editor, {**form, **STORY, "revision": 1, "when": "draft"})
    (one,) = runtime.publishing.latest(10)
    for revision in (0, 1, 2):
        late = keep(editor, {**form, "revision": revision}, title="Late")
        assert late.status_code == 410
    assert editor.get(late.json["location"]).location == f"/desk/alerts/{one.id}"
    assert runtime.store.redis.keys("{g}:unfinished:*") == []
    assert runtime.publishing.get(one.id).content.title == STORY["title"]


@pytest.mark.redis
def test_another_window_is_not_overwritten_unless_its_editor_says_so(
    editor: FlaskClient, readers: int
) -> None:
    form = new_form(editor)
    keep(editor, form, title="In the first window")
    refused = keep(editor, form, title="In the second")
    assert (refused.status_code, refused.json) == (409, {"revision": 1})
    assert shown(editor, form) == "In the first window"
    asked = go_on(editor, {**form, **STORY, "title": "In the second"})
    assert asked.status_code == 409
    assert "You have changed this alert in another window" in words(asked.text)
    assert ">\nIn the second</textarea>" in asked.text
    again = {**form, **STORY, "title": "In the second", "revision": 1}
    assert "Notify" in go_on(editor, again).text


def test_a_double_click_on_review_is_no_conflict(editor: FlaskClient, readers: int) -> None:
    form = {**new_form(editor), **STORY}
    for _ in range(2):
        assert "Notify" in go_on(editor, form).text


def test_nobody_else_sees_or_changes_it(
    editor: FlaskClient, ben: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = new_form(editor)
    keep(editor, form, title="Under embargo")
    assert "Under embargo" not in ben.get("/desk/").text
    theirs = ben.get(f"/desk/unfinished/{form['nonce']}", follow_redirects=True)
    assert "embargo" not in theirs.text
    assert form["nonce"] not in theirs.text
    his = {**new_form(ben), "nonce": form["nonce"]}
    for revision in (0, 1):
        assert keep(ben, {**his, "revision": revision}, title="Mine").status_code == 409
    post(ben, f"/desk/unfinished/{form['nonce']}/discard", page="/desk/")
    assert shown(editor, form) == "Under embargo"


def test_what_is_discarded_is_gone(editor: FlaskClient, runtime: Runtime) -> None:
    form = new_form(editor)
    keep(editor, form, title="Not worth it")
    for name in runtime.store.redis.keys("{g}:unfinished:*"):
        key = name.decode().removeprefix("{g}:unfinished:")
        if key != form["nonce"]:  # the store's own list of forms
            nothing = post(editor, f"/desk/unfinished/{key}/discard", page="/desk/")
            assert nothing.location == "/desk/"
    answer = post(editor, f"/desk/unfinished/{form['nonce']}/discard", page="/desk/")
    assert answer.location == "/desk/"
    assert "Not worth it" not in editor.get("/desk/").text
    assert runtime.store.redis.keys("{g}:unfinished:*") == []


def test_the_confirmation_leads_back_to_the_form_and_reloads_without_sending_it_again(
    editor: FlaskClient, readers: int
) -> None:
    form = {**new_form(editor), **STORY}
    sent = editor.post(f"/desk/unfinished/{form['nonce']}", data=form)
    assert sent.status_code == 303
    for _ in range(2):
        page = editor.get(sent.location)
        assert "Notify" in page.text
    assert f">\n{STORY['title']}</textarea>" in back(editor, page)


def test_two_editors_of_one_draft_see_each_other_and_what_was_changed(
    editor: FlaskClient, ben: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, title="Ferry aground")
    mine, his = opened(editor, id), opened(ben, id)
    assert keep(editor, mine, title="Ferry afloat").json["others"] == []
    assert keep(ben, his, body="All are safe").json["others"] == [EMAIL]
    assert f"Also being changed by {BEN}" in words(open_form(editor, f"/desk/alerts/{id}/edit"))

    saved = go_on(ben, {**his, "title": "Ferry saved", "revision": 1, "when": "draft"})
    assert saved.location == f"/desk/alerts/{id}"
    told = keep(editor, {**mine, "revision": 1}, title="Ferry afloat again").json
    assert told["others"] == []
    assert told["notice"].startswith("Another editor has changed this alert meanwhile.")
    assert told["changes"] == [f"{BEN}: title “Ferry aground” → “Ferry saved”"]
    asked = go_on(editor, {**mine, "title": "Ferry afloat again", "revision": 2, "when": "draft"})
    assert asked.status_code == 409
    assert "title “Ferry aground” → “Ferry saved”" in words(asked.text)
    assert runtime.publishing.get(id).content.title == "Ferry saved"


def test_unfinished_changes_of_a_draft_go_on_where_they_were_left(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, title="Ferry aground")
    keep(editor, opened(editor, id), title="Ferry afloat")
    assert runtime.publishing.get(id).content.title == "Ferry aground"
    assert "changes to an alert" in words(editor.get("/desk/").text)
    again = opened(editor, id)
    assert (again["title"], again["alert"]) == ("Ferry afloat", str(id))


@pytest.mark.parametrize("how", ["send", "remove"])
def test_changes_of_a_draft_that_was_sent_or_deleted_are_not_lost(
    editor: FlaskClient, runtime: Runtime, readers: int, how: str
) -> None:
    id = plan(runtime, title="Ferry aground")
    form = opened(editor, id)
    keep(editor, form, title="Ferry afloat")
    getattr(runtime.publishing, how)(id, by=BEN)
    told = keep(editor, {**form, "revision": 1}, title="Ferry in port")
    assert told.status_code == 200
    assert "meanwhile" in told.json["notice"]
    page = editor.get(f"/desk/unfinished/{form['nonce']}")
    assert ">\nFerry in port</textarea>" in page.text
    assert "was sent meanwhile" in page.text or "has deleted or cancelled" in page.text


def test_a_text_too_long_to_be_kept_is_refused_in_words(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = new_form(editor)
    refused = keep(editor, form, body="x" * 30_000)
    assert refused.status_code == 413
    assert refused.json["detail"] == "This is too long to be kept. Shorten it, please."
    assert go_on(editor, {**form, **STORY, "body": "x" * 30_000}).status_code == 422
    assert runtime.store.redis.keys("{g}:unfinished:*") == []


@pytest.mark.parametrize("key", ["short", "x" * 65, "with spaces in it"])
def test_a_form_has_a_proper_key(editor: FlaskClient, key: str) -> None:
    assert editor.get(f"/desk/unfinished/{key}").status_code == 404
    form = {**new_form(editor), "nonce": key}
    assert keep(editor, form, title="x").status_code == 404


def test_only_the_latest_fifty_are_listed(editor: FlaskClient, runtime: Runtime) -> None:
    for number in range(53):
        # The same order where two come in one millisecond.
        fields = {"title": f"Number {number}."}
        runtime.unfinished.save(f"a-key-of-a-form-{number:02}", EMAIL, fields, revision=0)
    text = editor.get("/desk/").text
    assert "Number 52." in text and "Number 3." in text
    assert "Number 2." not in text


def test_a_visitor_who_is_not_signed_in_keeps_nothing(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    form = new_form(editor)
    post(editor, "/desk/sign-out", page="/desk/")
    assert editor.get("/desk/session").json["editor"] is None
    assert keep(editor, form, title="x").status_code in (302, 400)
    assert runtime.store.redis.keys("{g}:unfinished:*") == []


def test_a_form_of_another_release_is_opened(editor: FlaskClient, runtime: Runtime) -> None:
    fields = {"title": "Kept", "fresh": 1, "topics": ["world"]}
    runtime.unfinished.save("a-key-of-a-form-1", EMAIL, fields, revision=0)
    page = editor.get("/desk/unfinished/a-key-of-a-form-1").text
    assert ">\nKept</textarea>" in page
    assert re.search(r'value="world" checked', page)


def test_the_state_of_a_draft_is_not_touched_by_what_is_typed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    keep(editor, opened(editor, id), title="Something else", when="now")
    assert runtime.publishing.get(id).state is State.SCHEDULED
    assert review(editor).status_code == 200


def test_a_form_whose_alert_was_sent_leads_to_it_as_long_as_the_form_may_be_kept(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = {**new_form(editor), **STORY}
    keep(editor, form)
    page = go_on(editor, {**form, "revision": 1})
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    (kept,) = runtime.store.redis.keys("{g}:idempotency:*")
    assert runtime.store.redis.ttl(kept) > 29 * 86_400
