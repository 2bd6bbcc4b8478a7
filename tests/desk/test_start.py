"""The start page."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.sending.receipts import Report
from service.model.notifications import Audience, Outcome
from service.model.roles import Role
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import EMAIL, publish, send_all, token_in, words
from tests.support.requested import requested

pytestmark = pytest.mark.usefixtures("one_partition")


def token_of_reader(runtime: Runtime, id: str) -> str:
    return runtime.subscriptions.token(runtime.subscriptions.get(id))


def send_to_one(client: FlaskClient, **fields: str) -> TestResponse:
    given = {"title": "It works", "body": "Indeed.", **fields}
    return client.post("/start/alerts", data={"csrf_token": token_of(client), **given})


def token_of(client: FlaskClient) -> str:
    return token_in(client.get("/desk/").text)


def test_the_start_page_has_no_send_form_for_strangers(
    stranger: FlaskClient, editor: FlaskClient, runtime: Runtime
) -> None:
    text = stranger.get("/").text
    assert "<form" not in text
    assert 'href="/desk/sign-in?next=/"' in text
    assert "printed in the terminal" not in text, "there is an editor already"
    token = token_in(stranger.get("/desk/sign-in").text)
    for answer in (
        stranger.post("/start/alerts", data={"csrf_token": token, "subscription": "0-0"}),
        stranger.get(f"/start/alerts/{publish(runtime)}"),
    ):
        assert answer.status_code == 401
        assert answer.json and "sign in" in answer.json["detail"]


def test_the_start_page_names_the_link_in_the_terminal_while_there_is_no_editor(
    stranger: FlaskClient, runtime: Runtime
) -> None:
    assert "sign-in link printed in the terminal" in stranger.get("/").text


def test_the_first_alert_goes_to_this_browser_and_to_no_other(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    answer = send_to_one(editor, subscription="0-7", token=token_of_reader(runtime, "0-7"))
    assert answer.status_code == 202
    assert answer.json
    id = answer.json["id"]
    audience = runtime.publishing.get(id).audience
    assert audience == Audience(subscription=SubscriptionId(0, 7))
    assert runtime.publishing.reach(audience) == 1

    follow = f"/start/alerts/{id}"
    waiting = {"took": None, "accepted": False, "outcome": None, "shown": False}
    assert editor.get(follow).json == waiting
    send_all(runtime, id, {(Outcome.ACCEPTED, "mozilla"): 1})
    runtime.receipts.count([Report(id, SubscriptionId(0, 7), "shown")])
    followed = editor.get(follow).json
    assert followed and (followed["accepted"], followed["outcome"], followed["shown"]) == (
        True,
        "handed to Mozilla",
        True,
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"subscription": "x"}, 422),
        ({"subscription": "0-99999"}, 422),
        ({"subscription": "255-1"}, 422),
        ({"title": ""}, 422),
    ],
)
def test_the_start_page_explains_what_it_cannot_send(
    editor: FlaskClient, runtime: Runtime, readers: int, fields: dict[str, str], status: int
) -> None:
    known = {"subscription": "0-7", "token": token_of_reader(runtime, "0-7")} if fields else {}
    answer = send_to_one(editor, **known | fields)
    assert answer.status_code == status
    assert answer.json and answer.json["detail"]
    assert runtime.publishing.latest(1) == []


def test_no_editor_can_send_from_the_start_page_to_another_readers_browser(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    foreign = token_of_reader(runtime, "0-8")
    for token in ("", "x", foreign, foreign.swapcase(), "é" * 22):
        answer = send_to_one(editor, subscription="0-7", token=token)
        assert (answer.status_code, "not subscribed" in answer.text) == (422, True)
    assert runtime.publishing.latest(1) == []
    assert runtime.store.notifications.active() == []


def test_an_editor_sends_a_few_tests_a_minute_from_the_start_page_which_no_list_has(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    here = {"subscription": "0-7", "token": token_of_reader(runtime, "0-7")}
    assert [send_to_one(editor, **here).status_code for _ in range(6)] == [*[202] * 5, 429]
    refused = send_to_one(editor, **here)
    assert refused.json and "Wait a minute" in refused.json["detail"]
    assert len(runtime.store.notifications.active()) == 5
    assert runtime.publishing.latest(10) == []


def test_a_gone_browser_is_told_to_subscribe_again(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    runtime.store.redis.setbit("{0}:gone", 7, 1)
    answer = send_to_one(editor, subscription="0-7", token=token_of_reader(runtime, "0-7"))
    assert answer.status_code == 409


def test_the_start_page_follows_only_its_own_alerts(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert editor.get(f"/start/alerts/{publish(runtime)}").status_code == 404
    # A reader's own test is for that reader's eyes alone.
    sent = runtime.reader_alerts.send_test(runtime.subscriptions.get("0-7"))
    assert editor.get(f"/start/alerts/{sent.id}").status_code == 404


# The newsroom's own steps -------------------------------------------------------------------------


def setup_of(client: FlaskClient) -> str:
    steps = client.get("/start/setup").json
    assert steps
    return words(" ".join(steps.values()))


def test_the_first_alert_comes_before_what_can_wait(editor: FlaskClient) -> None:
    page = editor.get("/").text
    steps = ("subscribe", "send", "arrive", "named", "installed")
    at = [page.index(f'<li id="{step}"') for step in steps]
    assert at == sorted(at)


def test_the_newsrooms_own_steps_say_by_themselves_when_they_are_done(
    editor: FlaskClient, app: Flask, runtime: Runtime
) -> None:
    paper = "https://www.paper.example"
    page = words(editor.get("/").text)
    for text in (page, setup_of(editor)):
        assert "Readers still see the name of our example, and only the demo newspaper" in text
        assert "No page of your site has loaded the code yet." in text
    runtime.settings.change({"site_name": "The Ferry Post"}, 0, "nora")
    assert "Readers see The Ferry Post, but no site is named yet" in setup_of(editor)
    runtime.settings.change({"site_origins": paper}, 1, "nora")
    text = setup_of(editor)
    assert f"Readers see The Ferry Post, and can subscribe on {paper}." in text
    assert "Open one, and you see it here." in text
    app.test_client().get("/api/v1/site", headers={"Origin": "https://another.example"})
    assert "Pages on" not in setup_of(editor)
    app.test_client().get("/api/v1/site", headers={"Origin": paper})
    assert f"Pages on {paper} load Stop Press: the last one did just now." in setup_of(editor)
    runtime.settings.change({"site_origins": "https://another.example"}, 2, "nora")
    assert "No page of your site has loaded the code yet" in setup_of(editor)


def test_only_who_manages_sees_the_newsrooms_own_steps(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    assert "Name your newspaper" in editor.get("/").text
    assert "Name your newspaper" not in stranger.get("/").text
    assert stranger.get("/start/setup").status_code == 401
    runtime.store.access.add_editor("ben@paper.example", "a hash", Person("manages"))
    runtime.editors.set_role(EMAIL, Role.SENDS)
    assert "Name your newspaper" not in editor.get("/").text
    assert editor.get("/start/setup").status_code == 403


def test_the_list_of_alerts_leads_to_the_start_page_while_nobody_is_subscribed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    assert "Nobody is subscribed yet." in editor.get("/desk/").text
    runtime.store.subscriptions.subscribe(requested("x")._replace(vapid_key=runtime.keys.current))
    assert "Nobody is subscribed yet." not in editor.get("/desk/").text
