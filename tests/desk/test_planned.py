"""Drafts and alerts for later at the desk: writing, listing, showing, sending, deleting them."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.model.notifications import Content, SendAt, State
from service.runtime import Runtime
from tests.support.desk_pages import (
    EMAIL,
    NASTY,
    STORY,
    Page,
    hidden_fields,
    post,
    review,
    words,
)
from tests.support.planned import (
    WORLD,
    confirmed,
    edit,
    later,
    miss,
    moment,
    only,
    opened,
    plan,
    wall,
)

# Writing ----------------------------------------------------------------------------------------


def test_an_alert_for_later_is_asked_about_then_scheduled_once_by_the_editors_own_clock(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = later()
    page = review(editor, **fields)
    said = words(page.text)
    day = FILTERS["wall"](moment(fields["at"]), "Europe/Riga")
    assert f"Notify {readers} browsers of World on {day}?" in said
    assert re.search(r"Goes out .* UTC, in 2 h 1\d min", said)
    assert 'class="urgent"' not in page.text
    assert '<button class="primary">Schedule</button>' in page.text
    assert runtime.publishing.latest(1) == []

    hidden = hidden_fields(page.text)
    first, second = (editor.post("/desk/alerts", data=hidden) for _ in range(2))

    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    one = only(runtime)
    assert (one.state, one.created_by) == (State.SCHEDULED, EMAIL)
    assert one.send_at == SendAt(moment(fields["at"]), "Europe/Riga")
    assert runtime.store.notifications.active() == []
    assert re.search(
        r"Scheduled for .* UTC, in 2 h 1\d min", words(editor.get(first.location).text)
    )


def test_a_second_click_after_its_time_has_come_leads_where_the_first_led(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = hidden_fields(review(editor, **later(120)).text)
    first = editor.post("/desk/alerts", data=hidden)
    late = time.time() + 300
    monkeypatch.setattr(time, "time", lambda: late)
    assert editor.post("/desk/alerts", data=hidden).location == first.location
    assert len(runtime.publishing.latest(10)) == 1


def test_without_scripts_the_time_is_utc_and_the_form_and_the_question_say_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "UTC time" in words(editor.get("/desk/new").text)
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7200))
    page = review(editor, when="at", at=at, zone="")
    assert re.search(r"on \w+ \d+ \w+, \d\d:\d\d UTC\?", words(page.text))
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    send_at = only(runtime).send_at
    assert send_at is not None
    assert FILTERS["iso"](send_at.at) == f"{at}:00Z"


def test_a_draft_is_kept_at_once_and_its_page_shown(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    answer = review(editor, when="draft")
    assert answer.status_code == 303
    one = only(runtime)
    assert answer.location == f"/desk/alerts/{one.id}"
    assert (one.state, one.content.title) == (State.DRAFT, STORY["title"])
    said = words(editor.get(answer.location).text)
    assert "Draft. It is sent when somebody says so." in said
    assert f"{readers} browsers would get it now" in said


def test_a_form_that_kept_a_draft_makes_nothing_else_unless_reviewed_again(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = editor.get("/desk/new").text
    said = {**hidden_fields(form), **STORY, "when": "draft"}
    first, second = (editor.post("/desk/new", data=said) for _ in range(2))
    assert (first.status_code, first.location) == (303, second.location)
    other = editor.post("/desk/new", data={**said, "title": "Other"})
    assert other.status_code == 409
    assert 'value="Other"' in other.text
    assert only(runtime).content.title == STORY["title"]


def test_what_is_planned_may_be_for_nobody_yet(editor: FlaskClient, runtime: Runtime) -> None:
    page = review(editor, **later())
    assert page.status_code == 200
    assert "Send it on" in words(page.text)
    assert "whoever follows it then; nobody follows that yet now" not in words(page.text)
    assert "nobody follows that yet" in words(page.text)
    scheduled = editor.post("/desk/alerts", data=hidden_fields(page.text)).location
    draft = review(editor, when="draft").location
    for planned in (scheduled, draft):
        assert "Nobody follows that yet." in words(editor.get(planned).text)
        now = editor.get(f"{planned}/send")
        assert now.status_code == 422
        assert "Nobody would get it" in now.text


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"at": wall(-3600)}, "That has passed."),
        ({"at": wall(400 * 86_400)}, "That is more than a year away."),
        ({"at": "9999-12-31T23:59"}, "That is more than a year away."),
        ({"at": ""}, "Choose a day and a time."),
        ({"at": "tomorrow"}, "Choose a day and a time."),
        ({"at": "2026-02-30T10:00"}, "Choose a day and a time."),
        ({"at": "0001-01-02T00:00"}, "That has passed."),
        ({"at": "2027-01-01T10:00[Europe/Riga]"}, "Choose a day and a time."),
        ({"zone": "Mars/Olympus"}, "Choose a day and a time."),
        ({"zone": "x" * 9000}, "Choose a day and a time."),
        ({"zone": "\x00"}, "Choose a day and a time."),
    ],
)
def test_a_time_that_cannot_be_is_said_at_its_field_and_nothing_is_planned(
    editor: FlaskClient, runtime: Runtime, readers: int, changes: dict[str, str], complaint: str
) -> None:
    id = plan(runtime, 3600)
    before = runtime.publishing.get(id)
    for answer in (
        review(editor, **{**later(), **changes}),
        edit(editor, id, **{**later(), **changes}),
        editor.post(f"/desk/alerts/{id}", data={**opened(editor, id), **later(), **changes}),
    ):
        assert answer.status_code == 422
        assert f'id="send_at-error">{complaint}' in answer.text
        assert re.search(r'value="at" checked', answer.text)
        Page(answer.text)
    assert runtime.publishing.latest(10) == [before]


@pytest.mark.parametrize("when", ["", "never", "NOW", "\x00"])
def test_what_is_neither_now_nor_later_nor_a_draft_is_not_sent(
    editor: FlaskClient, runtime: Runtime, readers: int, when: str
) -> None:
    assert review(editor, when=when).status_code == 422
    fields = {**hidden_fields(review(editor).text), "when": when}
    assert editor.post("/desk/alerts", data=fields).status_code == 422
    assert runtime.publishing.latest(1) == []
    id = plan(runtime)
    answer = editor.post(f"/desk/alerts/{id}", data={**opened(editor, id), "when": when})
    assert answer.status_code == 422
    assert runtime.publishing.get(id).state is State.DRAFT


def test_back_keeps_the_time_that_was_chosen(editor: FlaskClient, readers: int) -> None:
    fields = later()
    hidden = hidden_fields(review(editor, **fields).text)
    form = editor.post("/desk/new", data={**hidden, "step": "edit"})
    assert form.status_code == 200
    assert f'value="{fields["at"]}"' in form.text
    assert 'name="zone" value="Europe/Riga"' in form.text
    assert re.search(r'name="when" value="at" checked', form.text)
    draft = editor.post("/desk/new", data={**hidden, "when": "draft", "step": "edit"})
    assert draft.status_code == 200, "Back keeps nothing"


# The list ---------------------------------------------------------------------------------------


def test_the_list_begins_with_what_was_missed_then_what_is_planned_soonest_first_then_drafts(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "Not sent yet" not in editor.get("/desk/").text
    runtime.publishing.publish(Content("Sent one", "https://a.example/"), WORLD, by="a test")
    plan(runtime, title="Draft one")
    plan(runtime, 7200, title="Second one")
    plan(runtime, 3600, title="First one")
    missed = miss(runtime)
    page = editor.get("/desk/").text
    said = words(page)
    order = ("Not sent yet", "Kick-off", "First one", "Second one", "Draft one", "Sent one")
    assert sorted(order, key=said.index) == list(order)
    assert re.search(
        r"“ ?Kick-off ?” was to go out [^.]* UTC, and nobody was there to send it", said
    )
    assert "It is a draft again: send it now, or not at all." in said
    assert f'href="/desk/alerts/{missed}/send"' in page
    assert "in 2 h" in said
    assert "Not sent yet" not in editor.get("/desk/?before=1").text


# The page of one --------------------------------------------------------------------------------


def test_the_page_of_a_planned_alert_follows_its_time_and_loads_anew_when_it_begins(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 7200)
    page = f"/desk/alerts/{id}"
    assert "every 20s" in editor.get(page).text
    follows = re.search(r'hx-get="([^"]+)"', editor.get(page).text)
    assert follows
    part = editor.get(follows[1].replace("&amp;", "&"))
    assert "HX-Refresh" not in part.headers
    assert "in 2 h" in part.text and "<h1" not in part.text
    soon = plan(runtime, 30)
    assert "every 1s" in editor.get(f"/desk/alerts/{soon}").text
    runtime.publishing.send(id)
    assert editor.get(follows[1]).headers["HX-Refresh"] == "true"
    assert 'action="' + page + '/pause"' in editor.get(page).text
    assert "hx-get" not in editor.get(f"/desk/alerts/{plan(runtime)}").text


def test_an_alert_whose_time_has_come_with_no_clock_running_says_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "Is a clock running?" in editor.get(f"/desk/alerts/{plan(runtime, -30)}").text
    assert "any moment now" in editor.get(f"/desk/alerts/{plan(runtime, -1)}").text
    missed = words(editor.get(f"/desk/alerts/{miss(runtime)}").text)
    assert "and nobody was there to send it. It is a draft again" in missed


def test_what_somebody_has_deleted_is_said_to_be_gone_on_the_page_that_still_shows_it(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = plan(runtime, 30)
    runtime.publishing.remove(id)
    part = editor.get(f"/desk/alerts/{id}/progress", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Refresh"]) == (404, "true")
    assert "There is no such page" in editor.get(f"/desk/alerts/{id}").text


def test_sending_a_planned_alert_now_is_asked_first_and_a_double_click_sends_once(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    for id in (plan(runtime), plan(runtime, 3600), miss(runtime)):
        page = editor.get(f"/desk/alerts/{id}/send")
        assert f"Notify {readers} browsers of World now?" in words(page.text)
        assert runtime.publishing.get(id).planned
        first, second = (confirmed(editor, id, page) for _ in range(2))
        assert (first.status_code, first.location) == (303, f"/desk/alerts/{id}")
        assert (second.status_code, second.location) == (303, first.location)
        one = runtime.publishing.get(id)
        assert (one.state, one.created_by, one.changes) == (State.SENDING, "a CMS", 1)
        assert editor.get(f"/desk/alerts/{id}/send").status_code == 409
        assert editor.get(f"/desk/alerts/{id}/edit").status_code == 409


def test_deleting_takes_one_more_click_and_a_second_one_does_no_harm(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    page = f"/desk/alerts/{id}"
    assert "Delete this alert" in editor.get(page).text
    first = post(editor, f"{page}/delete", page=page)
    again = post(editor, f"{page}/delete", page="/desk/new")
    assert (first.status_code, first.location) == (303, "/desk/")
    assert (again.status_code, again.location) == (303, "/desk/")
    assert runtime.publishing.planned() == []


def test_what_is_being_sent_is_not_deleted_and_its_page_says_why(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime)
    runtime.publishing.send(id)
    answer = post(editor, f"/desk/alerts/{id}/delete", page=f"/desk/alerts/{id}")
    assert answer.status_code == 409
    assert "only an unsent one can be deleted" in answer.text
    assert runtime.publishing.get(id).state is State.SENDING


# All of these pages -----------------------------------------------------------------------------


def test_pages_of_what_is_planned_are_well_made_and_no_text_of_it_is_markup(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    scheduled, draft = plan(runtime, 3600, title=NASTY, body=NASTY), plan(runtime, title=NASTY)
    miss(runtime, title=NASTY)
    stale = {**opened(editor, draft), "changes": "7", "body": "Other"}
    pages = [
        editor.get("/desk/").text,
        editor.get(f"/desk/alerts/{scheduled}").text,
        editor.get(f"/desk/alerts/{draft}").text,
        editor.get(f"/desk/alerts/{scheduled}/edit").text,
        editor.get(f"/desk/alerts/{scheduled}/send").text,
        edit(editor, scheduled, title=NASTY).text,
        editor.post(f"/desk/alerts/{draft}/edit", data=stale).text,
        review(editor, title=NASTY, **later()).text,
    ]
    for text in pages:
        assert Page(text).headings == 1
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_under_the_rehearsals_prefix_every_link_and_form_of_what_is_planned_stays_there(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    miss(runtime)
    here = f"/desk/alerts/{id}"
    for path in ("/desk/", "/desk/new", here, f"{here}/edit", f"{here}/send"):
        page = editor.get(path, environ_overrides={"SCRIPT_NAME": "/rehearsal"}).text
        leads = re.findall(r'(?:href|action|formaction|hx-get|src)="(/[^"]*)"', page)
        assert len(leads) > 5
        assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []
