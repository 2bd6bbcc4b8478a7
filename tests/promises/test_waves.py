"""Held alerts and their waves: not in the lists, counted right, and in time."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from service.model.notifications import Audience, Content, Outcome, SendAt, State
from service.model.preferences import NO_QUIET
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.sending.held_alerts import WaveDelivery
from tests.support.client import API, Client
from tests.support.desk.pages import publish
from tests.support.processes.as_workers import hold
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.seeded import (
    FRONT,
    around_now,
    choose,
    reader_of,
    seed,
    shown,
    texts,
    wake,
)
from workers.sending.wave_digest import WaveDigest


def make_waves(runtime: Runtime, count: int) -> None:
    """Publish this many waves, as the clock does."""
    for quarter in range(count):
        words = Content(title="While you slept", url="https://paper.example/")
        runtime.publishing.publish(words, Audience(waking=quarter), by="quiet hours")


# In the lists -------------------------------------------------------------------------------------


def test_lists_show_alerts_of_editors_and_no_waves(client: Client) -> None:
    runtime = client.runtime
    first = publish(runtime)
    make_waves(runtime, 120)
    second = publish(runtime)
    make_waves(runtime, 120)
    assert [one.id for one in runtime.publishing.started(20)] == [second, first]
    assert [one.id for one in runtime.publishing.latest(20)] == [second, first]
    assert len(runtime.publishing.waves(500)) == 240
    token = client.add_token()
    listed = client.call("GET", f"{API}/notifications?limit=1", token=token).json
    assert [one["id"] for one in listed["notifications"]] == [str(second)]
    older = f"{API}/notifications?limit=1&cursor={listed['next_cursor']}"
    listed = client.call("GET", older, token=token).json
    assert [one["id"] for one in listed["notifications"]] == [str(first)]
    wave = runtime.publishing.waves(1)[0].id
    assert client.call("GET", f"{API}/notifications/{wave}", token=token).status_code == 200


@pytest.mark.soak
def test_recently_accepted_readers_are_known_after_many_waves(
    installation: Installation,
) -> None:
    installation.seed(2)
    installation.worker()
    installation.clock()
    installation.over(installation.publish())
    make_waves(installation.runtime, 40)
    services = installation.runtime.push_services
    assert services.accepted_recently([installation.reader(1)])
    assert not services.accepted_recently([SubscriptionId(0, 999)])


def test_alert_sent_at_once_started_when_it_was_created_to_the_millisecond(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = int(time.time())
    for fraction in (0.0006, 0.1239, 0.9999):
        monkeypatch.setattr(time, "time", lambda fraction=fraction: begun + fraction)
        id = publish(client.runtime)
        shown = client.call("GET", f"{API}/notifications/{id}", token=client.add_token()).json
        assert shown["created_at"] == shown["progress"]["started_at"]


# Counts -------------------------------------------------------------------------------------------


def receipts(installation: Installation, messages: list[Message]) -> Counter[int]:
    """How many browsers would report to each alert."""
    found: Counter[int] = Counter()
    for message in messages:
        token = shown(message)["data"]["receipt"]
        opened = installation.runtime.tokens.open_receipt(token)
        assert opened is not None
        assert opened[1] == installation.reader(reader_of(message))
        found[opened[0]] += 1
    return found


def test_each_browser_counts_for_the_alert_to_which_it_reports_and_once(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), quiet=around_now())
    choose(reading, range(16), paused_until=int(time.time()) + 7200)
    ten = reading.publish(title="Ten dead")
    reading.over(ten)
    choose(reading, range(16), paused_until=0)
    ferry = reading.publish(title="Ferry aground")
    reading.over(ferry)
    publishing = reading.runtime.publishing
    before = publishing.held(publishing.get(ten))
    assert (before.waiting, before.by_wave, before.waves) == (24, 0, ())
    assert before.first_at == before.last_at
    (quarter,) = reading.runtime.store.held_alerts.pending()
    assert before.first_at == quarter * QUARTER

    wake(reading, push)

    reported = receipts(reading, push.received)
    (wave,) = publishing.waves(9)
    assert publishing.progress(wave.id).delivered == {ten: (0, 24), ferry: (16, 24)}
    for id, alone, together in ((ten, 0, 24), (ferry, 16, 24)):
        held = publishing.held(publishing.get(id))
        assert (held.waiting, held.alone, held.together) == (0, alone, together)
        assert (held.first_at, held.last_at) == (None, None)
        assert [(one.id, one.at) for one in held.waves] == [(wave.id, quarter * QUARTER)]
        accepted = publishing.progress(id).of(Outcome.ACCEPTED)
        assert reported[id] == accepted + held.alone
        assert publishing.progress(id).skipped("quiet") == held.by_wave
    assert reported[wave.id] == 24
    assert publishing.progress(wave.id).of(Outcome.ACCEPTED) == 40


def test_running_wave_shows_how_many_readers_it_has_reached(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), quiet=around_now())
    id = reading.publish()
    reading.over(id)
    sleepers = iter(range(12))
    push.answer_with(lambda _: Answer(201) if next(sleepers, None) is not None else Answer(503, {}))
    (quarter,) = reading.runtime.store.held_alerts.pending()
    choose(reading, range(40), quiet=NO_QUIET)
    publishing = reading.runtime.publishing
    publishing.wake_readers(quarter * QUARTER, FRONT)

    def delivered() -> int:
        return publishing.held(publishing.get(id)).by_wave

    wait_until(lambda: delivered() == 12)
    held = publishing.held(publishing.get(id))
    assert (held.waiting, held.alone) == (28, 12)
    push.answer_with(lambda _: Answer(201))
    reading.over(publishing.waves(1)[0].id)
    held = publishing.held(publishing.get(id))
    assert (held.waiting, held.alone) == (0, 40)


def test_held_correction_has_receipts_of_its_own(reading: Installation, push: PushService) -> None:
    id = reading.publish(title="Ten dead")
    reading.over(id)
    choose(reading, range(20), quiet=around_now())
    publishing = reading.runtime.publishing
    correction = reading.correct(id, "Nobody dead").id
    reading.over(correction)
    came = wake(reading, push)
    assert list(texts(came)) == ["Nobody dead|It has just come in."]
    assert receipts(reading, came) == {correction: 20}
    assert publishing.held(publishing.get(correction)).alone == 20
    assert publishing.held(publishing.get(id)).by_wave == 0


def test_newer_alert_of_a_story_arrives_though_the_older_one_was_corrected_last(
    reading: Installation, push: PushService
) -> None:
    story = Audience(everyone=True, story="ferry")
    older = reading.publish(story, title="Ferry late")
    reading.over(older)
    choose(reading, range(20), quiet=around_now())
    newer = reading.publish(story, title="Ferry home")
    reading.over(newer)
    reading.over(reading.correct(older, "Ferry early").id)
    came = wake(reading, push)
    assert [text.partition("|")[0] for text in texts(came)] == ["Ferry home"]
    assert len(came) == 20


@pytest.mark.usefixtures("one_partition")
def test_cancelled_alert_of_a_story_replaces_no_held_one(client: Client) -> None:
    seed(client, 10)
    runtime, morning = client.runtime, int(time.time()) // QUARTER + 20
    publishing, ferry = runtime.publishing, Audience(everyone=True, story="ferry")
    words = Content(title="Ferry late", url="https://paper.example/story")
    held = publishing.publish(words, ferry, by="a test").id
    hold(runtime, held, {morning: 4})
    planned = SendAt(time.time() + 3600)
    for later in (None, planned):
        id = publishing.publish(words, ferry, by="a test", send_at=later).id
        publishing.cancel(id, by="a test")
    assert publishing.held(publishing.get(held)).waiting == 4
    publishing.wake_readers(morning * QUARTER, "https://paper.example")
    (record,) = (r for _, r in runtime.store.records.read(0, [1]))
    assert record is not None
    message = WaveDigest(runtime, publishing.waves(1)[0]).message(
        SubscriptionId(0, 1), [held], record
    )
    assert message is not None
    assert message[0].delivered == (held,)
    newer = publishing.publish(words, ferry, by="a test").id
    assert publishing.held(publishing.get(held)).waiting == 4, "the newer one is held for nobody"
    hold(runtime, newer, {morning: 3})
    assert publishing.held(publishing.get(held)).waiting == 0
    digest = WaveDigest(runtime, publishing.waves(1)[0])
    both = sorted(digest.held(0, range(10))[1])
    assert both == [held, newer]
    assert 3 not in digest.held(0, range(10)), "this reader has the newer one"
    message = digest.message(SubscriptionId(0, 1), both, record)
    assert message is not None
    assert message[0].delivered == (newer,)
    assert runtime.store.stories.open()["ferry"].latest == newer


@pytest.mark.redis
def test_reader_who_changes_quiet_hours_at_night_waits_once(client: Client) -> None:
    seed(client, 10)
    first, second = publish(client.runtime), publish(client.runtime)
    now = int(time.time()) // QUARTER
    hold(client.runtime, first, {now + 20: 4})
    hold(client.runtime, second, {now + 24: 6})
    publishing = client.runtime.publishing
    held = publishing.held(publishing.get(first))
    assert (held.waiting, held.first_at, held.last_at) == (
        4,
        (now + 20) * QUARTER,
        (now + 20) * QUARTER,
    )
    held = publishing.held(publishing.get(second))
    assert (held.waiting, held.first_at, held.last_at) == (
        6,
        (now + 20) * QUARTER,
        (now + 24) * QUARTER,
    )


# Times --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_partition")
def test_alert_that_missed_its_wave_does_not_arrive_a_day_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(client, 10)
    runtime, now = client.runtime, int(time.time()) // QUARTER
    old = publish(runtime)
    hold(runtime, old, {now + 1: 4})
    late = (now + 1) * QUARTER + 4 * 3600
    runtime.publishing.wake_readers(late, "https://paper.example")
    assert not runtime.publishing.waves(9)
    monkeypatch.setattr(time, "time", lambda: (now + 90) * QUARTER)
    new = publish(runtime)
    hold(runtime, new, {now + 98: 4})
    assert runtime.publishing.held(runtime.publishing.get(old)).waiting == 0
    assert runtime.publishing.held(runtime.publishing.get(new)).waiting == 4
    runtime.publishing.wake_readers((now + 98) * QUARTER, "https://paper.example")
    (wave,) = runtime.publishing.waves(9)
    assert WaveDigest(runtime, wave).held(0, range(10)) == {number: [new] for number in range(4)}


@pytest.mark.usefixtures("one_partition")
def test_reader_with_the_old_text_from_a_running_wave_gets_the_correction(client: Client) -> None:
    seed(client, 10)
    runtime, morning = client.runtime, int(time.time()) // QUARTER + 20
    publishing = runtime.publishing
    id = publish(runtime)
    hold(runtime, id, {morning: 4})
    publishing.wake_readers(morning * QUARTER, "https://paper.example")
    (wave,) = publishing.waves(9)
    runtime.planning.plan(wave)
    under_way = runtime.store.batches.claim(wave.id, 0, "a test ", 60_000)
    assert under_way is not None
    correction = runtime.corrections.correct(
        id, title="Nobody dead", body=None, url=None, replace=True, by="a test"
    ).id
    hold(runtime, correction, {})
    assert publishing.progress(correction).of(Outcome.ACCEPTED) == 6
    delivery = WaveDelivery(((id, 0),), (id,), (id,))
    came = {Result(Outcome.ACCEPTED, "google", 1, 0, delivery=delivery): under_way.pending}
    runtime.store.outcomes.record(wave.id, under_way.batch, "a test ", 60_000, came)
    runtime.store.batches.release(wave.id, under_way.batch, "a test ", wait_ms=None)
    runtime.planning.advance(wave.id)
    hold(runtime, correction, {})
    assert publishing.progress(correction).of(Outcome.ACCEPTED) == 10
    runtime.planning.advance(correction)
    assert publishing.get(correction).state is State.SENT


def test_reader_held_by_a_delayed_worker_wakes_in_a_coming_quarter_hour(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(client, 4)
    runtime, now = client.runtime, time.time()
    id = publish(runtime)
    # By the worker, which asked Redis half an hour ago to record it.
    monkeypatch.setattr(time, "time", lambda: now - 1800)
    hold(runtime, id, {int(now // QUARTER) - 1: 4})
    (quarter,) = runtime.store.held_alerts.pending()
    assert quarter > now // QUARTER
    assert runtime.publishing.held(runtime.publishing.get(id)).waiting == 4
