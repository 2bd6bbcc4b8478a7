"""The page of the settings: what is set there holds everywhere, what the environment sets stays."""

from __future__ import annotations

import html
import logging
import re
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import ConnectionError, RedisError
from werkzeug.test import TestResponse

from service.config import Config, ConfigError, desk_settings
from service.desk.newsroom.settings import PARTS
from service.desk.words import FIELDS
from service.domain.operations.processes import differences
from service.live_settings import AFTER_A_FAULT, READ_AGAIN, LiveSettings
from service.model.notifications import Audience, Content, Notification, State
from service.model.preferences import NewsroomDefaults, Quiet
from service.runtime import Runtime
from service.store.operations.processes import Process
from service.store.people.access import Person
from tests.support import ROOT
from tests.support.desk.pages import EMAIL, NASTY, Page, only, post, review, sign_in, words
from workers.sending.send import Send

PAPER = "https://www.paper.example"


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return {**settings, "ASK_SECONDS": "7"}


def revision(client: FlaskClient) -> str:
    found = re.search(r'name="revision" value="(\d+)"', client.get("/desk/settings").text)
    assert found
    return found[1]


def save(client: FlaskClient, **fields: str) -> TestResponse:
    return post(client, "/desk/settings", **{"revision": revision(client), **fields})


def another_process(runtime: Runtime) -> Runtime:
    """A process that has the same environment."""
    keys = tuple(runtime.keys.publics)
    return Runtime.open(replace(runtime.settings.environment, vapid_public_key=keys))


def test_the_page_has_every_setting_that_editors_may_set_and_its_name() -> None:
    shown = {name for names in PARTS.values() for name in names}
    assert shown == {row.name for row in desk_settings()}
    assert shown - FIELDS.keys() == set()


def test_what_was_typed_is_kept_while_redis_does_not_respond(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_given: object, **_more: object) -> None:
        raise ConnectionError("Error 111 connecting")

    typed = {"site_name": NASTY, "ask_question": "News first?", "site_icon": ""}
    with monkeypatch.context() as patch:
        patch.setattr(runtime.settings, "change", away)
        answer = save(editor, **typed)
    assert answer.status_code == 503
    Page(answer.text)
    assert "Question News first?" in words(answer.text)
    assert "<script>alert" not in answer.text
    kept = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
    fields = {name: html.unescape(text) for name, text in kept.items()}
    assert fields.items() >= typed.items()
    saved = editor.post("/desk/settings", data={**fields, "site_name": "The Ferry Post"})
    assert saved.location == "/desk/settings?saved=yes"
    assert runtime.settings.document().texts["ask_question"] == "News first?"
    # Nothing is kept of a form with a password, nor where a script has sent it.
    for headers, more in (({}, {"password": "x"}), ({"Sec-Fetch-Mode": "cors"}, {})):
        with monkeypatch.context() as patch:
            patch.setattr(runtime.settings, "change", away)
            form = {**fields, **more}
            answer = editor.post("/desk/settings", data=form, headers=headers)
        assert (answer.status_code, "Try again" in answer.text) == (503, False)


# What is set at the desk --------------------------------------------------------------------------


@pytest.mark.redis
def test_the_name_and_the_question_reach_readers_and_every_page(
    editor: FlaskClient, runtime: Runtime
) -> None:
    answer = save(editor, site_name="The Ferry Post", ask_question="News first?", ask_yes="Yes!")
    assert (answer.status_code, answer.location) == (303, "/desk/settings?saved=yes")
    page = words(editor.get(answer.location).text)
    assert "Saved." in page
    assert f"Set by {EMAIL}" in page
    site = editor.get("/api/v1/site").json
    assert site
    assert site["name"] == "The Ferry Post"
    texts = {"question": "News first?", "line": "News first?", "yes": "Yes!"}
    assert site["prompt"] == {"page_views": 2, "delay_seconds": 7, "texts": texts}
    for path in ("/desk/", "/demo/", "/privacy"):
        assert "The Ferry Post" in editor.get(path).text
    assert save(editor, site_name="", ask_question="", ask_yes="").status_code == 303
    site = editor.get("/api/v1/site").json
    assert site
    assert (site["name"], site["prompt"]["texts"]) == ("The Daily Example", {})


