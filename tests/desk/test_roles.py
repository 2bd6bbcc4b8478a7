"""What each role may do: every route of the desk tried by every role, straight at its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.desk import blueprint, permissions
from service.model.notifications import Audience, Content, State
from service.model.roles import Role
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.client import stored
from tests.support.desk.pages import (
    EMAIL,
    PASSWORD,
    STORY,
    hidden_fields,
    hidden_fields_of_compose,
    open_form,
    path_of,
    post,
    publish,
    review,
    submit,
    token_in,
    words,
)
from tests.support.desk.planned import later, plan

WRITER, SENDER, MANAGER = "wim@paper.example", "sam@paper.example", EMAIL
EVERYBODY, ANY, SENDS, MANAGES = "everybody", "any editor", "sends", "manages"
# Who may use each route. A route that is added to the desk is added here.
ROUTES = {
    "start.start": EVERYBODY,
    "start.send": ANY,
    "start.follow": ANY,
    "start.setup": MANAGES,
    "desk.static": EVERYBODY,
    "desk.htmx": EVERYBODY,
    "desk.sign_in": EVERYBODY,
    "desk.sign_in_code": EVERYBODY,
    "desk.go_to_provider": EVERYBODY,
    "desk.back_from_provider": EVERYBODY,
    "desk.begin_passkey_sign_in": EVERYBODY,
    "desk.sign_in_by_passkey": EVERYBODY,
    "desk.welcome": EVERYBODY,
    "desk.sign_out": ANY,
    "desk.missing": ANY,
    "desk.alerts": ANY,
    "desk.live_list": ANY,
    "desk.search": ANY,
    "desk.alert": ANY,
    "desk.progress": ANY,
    "desk.cancel": SENDS,
    "desk.pause": SENDS,
    "desk.resume": SENDS,
    "desk.undo": SENDS,
    "desk.skip_undo": SENDS,
    "desk.skip": SENDS,
    "desk.choose": SENDS,
    "desk.confirm_gone": SENDS,
    "desk.take_back": SENDS,
    "desk.approve": SENDS,
    "desk.hand_in": ANY,
    "desk.send_back": SENDS,
    "desk.halt": SENDS,
    "desk.wrong": SENDS,
    "desk.go_on": SENDS,
    "desk.write_retraction": SENDS,
    "desk.retract": SENDS,
    "desk.stop": SENDS,
    "desk.release": SENDS,
    "desk.compose": ANY,
    "desk.unfinished": ANY,
    "desk.finish": ANY,
    "desk.review": ANY,
    "desk.discard": ANY,
    "desk.keep": ANY,
    "desk.session": EVERYBODY,
    "desk.reach": ANY,
    "desk.send": SENDS,  # edit and delete with a scheduled alert
    "desk.edit": SENDS,
    "desk.save": SENDS,
    "desk.delete": SENDS,
    "desk.confirm": SENDS,
    "desk.write_correction": SENDS,
    "desk.correct": SENDS,
    "desk.templates": ANY,
    "desk.save_template": SENDS,
    "desk.rename_template": SENDS,
    "desk.delete_template": SENDS,
    "desk.use_audience": ANY,
    "desk.save_audience": SENDS,
    "desk.rename_audience": SENDS,
    "desk.delete_audience": SENDS,
    "desk.stories": ANY,
    "desk.close_story": SENDS,
    "desk.read_article": ANY,
    "desk.article": ANY,
    "desk.check_link": ANY,
    "desk.export_report": ANY,
    "desk.overview": ANY,
    "desk.export_overview": ANY,
    "desk.log": ANY,
    "desk.shortcuts": ANY,
    "desk.export_log": ANY,
    "desk.rehearse": ANY,
    "desk.start_rehearsal": ANY,
    "desk.rehearsal_progress": ANY,
    "desk.end_rehearsal": ANY,
    **dict.fromkeys(
        ("desk.webhooks", "desk.add_webhook", "desk.change_webhook", "desk.pause_webhook"), MANAGES
    ),
    **dict.fromkeys(("desk.test_webhook", "desk.rotate_webhook", "desk.remove_webhook"), MANAGES),
    **dict.fromkeys(("desk.hooks", "desk.add_hook", "desk.change_hook"), MANAGES),
    **dict.fromkeys(("desk.new_hook_secret", "desk.remove_hook"), MANAGES),
    "desk.people": MANAGES,
    "desk.invite": MANAGES,
    "desk.person": MANAGES,  # these two for another editor
    "desk.set_role": MANAGES,
    "desk.new_link": MANAGES,
    "desk.end_sessions": MANAGES,
    "desk.remove": MANAGES,
    "desk.two_step": ANY,
    "desk.begin_two_step": ANY,
    "desk.switch_on_two_step": ANY,
    "desk.switch_off_two_step": ANY,
    "desk.switch_off_for": MANAGES,
    "desk.begin_passkey": ANY,
    "desk.add_passkey": ANY,
    "desk.remove_passkey": MANAGES,  # for another editor
    "desk.begin_pairing": ANY,
    "desk.pairing": ANY,
    "desk.pairing_state": ANY,
    "desk.end_pairing": ANY,
    "desk.unpair": MANAGES,  # for another editor
    "desk.send_to_me": ANY,
    "desk.tokens": MANAGES,
    "desk.add_token": MANAGES,
    "desk.revoke_token": MANAGES,
    "desk.topics": MANAGES,
    "desk.add_topic": MANAGES,
    "desk.change_topic": MANAGES,
    "desk.move_topic": MANAGES,
    "desk.merge_topic": MANAGES,
    "desk.remove_topic": MANAGES,
    "desk.feeds": ANY,
    "desk.feed": ANY,
    "desk.add_feed": MANAGES,
    "desk.change_feed": MANAGES,
    "desk.steer_feed": MANAGES,
    "desk.remove_feed": MANAGES,
    **dict.fromkeys(("desk.operations", "desk.live_operations"), MANAGES),
    **dict.fromkeys(("desk.retry_job", "desk.throw_away_job"), MANAGES),
    "desk.settings": MANAGES,
    "desk.change_settings": MANAGES,
}
MAY = {
    "stranger": {EVERYBODY},
    "writes": {EVERYBODY, ANY},
    "sends": {EVERYBODY, ANY, SENDS},
    "manages": {EVERYBODY, ANY, SENDS, MANAGES},
}
NOT_OURS = "0123456789abcdef"


@dataclass
class Newsroom:
    """A desk with an editor of each role."""

    app: Flask
    runtime: Runtime

    def sign_in(self, role: str) -> FlaskClient:
        """Return a client in a new session of the editor with this role."""
        client = self.app.test_client()
        if role == "stranger":
            client.get("/desk/sign-in")
            return client
        email = {"writes": WRITER, "sends": SENDER, "manages": MANAGER}[role]
        link = path_of(self.runtime.editors.signin_link(email))
        assert post(client, link, password=PASSWORD).status_code == 303
        return client


@pytest.fixture
def newsroom(
    app: Flask, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> Newsroom:
    monkeypatch.setattr("service.domain.people.editors._MOST_OF_NETWORK", 10_000)
    access = runtime.store.access
    for email, role in ((MANAGER, "manages"), (SENDER, "sends"), (WRITER, "writes")):
        access.add_editor(email, "a hash", Person(role))
    return Newsroom(app, runtime)


def requests_of(app: Flask, endpoint: str) -> list[tuple[str, str]]:
    """The methods and addresses of a route."""
    return [
        (method, rule.rule)
        for rule in app.url_map.iter_rules(endpoint)
        for method in sorted(rule.methods or ())
        if method in ("GET", "POST")
    ]


def filled(path: str, alert: int) -> str:
    """An address with its variables: the alert, and nobody's id."""
    variables = {
        **{"<int:id>": str(alert), "<id>": NOT_OURS, "<slug>": "quake", "<token>": "x" * 32},
        "<key>": "k" * 22,
        "<feed>": "0" * 12,
        "<job>": "a-job",
        **{"<path:filename>": "desk.css", "<path:_rest>": "no/such/page"},
    }
    for name, value in variables.items():
        path = path.replace(name, value)
    return path


