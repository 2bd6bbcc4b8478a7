"""A correction or a retraction can be taken back for some seconds, as an alert can."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.domain.alerts.publishing import Conflict
from service.model.notifications import Notification, State
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, correct, filled, post, words


@pytest.fixture
def settings() -> dict[str, str]:
    return {"UNDO_SECONDS": "20", "UNDO_BREAKING_SECONDS": "0"}


def waiting(runtime: Runtime) -> Notification:
    (one,) = [one for one in runtime.publishing.latest(10) if one.corrects]
    return one


def state_of(runtime: Runtime, id: int) -> State:
    return runtime.publishing.get(id).state


def let_it_be_due(runtime: Runtime, one: Notification) -> None:
    runtime.store.redis.zadd("{g}:scheduled", {str(one.id): time.time() * 1000 - 1000})
    runtime.publishing.send_due()


def retract(editor: FlaskClient, id: int, page: str = "") -> str:
    page = page or f"/desk/alerts/{id}/retract"
    form = {**filled(editor.get(page).text), "title": "Sent in error"}
    location = editor.post(page, data=form).location
    assert location
    return location


def test_a_correction_waits_and_nothing_more_of_the_old_text_leaves(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = correct(editor, half_sent)
    one = waiting(runtime)
    assert answer.location == f"/desk/alerts/{one.id}"
    assert (one.state, one.waits_for_undo) == (State.SCHEDULED, True)
    assert state_of(runtime, half_sent) is State.PAUSED
    assert runtime.publishing.get(half_sent).text.title == "Ferry aground"
    page = words(editor.get(answer.location).text)
    assert "Nobody has it yet. It leaves in" in page
    assert "Until then nothing more of the alert itself is sent." in page
    assert "Take it back" in page and "Send now" in page
    assert "A correction leaves in a few seconds: Ferry afloat" in words(
        editor.get(f"/desk/alerts/{half_sent}").text
    )
    runtime.publishing.send_due()
    assert waiting(runtime).state is State.SCHEDULED


def test_it_leaves_by_itself_and_the_alert_goes_on_with_its_text(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    let_it_be_due(runtime, waiting(runtime))
    one, root = waiting(runtime), runtime.publishing.get(half_sent)
    assert (one.state, root.state) == (State.SENDING, State.SENDING)
    assert (root.text.title, root.corrections) == ("Ferry afloat", (one.id,))
    assert one.audience == root.audience
    assert [(e.action, e.by) for e in runtime.alert_log.of(half_sent)][-1] == ("corrected", EMAIL)
    page = f"/desk/alerts/{one.id}"
    late = post(editor, f"{page}/take-back", page=page)
    assert (late.status_code, "It is too late to take this alert back" in late.text) == (409, True)


def test_taken_back_the_alert_is_as_before_and_the_text_is_in_the_form_again(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = correct(editor, half_sent).location
    form = f"/desk/alerts/{half_sent}/correct?draft={waiting(runtime).id}"
    for _ in range(2):  # a double click
        assert post(editor, f"{page}/take-back", page=page).location == form
    root = runtime.publishing.get(half_sent)
    assert (root.state, root.text.title, root.corrections) == (State.SENDING, "Ferry aground", ())
    shown = editor.get(form).text
    assert "Taken back. Nobody has seen it." in shown
    assert ">\nFerry afloat</textarea>" in shown
    draft = editor.get(page).text
    assert f'href="{form}">Send the correction…</a>' in draft, "its page leads there too"
    assert "Use again" not in draft and "Edit…" not in draft
    assert "A correction is not sent yet" in words(editor.get(f"/desk/alerts/{half_sent}").text)
    # Sent again it is the same alert, however often the form arrives.
    again = {**filled(shown), "title": "Ferry in port"}
    for _ in range(2):
        assert editor.post(form, data=again).location == page
    one = waiting(runtime)
    assert (one.state, one.content.title) == (State.SCHEDULED, "Ferry in port")
    let_it_be_due(runtime, one)
    assert runtime.publishing.get(half_sent).text.title == "Ferry in port"
    actions = [entry.action for entry in runtime.alert_log.of(one.id)]
    assert actions == ["sent", "taken back", "sent"]


def test_send_now_does_not_wait(editor: FlaskClient, runtime: Runtime, half_sent: int) -> None:
    page = correct(editor, half_sent).location
    for _ in range(2):
        assert post(editor, f"{page}/send-now", page=page).location == page
    assert waiting(runtime).state is State.SENDING
    assert runtime.publishing.get(half_sent).revision == 1


def test_an_alert_that_an_editor_paused_stays_so_when_its_correction_is_taken_back(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    runtime.publishing.pause(half_sent, by="a test")
    page = correct(editor, half_sent, go_on="yes").location
    post(editor, f"{page}/take-back", page=page)
    assert state_of(runtime, half_sent) is State.PAUSED
    page = correct(editor, half_sent, go_on="yes").location
    post(editor, f"{page}/send-now", page=page)
    assert state_of(runtime, half_sent) is State.SENDING, "as the ticked box says"
    assert [e.action for e in runtime.alert_log.of(half_sent)][-2:] == ["resumed", "corrected"]


def test_a_retraction_cancels_the_alert_only_when_it_leaves(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = retract(editor, half_sent)
    assert state_of(runtime, half_sent) is State.PAUSED
    taken = post(editor, f"{page}/take-back", page=page).location
    assert taken == f"/desk/alerts/{half_sent}/retract?draft={waiting(runtime).id}"
    assert state_of(runtime, half_sent) is State.SENDING
    shown = editor.get(page).text
    assert f'href="{taken}">Send the retraction…</a>' in shown
    assert retract(editor, half_sent, taken) == page
    let_it_be_due(runtime, waiting(runtime))
    root = runtime.publishing.get(half_sent)
    assert (root.state, root.text.title) == (State.CANCELLED, "Sent in error")
    assert [e.action for e in runtime.alert_log.of(half_sent)][-2:] == ["cancelled", "corrected"]


def test_a_tools_correction_goes_at_once_and_the_waiting_one_is_a_draft_again(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    given = {"title": "By a tool", "body": None, "url": None, "replace": True, "by": "a tool"}
    runtime.corrections.correct(half_sent, **given)
    assert runtime.publishing.get(half_sent).text.title == "By a tool"
    (one,) = runtime.corrections.waiting.of(half_sent)
    let_it_be_due(runtime, one)
    assert state_of(runtime, one.id) is State.DRAFT
    assert runtime.publishing.get(half_sent).text.title == "By a tool"
    assert state_of(runtime, half_sent) is State.SENDING
    assert [e.action for e in runtime.alert_log.of(one.id)] == ["sent", "overtaken"]
    form = words(editor.get(f"/desk/alerts/{half_sent}/correct?draft={one.id}").text)
    assert "This alert was corrected meanwhile. Your text is not sent" in form
    assert "a tool: title “Ferry aground” → “By a tool”" in form


def test_something_wrong_lets_nothing_of_the_old_text_leave_in_between(
    editor: FlaskClient, runtime: Runtime, half_sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert would go on for a moment, in which a worker sends the text that is wrong."""
    correct(editor, half_sent)
    store, states = runtime.store.notifications, []

    def move(id: int, to: State, **options: Any) -> bool:
        states.append(to)
        return type(store).move(store, id, to, **options)

    monkeypatch.setattr(store, "move", move)
    page = f"/desk/alerts/{half_sent}"
    for _ in range(2):  # a double click
        post(editor, f"{page}/wrong", page=page)
    assert State.SENDING not in states
    assert state_of(runtime, half_sent) is State.PAUSED
    assert waiting(runtime).state is State.DRAFT
    assert [e.action for e in runtime.alert_log.of(half_sent)] == ["sent", "paused"]
    post(editor, f"{page}/go-on", page=page)
    assert state_of(runtime, half_sent) is State.SENDING


