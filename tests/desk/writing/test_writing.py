"""Writing an alert, reviewing and sending it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.model.notifications import Audience, Content, Outcome, SendAt, Topic
from service.model.time import clock
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    NASTY,
    back,
    hidden_fields,
    open_form,
    publish,
    review,
    send_all,
    words,
)


def test_the_reach_follows_the_chosen_topics(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    both = runtime.publishing.reach(Audience(topics=("world", "sport")))
    cases = {
        "": "Choose a topic",
        "topic=world": f">{readers}<",
        "topic=world&topic=sport": f">{both}<",
        "topic=world&topic=world": f">{readers}<",
        "audience=everyone": ">100<",
        "topic=unknown": "Choose a topic",
    }
    for query, expected in cases.items():
        assert expected in editor.get(f"/desk/reach?{query}").text, query


def test_an_invalid_field_is_explained_beside_it_and_the_text_is_kept(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"title": "  "}, "Write a title."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"body": "x" * 1001}, "at most 1000 characters"),
        ({"title": "\u200b"}, "that readers can see"),
        ({"url": ""}, "Paste the link"),
        ({"url": "http://paper.example/"}, "https://"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"topic": []}, "Choose at least one topic"),
        ({"topic": ["unknown"]}, "topic"),
        ({"body": "\U0001f9e8" * 990}, "too long to be pushed"),
    )
    for changes, complaint in cases:
        answer = review(editor, **{"body": "Kept as typed.", **changes})
        assert answer.status_code == 422, changes
        said = rf'class="error" id="\w+-error">[^<]*{re.escape(complaint)}'
        assert re.search(said, answer.text), changes
        assert "Kept as typed." in answer.text or "body" in changes
    assert runtime.publishing.latest(1) == []


def test_what_is_wrong_is_said_in_the_order_and_by_the_names_of_the_form(
    editor: FlaskClient, readers: int
) -> None:
    text = words(review(editor, title="", url="", topic=[], body="x" * 1001).text)
    said = [text.find(f"{name}: ") for name in ("Link", "Title", "Text", "Who gets it")]
    assert sorted(said) == said and said[0] > 0, text


@pytest.mark.parametrize(
    "typed", ["paper.example", "www.paper.example/ferry?id=1#top", "paper.example:8443/ferry"]
)
def test_a_link_without_its_beginning_is_completed(
    editor: FlaskClient, readers: int, typed: str
) -> None:
    assert f'href="https://{typed}"' in review(editor, url=typed).text


@pytest.mark.parametrize(
    "typed", ["ferry", "mailto:ada@paper.example", "javascript:alert.call(1)", "//paper.example/a"]
)
def test_a_text_that_is_no_link_is_not_made_one(
    editor: FlaskClient, readers: int, typed: str
) -> None:
    response = review(editor, url=typed)
    assert response.status_code == 422
    assert f"https://{typed}" not in response.text


def test_an_alert_without_audience_cannot_be_sent(editor: FlaskClient, runtime: Runtime) -> None:
    answer = review(editor)
    assert answer.status_code == 422
    assert "No browser would get it" in answer.text


def test_back_keeps_all_that_was_typed(editor: FlaskClient, readers: int) -> None:
    confirm = review(editor, title=NASTY, body="One\r\nTwo", kind="breaking")
    form = back(editor, confirm)
    assert "One\nTwo</textarea>" in form
    assert ">\n&lt;script&gt;" in form
    assert re.search(r'value="breaking" checked', form)
    assert re.search(r'value="world" checked', form)


def test_an_editor_learns_what_readers_will_not_see_as_it_was_pasted(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirm = review(editor, title="Fish &amp; chips\u2028tonight\u200b")
    text = words(confirm.text)
    assert "Please check Title: Characters that no reader sees were left out" in text
    assert "U+200B, U+2028" in text
    assert "Readers will see “&amp;amp;” as it is" in text
    confirm = review(editor, title="Ferry\u2028aground\u200b")
    editor.post("/desk/alerts", data=hidden_fields(confirm.text))
    assert runtime.publishing.latest(1)[0].content.title == "Ferry aground"
    assert "were left out" not in words(review(editor, title="Another").text)


def test_an_editor_learns_that_an_alert_is_too_large_for_some_browsers(
    editor: FlaskClient, readers: int
) -> None:
    assert "Firefox on Android" not in words(review(editor, body="new" * 300).text)
    text = words(review(editor, body="\u65b0" * 900).text)  # three bytes each
    assert "Please check Text: The alert is" in text
    assert "bytes too long for Firefox on Android" in text


def test_the_confirmation_names_the_reach_and_the_topic(editor: FlaskClient, readers: int) -> None:
    text = re.sub(r"<[^>]+>", "", review(editor).text)
    assert f"Notify {readers} browsers (World) now?" in text
    everyone = re.sub(r"<[^>]+>", "", review(editor, audience="everyone").text)
    assert "Notify all 100 browsers now?" in everyone


@pytest.mark.parametrize("end", ["", "/", "#latest"])
def test_the_confirmation_says_that_the_same_link_went_out_before(
    editor: FlaskClient, runtime: Runtime, readers: int, end: str
) -> None:
    assert "The same link" not in review(editor, url="https://paper.example/ferry").text
    publish(runtime, title="Ferry aground", url=f"https://paper.example/ferry{end}")
    publish(runtime, title="Something else", url="https://paper.example/ferry/crew")
    text = words(review(editor, url="https://paper.example/ferry").text)
    assert re.search("The same link went out [^.]+ UTC, by a test: Ferry aground", text)


def test_the_link_of_a_correction_is_the_one_that_readers_have(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime, title="Ferry aground", url="https://paper.example/wrong")
    link = "https://paper.example/right"
    runtime.corrections.correct(id, title=None, body=None, url=link, replace=True, by="a test")
    assert "The same link went out" in words(review(editor, url=link).text)
    assert "The same link" not in review(editor, url="https://paper.example/wrong").text


def test_an_alert_that_was_cancelled_before_anybody_had_it_did_not_go_out(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    content = Content(title="Tomorrow", url="https://paper.example/ferry")
    at = SendAt(clock.time() + 3600)
    later = runtime.publishing.publish(content, Audience(everyone=True), by="a test", send_at=at)
    runtime.publishing.cancel(later.id, by="a test")
    assert "The same link" not in review(editor, url=content.url).text
    now = publish(runtime, title="Ferry aground", url=content.url)
    send_all(runtime, now, {(Outcome.ACCEPTED, "google"): 3})
    runtime.publishing.cancel(now, by="a test")
    assert "by a test: Ferry aground" in words(review(editor, url=content.url).text)


def test_the_confirmation_names_an_alert_that_is_scheduled_with_the_same_link_and_no_draft(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    content = Content(title="Tomorrow", url="https://paper.example/ferry")
    everyone = Audience(everyone=True)
    runtime.publishing.publish(content, everyone, by="a test", draft=True)
    assert "The same link" not in review(editor, url=content.url).text
    at = SendAt(clock.time() + 3600)
    id = runtime.publishing.publish(content, everyone, by="a test", send_at=at).id
    assert "The same link will go out" in words(review(editor, url=content.url).text)
    assert "The same link" not in editor.get(f"/desk/alerts/{id}/send").text, "it is itself"


def test_an_alert_can_be_spread_and_its_pages_say_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirm = review(editor, spread="30")
    assert "Spread over 30 minutes" in words(confirm.text)
    assert re.search(r'value="30" selected', back(editor, confirm))
    sent = editor.post("/desk/alerts", data=hidden_fields(confirm.text))
    (one,) = runtime.publishing.latest(1)
    assert one.spread_minutes == 30
    assert "Spread over 30 minutes" in words(editor.get(sent.location).text)
    assert "Spread over" not in words(review(editor).text)
    for spread in ("7", "abc", "-1", "9" * 5000):
        answer = review(editor, spread=spread)
        assert answer.status_code == 422
        assert 'id="spread_minutes-error"' in answer.text


def test_a_double_click_sends_once(editor: FlaskClient, runtime: Runtime, readers: int) -> None:
    fields = hidden_fields(review(editor).text)
    first, second = (editor.post("/desk/alerts", data=fields) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    (sent,) = runtime.publishing.latest(10)
    assert (sent.content.title, sent.created_by) == ("Ferry aground", EMAIL)
    assert sent.audience == Audience(topics=("world",))


def test_the_same_form_sends_no_second_text(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = hidden_fields(review(editor).text)
    editor.post("/desk/alerts", data=fields)
    answer = editor.post("/desk/alerts", data={**fields, "title": ["Ferry afloat"]})
    assert answer.status_code == 409
    assert "Nothing was sent this time" in answer.text
    assert "Ferry afloat" in answer.text
    assert len(runtime.publishing.latest(10)) == 1


@pytest.mark.parametrize("nonce", ["", "short", "x" * 65, "with spaces in its middle"])
def test_nothing_is_sent_without_a_valid_nonce(
    editor: FlaskClient, runtime: Runtime, readers: int, nonce: str
) -> None:
    fields = hidden_fields(review(editor).text)
    assert editor.post("/desk/alerts", data={**fields, "nonce": nonce}).status_code == 400
    assert runtime.publishing.latest(1) == []


def test_the_text_of_an_alert_is_always_escaped(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime, title=NASTY, body=NASTY)
    runtime.store.topics.add(Topic("nasty", NASTY))
    pages = ["/desk/", f"/desk/alerts/{id}", f"/desk/alerts/{id}/progress"]
    shown = [open_form(editor), *(editor.get(page).text for page in pages)]
    for text in [*shown, review(editor, title=NASTY).text]:
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