def ask(client: FlaskClient, method: str, path: str, **fields: Any) -> TestResponse:
    if method == "GET":
        response = client.get(path)
        response.close()  # a file
        return response
    form = {**STORY, "nonce": "n" * 22, "when": "now", **fields}
    return client.post(path, data={"csrf_token": form_token(client), **form})


def form_token(client: FlaskClient) -> str:
    """The token of a page's forms, which is the same as long as the cookie is."""
    cookie = client.get_cookie("stoppress")
    known = getattr(client, "form_token", None)
    if known is None or known[0] != cookie:
        page = client.get("/desk/stories", follow_redirects=True)
        known = client.get_cookie("stoppress"), token_in(page.text)
        client.form_token = known  # type: ignore[attr-defined]
    return known[1]


def is_refused(response: TestResponse) -> bool:
    to_sign_in = (response.location or "").startswith("/desk/sign-in")
    return response.status_code in (401, 403) or (response.status_code == 302 and to_sign_in)


def test_the_table_has_every_route_of_the_desk(app: Flask) -> None:
    ours = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith(("desk.", "start."))
    }
    assert ours == set(ROUTES), "a new route of the desk needs a row in `ROUTES`"


@pytest.mark.parametrize("role", MAY)
def test_each_route_is_open_to_its_roles_and_closed_to_all_others(
    newsroom: Newsroom, role: str
) -> None:
    sent, scheduled = publish(newsroom.runtime), plan(newsroom.runtime, 3600)
    client, before = newsroom.sign_in(role), state(newsroom)

    def alert(endpoint: str) -> int:
        return scheduled if endpoint in ("desk.edit", "desk.delete") else sent

    for endpoint, who in ROUTES.items():
        if who in MAY[role]:
            continue
        for method, path in requests_of(newsroom.app, endpoint):
            response = ask(client, method, filled(path, alert(endpoint)))
            assert is_refused(response), (endpoint, method, response.status_code)
            if role != "stranger":
                assert response.status_code == 403, endpoint
    assert state(newsroom) == before, "a refused request changed something"
    for endpoint, who in ROUTES.items():
        for method, path in requests_of(newsroom.app, endpoint):
            if who not in MAY[role]:
                continue
            response = ask(client, method, filled(path, alert(endpoint)))
            if endpoint == "desk.sign_out":
                client = newsroom.sign_in(role)
                continue
            assert not is_refused(response), (endpoint, method, response.status_code)
            assert response.status_code < 500, endpoint