def test_a_second_correction_waits_for_the_first(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    second = correct(editor, half_sent, title="Another text")
    assert second.status_code == 409
    assert f"{EMAIL} has just sent another correction" in second.text
    assert ">\nAnother text</textarea>" in second.text, "the typed text is kept"


@pytest.mark.parametrize("how", ["cancelled", "something is wrong", "deleted"])
def test_who_stops_the_alert_meanwhile_also_keeps_its_correction_from_leaving(
    editor: FlaskClient, runtime: Runtime, half_sent: int, how: str
) -> None:
    correct(editor, half_sent)
    one = waiting(runtime)
    if how == "cancelled":
        runtime.publishing.cancel(half_sent, by="Ben")
    elif how == "deleted":
        runtime.publishing.remove(one.id, by="Ben")
    else:
        runtime.mending.halt(half_sent, by="Ben")
    after = {"cancelled": State.CANCELLED, "deleted": State.SENDING}.get(how, State.PAUSED)
    assert state_of(runtime, half_sent) is after
    runtime.store.redis.zadd("{g}:scheduled", {str(one.id): 1}, xx=True)
    runtime.publishing.send_due()
    assert runtime.publishing.get(half_sent).revision == 0


def test_it_waits_while_everything_is_stopped(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = correct(editor, half_sent).location
    runtime.stops.hold(by="Ben")
    let_it_be_due(runtime, waiting(runtime))
    assert waiting(runtime).state is State.SCHEDULED
    with pytest.raises(Conflict):
        runtime.publishing.skip_undo(waiting(runtime).id, by="Ben")
    shown = editor.get(page).text
    assert "Take it back" in shown and "Send now" not in shown


def test_an_older_release_that_starts_it_sends_it_to_nobody(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    assert runtime.publishing.reach(waiting(runtime).audience) == 0