def test_pages_of_a_new_site_may_call_at_once_and_those_of_a_removed_one_no_longer(
    editor: FlaskClient, app: Flask
) -> None:
    def allowed() -> bool:
        response = app.test_client().get("/api/v1/site", headers={"Origin": PAPER})
        asked = {"Origin": PAPER, "Content-Type": "application/json"}
        refused = app.test_client().post("/api/v1/subscriptions", data="{}", headers=asked)
        both = [one.headers.get("Access-Control-Allow-Origin") for one in (response, refused)]
        assert both in ([PAPER, PAPER], [None, None])
        return both[0] is not None

    assert not allowed()
    save(editor, site_origins=f"{PAPER}/ http://localhost:3000")
    assert allowed()
    save(editor, site_origins="http://localhost:3000")
    assert not allowed()


def test_every_process_follows_without_a_restart_and_without_asking_each_time(
    editor: FlaskClient, runtime: Runtime
) -> None:
    other = another_process(runtime)
    save(editor, site_name="The Ferry Post", quiet_hours="none", daily_limit="3")
    asked = other.store.redis.info("commandstats")["cmdstat_get"]["calls"]
    for _ in range(50):
        assert other.config.site_name == "The Daily Example"
    assert other.store.redis.info("commandstats")["cmdstat_get"]["calls"] == asked
    assert READ_AGAIN < 5
    other.settings._until -= READ_AGAIN  # so much later
    assert other.config.site_name == "The Ferry Post"
    assert other.config.defaults == NewsroomDefaults(Quiet(0, 0), 3)
    assert other.config is other.config, "the same object while nothing changes"


def test_an_alert_that_is_being_sent_takes_over_new_quiet_hours(
    editor: FlaskClient, runtime: Runtime
) -> None:
    content, audience = Content("Ferry", "https://paper.example/"), Audience(everyone=True)
    alert = Notification(1, content, audience, State.SENDING, 0.0, "")
    send = Send(runtime, alert)
    before = send.rules
    send.read(alert)
    assert send.rules is before
    save(editor, quiet_hours="none")
    send.read(alert)
    assert send.rules is not before


