"""An alert to very many browsers is sent once a second person has approved it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.desk.alerts import alert_list
from service.domain.alerts import publishing as publishing_module
from service.domain.alerts.alert_search import Search
from service.domain.alerts.gate import TwoPersonRule
from service.domain.alerts.publishing import Conflict
from service.model.alert_log import ToolName
from service.model.notifications import Audience, Content, Notification, Outcome, SendAt, State
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.people.access import Person
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.desk_pages import (
    EMAIL,
    Page,
    filled,
    hidden_fields,
    post,
    review,
    send_all,
    sign_in,
    token_in,
    words,
)
from tests.support.planned import miss, plan

SAME = "https://paper.example/same"
SECOND, WRITER = "ben@paper.example", "wim@paper.example"
EVERYONE = Audience(everyone=True)
NEWS = Content("Ferry aground", "https://paper.example/ferry")
ALERT = {"title": "Late", "url": "https://paper.example/", "audience": {"everyone": True}}


@pytest.fixture
def settings() -> dict[str, str]:
    """An alert to more than 50 of 100 readers needs a second person."""
    return {"UNDO_SECONDS": "5", "UNDO_BREAKING_SECONDS": "0", "TWO_PERSON_ABOVE": "50"}


def sign_in_as(app: Flask, runtime: Runtime, email: str, role: str) -> FlaskClient:
    runtime.store.access.add_editor(email, "a hash", Person(role))
    return sign_in(app, runtime, email)


@pytest.fixture
def second(app: Flask, runtime: Runtime, editor: FlaskClient) -> FlaskClient:
    """Another editor who sends."""
    return sign_in_as(app, runtime, SECOND, "sends")


@pytest.fixture
def asked(editor: FlaskClient, readers: int) -> TestResponse:
    """The response to “Notify” for an alert to everyone."""
    page = review(editor, audience="everyone").text
    assert "Ask another editor to send it" in words(page)
    return editor.post("/desk/alerts", data=hidden_fields(page))


def only(runtime: Runtime) -> Notification:
    (one,) = runtime.publishing.latest(10)
    return one


def press(client: FlaskClient, id: int, what: str, digest: str, **fields: str) -> TestResponse:
    token = token_in(client.get("/desk/").text)
    data = {"csrf_token": token, "digest": digest, **fields}
    return client.post(f"/desk/alerts/{id}/{what}", data=data)


# At the desk --------------------------------------------------------------------------------------


def test_notify_makes_it_wait_and_the_list_and_its_page_say_so(
    editor: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    assert asked.location == f"/desk/alerts/{one.id}"
    assert (one.state, one.send_at) == (State.DRAFT, None)
    assert one.request
    assert one.request.by == EMAIL
    assert "waits for a second person" in words(editor.get("/desk/").text)
    page = editor.get(asked.location).text
    Page(page)
    assert f"It waits for a second person. {EMAIL} asked for one" in words(page)
    assert "another editor who sends has to approve it" in words(page)
    assert "Approve:" not in page
    assert [entry.action for entry in runtime.alert_log.of(one.id)] == ["asked"]


@pytest.mark.redis
def test_what_an_editor_decides_about_is_listed_before_many_drafts(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = runtime.publishing
    root = reached_by_all(runtime)
    correction = runtime.corrections.correct(
        root, title="A", body=None, url=None, replace=True, by=EMAIL
    ).id
    waiting, missed, soon = publish(runtime).id, miss(runtime), plan(runtime, 3600, url=SAME)
    drafts = [plan(runtime) for _ in range(12)]
    back = publishing.get(waiting)
    runtime.approvals.send_back(waiting, back.digest, "Not so.", by=SECOND)
    assert publishing.plan().ids == [missed, correction, soon, *reversed(drafts), waiting]
    for where in (publishing_module, alert_list):
        monkeypatch.setattr(where, "MOST_PLANNED", 2)
    assert [one.id for one in publishing.planned()] == [missed, correction]
    page = words(editor.get("/desk/").text)
    assert "14 more are not shown. See all drafts and scheduled alerts." in page
    assert runtime.alert_search.found(Search(state=State.DRAFT))[2] == drafts[-1]
    assert [one.id for one in runtime.approvals.corrections(root)] == [correction]
    found = publishing.same_link.latest(SAME)
    assert found and found.id == soon


def test_a_second_person_sees_it_whole_and_approves_it_in_both_names(
    second: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    page = second.get(asked.location).text
    Page(page)
    for part in ("Ferry aground", "All aboard are safe.", "https://paper.example/ferry", "Kind"):
        assert part in page
    assert "Approve: notify 100 browsers" in words(page)
    assert "Delivery" in page
    answer = press(second, one.id, "approve", one.digest)
    assert (answer.status_code, answer.location) == (303, asked.location)
    sent = runtime.publishing.get(one.id)
    assert (sent.state, sent.created_by, sent.approved_by) == (State.SENDING, EMAIL, SECOND)
    assert f"by {SECOND}" in words(second.get(asked.location).text)
    log = [(entry.action, entry.by) for entry in runtime.alert_log.of(one.id)]
    assert log == [("asked", EMAIL), ("approved", SECOND)]
    assert press(second, one.id, "approve", one.digest).status_code == 409, "once"
    assert runtime.store.notifications.active() == [one.id]


def test_its_author_does_not_approve_it(
    editor: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    answer = press(editor, one.id, "approve", one.digest)
    assert answer.status_code == 409
    assert "Another editor has to approve this alert" in words(answer.text)
    assert only(runtime).state is State.DRAFT


def test_an_editor_who_only_writes_does_not_approve_it(
    app: Flask, runtime: Runtime, asked: TestResponse
) -> None:
    writer = sign_in_as(app, runtime, WRITER, "writes")
    one = only(runtime)
    assert "Approve:" not in writer.get(asked.location).text
    assert press(writer, one.id, "approve", one.digest).status_code == 403
    assert only(runtime).state is State.DRAFT


def test_a_second_person_sends_it_back_with_a_word(
    editor: FlaskClient, second: FlaskClient, runtime: Runtime, asked: TestResponse
) -> None:
    one = only(runtime)
    answer = press(second, one.id, "send-back", one.digest, word="Which ferry?")
    assert answer.status_code == 303
    page = words(editor.get(asked.location).text)
    assert f"{SECOND} sent it back: “ Which ferry? ”" in page
    assert f"{SECOND} sent it back: Which ferry?" in page, "in the log"
    assert "sent back" in words(editor.get("/desk/").text)
    assert press(second, one.id, "approve", one.digest).status_code == 409
    again = press(second, one.id, "send-back", one.digest, word="Which port?")
    assert again.status_code == 409
    assert "You wrote: “ Which port? ”" in words(again.text), "it is not lost"
    assert only(runtime).state is State.DRAFT


def test_a_second_click_on_notify_leads_to_the_same_page(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, audience="everyone", when="draft").location
    fields = hidden_fields(editor.get(f"{page}/send").text)
    for _ in range(2):
        assert editor.post(page, data=fields).location == page
    assert only(runtime).waits_for_approval


def test_what_was_to_wait_is_not_sent_when_fewer_would_get_it_by_then(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button said “Ask another editor”."""
    page = review(editor, audience="everyone").text
    form = hidden_fields(page)
    monkeypatch.setattr(runtime.approvals, "_rule", TwoPersonRule(100))
    answer = editor.post("/desk/alerts", data=form)
    assert answer.status_code == 409
    assert "Nothing was sent. Fewer browsers would get it now" in words(answer.text)
    assert "Notify 100 browsers" in words(answer.text)
    assert runtime.publishing.latest(10) == []
    draft = review(editor, audience="everyone", when="draft").location
    asked = hidden_fields(editor.get(f"{draft}/send").text) | {"asked": ["yes"]}
    assert editor.post(draft, data=asked).status_code == 409
    assert only(runtime).state is State.DRAFT


