"""A merge of topics that enlarges a scheduled alert asks for a second person."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from service.domain.alerts.gate import TwoPersonRule
from service.model.notifications import Audience, Notification, SendAt, State
from service.runtime import Runtime
from tests.support.desk.approving import NEWS, approve
from tests.support.desk.pages import EMAIL, Page, post, words


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