def state(newsroom: Newsroom) -> dict[bytes, Any]:
    """Everything that is stored, without what each visit changes of a session."""

    class All:
        runtime = newsroom.runtime

    passing = (b"{g}:session", b"rq:")
    kept = stored(All)  # type: ignore[arg-type]
    return {key: value for key, value in kept.items() if not key.startswith(passing)}


def test_a_page_that_is_refused_says_who_may(newsroom: Newsroom) -> None:
    alert = publish(newsroom.runtime)
    refused = ask(newsroom.sign_in("writes"), "POST", f"/desk/alerts/{alert}/pause")
    text = words(refused.text)
    assert refused.status_code == 403
    assert f"ask {MANAGER} or {SENDER}." in text
    assert WRITER not in text
    refused = ask(newsroom.sign_in("sends"), "GET", "/desk/people")
    assert f"ask {MANAGER}." in words(refused.text)
    for n in range(7):
        newsroom.runtime.store.access.add_editor(f"a{n}@paper.example", person=Person("manages"))
    refused = ask(newsroom.sign_in("sends"), "GET", "/desk/people")
    assert "a4@paper.example, or others." in words(refused.text)


def test_a_route_without_a_rule_keeps_the_desk_from_starting(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(blueprint.htmx, "rule")
    with pytest.raises(RuntimeError, match=r"desk\.htmx: say who may use it"):
        permissions.init_app(app)


# Who writes ---------------------------------------------------------------------------------------


def fields_of(page: str) -> dict[str, Any]:
    """The fields of the last form of a page, without those that a review shows."""
    return {name: value[0] for name, value in hidden_fields(page).items()}


def test_who_writes_keeps_changes_and_deletes_drafts(newsroom: Newsroom) -> None:
    client, publishing = newsroom.sign_in("writes"), newsroom.runtime.publishing
    assert review(client, when="draft").status_code == 303
    (one,) = publishing.planned()
    assert (one.state, one.created_by) == (State.DRAFT, WRITER)
    path = f"/desk/alerts/{one.id}"
    page = open_form(client, f"{path}/edit")
    changed = submit(client, page, **{**STORY, "when": "draft", "title": "Ferry afloat"})
    assert (changed.status_code, changed.location) == (303, path)
    assert publishing.get(one.id).content.title == "Ferry afloat"
    shown = client.get(path).text
    assert "Send now" not in shown
    assert "Edit" in shown
    form = {"csrf_token": token_in(shown)}
    for _ in range(2):  # a double click
        assert client.post(f"{path}/delete", data=form).status_code == 303
    assert publishing.planned() == []
    late = client.post(path, data={**form, **STORY, "when": "draft", "nonce": "n" * 22})
    assert (late.status_code, "deleted or cancelled" in late.text) == (409, True)


def test_who_writes_sees_what_would_be_sent_and_cannot_send_it(newsroom: Newsroom) -> None:
    client, publishing = newsroom.sign_in("writes"), newsroom.runtime.publishing
    shown = review(client, when="now")
    assert shown.status_code == 200
    assert "Another editor has to send this" in words(shown.text)
    assert "Notify" not in shown.text[shown.text.rindex("<form") :]
    form = fields_of(shown.text)
    for when in ("now", "at", "", "Draft", "draft "):
        data = {**STORY, **form, **later(), "when": when}
        assert client.post("/desk/alerts", data=data).status_code == 403, when
    assert publishing.latest(1) == publishing.planned() == []

    draft = plan(newsroom.runtime)
    for when in ("now", "at"):
        page = open_form(client, f"/desk/alerts/{draft}/edit")
        shown = submit(client, page, **{**STORY, **later(), "when": when})
        assert shown.status_code == 200
        data = {**STORY, **fields_of(shown.text), **later(), "when": when}
        assert client.post(f"/desk/alerts/{draft}", data=data).status_code == 403
    assert publishing.get(draft).state is State.DRAFT


def test_who_writes_cannot_touch_a_scheduled_alert(newsroom: Newsroom) -> None:
    id = plan(newsroom.runtime, 3600)
    sender, client = newsroom.sign_in("sends"), newsroom.sign_in("writes")
    page = open_form(sender, f"/desk/alerts/{id}/edit")
    mine = token_in(open_form(client))
    form = {**STORY, **hidden_fields_of_compose(page), "when": "draft", "csrf_token": mine}
    assert form["alert"] == [str(id)]
    key = "k" * 22
    for path in (f"/desk/unfinished/{key}", f"/desk/alerts/{id}", f"/desk/alerts/{id}/delete"):
        assert client.post(path, data=form).status_code == 403, path
    assert client.get(f"/desk/alerts/{id}/edit").status_code == 403
    shown = client.get(f"/desk/alerts/{id}").text
    assert not re.search(r"Edit…|Delete|Send now", shown)
    assert newsroom.runtime.publishing.get(id).state is State.SCHEDULED


def test_who_writes_cannot_touch_an_alert_that_is_scheduled_at_this_moment(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = plan(newsroom.runtime, 3600)
    sender, client = newsroom.sign_in("sends"), newsroom.sign_in("writes")
    page = open_form(sender, f"/desk/alerts/{id}/edit")
    mine = token_in(open_form(client))
    form = {**STORY, **hidden_fields_of_compose(page), "when": "draft", "csrf_token": mine}
    monkeypatch.setattr(permissions, "_for_planned", lambda _: Role.WRITES)  # it was a draft then
    for path in (f"/desk/unfinished/{'k' * 22}", f"/desk/alerts/{id}", f"/desk/alerts/{id}/delete"):
        answer = client.post(path, data=form)
        assert (answer.status_code, "meanwhile" in words(answer.text)) == (409, True), path
    assert newsroom.runtime.publishing.get(id).state is State.SCHEDULED


def test_pages_offer_only_what_the_role_includes(newsroom: Newsroom) -> None:
    newsroom.runtime.publishing.publish(**story_alert(), by=SENDER)
    for role, closes, manages in (
        ("writes", False, False),
        ("sends", True, False),
        ("manages", True, True),
    ):
        alert = newsroom.sign_in(role).get("/desk/alerts/1").text
        assert ("Cancel this alert" in alert) == closes
        page = newsroom.sign_in(role).get("/desk/stories").text
        assert ("Close this story" in page) == closes
        assert ('href="/desk/people"' in page) == manages
        assert ('href="/desk/tokens"' in page) == manages


def story_alert() -> dict[str, Any]:
    content = Content("Quake", "https://paper.example/")
    return {"content": content, "audience": Audience(everyone=True, story="quake")}


# A changed role -----------------------------------------------------------------------------------


def test_a_changed_role_counts_at_once_in_open_sessions(newsroom: Newsroom) -> None:
    client, editors = newsroom.sign_in("writes"), newsroom.runtime.editors
    alert = publish(newsroom.runtime)
    assert ask(client, "POST", f"/desk/alerts/{alert}/pause").status_code == 403
    editors.set_role(WRITER, Role.SENDS)
    assert ask(client, "POST", f"/desk/alerts/{alert}/pause").status_code == 303
    assert client.get("/desk/people").status_code == 403
    editors.set_role(WRITER, Role.MANAGES)
    assert client.get("/desk/people").status_code == 200
    editors.set_role(WRITER, Role.WRITES)
    assert ask(client, "POST", f"/desk/alerts/{alert}/resume").status_code == 403


def test_editors_of_an_earlier_release_manage(app: Flask, runtime: Runtime) -> None:
    runtime.store.redis.hset("{g}:editors", EMAIL, "")  # nothing beside the password's hash
    client = app.test_client()
    assert post(client, path_of(runtime.editors.signin_link(EMAIL)), password=PASSWORD)
    page = client.get("/desk/people")
    assert page.status_code == 200
    assert "before people had roles" in page.text


def test_a_role_of_a_later_release_is_the_least(newsroom: Newsroom) -> None:
    client = newsroom.sign_in("sends")
    newsroom.runtime.store.redis.hset(
        "{g}:people", SENDER, '{"v": 2, "role": "owns", "added_at": 0, "more": 5}'
    )
    assert client.get("/desk/").status_code == 200
    assert client.get("/desk/people").status_code == 403
    alert = publish(newsroom.runtime)
    assert ask(client, "POST", f"/desk/alerts/{alert}/pause").status_code == 403


# Pages of others ----------------------------------------------------------------------------------


def test_no_page_of_the_desk_can_be_framed(newsroom: Newsroom) -> None:
    client = newsroom.sign_in("manages")
    alert, seen = publish(newsroom.runtime), 0
    for endpoint in ROUTES:
        for method, path in requests_of(newsroom.app, endpoint):
            if method == "GET":
                policy = ask(client, method, filled(path, alert)).headers["Content-Security-Policy"]
                assert "frame-ancestors 'none'" in policy, endpoint
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("how", ["send", "remove"])
def test_who_writes_learns_that_a_draft_was_sent_or_deleted_meanwhile(
    newsroom: Newsroom, how: str
) -> None:
    runtime = newsroom.runtime
    id, client = plan(runtime), newsroom.sign_in("writes")
    page = open_form(client, f"/desk/alerts/{id}/edit")
    getattr(runtime.publishing, how)(id, by=SENDER)
    mine = {**STORY, **hidden_fields_of_compose(page), "title": "As I typed it", "when": "draft"}
    answer = client.post(f"/desk/unfinished/{mine['nonce'][0]}", data=mine)
    assert answer.status_code == 409
    assert "meanwhile" in words(answer.text)
    assert ">\nAs I typed it</textarea>" in answer.text
    assert "Correct it now" not in answer.text
