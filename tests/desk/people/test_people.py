"""The page of people: inviting, roles, sign-in links, sessions, removing."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.domain.people.editors import Editor, UnknownEditor
from service.model.roles import Role
from service.model.time import clock
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import (
    EMAIL,
    PASSWORD,
    Page,
    path_of,
    post,
    signed_in,
    token_in,
    words,
)
from tests.support.newsroom.feeds import ID, store_feed

TOM, EVE = "tom@paper.example", "eve@paper.example"
INPUT = re.compile(r"<input[^>]*>")
NEW_FEED = {
    "url": ["https://evil.example/feed"],
    "audience": ["topics"],
    "topic": ["sport", "world"],
    "when": ["send"],
}
NUMBERS = ("minutes", "gap_minutes", "most_per_hour", "most_per_day", "newest_hours")
FEED = {**NEW_FEED, **{name: ["7"] for name in NUMBERS}, "title_template": ["{title}!"]}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)


def id_of(email: str) -> str:
    return Editor(email, "", Role.WRITES).id


def page_of(email: str) -> str:
    return f"/desk/people/{id_of(email)}"


def invited(editor: FlaskClient, email: str = TOM, role: str = "sends") -> str:
    """Invite an editor; return the path of the link that the next page shows."""
    answer = post(editor, "/desk/people", email=email, role=role)
    assert (answer.status_code, answer.location) == (303, page_of(email))
    return link_on(editor.get(answer.location).text)


def link_on(page: str) -> str:
    found = re.search(r'value="(http://localhost:8000/desk/welcome/[^"]+)" readonly', page)
    assert found, "the page shows no link"
    return path_of(found[1])


@pytest.fixture
def tom(app: Flask, editor: FlaskClient) -> FlaskClient:
    """The client of a second editor, who sends."""
    client = app.test_client()
    assert post(client, invited(editor), password=PASSWORD).status_code == 303
    return client


def sign_in(app: Flask, email: str, agent: str = "", address: str = "10.0.0.1") -> FlaskClient:
    client = app.test_client()
    page = client.get("/desk/sign-in")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token
    answer = client.post(
        "/desk/sign-in",
        data={"csrf_token": token[1], "email": email, "password": PASSWORD},
        headers={"User-Agent": agent},
        environ_base={"REMOTE_ADDR": address},
    )
    assert answer.status_code == 303
    return client


# Inviting -----------------------------------------------------------------------------------------


def test_an_invited_editor_signs_in_by_a_link_that_is_shown_once(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    link = invited(editor)
    assert "/desk/welcome/" not in editor.get(page_of(TOM)).text, "no later page shows it"
    tom = app.test_client()
    assert post(tom, link, password=PASSWORD).status_code == 303
    assert signed_in(tom)
    listed = words(editor.get("/desk/people").text)
    assert f"{TOM} sends" in listed
    assert f"by {EMAIL}" in listed
    one = runtime.editors.find(TOM)
    assert one
    assert (one.role, one.added_by) == (Role.SENDS, EMAIL)


def test_the_link_is_in_no_address_in_no_log_and_not_stored(
    editor: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    token = invited(editor).rpartition("/")[2]
    redis = runtime.store.redis
    assert not [key for key in redis.scan_iter() if token.encode() in (redis.dump(key) or b"")]
    assert token not in caplog.text


def test_another_editors_page_does_not_show_the_link(editor: FlaskClient, tom: FlaskClient) -> None:
    answer = post(editor, "/desk/people", email="eve@paper.example", role="writes")
    for path in (page_of(TOM), "/desk/tokens", "/desk/people"):
        assert "/desk/welcome/" not in editor.get(path).text
    assert link_on(editor.get(answer.location).text)


def test_a_wrong_invitation_is_explained_and_adds_nobody(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for email, role, complaint in (
        ("", "sends", "Write an e-mail address"),
        ("no address", "sends", "Write an e-mail address"),
        ("a@b\r\nBcc: c@d", "sends", "Write an e-mail address"),
        ("x" * 250 + "@a.example", "sends", "too long"),
        (f"\u200b{EMAIL}", "sends", "characters that no screen shows"),
        (f"n\u200dora{EMAIL[4:]}", "sends", "characters that no screen shows"),
        (f"\u202e{EMAIL}", "sends", "characters that no screen shows"),
        (EMAIL.upper(), "sends", "is an editor already"),
        (TOM, "", "Choose what the editor may do"),
        (TOM, "owns", "Choose what the editor may do"),
    ):
        answer = post(editor, "/desk/people", email=email, role=role)
        assert answer.status_code == 422, (email, role)
        assert complaint in words(answer.text), (email, role)
        Page(answer.text)
    assert [one.email for one in runtime.editors.all()] == [EMAIL]
    again = post(editor, "/desk/people")
    assert again.status_code == 422, "a form without its fields"


def test_an_invitation_does_not_change_who_is_an_editor_already(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime
) -> None:
    assert post(editor, "/desk/people", email=TOM, role="manages").status_code == 422
    assert signed_in(tom)
    one = runtime.editors.with_id(id_of(TOM))
    assert (one.role, one.link_works_for) == (Role.SENDS, 0)


# Roles --------------------------------------------------------------------------------------------


def test_a_role_is_changed_on_the_editors_page(
    editor: FlaskClient, tom: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = post(editor, f"{page_of(TOM)}/role", page=page_of(TOM), role="manages")
    assert (answer.status_code, answer.location) == (303, page_of(TOM))
    assert tom.get("/desk/people").status_code == 200
    assert f"{EMAIL} changed the role of {TOM}, who manages now and sends before" in caplog.text
    for role in ("", "owns"):
        refused = post(editor, f"{page_of(TOM)}/role", page=page_of(TOM), role=role)
        assert refused.status_code == 422


def test_the_last_who_manages_stays(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime
) -> None:
    mine = page_of(EMAIL)
    for path, fields in ((f"{mine}/role", {"role": "sends"}), (f"{mine}/remove", {})):
        refused = post(editor, path, page=mine, **fields)
        assert refused.status_code == 409
        assert "Nobody else manages the desk" in refused.text
        Page(refused.text)
    assert editor.get("/desk/people").status_code == 200

    runtime.editors.set_role(TOM, Role.MANAGES)
    assert post(editor, f"{mine}/role", page=mine, role="writes").status_code == 303
    assert editor.get("/desk/people").status_code == 403
    assert editor.get(mine).status_code == 200, "their own page they still see"


# Sign-in links ------------------------------------------------------------------------------------


def test_a_new_link_replaces_the_one_before_and_a_new_password_ends_all_other_sessions(
    app: Flask, editor: FlaskClient, tom: FlaskClient
) -> None:
    links = []
    for _ in range(2):
        answer = post(editor, f"{page_of(TOM)}/link", page=page_of(TOM))
        links.append(link_on(editor.get(answer.location).text))
    other = sign_in(app, TOM)
    new = app.test_client()
    assert new.get(links[0]).status_code == 410
    assert post(new, links[1], password="three louder words").status_code == 303
    assert [signed_in(client) for client in (tom, other, new)] == [False, False, True]
    assert new.get(links[1]).status_code == 410, "a link that was used is worth nothing"
    listed = words(editor.get(page_of(TOM)).text)
    assert listed.count("last visit") == 1


def test_a_link_of_a_removed_editor_is_worth_nothing(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    link = invited(editor)
    assert post(editor, f"{page_of(TOM)}/remove", page=page_of(TOM)).status_code == 303
    assert app.test_client().get(link).status_code == 410
    again = invited(editor)
    assert app.test_client().get(link).status_code == 410
    assert post(app.test_client(), again, password=PASSWORD).status_code == 303


def test_a_new_link_brings_no_removed_editor_back(runtime: Runtime) -> None:
    runtime.editors.invite(EMAIL, Role.MANAGES)
    runtime.editors.invite(TOM, Role.SENDS)
    one = runtime.editors.with_id(id_of(TOM))
    runtime.editors.remove(TOM)
    with pytest.raises(UnknownEditor):
        runtime.editors.new_link(one)
    assert runtime.editors.find(TOM) is None


# Sessions -----------------------------------------------------------------------------------------


def test_an_editor_sees_own_sessions_and_ends_one_of_them(
    app: Flask, editor: FlaskClient, tom: FlaskClient
) -> None:
    phone, laptop = sign_in(app, TOM, SAFARI), sign_in(app, TOM, FIREFOX)
    page = laptop.get(page_of(TOM)).text
    Page(page)
    assert "Safari on iPhone" in page
    assert re.search(r"Firefox on Linux</strong>, this browser", page)
    assert "Remove yourself" not in page
    assert not re.search(r"Change the role|New sign-in link", page)
    which, *_ = re.findall(r'Safari on iPhone.*?name="which" value="(\w+)"', page, re.S)
    ended = post(laptop, f"{page_of(TOM)}/sessions/end", page=page_of(TOM), which=which)
    assert (ended.status_code, ended.location) == (303, page_of(TOM))
    assert [signed_in(client) for client in (phone, laptop, tom)] == [False, True, True]


def test_an_editor_signs_out_everywhere_else(
    app: Flask, editor: FlaskClient, tom: FlaskClient
) -> None:
    others = [sign_in(app, TOM) for _ in range(2)]
    end = f"{page_of(TOM)}/sessions/end"
    assert post(tom, end, page=page_of(TOM), which="others").status_code == 303
    assert [signed_in(client) for client in (*others, tom, editor)] == [False, False, True, True]
    assert "everywhere else" not in tom.get(page_of(TOM)).text
    assert post(tom, end, page=page_of(TOM), which="all").status_code == 303
    assert not signed_in(tom)


@pytest.mark.parametrize("which", ["", "none", "0" * 16, "é", "*"])
def test_a_session_that_is_not_the_editors_ends_nothing(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime, which: str
) -> None:
    (mine,) = runtime.editors.with_id(id_of(EMAIL)).sessions
    for given in (which, mine.id):
        post(tom, f"{page_of(TOM)}/sessions/end", page=page_of(TOM), which=given)
    assert signed_in(tom)
    assert signed_in(editor)


def test_who_does_not_manage_sees_and_ends_no_session_of_another(
    editor: FlaskClient, tom: FlaskClient
) -> None:
    assert tom.get(page_of(EMAIL)).status_code == 403
    end = f"{page_of(EMAIL)}/sessions/end"
    assert post(tom, end, page=page_of(TOM), which="all").status_code == 403
    assert signed_in(editor)


def test_who_manages_signs_an_editor_out_everywhere(
    app: Flask, editor: FlaskClient, tom: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    other = sign_in(app, TOM)
    end = f"{page_of(TOM)}/sessions/end"
    assert post(editor, end, page=page_of(TOM), which="all").status_code == 303
    assert [signed_in(client) for client in (tom, other, editor)] == [False, False, True]
    assert f"{EMAIL} ended 2 sessions of {TOM}" in caplog.text
    assert "Nowhere." in editor.get(page_of(TOM)).text


# What makes a further way in ----------------------------------------------------------------------


def filled_in(page: str) -> set[tuple[str, str]]:
    """The fields of a page that have a value, or are chosen."""
    inputs = (
        dict(re.findall(r'(\w+)="([^"]*)"', one)) | {"all": one} for one in INPUT.findall(page)
    )
    return {
        (one.get("name", ""), one.get("value", ""))
        for one in inputs
        if one.get("type") not in ("radio", "checkbox") or " checked" in one["all"]
    }


def an_hour_passes(runtime: Runtime) -> None:
    """Let all sessions be an hour old."""
    redis = runtime.store.redis
    for key in redis.scan_iter("{g}:session:*"):
        row = json.loads(redis.get(key) or b"")
        redis.set(key, json.dumps({**row, "ends": row["ends"] - 3600}), keepttl=True)


@pytest.mark.parametrize(
    ("path", "page", "fields"),
    [
        ("/desk/people", "/desk/people", {"email": [EVE], "role": ["writes"]}),
        (f"{page_of(TOM)}/role", page_of(TOM), {"role": ["manages"]}),
        (f"{page_of(TOM)}/link", page_of(TOM), {}),
        (f"{page_of(TOM)}/two-step/off", page_of(TOM), {}),
        ("/desk/tokens", "/desk/tokens", {"name": ["CMS"], "scope": ["send", "read"]}),
        # Who writes the feed writes to readers.
        ("/desk/feeds", "/desk/feeds", NEW_FEED),
        (f"/desk/feeds/{ID}", f"/desk/feeds/{ID}", FEED),
    ],
)
def test_at_a_desk_that_was_left_open_nobody_makes_a_further_way_in(
    editor: FlaskClient,
    tom: FlaskClient,
    runtime: Runtime,
    path: str,
    page: str,
    fields: dict[str, Any],
) -> None:
    store_feed(runtime)
    redis = runtime.store.redis
    kept = ("{g}:editors", "{g}:people", "{g}:tokens")
    before = [redis.hgetall(key) for key in kept], runtime.feeds.all()
    an_hour_passes(runtime)
    asked = post(editor, path, page=page, **fields)
    assert (asked.status_code, asked.location) == (303, f"/desk/sign-in?next={page}")
    assert ([redis.hgetall(key) for key in kept], runtime.feeds.all()) == before
    assert not runtime.editors.with_id(id_of(TOM)).link_works_for
    sign_in_page = editor.get(asked.location)
    assert "at a desk that you left open" in sign_in_page.text

    given = {"email": EMAIL, "password": PASSWORD, "csrf_token": token_in(sign_in_page.text)}
    back = editor.post(asked.location, data=given)
    assert (back.status_code, back.location) == (303, page)
    shown = editor.get(page).text
    assert filled_in(shown) >= {(name, one) for name in fields for one in fields[name]}
    done = editor.post(path, data={"csrf_token": token_in(shown), **fields})
    assert done.status_code == 303
    assert not done.location.startswith("/desk/sign-in")


def test_what_an_editor_typed_is_shown_once_and_to_nobody_else(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime
) -> None:
    runtime.editors.set_role(TOM, Role.MANAGES)
    for email, seen in ((EMAIL, True), (TOM, False)):
        an_hour_passes(runtime)
        assert post(editor, "/desk/people", email=EVE, role="writes").status_code == 303
        assert post(editor, "/desk/sign-in", email=email, password=PASSWORD).status_code == 303
        assert EVE not in editor.get("/desk/tokens").text
        assert [EVE in editor.get("/desk/people").text for _ in range(2)] == [seen, False]


# Removing -----------------------------------------------------------------------------------------


def test_a_removed_editor_is_signed_out_at_once_and_the_second_click_does_no_harm(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    form = editor.get(page_of(TOM)).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert token
    for _ in range(2):
        answer = editor.post(f"{page_of(TOM)}/remove", data={"csrf_token": token[1]})
        assert (answer.status_code, answer.location) == (303, "/desk/people")
    assert not signed_in(tom)
    assert TOM not in editor.get("/desk/people").text
    assert editor.get(page_of(TOM)).status_code == 404
    assert caplog.text.count(f"{EMAIL} removed {TOM}, who sends") == 1
    redis = runtime.store.redis
    left = [key for key in redis.scan_iter() if TOM.encode() in (redis.dump(key) or b"")]
    assert left == []


def test_tokens_outlive_the_role_of_their_maker_and_the_pages_say_so(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime
) -> None:
    runtime.editors.set_role(TOM, Role.MANAGES)
    assert "API tokens made" not in editor.get(page_of(TOM)).text
    for name, by in (("CMS", TOM), ("<i>", TOM), ("Monitor", EMAIL)):
        runtime.api_tokens.add(name, by=by)
    page = editor.get(page_of(TOM)).text
    Page(page)
    assert words(page).count("CMS, &lt;i&gt; Look at them") == 2
    assert "These API tokens still work afterwards" in words(page)
    assert "Monitor" not in page
    still = f"2 API tokens that {TOM} made still work."
    for role, says in (("manages", False), ("sends", True)):
        post(editor, f"{page_of(TOM)}/role", page=page_of(TOM), role=role)
        assert [still in editor.get(page_of(TOM)).text for _ in range(2)] == [says, False]
    assert "API tokens" not in tom.get(page_of(TOM)).text, "who does not manage revokes none"
    post(editor, f"{page_of(TOM)}/remove", page=page_of(TOM))
    assert [still in editor.get("/desk/people").text for _ in range(2)] == [True, False]
    assert len(runtime.api_tokens.made_by(TOM)) == 2, "a CMS would stop"


def test_a_session_from_before_the_removal_is_worth_nothing_when_the_editor_is_back(
    app: Flask, editor: FlaskClient, tom: FlaskClient
) -> None:
    assert post(editor, f"{page_of(TOM)}/remove", page=page_of(TOM)).status_code == 303
    assert post(app.test_client(), invited(editor), password=PASSWORD).status_code == 303
    assert not signed_in(tom)


def test_a_session_that_the_removal_missed_is_worth_nothing_when_the_editor_is_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of an editor without a password, in which nothing else changes."""
    editors, redis = runtime.editors, runtime.store.redis
    editors.invite(EMAIL, Role.MANAGES)
    editors.invite(TOM, Role.SENDS)
    session = str(editors.sign_in_by_provider(TOM, "10.0.0.1"))
    (key,) = redis.scan_iter("{g}:session:*")
    row = redis.get(key) or b""
    assert editors.of_session(session, active=False)
    editors.remove(TOM)
    assert not redis.exists(key, f"{{g}}:sessions:{TOM}")
    redis.set(key, row)
    later = clock.time() + 1
    monkeypatch.setattr(clock, "time", lambda: later)
    editors.invite(TOM, Role.SENDS)
    assert editors.of_session(session, active=False) is None


