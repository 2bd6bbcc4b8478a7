"""Which alerts need a second person, and who counts as one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.domain.alerts.publishing import Conflict
from service.model.alert_log import ToolName
from service.model.notifications import Audience, SendAt, State
from service.runtime import Runtime
from tests.support.client import Client, Reader
from tests.support.desk.approving import EVERYONE, NEWS, SECOND, approve, publish
from tests.support.desk.pages import EMAIL


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


def test_what_is_approved_while_everything_is_stopped_waits(runtime: Runtime, readers: int) -> None:
    runtime.stops.hold(by=EMAIL)  # which needs nobody
    approved = approve(runtime, publish(runtime))
    assert approved.state is State.SCHEDULED
    runtime.publishing.send_due()
    assert runtime.publishing.get(approved.id).state is State.SCHEDULED
    runtime.stops.release(by=EMAIL)
    runtime.publishing.send_due()
    assert runtime.publishing.get(approved.id).state is State.SENDING