def test_the_icon_is_that_of_alerts_without_one_of_their_own(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    icon = f"{PAPER}/icon.png"
    save(editor, site_icon=icon)
    assert icon in words(review(editor, when="now").text)
    review(editor, when="draft", icon="https://paper.example/own.png")
    assert only(runtime).content.icon == "https://paper.example/own.png"
    reader = runtime.store.audiences.draw(Audience(everyone=True), 1)[1][0]
    sent = runtime.reader_alerts.send_test(runtime.subscriptions.get(str(reader)))
    assert runtime.publishing.get(sent.id).content.icon == icon


def test_who_changed_what_is_in_the_log(
    editor: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        save(editor, site_name="The\u202e Post", daily_limit="3")
    assert f"{EMAIL} set SITE_NAME to 'The\\u202e Post'" in caplog.messages
    assert f"{EMAIL} set DAILY_LIMIT to '3'" in caplog.messages
    assert len(caplog.messages) == 2, "what was not changed is not logged"


# What is wrong ------------------------------------------------------------------------------------


WRONG = [
    ("site_name", "x" * 201),
    ("site_name", "\u200b"),
    ("site_icon", "http://paper.example/icon.png"),
    ("site_icon", "https://paper.example/icon.svg?v=1"),
    ("site_icon", "https://paper..example/icon.png"),
    ("site_icon", "https://[/icon.png"),
    ("site_origins", "paper.example"),
    ("site_origins", "https://paper.example/path"),
    ("ask_question", "two\nlines"),
    ("ask_yes", "x" * 41),
    ("ask_page_views", "0"),
    ("quiet_hours", "22-7"),
    ("daily_limit", "15"),
]


def test_a_wrong_value_is_refused_as_the_environments_is_and_nothing_changes(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for name, text in WRONG:
        answer = save(editor, **{"site_name": "The Ferry Post", name: text})
        assert answer.status_code == 422, text
        assert f'id="{name}-error"' in answer.text
        assert f'<a href="#{name}">' in answer.text
        with pytest.raises(ConfigError, match=f"^{name.upper()}: "):
            Config.read({name.upper(): text})
    assert runtime.settings.document().settings == {}
    assert runtime.config.site_name == "The Daily Example"


def test_what_the_environment_sets_is_shown_and_cannot_be_set(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = editor.get("/desk/settings").text
    assert 'name="ask_seconds"' not in page
    assert "in the environment (ASK_SECONDS)" in words(page)
    save(editor, ask_seconds="99", push_services="https://evil.example", secret_key="x" * 40)
    assert runtime.settings.document().settings == {}
    assert runtime.config.ask_seconds == 7


@pytest.mark.redis
def test_two_editors_do_not_overwrite_each_other_unseen(
    editor: FlaskClient, app: Flask, runtime: Runtime
) -> None:
    runtime.store.access.add_editor("ben@paper.example", "a hash", Person("manages"))
    other, seen = sign_in(app, runtime, "ben@paper.example"), revision(editor)
    save(other, site_name="The Ferry Post")
    answer = save(editor, revision=seen, site_name="The Boat Post", daily_limit="3")
    assert answer.status_code == 409
    assert "Another editor has changed the settings" in words(answer.text)
    assert 'value="The Boat Post"' in answer.text
    assert (runtime.config.site_name, runtime.config.daily_limit) == ("The Ferry Post", 10)
    for strange in ("", "-1", "x", "9" * 99):
        assert save(editor, revision=strange, site_name="Another").status_code == 409


def test_a_form_with_a_mistake_does_not_overwrite_what_another_editor_set(
    editor: FlaskClient, app: Flask, runtime: Runtime
) -> None:
    runtime.store.access.add_editor("ben@paper.example", "a hash", Person("manages"))
    other, seen = sign_in(app, runtime, "ben@paper.example"), revision(editor)
    typed = {"site_name": "The Boat Post", "ask_yes": ""}
    wrong = save(editor, revision=seen, **typed, daily_limit="15")
    assert wrong.status_code == 422
    assert f'name="revision" value="{seen}"' in wrong.text
    save(other, site_name="The Ferry Post", ask_yes="Aye")
    for limit in ("15", "3"):  # still wrong, and then put right
        answer = save(editor, revision=seen, **typed, daily_limit=limit)
        assert answer.status_code == 409, limit
    assert runtime.settings.document().texts == {"site_name": "The Ferry Post", "ask_yes": "Aye"}
    Page(answer.text)
    text = words(answer.text)
    assert "sets these fields as they are below: Name Button that subscribes" in text
    for now in ("Set now: The Ferry Post", "Set now: Aye", "Set now: nothing"):
        assert now in text
    assert text.count("Set now:") == 3, "name, button and limit"
    current = re.search(r'name="revision" value="(\d+)"', answer.text)
    assert current
    assert save(editor, revision=current[1], **typed, daily_limit="3").status_code == 303
    assert runtime.settings.document().texts == {"site_name": "The Boat Post", "daily_limit": "3"}


def test_the_page_is_well_formed_and_shows_what_is_typed_as_text(editor: FlaskClient) -> None:
    assert save(editor, site_name=NASTY, ask_question=NASTY).status_code == 303
    page = editor.get("/desk/settings").text
    Page(page)
    assert "<script>alert" not in page
    Page(save(editor, ask_question="x" * 300, site_name=NASTY).text)


def test_settings_of_a_newer_release_are_kept_and_wrong_ones_count_as_not_set(
    editor: FlaskClient, runtime: Runtime
) -> None:
    row = '{"text": "%s", "by": "ada", "at": 1, "more": 1}'
    rows = f'"site_colour": {row % "red"}, "quiet_hours": {row % "at night"}'
    document = f'{{"v": 2, "revision": 4, "settings": {{{rows}}}}}'
    runtime.store.redis.set("{g}:settings", document)
    assert another_process(runtime).config.quiet_hours == Quiet(88, 28)
    assert save(editor, site_name="The Ferry Post", quiet_hours="at night").status_code == 303
    assert set(runtime.settings.document().settings) == {"site_colour", "quiet_hours", "site_name"}


def test_processes_are_not_told_apart_by_what_is_set_at_the_desk(
    editor: FlaskClient, runtime: Runtime
) -> None:
    before = Process("web", "paper-1", runtime.shared)
    save(editor, site_name="The Ferry Post", site_origins=PAPER)
    assert differences(another_process(runtime).shared, [before]) == []


class Away:
    """The settings of a Redis that does not respond."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> None:
        self.asked += 1
        raise RedisError


def test_without_redis_the_settings_stay_as_they_were_and_it_is_not_asked_all_the_time(
    runtime: Runtime,
) -> None:
    live = LiveSettings(runtime.settings.environment, runtime.store.desk_settings)
    rows, away = live._rows, Away()
    live._rows, live._until = away, 0.0
    for asked in (1, 1, 2):
        assert live.config.site_name == "The Daily Example"
        live._until -= READ_AGAIN  # so much later
        assert away.asked == asked
    assert READ_AGAIN < AFTER_A_FAULT < 5
    live._rows, live._until = rows, 0.0
    runtime.settings.change({"site_name": "The Ferry Post"}, 0, by=EMAIL)
    assert live.config.site_name == "The Ferry Post"


def test_scripts_files_and_the_health_check_do_not_wait_for_redis(
    editor: FlaskClient, runtime: Runtime
) -> None:
    away = Away()
    runtime.settings._rows = away
    paths = ("/healthz", "/sw.js", "/optin.js", "/panel.js", "/texts/en.json", "/style.css")
    files = ("/desk/static/desk.js", "/desk/static/icon.svg", "/demo/static/icon.svg")
    for path in (*paths, *files, "/desk/htmx-2.0.11.min.js"):
        runtime.settings._until = 0.0
        with editor.get(path) as answer:
            assert answer.status_code == 200, path
        assert away.asked == 0, path
    for path in ("/healthz", "/demo/", "/api/v1/site", "/privacy", "/desk/"):
        assert editor.get(path).status_code == 200, path
    assert away.asked == 1, "by the first page alone"


# What is only shown -------------------------------------------------------------------------------


def test_the_lines_to_copy_are_those_of_the_docs_with_our_address() -> None:
    docs = (ROOT / "docs" / "site.md").read_text()
    for name in ("page.html", "sw.js"):
        assert f"\n{(ROOT / 'web' / 'desk' / 'lines' / name).read_text()}```\n" in docs


def test_the_page_has_the_lines_to_copy_and_the_state_of_the_keys(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = editor.get("/desk/settings").text
    assert "http://localhost:8000/optin.js" in page
    assert "push.example/optin.js" not in page
    assert "data-topic" not in page
    text = words(page)
    assert f"fingerprint {runtime.tokens.fingerprints[0]}" in text
    assert f"{runtime.keys.current[:20]}…" in text
    assert "They are not backed up." in text
    runtime.keys.note_backup()
    assert "Last backup of all of them:" in words(editor.get("/desk/settings").text)
    secret = runtime.settings.environment.secret_key[0]
    assert secret not in page