# The pages ----------------------------------------------------------------------------------------


def test_the_pages_are_sound_and_show_texts_as_texts(
    editor: FlaskClient, tom: FlaskClient, runtime: Runtime
) -> None:
    runtime.store.access.add_editor("o'b&c@paper.example", person=Person("writes", 5, "<i>"))
    for path in ("/desk/people", page_of(TOM), page_of(EMAIL)):
        page = editor.get(path).text
        Page(page)
        assert "<i>" not in page
    shown = words(editor.get("/desk/people").text)
    assert "never" in shown
    assert "1 session" in shown


@pytest.mark.parametrize("id", ["x", "0" * 16, "é", "a" * 300, EMAIL])
def test_an_unknown_editor_is_a_page_that_is_not_found(editor: FlaskClient, id: str) -> None:
    assert editor.get(f"/desk/people/{id}").status_code == 404
    for what in ("role", "link", "sessions/end"):
        answer = post(editor, f"/desk/people/{id}/{what}", page="/desk/people", role="sends")
        assert answer.status_code == 404


def test_who_did_it_is_in_the_log_of_the_process(
    editor: FlaskClient, tom: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        post(editor, f"{page_of(TOM)}/link", page=page_of(TOM))
        invited(editor, "eve@paper.example", "writes")
    assert f"{EMAIL} made a sign-in link for {TOM}" in caplog.text
    assert f"{EMAIL} invited eve@paper.example, who writes" in caplog.text