def test_a_correction_that_was_to_wait_is_not_sent_when_fewer_have_the_alert_by_then(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = reached_by_all(runtime)
    form = filled(editor.get(f"/desk/alerts/{root}/correct").text)
    monkeypatch.setattr(runtime.approvals, "_rule", TwoPersonRule(100))
    answer = editor.post(f"/desk/alerts/{root}/correct", data=form)
    assert answer.status_code == 409
    assert "Nothing was changed. Fewer browsers have the alert now" in words(answer.text)
    assert runtime.publishing.get(root).text.title == "Ferry aground"


# What the rule holds for --------------------------------------------------------------------------


def publish(runtime: Runtime, content: Content = NEWS, **options: object) -> Notification:
    given = {"by": EMAIL, **options}
    published = runtime.publishing.publish(content, EVERYONE, **given)  # type: ignore[arg-type]
    return runtime.publishing.get(published.id)


def approve(runtime: Runtime, one: Notification, by: str = SECOND) -> Notification:
    runtime.approvals.approve(one.id, one.digest, by=by)
    return runtime.publishing.get(one.id)


def test_a_small_audience_needs_nobody(runtime: Runtime, readers: int) -> None:
    few = runtime.publishing.publish(NEWS, Audience(topics=("world",)), by=EMAIL)
    assert few.recipients == 50
    assert few.state is State.SENDING


@pytest.mark.parametrize(("setting", "state"), [("yes", State.DRAFT), ("no", State.SENDING)])
def test_breaking_alerts_need_one_as_the_setting_says(
    client_with: Callable[..., Client], setting: str, state: State
) -> None:
    client = client_with(TWO_PERSON_ABOVE="1", TWO_PERSON_BREAKING=setting)
    for number in range(2):
        Reader(client, number)
    assert publish(client.runtime, replace(NEWS, kind="breaking")).state is state
    assert publish(client.runtime).state is State.DRAFT


def test_a_change_ends_the_request_and_an_approval_of_the_old_text_sends_nothing(
    runtime: Runtime, readers: int
) -> None:
    seen = publish(runtime)
    publishing = runtime.publishing
    publishing.change(seen, replace(NEWS, title="Other"), EVERYONE, by=EMAIL, draft=True)
    changed = publishing.get(seen.id)
    assert changed.request is None
    with pytest.raises(Conflict):
        approve(runtime, seen)
    publishing.send(seen.id, by=EMAIL)
    for digest in (seen.digest, changed.digest, ""):
        with pytest.raises(Conflict):
            runtime.approvals.approve(seen.id, digest, by=SECOND)
    assert publishing.get(seen.id).state is State.DRAFT
    assert approve(runtime, publishing.get(seen.id)).content.title == "Other"


@pytest.mark.redis
def test_the_script_itself_refuses_another_text_and_an_author(
    runtime: Runtime, readers: int
) -> None:
    """Whatever happens between reading and approving."""
    one = publish(runtime)
    assert not runtime.publishing.approved(one, by=EMAIL)
    assert not runtime.publishing.approved(replace(one, digest="0" * 40), by=SECOND)
    publishing = runtime.publishing
    publishing.change(one, one.content, Audience(topics=("world", "sport")), by=EMAIL)
    assert not publishing.approved(one, by=SECOND), "another audience"
    assert publishing.get(one.id).state is State.DRAFT


@pytest.mark.parametrize("who", [EMAIL, SECOND])
def test_nobody_approves_what_they_wrote_or_changed(
    runtime: Runtime, readers: int, who: str
) -> None:
    one = publish(runtime, draft=True)
    runtime.publishing.change(one, replace(NEWS, title="Other"), EVERYONE, by=SECOND, draft=True)
    runtime.publishing.send(one.id, by="eve@paper.example")
    with pytest.raises(Conflict, match="Another editor"):
        approve(runtime, runtime.publishing.get(one.id), by=who)
    assert approve(runtime, runtime.publishing.get(one.id), by="zoe@paper.example").started_at


def test_a_token_asks_like_the_editor_who_made_it_and_approves_nothing(
    runtime: Runtime, readers: int
) -> None:
    one = publish(runtime, by=ToolName.of("cms", EMAIL))
    for who in (EMAIL, ToolName.of("other", SECOND)):
        with pytest.raises(Conflict, match="Another editor"):
            approve(runtime, one, by=who)
    assert approve(runtime, one).approved_by == SECOND


@pytest.mark.redis
def test_a_scheduled_alert_is_scheduled_once_it_is_approved(runtime: Runtime, readers: int) -> None:
    at = SendAt(int(time.time()) + 3600.0)
    one = publish(runtime, send_at=at)
    assert one.state is State.DRAFT
    assert runtime.publishing.next_due() is None
    approved = approve(runtime, one)
    assert (approved.state, approved.send_at) == (State.SCHEDULED, at)
    runtime.publishing.send(one.id, by=EMAIL)
    assert runtime.publishing.get(one.id).waits_for_approval, "sent now, it is asked for anew"
    assert runtime.publishing.get(one.id).approved_by == ""


def test_a_merge_that_enlarges_a_scheduled_alert_asks_for_a_second_person(
    editor: FlaskClient, second: FlaskClient, runtime: Runtime, readers: int
) -> None:
    at = SendAt(int(time.time()) + 3600.0)

    def schedule(audience: Audience) -> Notification:
        id = runtime.publishing.publish(NEWS, audience, by="eve@paper.example", send_at=at).id
        return runtime.publishing.get(id)

    world, sport = Audience(topics=("world",)), Audience(topics=("sport",))
    every = Audience(everyone=True, all_topics=("world", "sport"))
    enlarged = [schedule(world), schedule(sport), schedule(every)]
    both = approve(runtime, schedule(Audience(topics=("world", "sport"))))
    as_before = [
        *(both, schedule(replace(world, exclude=("sport",)))),
        schedule(replace(world, locales=("xx",))),
    ]
    assert {one.state for one in (*enlarged, *as_before)} == {State.SCHEDULED}
    answer = post(editor, "/desk/topics/sport/merge", page="/desk/topics", into="world")
    assert answer.location == "/desk/topics?asked=3#topic-world"
    page = editor.get(answer.location).text
    Page(page)
    assert "wait for a second person" in words(page)
    for one in enlarged:
        waiting = runtime.publishing.get(one.id)
        assert waiting.waits_for_approval
        assert (waiting.request and waiting.request.by, waiting.send_at) == (EMAIL, at)
        assert f"{EMAIL} asked for one" in words(second.get(f"/desk/alerts/{one.id}").text)
        approved = approve(runtime, waiting)
        assert (approved.state, approved.send_at) == (State.SCHEDULED, at)
    for one in as_before:
        assert runtime.publishing.get(one.id).state is State.SCHEDULED, one.audience
    again = post(editor, "/desk/topics/sport/merge", page="/desk/topics", into="world")
    assert again.location == "/desk/topics#topic-world", "a second click asks for nothing"
    assert runtime.publishing.get(enlarged[0].id).state is State.SCHEDULED


def test_a_merge_also_asks_for_what_was_scheduled_while_it_was_under_way(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, world = SendAt(int(time.time()) + 3600.0), Audience(topics=("world",))
    merge, ids = runtime.topics.merge, []

    def schedule_and_merge(slug: str, into: str) -> None:
        ids.append(runtime.publishing.publish(NEWS, world, by=EMAIL, send_at=at).id)
        assert runtime.publishing.get(ids[0]).state is State.SCHEDULED
        merge(slug, into)

    monkeypatch.setattr(runtime.topics, "merge", schedule_and_merge)
    answer = post(editor, "/desk/topics/sport/merge", page="/desk/topics", into="world")
    assert answer.location == "/desk/topics?asked=1#topic-world"
    waiting = runtime.publishing.get(ids[0])
    assert waiting.waits_for_approval
    approve(runtime, waiting)
    assert runtime.approvals.after_merge("world", by=EMAIL) == 0
    assert runtime.publishing.get(ids[0]).state is State.SCHEDULED


def test_a_merge_asks_for_nobody_where_the_rule_is_off(
    runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, world = SendAt(int(time.time()) + 3600.0), Audience(topics=("world",))
    id = runtime.publishing.publish(NEWS, world, by=EMAIL, send_at=at).id
    monkeypatch.setattr(runtime.approvals, "_rule", TwoPersonRule())
    assert runtime.approvals.before_merge("sport", "world", by=EMAIL) == 0
    assert runtime.publishing.get(id).state is State.SCHEDULED


def test_what_is_approved_while_everything_is_stopped_waits(runtime: Runtime, readers: int) -> None:
    runtime.stops.hold(by=EMAIL)  # which needs nobody
    approved = approve(runtime, publish(runtime))
    assert approved.state is State.SCHEDULED
    runtime.publishing.send_due()
    assert runtime.publishing.get(approved.id).state is State.SCHEDULED
    runtime.stops.release(by=EMAIL)
    runtime.publishing.send_due()
    assert runtime.publishing.get(approved.id).state is State.SENDING


def reached_by_all(runtime: Runtime) -> int:
    one = approve(runtime, publish(runtime))
    send_all(runtime, one.id, {(Outcome.ACCEPTED, "other"): 100})
    return one.id


@pytest.mark.parametrize("replaces", [True, False])
def test_a_correction_waits_where_many_have_the_alert(
    runtime: Runtime, readers: int, replaces: bool
) -> None:
    root = reached_by_all(runtime)
    title = "Ferry afloat"

    def correct() -> int:
        return runtime.corrections.correct(
            root, title=title, body=None, url=None, replace=replaces, by=EMAIL
        ).id

    waiting = runtime.publishing.get(correct())
    assert waiting.waits_for_approval
    assert runtime.publishing.get(root).text.title == "Ferry aground"
    assert [one.id for one in runtime.approvals.corrections(root)] == [waiting.id]
    for forbidden in (runtime.publishing.send, runtime.publishing.to_change):
        with pytest.raises(Conflict):
            forbidden(waiting.id, **({"by": SECOND} if forbidden.__name__ == "send" else {}))
    with pytest.raises(Conflict):
        runtime.publishing.change(waiting, waiting.content, EVERYONE, by=SECOND)
    with pytest.raises(Conflict, match="Another editor"):
        approve(runtime, waiting, by=EMAIL)
    sent = approve(runtime, waiting)
    assert sent.id == waiting.id, "who wrote it can follow it"
    assert sent.state is (State.SENDING if replaces else State.SENT)
    assert (sent.corrects, sent.created_by, sent.approved_by) == (root, EMAIL, SECOND)
    assert runtime.publishing.get(root).text.title == title
    assert runtime.approvals.corrections(root) == []
    with pytest.raises(Conflict):
        approve(runtime, waiting)
    assert [one.id for one in runtime.publishing.latest(9) if one.corrects] == [sent.id]


@pytest.mark.parametrize("first", ["remove", "send back"])
def test_a_correction_is_not_sent_once_it_is_deleted_or_sent_back(
    runtime: Runtime, readers: int, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = reached_by_all(runtime)
    id = runtime.corrections.correct(
        root, title="Ferry afloat", body=None, url=None, replace=True, by=EMAIL
    ).id
    waiting, correct = runtime.publishing.get(id), runtime.store.notifications.correct

    def too_late(*args: Any) -> Any:  # between the look at the draft and the script
        if first == "remove":
            runtime.publishing.remove(id, by=EMAIL)
        else:
            runtime.approvals.send_back(id, waiting.digest, "Not so.", by=SECOND)
        return correct(*args)

    monkeypatch.setattr(runtime.store.notifications, "correct", too_late)
    with pytest.raises(Conflict):
        approve(runtime, waiting)
    assert runtime.publishing.get(root).text.title == "Ferry aground"
    assert [one.id for one in runtime.publishing.planned()] == ([] if first == "remove" else [id])


@pytest.mark.parametrize("what", ["correct", "retract"])
def test_a_form_whose_correction_was_deleted_may_be_sent_again(
    editor: FlaskClient, runtime: Runtime, readers: int, what: str
) -> None:
    path = f"/desk/alerts/{reached_by_all(runtime)}/{what}"
    fields = filled(editor.get(path).text) | {"title": "Ferry saved"}
    assert editor.post(path, data=fields).status_code == 303
    (first,) = runtime.publishing.planned()
    runtime.publishing.remove(first.id, by=EMAIL)
    again = editor.post(path, data=fields)
    assert again.status_code == 409
    assert "was deleted meanwhile" in words(again.text)
    assert ">\nFerry saved</textarea>" in again.text
    typed = filled(again.text) | {"title": "Ferry saved"}
    assert runtime.publishing.planned() == []
    assert editor.post(path, data=typed).status_code == 303
    assert [one.content.title for one in runtime.publishing.planned()] == ["Ferry saved"]


def test_an_approved_correction_does_not_replace_a_newer_one(
    runtime: Runtime, readers: int
) -> None:
    root = reached_by_all(runtime)
    first, second = (
        runtime.corrections.correct(root, title=title, body=None, url=None, replace=True, by=EMAIL)
        for title in ("Ferry afloat", "Ferry saved")
    )
    id, waiting = first.id, runtime.publishing.get(first.id)
    approve(runtime, runtime.publishing.get(second.id))
    with pytest.raises(Conflict, match="corrected since"):
        approve(runtime, waiting)
    assert runtime.publishing.get(root).text.title == "Ferry saved"
    assert runtime.publishing.get(id).state is State.DRAFT


def test_a_correction_that_few_have_is_sent_at_once(runtime: Runtime, readers: int) -> None:
    id = runtime.publishing.publish(NEWS, Audience(topics=("world",)), by=EMAIL).id
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 20})
    runtime.corrections.correct(
        id, title="Ferry afloat", body=None, url=None, replace=True, by=EMAIL
    )
    assert runtime.publishing.get(id).text.title == "Ferry afloat"


def test_a_correction_counts_those_who_would_yet_get_its_text(
    runtime: Runtime, readers: int
) -> None:
    """Else an author could change an approved alert before many have it."""
    one = approve(runtime, publish(runtime))
    for accepted in (0, 20):
        if accepted:
            send_all(runtime, one.id, {(Outcome.ACCEPTED, "other"): accepted})
        runtime.corrections.correct(
            one.id, title="Ferry afloat", body=None, url=None, replace=False, by=EMAIL
        )
        assert runtime.publishing.get(one.id).text.title == "Ferry aground"


def test_the_pages_of_a_correction_that_waits(
    app: Flask, editor: FlaskClient, second: FlaskClient, runtime: Runtime, readers: int
) -> None:
    root = reached_by_all(runtime)
    form = editor.get(f"/desk/alerts/{root}/correct").text
    assert "Ask another editor to correct it" in form
    waiting = runtime.corrections.correct(
        root, title="Ferry afloat", body=None, url=None, replace=True, by=EMAIL
    ).id
    assert "A correction waits for a second person:" in words(
        editor.get(f"/desk/alerts/{root}").text
    )
    page = second.get(f"/desk/alerts/{waiting}").text
    Page(page)
    assert "Correction of Ferry aground" in words(page)
    assert "Browsers that have it get the new text." in words(page)
    assert "Edit…" not in page
    writer = sign_in_as(app, runtime, WRITER, "writes")
    assert "Delete…" not in writer.get(f"/desk/alerts/{waiting}").text
    assert press(writer, waiting, "delete", "").status_code == 403
    one = runtime.publishing.get(waiting)
    answer = press(second, waiting, "approve", one.digest)
    assert answer.status_code == 303
    assert second.get(answer.location).status_code == 200


# By the API ---------------------------------------------------------------------------------------


def test_the_api_says_that_an_alert_waits_for_a_second_person(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(TWO_PERSON_ABOVE="1")
    for number in range(2):
        Reader(client, number)
    token = client.add_token()
    answer = client.call("POST", NOTIFICATIONS, ALERT, token=token)
    assert answer.status_code == 202
    shown = answer.json or {}
    assert shown["status"] == "draft"
    assert [one["field"] for one in shown["warnings"]] == ["status"]
    path = f"{API}/notifications/{shown['id']}"
    assert (client.call("GET", path, token=token).json or {})["waits_for_approval"] is True
    sent = client.call("POST", f"{path}/send", token=token).json or {}
    assert sent["status"] == "draft"
    assert [one["field"] for one in sent["warnings"]] == ["status"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 9000))
    changed = client.call("PATCH", path, {"send_at": at}, token=token).json or {}
    assert (changed["status"], changed["waits_for_approval"]) == ("draft", True)
    assert client.runtime.publishing.next_due() is None


def test_a_second_alert_with_the_same_link_is_warned_of_while_the_first_one_waits(
    editor: FlaskClient, asked: TestResponse
) -> None:
    page = review(editor, audience="everyone", title="Ferry afloat")
    assert "The same link waits for a second person, by" in words(page.text)
    again = editor.post("/desk/alerts", data=hidden_fields(page.text)).location
    assert "Same link waits for a second person: Ferry aground" in words(editor.get(again).text)


def test_a_correction_counts_readers_for_whom_the_alert_is_held_while_it_is_sent(
    runtime: Runtime, readers: int
) -> None:
    one = approve(runtime, publish(runtime))
    runtime.planning.plan(one)
    held, sending = 0, runtime.store.batches
    asleep = Result(
        Outcome.SKIPPED, "quiet", 0, wakes=int(clock.time() // QUARTER) + 8, is_held=True
    )
    for partition in runtime.store.partitions:
        while held < 60 and (claim := sending.claim(one.id, partition, "a test", 60_000)):
            batch = claim.batch
            runtime.store.outcomes.record(one.id, batch, "a test", 60_000, {asleep: claim.pending})
            held += len(claim.pending)
    assert not runtime.publishing.get(one.id).over
    assert runtime.corrections.concerned(one, 0) == 100
