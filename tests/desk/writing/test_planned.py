"""Drafts and scheduled alerts: writing, listing, showing, sending and deleting them."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.desk.words import FILTERS
from service.model.notifications import Content, Outcome, SendAt, State
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    NASTY,
    STORY,
    Page,
    back,
    hidden_fields,
    only,
    open_form,
    post,
    review,
    send_all,
    words,
)
from tests.support.desk.planned import (
    WORLD,
    confirmed,
    edit,
    go_on,
    later,
    miss,
    moment,
    opened,
    plan,
    wall,
)

# Writing ------------------------------------------------------------------------------------------


def test_a_later_alert_is_confirmed_and_scheduled_once_in_the_editors_zone(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = later()
    page = review(editor, **fields)
    text = words(page.text)
    when = FILTERS["when"](moment(fields["at"]), "Europe/Riga")
    assert f"Notify {readers} browsers (World) {when}?" in text
    assert re.search(r"Time .* UTC, in 2 hours 1\d minutes", text)
    assert 'class="urgent"' not in page.text
    assert re.search('<button class="primary"[^>]*>Schedule</button>', page.text)
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
        r"Scheduled for .* UTC, in 2 hours 1\d minutes", words(editor.get(first.location).text)
    )


def test_a_second_click_after_the_scheduled_time_leads_to_the_same_page(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = hidden_fields(review(editor, **later(120)).text)
    first = editor.post("/desk/alerts", data=hidden)
    late = time.time() + 300
    monkeypatch.setattr(time, "time", lambda: late)
    assert editor.post("/desk/alerts", data=hidden).location == first.location
    assert len(runtime.publishing.latest(10)) == 1


def test_without_scripts_the_time_is_utc_and_the_pages_say_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "UTC time" in words(open_form(editor))
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7200))
    page = review(editor, when="at", at=at, zone="")
    assert re.search(r"\(World\) (on \w+ \d+ \w+, |at )\d\d:\d\d UTC\?", words(page.text))
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    send_at = only(runtime).send_at
    assert send_at is not None
    assert FILTERS["iso"](send_at.at) == f"{at}:00Z"


def test_an_editors_browser_may_call_its_zone_an_offset(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7200 + 5.5 * 3600))
    page = review(editor, when="at", at=at, zone="GMT+5:30")
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    send_at = only(runtime).send_at
    assert send_at is not None
    assert 7000 < send_at.at - time.time() < 7300


def test_a_draft_is_saved_at_once_and_its_page_is_shown(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    answer = review(editor, when="draft")
    assert answer.status_code == 303
    one = only(runtime)
    assert answer.location == f"/desk/alerts/{one.id}"
    assert (one.state, one.content.title) == (State.DRAFT, STORY["title"])
    text = words(editor.get(answer.location).text)
    assert "Draft. It is not sent until an editor sends it." in text
    assert f"{readers} browsers would get it now" in text


def test_a_form_saves_one_draft_and_no_other_text(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    form = open_form(editor)
    fields = {**hidden_fields(form), **STORY, "when": "draft"}
    first, second = (go_on(editor, fields) for _ in range(2))
    assert (first.status_code, first.location) == (303, second.location)
    other = go_on(editor, {**fields, "title": "Other"})
    assert other.status_code == 409
    assert ">\nOther</textarea>" in other.text
    assert only(runtime).content.title == STORY["title"]


def test_a_planned_alert_may_have_no_audience_yet(editor: FlaskClient, runtime: Runtime) -> None:
    page = review(editor, **later())
    assert page.status_code == 200
    assert "Send it" in words(page.text)
    assert "Followers at that time; no browser is subscribed to this yet" in words(page.text)
    scheduled = editor.post("/desk/alerts", data=hidden_fields(page.text)).location
    draft = review(editor, when="draft").location
    for planned in (scheduled, draft):
        assert "No browser is subscribed to this yet." in words(editor.get(planned).text)
        now = editor.get(f"{planned}/send")
        assert now.status_code == 422
        assert "No browser would get it" in now.text


def test_an_invalid_time_is_explained_at_its_field_and_plans_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    before, form = runtime.publishing.get(id), opened(editor, id)

    def is_refused(answer: TestResponse, complaint: str) -> None:
        assert answer.status_code == 422, complaint
        assert f'id="send_at-error">{complaint}' in answer.text
        assert re.search(r'value="at" checked', answer.text)
        Page(answer.text)

    passed, far = "This time has passed.", "This time is more than a year away."
    for changes, complaint in (
        ({"at": wall(-3600)}, passed),
        ({"zone": "x" * 9000}, "Your browser’s time zone is not known here"),
    ):
        is_refused(edit(editor, id, **{**later(), **changes}), complaint)
        sent = {**form, **later(), **changes}
        is_refused(editor.post(f"/desk/alerts/{id}", data=sent), complaint)
    cases = {wall(-3600): passed, wall(400 * 86_400): far, "9999-12-31T23:59": far}
    cases |= {"0001-01-02T00:00": passed}
    wrong = ("", "tomorrow", "2026-02-30T10:00", "2027-01-01T10:00[Europe/Riga]")
    for at, complaint in (cases | dict.fromkeys(wrong, "Choose a day and a time.")).items():
        is_refused(review(editor, **{**later(), "at": at}), complaint)
    for zone in ("Mars/Olympus", "x" * 9000, "\x00"):
        page = review(editor, **{**later(), "zone": zone})
        is_refused(page, "Your browser’s time zone is not known here")
    assert runtime.publishing.latest(10) == [before]


def test_an_alert_without_a_valid_choice_of_when_is_not_sent(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirmation, id = hidden_fields(review(editor).text), plan(runtime)
    draft = opened(editor, id)
    for when in ("", "never", "NOW", "\x00"):
        assert review(editor, when=when).status_code == 422
        fields = {**confirmation, "when": when}
        assert editor.post("/desk/alerts", data=fields).status_code == 422
        answer = editor.post(f"/desk/alerts/{id}", data={**draft, "when": when})
        assert answer.status_code == 422
    assert [(one.id, one.state) for one in runtime.publishing.latest(9)] == [(id, State.DRAFT)]


def test_back_keeps_the_time_that_was_chosen(editor: FlaskClient, readers: int) -> None:
    fields = later()
    form = back(editor, review(editor, **fields))
    assert f'value="{fields["at"]}"' in form
    assert 'name="zone" value="Europe/Riga"' in form
    assert re.search(r'name="when" value="at" checked', form)


# The list -----------------------------------------------------------------------------------------


def test_the_list_starts_with_missed_then_scheduled_alerts_then_drafts(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "Not sent yet" not in editor.get("/desk/").text
    sent = Content("Sent one", "https://a.example/")
    id = runtime.publishing.publish(sent, WORLD, by="a test").id
    runtime.publishing.cancel(id, by="a test")
    plan(runtime, title="Draft one")
    plan(runtime, 7200, title="Second one")
    plan(runtime, 3600, title="First one")
    missed = miss(runtime)
    page = editor.get("/desk/").text
    text = words(page)
    order = ("Not sent yet", "Kick-off", "First one", "Second one", "Draft one", "Sent one")
    assert sorted(order, key=text.index) == list(order)
    assert re.search(
        r"“ ?Kick-off ?” was scheduled for [^.]* UTC, but the service was stopped or not running",
        text,
    )
    assert "It is a draft again." in text
    assert f'href="/desk/alerts/{missed}/send"' in page
    assert "in 2 hours" in text
    assert "Not sent yet" not in editor.get("/desk/?before=1").text


# The page of one ----------------------------------------------------------------------------------


def test_the_page_of_a_scheduled_alert_reloads_when_it_starts(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 7200)
    page = f"/desk/alerts/{id}"
    assert "every 20s" in editor.get(page).text
    follows = re.search(r'hx-get="([^"]+)"', editor.get(page).text)
    assert follows
    part = editor.get(follows[1].replace("&amp;", "&"))
    assert "HX-Refresh" not in part.headers
    assert "in 2 hours" in part.text and "<h1" not in part.text
    assert f"{readers} browsers would get it then" in words(part.text)
    soon = plan(runtime, 30)
    assert "every 1s" in editor.get(f"/desk/alerts/{soon}").text
    runtime.publishing.send(id, by="a test")
    assert editor.get(follows[1]).headers["HX-Refresh"] == "true"
    assert 'action="' + page + '/pause"' in editor.get(page).text
    assert "hx-get" not in editor.get(f"/desk/alerts/{plan(runtime)}").text


@pytest.mark.parametrize(("late", "says"), [(0, ", as scheduled"), (60, ", scheduled for")])
def test_an_alert_that_started_late_says_for_when_it_was_scheduled(
    editor: FlaskClient, runtime: Runtime, readers: int, late: int, says: str
) -> None:
    id = plan(runtime, -late)
    runtime.publishing.send_due()
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): readers})
    assert re.search(f"Started [^S]*{says}", words(editor.get(f"/desk/alerts/{id}").text))


def test_a_late_alert_says_to_ask_about_the_clock(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    late = words(editor.get(f"/desk/alerts/{plan(runtime, -30)}").text)
    assert "Not started yet. Ask your operator whether stoppress clock is running." in late
    assert "any moment now" in editor.get(f"/desk/alerts/{plan(runtime, -1)}").text
    missed = words(editor.get(f"/desk/alerts/{miss(runtime)}").text)
    assert "but the service was stopped or not running then, or its audience" in missed
    assert "It is a draft again." in missed


def test_an_open_page_of_a_deleted_alert_reloads_and_says_so(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = plan(runtime, 30)
    runtime.publishing.remove(id, by="a test")
    part = editor.get(f"/desk/alerts/{id}/progress", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Refresh"]) == (404, "true")
    assert "Page not found" in editor.get(f"/desk/alerts/{id}").text


def test_sending_a_planned_alert_now_is_confirmed_and_happens_once(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    for id in (plan(runtime), plan(runtime, 3600), miss(runtime)):
        page = editor.get(f"/desk/alerts/{id}/send")
        assert f"Notify {readers} browsers (World) now?" in words(page.text)
        assert runtime.publishing.get(id).planned
        first, second = (confirmed(editor, id, page) for _ in range(2))
        assert (first.status_code, first.location) == (303, f"/desk/alerts/{id}")
        assert (second.status_code, second.location) == (303, first.location)
        one = runtime.publishing.get(id)
        assert (one.state, one.created_by, one.changes) == (State.SENDING, "a CMS", 1)
        assert editor.get(f"/desk/alerts/{id}/send").status_code == 409
        assert editor.get(f"/desk/alerts/{id}/edit").status_code == 409


@pytest.mark.redis
def test_deleting_takes_two_clicks_and_a_third_does_no_harm(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    page = f"/desk/alerts/{id}"
    assert "Delete this alert" in editor.get(page).text
    first = post(editor, f"{page}/delete", page=page)
    again = post(editor, f"{page}/delete", page="/desk/")
    assert (first.status_code, first.location) == (303, "/desk/")
    assert (again.status_code, again.location) == (303, "/desk/")
    assert runtime.publishing.planned() == []


def test_a_text_that_another_editor_has_written_is_not_deleted_unseen(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime)
    page = f"/desk/alerts/{id}"
    fields = hidden_fields(editor.get(page).text)
    before = runtime.publishing.get(id)
    text = replace(before.content, title="What another editor wrote")
    runtime.publishing.change(before, text, before.audience, by="ben@paper.example", draft=True)
    answer = editor.post(f"{page}/delete", data=fields)
    assert answer.status_code == 409
    assert "Another editor has changed this alert meanwhile" in answer.text
    assert "What another editor wrote" in answer.text
    assert editor.post(f"{page}/delete", data=hidden_fields(answer.text)).status_code == 303
    assert runtime.publishing.planned() == []


def test_an_alert_that_is_being_sent_cannot_be_deleted(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime)
    runtime.publishing.send(id, by="a test")
    answer = post(editor, f"/desk/alerts/{id}/delete", page=f"/desk/alerts/{id}")
    assert answer.status_code == 409
    assert "only an unsent one can be deleted" in answer.text
    assert runtime.publishing.get(id).state is State.SENDING


# All of these pages -------------------------------------------------------------------------------


def test_pages_of_planned_alerts_are_valid_and_escape_their_text(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    scheduled, draft = plan(runtime, 3600, title=NASTY, body=NASTY), plan(runtime, title=NASTY)
    miss(runtime, title=NASTY)
    stale = {**opened(editor, draft), "changes": "7", "body": "Other"}
    pages = [
        editor.get("/desk/").text,
        editor.get(f"/desk/alerts/{scheduled}").text,
        editor.get(f"/desk/alerts/{draft}").text,
        open_form(editor, f"/desk/alerts/{scheduled}/edit"),
        editor.get(f"/desk/alerts/{scheduled}/send").text,
        edit(editor, scheduled, title=NASTY).text,
        go_on(editor, stale).text,
        review(editor, title=NASTY, **later()).text,
    ]
    for text in pages:
        assert Page(text).headings == 1
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_under_the_rehearsal_prefix_planned_alerts_link_only_there(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    miss(runtime)
    here = f"/desk/alerts/{id}"
    for path in ("/desk/", "/desk/new", here, f"{here}/edit", f"{here}/send"):
        page = editor.get(
            path,
            environ_overrides={"SCRIPT_NAME": "/rehearsal"},
            follow_redirects=True,
        ).text
        leads = re.findall(r'(?:href|action|formaction|hx-get|src)="(/[^"]*)"', page)
        assert len(leads) > 5
        assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []
