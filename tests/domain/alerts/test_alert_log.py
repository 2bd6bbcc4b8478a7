"""The log of alerts: an entry for all that was done, with its author, and none for the rest."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from service.domain.alerts.alert_log import AlertLog, Search
from service.domain.alerts.publishing import Conflict, Publishing
from service.model.alert_log import LogEntry, ToolName
from service.model.notifications import MOST_LATE, Audience, Content, SendAt
from service.runtime import Runtime
from tests.support.client import Client
from tests.support.processes.installation import content

EVERYONE = Audience(everyone=True)
ADA, BEN, CMS = "ada@paper.example", "ben@paper.example", ToolName("CMS")

pytestmark = pytest.mark.redis


@pytest.fixture
def runtime(client: Client) -> Runtime:
    return client.runtime


@pytest.fixture
def publishing(runtime: Runtime) -> Publishing:
    return runtime.publishing


def done(runtime: Runtime, id: int) -> list[tuple[str, str]]:
    return [(one.action, one.by) for one in runtime.alert_log.of(id)]


def every(runtime: Runtime, **wanted: str) -> list[LogEntry]:
    return list(runtime.alert_log.found(Search(**wanted)))


def test_each_step_of_an_alert_is_logged_with_who_took_it(
    runtime: Runtime, publishing: Publishing
) -> None:
    id = publishing.publish(content("Ferry aground"), EVERYONE, by=ADA, draft=True).id
    before = publishing.to_change(id)
    text = replace(before.content, title="Ferry afloat", icon="https://paper.example/i.png")
    audience = Audience(topics=("world",))
    at = SendAt(time.time() + 3600)
    publishing.change(before, text, audience, by=BEN, send_at=at)
    publishing.send(id, by=CMS)
    publishing.pause(id, by=ADA)
    publishing.resume(id, by=BEN)
    runtime.corrections.correct(id, title=None, body="All safe", url=None, replace=False, by=CMS)
    publishing.cancel(id, by=ADA)

    steps = runtime.alert_log.of(id)
    assert [(one.action, one.by, one.tool) for one in steps] == [
        ("written", ADA, False),
        ("scheduled", BEN, False),
        ("sent", "CMS", True),
        ("paused", ADA, False),
        ("resumed", BEN, False),
        ("corrected", "CMS", True),
        ("cancelled", ADA, False),
    ]
    assert steps[1].texts == {"title": ("Ferry aground", "Ferry afloat")}
    assert steps[1].others == ("icon", "audience", "time")
    assert steps[2].title == "Ferry afloat"
    assert steps[5].texts == {"body": ("It has just come in.", "All safe")}
    assert all(0 <= time.time() - one.at < 60 for one in steps)
    assert every(runtime) == steps[::-1]


def test_a_change_that_leaves_it_planned_is_a_change_and_one_that_cancels_is_that(
    runtime: Runtime, publishing: Publishing
) -> None:
    at = SendAt(time.time() + 3600)
    id = publishing.publish(content(), EVERYONE, by=ADA, send_at=at).id
    later = SendAt(time.time() + 7200)
    publishing.change(publishing.get(id), content(), EVERYONE, by=BEN, send_at=later)
    publishing.change(publishing.get(id), content(), EVERYONE, by=BEN, draft=True)
    publishing.change(publishing.get(id), content(), EVERYONE, by=BEN, send_at=at)
    publishing.cancel(id, by=ADA)
    assert done(runtime, id) == [
        ("scheduled", ADA),
        ("changed", BEN),
        ("changed", BEN),
        ("scheduled", BEN),
        ("cancelled", ADA),
    ]
    assert [one.others for one in runtime.alert_log.of(id)][1:3] == [("time",), ("time",)]


def test_the_clock_starts_an_alert_or_finds_it_too_late(
    runtime: Runtime, publishing: Publishing
) -> None:
    due, late = (
        publishing.publish(content(), EVERYONE, by=ADA, send_at=SendAt(time.time() - ago)).id
        for ago in (5, MOST_LATE + 60)
    )
    publishing.send_due()
    assert done(runtime, due) == [("scheduled", ADA), ("started", "")]
    assert done(runtime, late) == [("scheduled", ADA), ("missed", "")]


def test_a_deleted_alert_stays_in_the_log(runtime: Runtime, publishing: Publishing) -> None:
    id = publishing.publish(content("Said in haste"), EVERYONE, by=ADA, draft=True).id
    publishing.remove(id, by=BEN)
    assert [(one.action, one.by, one.title) for one in every(runtime)] == [
        ("deleted", BEN, "Said in haste"),
        ("written", ADA, "Said in haste"),
    ]
    assert runtime.alert_log.of(id) == []


def test_what_was_refused_or_came_second_is_not_logged(
    runtime: Runtime, publishing: Publishing
) -> None:
    id = publishing.publish(content(), EVERYONE, by=ADA).id

    def pause() -> None:
        with suppress(Conflict):
            publishing.pause(id, by=BEN)

    threads = [threading.Thread(target=pause) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(Conflict):
        publishing.remove(id, by=BEN)
    with pytest.raises(Conflict):
        publishing.send(id, by=BEN)
    assert done(runtime, id) == [("sent", ADA), ("paused", BEN)]


def test_what_readers_ask_for_is_not_logged(runtime: Runtime, publishing: Publishing) -> None:
    publishing.publish(Content("Slept", "https://paper.example/"), Audience(waking=1), by="quiet")
    assert every(runtime) == []


def test_entries_are_found_by_title_person_action_and_day(
    runtime: Runtime, publishing: Publishing
) -> None:
    for title, by in (("Ferry aground", ADA), ("Storm near", BEN), ("FERRY afloat", CMS)):
        publishing.publish(content(title), EVERYONE, by=by, draft=True)
    assert [one.title for one in every(runtime, title="ferry")] == ["FERRY afloat", "Ferry aground"]
    assert [one.title for one in every(runtime, by="BEN@")] == ["Storm near"]
    assert every(runtime, action="sent") == []
    assert len(every(runtime, action="written")) == 3
    found = runtime.alert_log.found
    assert list(found(Search(since=time.time() + 60))) == []
    assert list(found(Search(until=time.time() - 60))) == []
    first, second, third = every(runtime)
    assert list(found(Search(), before=first.id)) == [second, third]


def test_entries_are_forgotten_after_their_time(runtime: Runtime, publishing: Publishing) -> None:
    id = publishing.publish(content(), EVERYONE, by=ADA, draft=True).id
    log = AlertLog(runtime.store, kept=3600)
    log.forget_old(time.time() + 3500)
    assert len(every(runtime)) == 1
    log.forget_old(time.time() + 3700)
    assert every(runtime) == []
    assert log.of(id) == []
