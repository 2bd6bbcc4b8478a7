"""Alerts that repeat: what the clock makes when one is due, and what ends a series or does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Lost

from service.domain.alerts.gate import TwoPersonRule
from service.domain.alerts.publishing import Conflict
from service.domain.alerts.repeating import NothingNew
from service.model.notifications import MOST_LATE, Audience, Content, Notification, SendAt, State
from service.model.time.repeats import WEEKDAYS, Digest, Repeat
from service.runtime import Runtime
from tests.support.client import Client

pytestmark = pytest.mark.redis

WORLD = Audience(topics=("world",))
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def runtime(client: Client) -> Runtime:
    return client.runtime


def plan(runtime: Runtime, ahead: float = -1.0, **given: Any) -> int:
    """Plan an alert that repeats each day, and is due so many seconds from now."""
    fields = {"title": "Good morning", "url": "https://paper.example/", **given.pop("content", {})}
    options = {"audience": WORLD, "by": "ada@paper.example", **given.pop("options", {})}
    send_at = given.pop("send_at", SendAt(time.time() + ahead, "Europe/Riga"))
    repeat = Repeat(given.pop("weekdays", WEEKDAYS), **given)
    return runtime.publishing.publish(
        Content(**fields), options.pop("audience"), send_at=send_at, repeat=repeat, **options
    ).id


def scheduled(runtime: Runtime) -> list[Notification]:
    return [one for one in runtime.publishing.planned() if one.state is State.SCHEDULED]


def the_next(runtime: Runtime) -> Notification:
    (one,) = scheduled(runtime)
    return one


def sent(runtime: Runtime, title: str, audience: Audience = WORLD, **fields: str) -> int:
    content = Content(**{"title": title, "url": f"https://paper.example/{len(title)}", **fields})
    return runtime.publishing.publish(content, audience, by="ada@paper.example").id


def actions(runtime: Runtime, id: int) -> list[tuple[str, str]]:
    return [(entry.action, entry.by) for entry in runtime.alert_log.of(id)]


# The series ---------------------------------------------------------------------------------------


def test_one_is_sent_and_the_next_one_stands_in_the_plan(runtime: Runtime) -> None:
    id = plan(runtime, content={"body": "Coffee?", "ttl": 600}, options={"spread_minutes": 2})
    runtime.publishing.send_due()
    one, after = runtime.publishing.get(id), the_next(runtime)
    assert one.state is State.SENDING
    assert one.send_at is not None
    assert after.send_at is not None
    # A day later by the clock in Riga, which may be set in between.
    assert round(after.send_at.at - one.send_at.at) in (DAY - HOUR, DAY, DAY + HOUR)
    same = ("content", "audience", "spread_minutes", "created_by", "authors")
    assert [getattr(after, name) for name in same] == [getattr(one, name) for name in same]
    assert after.repeats is not None
    assert (after.repeats.series, one.repeats) == (id, None)
    assert actions(runtime, after.id) == [("scheduled", "")], "the clock did"
    runtime.publishing.send_due()
    assert len(runtime.publishing.latest(10)) == 2


@pytest.mark.parametrize("step", ["change", "start"])
def test_a_clock_that_is_killed_between_its_steps_makes_the_next_one_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    id = plan(runtime)
    notifications = runtime.store.notifications

    def killed(*_: object, **__: object) -> bool:
        raise Lost

    with monkeypatch.context() as patch:
        patch.setattr(type(notifications), step, killed)
        for _ in range(2):
            with pytest.raises(Lost):
                runtime.publishing.send_due()
    after = max(one.id for one in scheduled(runtime))
    assert runtime.publishing.get(id).state is State.SCHEDULED
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).state is State.SENDING
    assert the_next(runtime).id == after
    assert len(runtime.publishing.latest(10)) == 2


def test_one_that_cannot_be_sent_keeps_no_other_waiting(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = plan(runtime, -2)
    other = plan(runtime, -1)
    new_id = type(runtime.store.notifications).new_id

    def refused(notifications: Any) -> int:
        if runtime.publishing.get(other).state is State.SCHEDULED and not tried:
            tried.append(stuck)
            raise Lost
        return new_id(notifications)

    tried: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(type(runtime.store.notifications), "new_id", refused)
        with pytest.raises(Lost):
            runtime.publishing.send_due()
    states = [runtime.publishing.get(id).state for id in (stuck, other)]
    assert states == [State.SCHEDULED, State.SENDING]


def test_an_editor_who_deletes_the_next_one_while_a_clock_is_dead_has_ended_the_series(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = plan(runtime)
    with monkeypatch.context() as patch:
        patch.setattr(type(runtime.store.notifications), "change", lambda *_, **__: False)
        runtime.publishing.send_due()
    (after,) = [one.id for one in scheduled(runtime) if one.id != id]
    runtime.publishing.remove(after, by="ben@paper.example")
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).state is State.SENDING
    assert runtime.publishing.planned() == []


def test_of_two_clocks_at_once_each_occurrence_comes_once(
    runtime: Runtime, client_with: Callable[..., Client]
) -> None:
    clocks = [runtime, client_with().runtime]
    for _ in range(5):
        id = plan(runtime)
        both = threading.Barrier(2)

        def tick(clock: Runtime, both: threading.Barrier = both) -> None:
            both.wait()
            clock.publishing.send_due()

        threads = [threading.Thread(target=tick, args=(clock,)) for clock in clocks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        runtime.publishing.send_due()  # where one clock had changed it and not begun it yet
        assert runtime.publishing.get(id).state is State.SENDING
        assert [entry[0] for entry in actions(runtime, id)].count("started") == 1
        runtime.publishing.remove(the_next(runtime).id, by="ada@paper.example")


def test_after_a_stop_over_a_weekend_one_is_a_draft_and_the_next_is_still_to_come(
    runtime: Runtime,
) -> None:
    id = plan(runtime, -60 * HOUR)
    runtime.stops.hold(by="ada@paper.example")
    runtime.publishing.send_due()
    assert [one.id for one in runtime.publishing.planned()] == [id]
    runtime.stops.release(by="ada@paper.example")
    runtime.publishing.send_due()
    missed = runtime.publishing.get(id)
    assert (missed.state, missed.missed, missed.repeats) == (State.DRAFT, True, None)
    at = the_next(runtime).send_at
    assert at is not None
    assert time.time() < at.at <= time.time() + DAY
    # That draft may be sent, and repeats nothing.
    runtime.publishing.send(id, by="ada@paper.example")
    assert len(scheduled(runtime)) == 1


def test_with_late_send_one_that_was_missed_is_sent_and_no_more(runtime: Runtime) -> None:
    at = SendAt(time.time() - 10 * DAY, "Europe/Riga", however_late=True)
    id = plan(runtime, send_at=at)
    runtime.publishing.send_due()
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).state is State.SENDING
    after = the_next(runtime).send_at
    assert after is not None
    assert after.however_late
    assert after.at > time.time()


def test_to_cancel_to_pause_or_to_send_it_early_does_not_end_the_series(runtime: Runtime) -> None:
    first = plan(runtime, HOUR)
    runtime.publishing.cancel(first, by="ada@paper.example")
    assert runtime.publishing.get(first).state is State.CANCELLED
    second = the_next(runtime)
    assert second.send_at is not None
    assert second.send_at.at > time.time() + 20 * HOUR
    runtime.publishing.send(second.id, by="ada@paper.example")
    assert runtime.publishing.get(second.id).state is State.SENDING
    runtime.publishing.pause(second.id, by="ada@paper.example")
    third = the_next(runtime)
    assert third.send_at is not None
    assert third.send_at.at > second.send_at.at
    runtime.publishing.remove(third.id, by="ada@paper.example")
    assert runtime.publishing.planned() == []


def test_one_that_is_taken_back_is_a_draft_and_the_series_goes_on(runtime: Runtime) -> None:
    one = runtime.publishing.get(plan(runtime, HOUR))
    now = SendAt(time.time() + 5, sent_at=time.time())
    runtime.publishing.change(
        one, one.content, WORLD, by="ada@paper.example", send_at=now, repeat=one.repeats
    )
    runtime.publishing.take_back(one.id, by="ada@paper.example")
    assert runtime.publishing.get(one.id).state is State.DRAFT
    after = the_next(runtime)
    assert after.id != one.id
    assert after.repeats is not None


def test_a_change_and_a_skip_hold_for_those_to_come(runtime: Runtime) -> None:
    one = runtime.publishing.get(plan(runtime, HOUR))
    before = one.send_at
    assert before is not None
    runtime.publishing.skip(one.id, "0", by="ada@paper.example")
    runtime.publishing.skip(one.id, "0", by="ada@paper.example")  # a second click
    skipped = the_next(runtime)
    assert skipped.send_at is not None
    assert round(skipped.send_at.at - before.at) in (DAY - HOUR, DAY, DAY + HOUR)
    # Its time comes: moved there by an editor, with another text.
    content = Content(title="Good evening", url="https://paper.example/")
    soon = SendAt(time.time() - 1, "Europe/Riga")
    publishing = runtime.publishing
    publishing.change(
        skipped, content, WORLD, by="ben@paper.example", send_at=soon, repeat=Repeat(WEEKDAYS)
    )
    runtime.publishing.send_due()
    after = the_next(runtime)
    assert after.content == content
    assert after.authors == ("ada@paper.example", "ben@paper.example")
    assert after.repeats is not None
    assert after.repeats.series == one.id
    with pytest.raises(Conflict, match="does not repeat"):
        runtime.publishing.skip(_draft(runtime), "0", by="ada@paper.example")


def _draft(runtime: Runtime) -> int:
    content = Content(title="Draft", url="https://paper.example/")
    return runtime.publishing.publish(content, WORLD, by="ada@paper.example", draft=True).id


def test_each_occurrence_waits_for_a_second_person(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = TwoPersonRule(above=50)
    monkeypatch.setattr(runtime.publishing._gate, "_two_persons", rule)
    monkeypatch.setattr(type(runtime.publishing), "reach", lambda *_: 51)
    id = plan(runtime)
    waiting = runtime.publishing.get(id)
    assert (waiting.state, waiting.waits_for_approval) == (State.DRAFT, True)
    runtime.publishing.send_due()
    assert len(runtime.publishing.planned()) == 1
    runtime.approvals.approve(id, waiting.digest, by="ben@paper.example")
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).state is State.SENDING
    (after,) = runtime.publishing.planned()
    assert after.waits_for_approval
    assert after.send_at is not None
    assert after.request is not None
    assert after.request.by == "ada@paper.example"
    with pytest.raises(Conflict):
        runtime.approvals.approve(after.id, after.digest, by="ada@paper.example")
    runtime.approvals.approve(after.id, after.digest, by="ben@paper.example")
    assert the_next(runtime).repeats is not None


# Digests ------------------------------------------------------------------------------------------

DIGEST = {"title": "{count} since yesterday"}


def begun(runtime: Runtime, id: int, hours: float) -> None:
    """Let an alert have begun so many hours ago."""
    at = (time.time() - hours * HOUR) * 1000
    runtime.store.redis.zadd("{g}:started", {str(id): at})


def test_a_digest_tells_what_stands_of_its_topics_since_the_last_one(runtime: Runtime) -> None:
    corrected = sent(runtime, "Ferry aground")
    runtime.corrections.correct(
        corrected, title="Ferry afloat", body=None, url=None, replace=True, by="ada@paper.example"
    )
    cancelled = sent(runtime, "Wrong")
    runtime.publishing.cancel(cancelled, by="ada@paper.example")
    old = sent(runtime, "Old")
    begun(runtime, old, 30)
    sent(runtime, "A match", Audience(topics=("sport",)))
    newest = sent(runtime, "Storm", Audience(topics=("world",)), kind="breaking")
    for id, hours in ((corrected, 3), (newest, 2)):
        begun(runtime, id, hours)
    id = plan(runtime, 0.01, digest=Digest(topics=("world",)), content=DIGEST)
    time.sleep(0.02)
    runtime.publishing.send_due()
    one, after = runtime.publishing.get(id), the_next(runtime)
    assert (one.content.title, one.content.body) == ("2 since yesterday", "Storm\nFerry afloat")
    assert one.state is State.SENDING
    assert ("changed", "") in actions(runtime, id), "the log shows what the text became"
    assert after.content.title == DIGEST["title"]
    assert after.repeats is not None
    assert one.send_at is not None
    assert after.repeats.since == one.send_at.at
    # The next one tells neither the same again nor the digest itself.
    with pytest.raises(NothingNew):
        runtime.publishing.send(after.id, by="ada@paper.example")
    sent(runtime, "A bridge closes", url="https://paper.example/bridge")
    time.sleep(0.01)
    runtime.publishing.send(after.id, by="ada@paper.example")
    early = runtime.publishing.get(after.id)
    assert (early.content.title, early.content.body) == ("1 since yesterday", "A bridge closes")
    assert early.content.url == "https://paper.example/bridge"
    assert the_next(runtime).content.title == DIGEST["title"]


def test_where_nothing_is_new_it_is_left_out_and_the_series_goes_on(runtime: Runtime) -> None:
    id = plan(runtime, digest=Digest(), content=DIGEST)
    runtime.publishing.send_due()
    after = the_next(runtime)
    assert after.id != id
    assert [one.id for one in runtime.publishing.latest(10)] == [after.id]
    entries = [entry for entry in runtime.store.alert_log.all() if entry.alert == id]
    assert (entries[0].action, entries[0].by) == ("skipped", "")


def test_a_digest_that_makes_drafts_is_filled_in_and_sent_by_nobody(runtime: Runtime) -> None:
    begun(runtime, sent(runtime, "Ferry aground"), 1)
    id = plan(runtime, digest=Digest(), makes_drafts=True, content=DIGEST)
    runtime.publishing.send_due()
    one = runtime.publishing.get(id)
    assert (one.state, one.missed, one.send_at) == (State.DRAFT, False, None)
    assert one.content.body == "Ferry aground"
    assert the_next(runtime).content.title == DIGEST["title"]
    # An editor finishes and sends it; it is still a digest, which the next one does not tell.
    content = Content(title="Briefing", url="https://paper.example/")
    runtime.publishing.change(one, content, WORLD, by="ada@paper.example")
    with pytest.raises(NothingNew):
        runtime.publishing.send(the_next(runtime).id, by="ada@paper.example")


def test_a_digest_that_comes_too_late_is_a_draft_with_its_text(runtime: Runtime) -> None:
    begun(runtime, sent(runtime, "Ferry aground"), 5)
    id = plan(runtime, -MOST_LATE - 60, digest=Digest(), content=DIGEST)
    runtime.publishing.send_due()
    one = runtime.publishing.get(id)
    assert (one.state, one.missed, one.content.title) == (State.DRAFT, True, "1 since yesterday")


def test_a_digest_at_a_local_time_is_made_when_the_first_clock_shows_it(runtime: Runtime) -> None:
    begun(runtime, sent(runtime, "Ferry aground"), 1)
    at = time.time() - 1
    wall = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + 14 * HOUR))
    id = plan(runtime, send_at=SendAt(at, wall=wall), digest=Digest(), content=DIGEST)
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).content.title == "1 since yesterday"
    after = the_next(runtime)
    assert after.wall[10:] == wall[10:]
    assert after.wall > wall
    assert after.send_at is not None
    assert after.send_at.at - at == pytest.approx(DAY, abs=1)
