"""Tests of an alert go to its editor's own phones, whole, and are in no list and no count."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.desk.people.paired_browsers import as_test
from service.domain.people.paired_browsers import MOST_TESTS
from service.model.notifications import Action, Content, Notification, State
from service.model.retention import READERS_TEST_KEPT
from service.runtime import Runtime
from tests.support.desk.pages import STORY, Page, review, token_in, words
from tests.support.desk.phones import Phone, account, account_of, another, pair, send


def sent_tests(runtime: Runtime) -> list[Notification]:
    ids = runtime.store.notifications.active()
    return [runtime.publishing.get(id) for id in sorted(ids)]


@pytest.mark.redis
def test_a_test_has_all_that_the_alert_has_and_says_that_it_is_one(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    more = {
        "icon": "https://paper.example/icon.png",
        "badge": "https://paper.example/badge.png",
        "image": "https://paper.example/ferry.jpg",
        "button1": "Listen",
        "button1_url": "https://paper.example/listen",
        "lang": "de",
        "kind": "breaking",
    }
    confirmation = review(editor, **more)
    Page(confirmation.text)
    assert "Send to my phone" in words(confirmation.text)

    sent = send(editor, confirmation)

    assert sent.status_code == 303
    again = editor.get(sent.location)
    assert "Sent to 1 browser." in words(again.text)
    assert "Sent to 1 browser." not in words(editor.get(sent.location).text)
    (one,) = sent_tests(runtime)
    assert str(one.audience.subscription) == phone.id
    content = one.content
    assert content.title == STORY["title"], "so that it is cut off where it is for readers"
    assert content.body == f"Dies ist ein Test\n{STORY['body']}"
    assert (content.url, content.lang) == (STORY["url"], "de")
    pictures = {"icon": content.icon, "badge": content.badge, "image": content.image}
    assert pictures.items() <= more.items()
    assert content.actions == (Action("Listen", "https://paper.example/listen"),)


def test_the_page_says_it_without_a_reload_where_scripts_run(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    pair(editor, phone)
    pair(editor, Phone(app, 1))
    confirmation = review(editor, audience="everyone")
    assert "Send to my 2 browsers" in words(confirmation.text)
    sent = send(editor, confirmation, **{"HX-Request": "true"})
    assert (sent.status_code, sent.text.strip()) == (200, "Sent to 2 browsers.")
    assert "last test" in account(editor)


def test_a_test_is_in_no_list_and_no_count(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    send(editor, review(editor, title="Embargoed until noon"))
    (one,) = sent_tests(runtime)
    assert one.state is State.SENDING and one.to_one
    assert "Embargoed" not in words(re.sub(r"(?s)Unfinished.*", "", editor.get("/desk/log").text))
    assert runtime.publishing.latest(10) == []
    assert runtime.alert_log.of(one.id) == []
    assert one.content.kind == "news" and not one.story
    assert 0 < one.content.ttl <= READERS_TEST_KEPT


def test_an_editor_who_writes_sends_tests_too(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    writer = another(app, runtime)
    pair(writer, phone)
    assert send(writer, review(writer)).status_code == 303
    assert len(sent_tests(runtime)) == 1


def test_a_planned_alert_is_tested_as_it_is_changed(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    kept = review(editor, when="draft")
    assert kept.status_code == 303
    confirmation = editor.get(f"{kept.location}/send")
    assert "Send to my phone" in words(confirmation.text)
    assert send(editor, confirmation).location == f"{kept.location}/send"
    (one,) = sent_tests(runtime)
    assert one.content.title == STORY["title"]
    (alert,) = runtime.publishing.latest(10)
    assert alert.state is State.DRAFT, "the alert itself stays one"


def test_a_few_tests_a_minute_are_sent(editor: FlaskClient, phone: Phone, runtime: Runtime) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    said = [send(editor, confirmation, **{"HX-Request": "1"}).text for _ in range(MOST_TESTS + 1)]
    assert {one.strip() for one in said[:-1]} == {"Sent to 1 browser."}
    assert "Wait a minute" in said[-1]
    assert len(sent_tests(runtime)) == MOST_TESTS


@pytest.mark.redis
def test_while_everything_is_stopped_no_test_is_sent(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    runtime.stops.hold(by="a test")
    said = send(editor, confirmation, **{"HX-Request": "1"}).text
    assert "Nothing was sent, because everything is stopped." in said
    assert sent_tests(runtime) == []


def test_a_phone_that_left_meanwhile_gets_nothing(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    phone.own("DELETE")
    sent = send(editor, confirmation, **{"HX-Request": "1"})
    assert "no browser of yours is paired" in sent.text
    assert sent_tests(runtime) == []


def test_nothing_is_sent_of_a_text_that_is_wrong(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    token = token_in(editor.get("/desk/").text)
    wrong = editor.post(
        "/desk/send-to-me?next=//evil.example", data={"csrf_token": token, "title": ""}
    )
    assert (wrong.status_code, wrong.location) == (303, "/desk/")
    assert sent_tests(runtime) == []
    missing = editor.post("/desk/send-to-me?alert=999", data={"csrf_token": token})
    assert missing.status_code == 404


def test_an_editor_without_a_paired_phone_is_told_how_to_pair_one(
    editor: FlaskClient, readers: int
) -> None:
    confirmation = review(editor)
    assert "See it on your own phone first: pair the phone with your account." in words(
        confirmation.text
    )
    assert f'href="{account_of(editor)}#browsers"' in confirmation.text


def test_an_alert_that_fills_a_message_is_marked_too_and_only_its_text_is_cut(
    app: Flask, runtime: Runtime
) -> None:
    content = Content(title="T" * 200, url="https://paper.example/" + "u" * 1800, body="é " * 500)
    content = replace(content, image="https://paper.example/" + "i" * 600)
    with app.test_request_context():
        test = as_test(content)
        assert test is not None
        assert test.title == content.title
        assert test.body.startswith("This is a test\né é")
        longest = replace(content, body="", url="https://paper.example/" + "u" * 4000)
        assert as_test(longest) is None
