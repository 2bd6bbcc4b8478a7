"""Alerts that repeat at the desk: the form, its confirmation, the planned alert and the list."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from service.model.notifications import State
from service.model.time.repeats import Digest, Repeat
from service.runtime import Runtime
from tests.support.desk.pages import FormFields, Page, hidden_fields, only, open_form, review, words
from tests.support.desk.planned import RIGA, confirmed, edit, opened

DAY = (datetime.now(RIGA) + timedelta(days=2)).replace(hour=17, minute=0)
AT = {"when": "at", "at": f"{DAY:%Y-%m-%dT%H:%M}", "zone": "Europe/Riga"}
WEEKDAY = f"{DAY:%a}".lower()
WEEKLY: dict[str, Any] = {**AT, "weekday": [WEEKDAY]}
BRIEFING = {
    **WEEKLY,
    "title": "{count} since last week",
    "body": "",
    "digest": "yes",
    "digest_most": "3",
    "digest_topic": ["sport"],
    "makes_drafts": "yes",
}
EACH = f"{DAY:each %A}"


def schedule(editor: FlaskClient, runtime: Runtime, **fields: Any) -> int:
    response = editor.post("/desk/alerts", data=hidden_fields(review(editor, **fields).text))
    assert response.status_code == 303
    return only(runtime).id


def test_it_is_confirmed_in_a_sentence_and_stands_in_the_list_of_what_is_planned(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, **BRIEFING).text
    Page(page)
    sentence = f"{DAY:Each %A} at 17:00 in Riga, next on {DAY:%A %-d %B}"
    assert sentence in words(page)
    assert "the titles of the newest 3 alerts since the last one (sport)" in words(page)
    assert "Each time it becomes a draft" in words(page)
    id = schedule(editor, runtime, **BRIEFING)
    one = only(runtime)
    assert one.state is State.SCHEDULED
    assert one.repeats is not None
    assert one.repeats.rule == ((WEEKDAY,), Digest(3, ("sport",)), True)
    assert one.repeats.stands_for == AT["at"] + ":00"
    planned = editor.get(f"/desk/alerts/{id}").text
    Page(planned)
    assert "Delete this alert and all later ones" in words(planned)
    assert sentence in words(planned)
    assert f"scheduled {EACH}" in words(editor.get("/desk/").text)


def test_the_form_keeps_what_was_chosen_when_it_is_opened_again(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = open_form(editor)
    fields = FormFields(page).fields | BRIEFING | {"url": "https://paper.example/", "audience": "x"}
    key = fields["nonce"][0]
    saved = editor.post(f"/desk/unfinished/{key}/save", data=fields)
    assert saved.status_code == 200
    assert EACH in saved.json["folds"]["when"]
    again = FormFields(open_form(editor, f"/desk/unfinished/{key}")).fields
    chosen = {"weekday": [WEEKDAY], "digest": ["yes"], "makes_drafts": ["yes"]}
    chosen |= {"digest_most": ["3"], "digest_topic": ["sport"], "at": [AT["at"]], "when": ["at"]}
    assert {name: again[name] for name in chosen} == chosen


def test_what_cannot_repeat_is_complained_of_beside_the_days(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"weekday": ["fri"]}, "choose “At”, or untick the days"),
        ({"weekday": ["fri"], "when": "draft"}, "choose “At”, or untick the days"),
        ({**AT, "digest": "yes"}, "Tick at least one day."),
        ({**WEEKLY, "digest": "yes", "digest_most": "0"}, "in digits: 1 to 20"),
        ({**WEEKLY, "digest": "yes", "digest_most": "all"}, "in digits: 1 to 20"),
        ({**WEEKLY, "digest": "yes", "title_b": "Another"}, "Two texts cannot be tried"),
        ({**WEEKLY, "zone": "+05:30"}, "in which time zone it is"),
        ({**WEEKLY, "weekday": ["friday"]}, "Must be"),
    )
    for fields, complaint in cases:
        response = review(editor, **fields)
        assert response.status_code == 422, fields
        Page(response.text)
        assert 'id="repeat-error"' in response.text, fields
        assert complaint in words(response.text)
    assert runtime.publishing.latest(1) == []


def test_an_edit_changes_what_it_changes_and_a_move_is_still_that_weeks(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = schedule(editor, runtime, **BRIEFING)
    before = only(runtime)
    form = opened(editor, id)
    assert 'data-at="' not in open_form(editor, f"/desk/alerts/{id}/edit"), "its zone stays"
    assert (form["zone"], form["weekday"]) == ("Europe/Riga", [WEEKDAY])
    confirmed(editor, id, edit(editor, id, title="Another"))
    assert only(runtime).repeat == before.repeat
    earlier = f"{DAY - timedelta(days=1):%Y-%m-%dT%H:%M}"
    confirmed(editor, id, edit(editor, id, at=earlier))
    assert only(runtime).repeat == before.repeat
    confirmed(editor, id, edit(editor, id, weekday=[], digest="", makes_drafts=""))
    assert (only(runtime).state, only(runtime).repeat) == (State.SCHEDULED, None)


def test_sent_now_it_goes_on_and_without_its_days_it_ends(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = schedule(editor, runtime, **WEEKLY)
    page = editor.get(f"/desk/alerts/{id}/send")
    assert f"It goes on: {EACH}" in words(page.text)
    assert confirmed(editor, id, page).status_code == 303
    assert runtime.publishing.get(id).state is State.SENDING
    (after,) = runtime.publishing.planned()
    page = edit(editor, after.id, when="now", weekday=[])
    assert "It ends with this one" in words(page.text)
    assert confirmed(editor, after.id, page).status_code == 303
    assert runtime.publishing.planned() == []


def test_a_digest_that_has_nothing_to_say_is_not_sent_now(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = schedule(editor, runtime, **BRIEFING)
    response = confirmed(editor, id, editor.get(f"/desk/alerts/{id}/send"))
    assert response.status_code == 409
    assert "has nothing to say" in words(response.text)
    assert only(runtime).state is State.SCHEDULED


def test_one_is_skipped_once_however_often_the_button_is_pressed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = schedule(editor, runtime, **WEEKLY)
    page, before = editor.get(f"/desk/alerts/{id}").text, only(runtime).send_at
    fields = {name: value for name, value in hidden_fields(page).items() if name != "nonce"}
    for _ in range(2):
        data = {**fields, "changes": "0"}
        assert editor.post(f"/desk/alerts/{id}/skip", data=data).status_code == 303
    after = only(runtime).send_at
    assert after is not None
    assert before is not None
    assert round((after.at - before.at) / 86_400) == 7


def test_a_draft_that_a_series_made_says_so_in_the_list(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    schedule(editor, runtime, **{**WEEKLY, "makes_drafts": "yes"})
    one = only(runtime)
    assert one.send_at is not None
    due = one.send_at.__class__(time.time() - 1, "Europe/Riga")
    rule = Repeat((WEEKDAY,), makes_drafts=True)
    runtime.publishing.change(
        one, one.content, one.audience, by="ada@paper.example", send_at=due, repeat=rule
    )
    runtime.publishing.send_due()
    assert f"draft made {EACH}" in words(editor.get("/desk/").text)
    assert f"Draft, made {EACH}" in words(editor.get(f"/desk/alerts/{one.id}").text)
    copied = FormFields(open_form(editor, f"/desk/new?again={one.id}")).fields
    assert "weekday" not in copied
