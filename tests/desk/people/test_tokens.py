"""The page of API tokens: made, shown once, seen in use, revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.runtime import Runtime
from tests.support.client import API
from tests.support.desk.pages import EMAIL, NASTY, Page, post, words

PATH = "/desk/tokens"


def make(editor: FlaskClient, name: str = "CMS", scope: Any = "send") -> str:
    """Make a token at the desk; return what the next page shows."""
    answer = post(editor, PATH, name=name, scope=scope)
    assert (answer.status_code, answer.location) == (303, PATH)
    found = re.search(r'value="(sp_[\w-]+)" readonly', editor.get(PATH).text)
    assert found, "the page shows no token"
    return found[1]


def calls(app: Flask, token: str, path: str = f"{API}/notifications") -> int:
    return app.test_client().get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def revoke(editor: FlaskClient, id: str) -> None:
    answer = post(editor, f"{PATH}/{id}/revoke", page=PATH)
    assert (answer.status_code, answer.location) == (303, PATH)


def test_a_token_is_shown_once_and_may_do_what_was_chosen(
    app: Flask, editor: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    token = make(editor, scope=["send", "topics"])
    assert "sp_" not in editor.get(PATH).text, "no later page shows it"
    (one,) = runtime.api_tokens.all()
    assert (one.name, one.scopes, one.by) == ("CMS", {"send", "topics"}, EMAIL)
    assert calls(app, token) == 200
    assert calls(app, token, "/metrics") == 403
    assert f"{EMAIL} made the API token 'CMS', which may send, topics" in caplog.text
    assert token not in caplog.text
    redis = runtime.store.redis
    assert not [key for key in redis.scan_iter() if token.encode() in (redis.dump(key) or b"")]


def test_the_page_says_who_made_a_token_when_and_when_it_was_last_used(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    runtime.api_tokens.add("monitor")
    token = make(editor)
    shown = words(editor.get(PATH).text)
    assert "everything" in shown
    assert "by the operator" in shown
    assert f"by {EMAIL}" in shown
    assert shown.count("not seen in use") == 2
    assert calls(app, token) == 200
    assert words(editor.get(PATH).text).count("not seen in use") == 1


def test_a_refused_call_is_no_use(app: Flask, editor: FlaskClient, runtime: Runtime) -> None:
    assert calls(app, make(editor), "/metrics") == 403
    assert runtime.api_tokens.all()[0].used_at == 0


def test_a_revoked_token_is_refused_at_once_and_the_second_click_does_no_harm(
    app: Flask, editor: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    token, other = make(editor), make(editor, "monitor", "read")
    id = next(one.id for one in runtime.api_tokens.all() if one.name == "CMS")
    assert calls(app, token) == 200
    revoke(editor, id)
    assert (calls(app, token), calls(app, other)) == (401, 200)
    revoke(editor, id)
    assert calls(app, other) == 200
    assert caplog.text.count(f"{EMAIL} revoked the API token {id} ('CMS')") == 1


@pytest.mark.parametrize("id", ["x", "0" * 8, "é", "monitor ", "a" * 300])
def test_an_unknown_token_revokes_nothing(
    app: Flask, editor: FlaskClient, runtime: Runtime, id: str
) -> None:
    token = make(editor)
    revoke(editor, id)
    assert calls(app, token) == 200


def test_a_wrong_form_is_explained_and_makes_no_token(
    editor: FlaskClient, runtime: Runtime
) -> None:
    runtime.api_tokens.add("taken")
    cases: tuple[tuple[str, Any, str], ...] = (
        ("", "send", "Give the token a name"),
        (" \u200b", "send", "Give the token a name"),
        ("a\nb", "send", "Give the token a name"),
        ("x" * 61, "send", "Give the token a name"),
        ("taken", "send", "has this name already"),
        (" taken ", "send", "has this name already"),
        ("CMS", [], "Choose at least one thing"),
        ("CMS", "everything", "Choose at least one thing"),
    )
    for name, scope, complaint in cases:
        answer = post(editor, PATH, name=name, scope=scope)
        assert answer.status_code == 422, (name, scope)
        assert complaint in words(answer.text)
        Page(answer.text)
    assert len(runtime.api_tokens.all()) == 1


def test_a_name_is_shown_as_text(editor: FlaskClient, runtime: Runtime) -> None:
    make(editor, NASTY)
    page = editor.get(PATH).text
    Page(page)
    assert "<script>alert" not in page


def test_a_name_that_looks_like_an_id_is_not_revoked_in_its_place(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    token = make(editor)
    (one,) = runtime.api_tokens.all()
    other = make(editor, one.id)
    revoke(editor, one.id)
    assert (calls(app, token), calls(app, other)) == (401, 200)
