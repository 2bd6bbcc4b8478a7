"""Stopping everything at the desk and by the API: who presses, what the pages say, what waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from service.model.notifications import MOST_LATE, State
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.client import NOTIFICATIONS, Client, Reader
from tests.support.desk.pages import EMAIL, Page, hidden_fields, post, review, sign_in, words
from tests.support.desk.planned import plan

BAND = "Everything has been stopped since"
ALERT = {"title": "Late", "url": "https://paper.example/", "audience": {"everyone": True}}


@pytest.fixture
def held(editor: FlaskClient, runtime: Runtime) -> str:
    """The id of the stop that an editor has begun."""
    answer = post(editor, "/desk/stop", page="/desk/")
    assert (answer.status_code, answer.location) == (303, "/desk/")
    stop = runtime.stops.current()
    assert stop is not None
    assert stop.by == EMAIL
    return stop.id


@pytest.mark.parametrize("page", ["/desk/", "/desk/log", "/desk/stories", "/desk/people"])
def test_each_page_says_who_stopped_everything_and_offers_to_release_it(
    editor: FlaskClient, held: str, page: str
) -> None:
    shown = editor.get(page).text
    Page(shown)
    assert BAND in words(shown)
    assert f"by {EMAIL}. Nothing is sent." in words(shown)
    assert "Release everything" in shown
    assert "Stop everything…" not in shown


def test_strangers_see_no_band(stranger: FlaskClient, held: str) -> None:
    assert BAND not in words(stranger.get("/desk/sign-in").text)


def test_an_editor_who_only_writes_sees_the_band_without_the_button(
    app, runtime: Runtime, held: str
) -> None:
    runtime.store.access.add_editor("wim@paper.example", "a hash", Person("writes"))
    page = sign_in(app, runtime, "wim@paper.example").get("/desk/").text
    assert BAND in words(page)
    assert "Release" not in page
    assert "An editor who sends alerts can release it." in words(page)


def test_a_release_ends_the_band_and_both_are_in_the_log(
    editor: FlaskClient, runtime: Runtime, held: str
) -> None:
    answer = post(editor, "/desk/release", page="/desk/", stop=held)
    assert answer.location == "/desk/"
    assert runtime.stops.current() is None
    page = editor.get("/desk/").text
    assert BAND not in words(page)
    assert "Stop everything…" in page
    log = words(editor.get("/desk/log").text)
    assert f"{EMAIL} stopped everything" in log
    assert f"{EMAIL} released everything" in log
    assert ',"All alerts","stopped",' in editor.get("/desk/log.csv").text


@pytest.mark.parametrize("shown", ["", "1-0"])
def test_a_form_of_another_stop_releases_nothing(
    editor: FlaskClient, runtime: Runtime, held: str, shown: str
) -> None:
    assert post(editor, "/desk/release", page="/desk/", stop=shown).status_code == 303
    assert runtime.stops.current()


def test_an_alert_that_is_sent_meanwhile_waits_and_can_be_taken_back(
    editor: FlaskClient, runtime: Runtime, readers: int, held: str
) -> None:
    asked = review(editor)
    text = words(asked.text)
    assert "browsers (World) once everything is released?" in text
    assert "Keep it until everything is released" in text
    assert "Everything is stopped: it waits until that is released." in text
    assert "right away" not in text
    page = editor.post("/desk/alerts", data=hidden_fields(asked.text)).location
    (one,) = runtime.publishing.latest(5)
    assert one.state is State.SCHEDULED
    shown = editor.get(page).text
    assert "Nobody has it yet. It waits, because everything is stopped." in words(shown)
    assert "Send now" not in shown
    assert post(editor, f"{page}/send-now", page=page).status_code == 409
    assert runtime.publishing.get(one.id).state is State.SCHEDULED
    assert "waits" in words(editor.get("/desk/").text)
    post(editor, f"{page}/take-back", page=page)
    assert runtime.publishing.get(one.id).state is State.DRAFT


def test_the_page_of_a_running_alert_is_reloaded_and_says_that_it_waits(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = f"/desk/alerts/{half_sent}"
    progress = f"{page}/progress?stage=sending.0.0.0"
    assert "HX-Refresh" not in editor.get(progress, headers={"HX-Request": "true"}).headers
    runtime.stops.hold(by="ada@paper.example")
    assert "HX-Refresh" in editor.get(progress, headers={"HX-Request": "true"}).headers
    shown = words(editor.get(page).text)
    assert "It waits, because everything is stopped." in shown
    assert "per second" not in shown


# The API ------------------------------------------------------------------------------------------


def test_the_api_accepts_and_says_that_the_alert_waits(client: Client) -> None:
    client.runtime.stops.hold(by=EMAIL)
    token = client.add_token()
    headers = {"Idempotency-Key": "once"}
    answers = [
        client.call("POST", NOTIFICATIONS, ALERT, token=token, headers=headers) for _ in "12"
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json == answers[1].json
    shown = answers[0].json or {}
    assert shown["status"] == "scheduled"
    (warning,) = [one for one in shown["warnings"] if one["field"] == "status"]
    assert warning["detail"].startswith("Everything is stopped")
    draft = client.call("POST", NOTIFICATIONS, {**ALERT, "draft": True}, token=token).json or {}
    assert [one["field"] for one in draft["warnings"]] == []
    sent = client.call("POST", f"{NOTIFICATIONS}/{draft['id']}/send", token=token)
    assert sent.status_code == 202
    assert (sent.json or {})["status"] == "scheduled"
    assert [one["field"] for one in (sent.json or {})["warnings"]] == ["status"]


def test_tests_are_refused_and_welcomes_wait(client_with: Callable[..., Client]) -> None:
    client = client_with(WELCOME="yes")
    reader = Reader(client)
    client.runtime.stops.hold(by=EMAIL)
    answer = reader.call("POST", "/test")
    assert answer.status_code == 503
    assert (answer.json or {})["detail"] == "Nothing is sent at the moment. Try again later."
    token = client.add_token()
    draft = client.call("POST", NOTIFICATIONS, {**ALERT, "draft": True}, token=token).json or {}
    body = {"subscription_id": reader.id}
    test = client.call("POST", f"{NOTIFICATIONS}/{draft['id']}/test", body, token=token)
    assert test.status_code == 503
    (before,) = client.runtime.store.notifications.active()
    Reader(client, 2)
    welcomes = client.runtime.publishing.all(client.runtime.store.notifications.active())
    assert [one.id for one in welcomes] == [before, max(one.id for one in welcomes)]
    assert client.runtime.planning.sending() == []


def test_the_figures_say_that_everything_is_stopped(client: Client) -> None:
    token = client.add_token()
    assert "stoppress_stopped 0.0" in client.call("GET", "/metrics", token=token).text
    client.runtime.stops.hold(by=EMAIL)
    assert "stoppress_stopped 1.0" in client.call("GET", "/metrics", token=token).text


def test_the_list_says_that_scheduled_alerts_wait(
    editor: FlaskClient, runtime: Runtime, readers: int, half_sent: int
) -> None:
    plan(runtime, -5)
    plan(runtime, -60 - MOST_LATE)
    plan(runtime, 8000)
    assert "any moment now" in words(editor.get("/desk/").text)
    post(editor, "/desk/stop", page="/desk/")
    page = words(editor.get("/desk/").text)
    assert "once everything is released" in page
    assert f"2 alerts wait, for about {readers + 60} browsers. All that waits is sent at" in page
    runtime.publishing.cancel(half_sent, by="a test")
    page = words(editor.get("/desk/log").text)
    assert f"1 alert waits, for about {readers} browsers." in page
