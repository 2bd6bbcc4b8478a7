"""Something's wrong: one button pauses an alert, and a page shows what can be done."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.notifications import Action, Audience, Content, Notification, Outcome, State
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from tests.support.desk.pages import (
    EMAIL,
    Page,
    correct,
    filled,
    post,
    publish,
    send_all,
    words,
)
from tests.support.processes.as_workers import record_all

ACCEPTED = (Outcome.ACCEPTED, "other")


def press(editor: FlaskClient, id: int, what: str = "wrong") -> TestResponse:
    return post(editor, f"/desk/alerts/{id}/{what}", page=f"/desk/alerts/{id}")


def page_of(editor: FlaskClient, id: int) -> str:
    """The page with what can be done, checked for faults of its markup."""
    response = editor.get(f"/desk/alerts/{id}/wrong")
    assert response.status_code == 200
    Page(response.text)
    return response.text


def retract(editor: FlaskClient, id: int, **changes: str) -> TestResponse:
    page = f"/desk/alerts/{id}/retract"
    form = filled(editor.get(page).text)
    form["title"] = "This alert was sent in error"
    return editor.post(page, data={**form, **changes})


def half_asleep(runtime: Runtime) -> int:
    """An alert that every second browser has, and that is held for the others."""
    id = publish(runtime)
    wakes = int(runtime.store.redis.time()[0]) // QUARTER + 20
    asleep = Result(Outcome.SKIPPED, "quiet", 0, wakes=wakes, is_held=True)
    accepted = Result(Outcome.ACCEPTED, "other", 1, 0)
    record_all(
        runtime, id, lambda claim: {asleep: claim.pending[::2], accepted: claim.pending[1::2]}
    )
    return id


def finish(runtime: Runtime, id: int, accepted: int = 100) -> None:
    send_all(runtime, id, {ACCEPTED: accepted})
    runtime.planning.advance(id)
    assert runtime.publishing.get(id).finished_at


# The button ---------------------------------------------------------------------------------------


def test_the_first_press_pauses_at_once_and_leads_to_what_can_be_done(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    assert "Something’s wrong" in editor.get(f"/desk/alerts/{half_sent}").text
    assert press(editor, half_sent).location == f"/desk/alerts/{half_sent}/wrong"
    assert runtime.publishing.get(half_sent).state is State.PAUSED
    log = [(entry.action, entry.by) for entry in runtime.alert_log.of(half_sent)]
    assert log[-1] == ("paused", EMAIL)
    text = words(page_of(editor, half_sent))
    assert "Paused. Nothing more leaves while you decide." in text
    assert "60 not sent Send the new text" in text
    assert "40 handed over Send the correction…" in text
    assert "Safari shows the old and the new one." in text
    assert press(editor, half_sent).status_code == 303, "a second press changes nothing"
    assert [entry.action for entry in runtime.alert_log.of(half_sent)].count("paused") == 1


def test_going_on_is_one_press(editor: FlaskClient, runtime: Runtime, half_sent: int) -> None:
    press(editor, half_sent)
    page = f"/desk/alerts/{half_sent}/wrong"
    answer = post(editor, f"/desk/alerts/{half_sent}/go-on", page=page)
    assert answer.location == f"/desk/alerts/{half_sent}"
    assert runtime.publishing.get(half_sent).state is State.SENDING
    assert "It is being sent." in words(page_of(editor, half_sent))


def test_stopping_cancels_the_rest(editor: FlaskClient, runtime: Runtime, half_sent: int) -> None:
    press(editor, half_sent)
    page = page_of(editor, half_sent)
    assert f'action="/desk/alerts/{half_sent}/cancel"' in page
    post(editor, f"/desk/alerts/{half_sent}/cancel", page=f"/desk/alerts/{half_sent}/wrong")
    runtime.planning.advance(half_sent)
    counts = runtime.publishing.progress(half_sent)
    assert (counts.of(Outcome.ACCEPTED), counts.of(Outcome.CANCELLED)) == (40, 60)


def test_before_anything_has_left_it_counts_the_audience(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    press(editor, id)
    text = words(page_of(editor, id))
    assert "100 not sent" in text
    assert "0 handed over" in text
    assert "there is nothing to correct" in text


def test_a_finished_alert_can_be_corrected_retracted_or_left(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    finish(runtime, id)
    press(editor, id)
    assert runtime.publishing.get(id).state is State.SENT
    page = page_of(editor, id)
    text = words(page)
    assert "100 handed over" in text
    for way in ("Send the correction…", "Replace it by a retraction…", "Leave it"):
        assert way in text
    assert "Cancel the alert" not in text
    assert "hx-get" not in page, "nothing changes any more"


def test_the_page_follows_the_numbers_and_loads_anew_when_more_has_changed(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    press(editor, half_sent)
    found = re.search(r'hx-get="([^"]+)"', page_of(editor, half_sent))
    assert found
    htmx = {"HX-Request": "true"}
    part = editor.get(found[1], headers=htmx)
    assert "60 not sent" in words(part.text)
    assert "<h1" not in part.text
    assert "Paused." not in part.text, "screen readers would say it each second"
    assert "HX-Refresh" not in part.headers
    runtime.stops.hold(by="a test")
    assert editor.get(found[1], headers=htmx).headers["HX-Refresh"] == "true"
    runtime.stops.release(by="a test")
    runtime.publishing.resume(half_sent, by="a test")
    assert editor.get(found[1], headers=htmx).headers["HX-Refresh"] == "true"


def test_a_draft_a_wave_and_a_test_have_nothing_to_mend(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    draft = runtime.publishing.publish(
        Content("Later", "https://paper.example/"), Audience(everyone=True), by=EMAIL, draft=True
    ).id
    wave = runtime.publishing.publish(
        Content("While you slept", "https://paper.example/"), Audience(waking=1), by="quiet hours"
    ).id
    for id in (draft, wave):
        assert "Something’s wrong" not in editor.get(f"/desk/alerts/{id}").text
        assert press(editor, id).status_code == 409
        assert editor.get(f"/desk/alerts/{id}/wrong").status_code == 409
        assert editor.get(f"/desk/alerts/{id}/retract").status_code == 409
    assert runtime.publishing.get(wave).state is State.SENDING
    assert press(editor, draft, "go-on").status_code == 409
    assert editor.get("/desk/alerts/9999/wrong").status_code == 404


def test_while_it_is_paused_it_leaves_by_no_wave_either_and_the_page_says_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = half_asleep(runtime)
    press(editor, root)
    text = words(page_of(editor, root))
    assert "Paused. Nothing more leaves while you decide." in text
    assert re.search(r"\d+ held until quiet hours end", text)
    runtime.mending.go_on(root, by="a test")
    runtime.planning.advance(root)
    assert runtime.publishing.get(root).state is State.SENT
    text = words(page_of(editor, root))
    assert re.search(r"\d+ browsers have it\. It is still held for \d+ browsers, which get", text)
    assert text.index("handed over Send") < text.index("held until"), "what most browsers have"
    correct(editor, root)
    (correction,) = runtime.publishing.get(root).corrections
    press(editor, root)
    assert runtime.publishing.get(correction).state is State.PAUSED
    text = words(page_of(editor, root))
    assert "while you decide, but browsers that it is held for get it" in text


# A new text ---------------------------------------------------------------------------------------


def test_a_new_text_goes_to_the_rest_at_once_although_the_alert_was_paused(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    press(editor, half_sent)
    assert "correct?reached=leave" in page_of(editor, half_sent)
    form = editor.get(f"/desk/alerts/{half_sent}/correct?reached=leave").text
    Page(form)
    assert re.search(r'value="leave" checked', form)
    assert re.search(r'name="go_on" value="yes" checked', form)
    correct(editor, half_sent, reached="leave", go_on="yes")
    one = runtime.publishing.get(half_sent)
    assert (one.state, one.text.title) == (State.SENDING, "Ferry afloat")
    page = words(editor.get(f"/desk/alerts/{half_sent}").text)
    assert "Before it was corrected: Ferry aground" in page


def test_an_editor_may_correct_it_and_leave_it_paused(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    press(editor, half_sent)
    correct(editor, half_sent)
    one = runtime.publishing.get(half_sent)
    assert (one.state, one.text.title) == (State.PAUSED, "Ferry afloat")


def test_a_correction_that_is_wrong_itself_is_paused_with_the_alert(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    (id,) = runtime.publishing.get(half_sent).corrections
    runtime.planning.plan(runtime.publishing.get(id))
    assert press(editor, id).location == f"/desk/alerts/{half_sent}/wrong"
    assert {runtime.publishing.get(one).state for one in (id, half_sent)} == {State.PAUSED}
    log = [(entry.action, entry.title) for entry in runtime.alert_log.of(half_sent)]
    assert log[-1] == ("paused", "Ferry afloat")
    text = words(page_of(editor, half_sent))
    assert "40 browsers wait for the correction." in text
    runtime.mending.go_on(half_sent, by="a test")
    assert {runtime.publishing.get(one).state for one in (id, half_sent)} == {State.SENDING}


def test_only_the_correction_of_a_finished_alert_is_stopped(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = publish(runtime)
    finish(runtime, root)
    correct(editor, root)
    (id,) = runtime.publishing.get(root).corrections
    runtime.planning.plan(runtime.publishing.get(id))
    press(editor, root)
    page = page_of(editor, root)
    assert "The other browsers get the correction as it is." in words(page)
    assert f'action="/desk/alerts/{id}/cancel"' in page


# Retractions --------------------------------------------------------------------------------------


def with_picture(runtime: Runtime, accepted: int, **more: str) -> int:
    """An alert with a picture and a button, which so many browsers have."""
    content = Content(
        "Ferry aground",
        "https://paper.example/ferry",
        image="https://paper.example/ferry.jpg",
        actions=(Action("Live", "https://paper.example/live"),),
        **more,
    )
    id = runtime.publishing.publish(content, Audience(everyone=True), by="a test").id
    send_all(runtime, id, {ACCEPTED: accepted})
    return id


def latest(runtime: Runtime, id: int) -> Notification:
    return runtime.publishing.get(runtime.publishing.get(id).corrections[-1])


def test_a_retraction_stops_the_rest_and_takes_the_alerts_place_without_its_picture(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = with_picture(runtime, 40)
    press(editor, root)
    form = editor.get(f"/desk/alerts/{root}/retract").text
    Page(form)
    assert ">\nThis alert was sent in error</textarea>" in form
    assert "40 browsers have the alert. It is not sent to the 60 others." in words(form)
    answer = retract(editor, root)
    sent = latest(runtime, root)
    assert answer.location == f"/desk/alerts/{sent.id}"
    assert runtime.publishing.get(root).state is State.CANCELLED
    assert sent.state is State.SENDING
    assert sent.content.title == "This alert was sent in error"
    assert (sent.content.image, sent.content.actions) == (None, ())
    runtime.planning.advance(root)
    runtime.planning.plan(sent)
    assert runtime.publishing.progress(sent.id).recipients == 40
    assert runtime.publishing.progress(root).of(Outcome.CANCELLED) == 60
    page = words(editor.get(f"/desk/alerts/{root}").text)
    assert "Before it was corrected: Ferry aground" in page
    assert "Before: Ferry aground" in words(editor.get("/desk/").text)


def test_a_retraction_is_sent_once_however_often_its_form_arrives(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = with_picture(runtime, 100)
    page = f"/desk/alerts/{root}/retract"
    form = filled(editor.get(page).text) | {"title": "This alert was sent in error"}
    first, second = editor.post(page, data=form), editor.post(page, data=form)
    assert first.location == second.location
    assert len(runtime.publishing.get(root).corrections) == 1
    other = editor.post(page, data={**form, "title": "Another text"})
    assert other.status_code == 409
    assert "You have already sent this form" in other.text


def test_a_retraction_without_a_title_or_with_the_same_text_stops_nothing(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = retract(editor, half_sent, title="")
    assert answer.status_code == 422
    Page(answer.text)
    same = retract(editor, half_sent, title="Ferry aground", body="One\nTwo")
    assert same.status_code == 422
    assert "Nothing has changed yet" in same.text
    one = runtime.publishing.get(half_sent)
    assert (one.state, one.corrections) == (State.SENDING, ())


def test_a_retraction_of_an_alert_that_nobody_has_says_so_and_stops_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    answer = retract(editor, id)
    assert answer.status_code == 409
    Page(answer.text)
    text = words(answer.text)
    assert "No push service has accepted this alert yet" in text
    assert "nothing was stopped. Cancel the alert instead" in text
    assert runtime.publishing.get(id).state is State.SENDING
    runtime.publishing.cancel(id, by="a test")
    over = retract(editor, id)
    assert (over.status_code, "Nobody has this alert on screen" in over.text) == (409, True)


def test_a_retraction_drops_the_alert_where_it_is_held(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = half_asleep(runtime)
    runtime.planning.advance(root)
    assert re.search(r"\d+ held until quiet hours end", words(page_of(editor, root)))
    assert retract(editor, root).status_code == 303
    assert not runtime.publishing.held(runtime.publishing.get(root)).waiting
    assert latest(runtime, root).state is State.SENDING


def test_a_retraction_is_in_the_language_of_the_alert(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = with_picture(runtime, 40, lang="de")
    form = editor.get(f"/desk/alerts/{root}/retract").text
    assert ">\nDiese Meldung wurde irrtümlich gesendet</textarea>" in form


# A second person ----------------------------------------------------------------------------------


@pytest.fixture
def two_persons(
    app: Flask, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """Let alerts to more browsers than this need a second person from now on."""

    def above(browsers: int) -> None:
        rule = type(runtime.approvals._rule)(browsers)
        monkeypatch.setattr(runtime.approvals, "_rule", rule)
        monkeypatch.setattr(runtime.publishing._gate, "_two_persons", rule)

    return above


def test_where_a_second_person_is_needed_a_retraction_stops_at_once_and_waits(
    editor: FlaskClient, runtime: Runtime, readers: int, two_persons: Callable[[int], None]
) -> None:
    root = with_picture(runtime, 60)
    two_persons(50)
    assert "another editor has to approve a new text" in words(page_of(editor, root))
    form = editor.get(f"/desk/alerts/{root}/retract").text
    assert "Cancel it, and ask another editor to replace it" in words(form)
    answer = retract(editor, root)
    assert runtime.publishing.get(root).state is State.CANCELLED
    (waiting,) = runtime.approvals.corrections(root)
    assert answer.location == f"/desk/alerts/{waiting.id}"
    runtime.approvals.approve(waiting.id, waiting.digest, by="ben@paper.example")
    content = runtime.publishing.get(waiting.id).content
    assert (content.title, content.image) == ("This alert was sent in error", None)
    assert content.actions == ()


def test_a_paused_alert_stays_so_while_its_correction_waits_for_a_second_person(
    editor: FlaskClient, runtime: Runtime, half_sent: int, two_persons: Callable[[int], None]
) -> None:
    two_persons(50)
    press(editor, half_sent)
    form = editor.get(f"/desk/alerts/{half_sent}/correct").text
    assert "It stays paused until another editor has approved the correction" in words(form)
    answer = correct(editor, half_sent, go_on="yes")
    assert runtime.publishing.get(half_sent).state is State.PAUSED
    page = words(editor.get(answer.location).text)
    assert "resume it once the correction is approved" in page
