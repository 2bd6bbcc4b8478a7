"""A correction waits for a second person where many have the alert."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.domain.alerts.gate import TwoPersonRule
from service.domain.alerts.publishing import Conflict
from service.model.notifications import Audience, Outcome, State
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from tests.support.desk.approving import (
    EVERYONE,
    NEWS,
    SECOND,
    WRITER,
    approve,
    press,
    publish,
    reached_by_all,
    sign_in_as,
)
from tests.support.desk.pages import EMAIL, Page, filled, send_all, words


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
