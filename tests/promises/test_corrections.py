"""Corrections: every reader ends with the new text, and gets it once."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict

import pytest

from service.domain.alerts.publishing import Conflict
from service.domain.alerts.requests import Idempotency
from service.model.notifications import Audience, SendAt, State
from service.model.subscriptions import SubscriptionRequest
from service.model.time.clocks import QUARTER
from tests.support.processes.as_workers import hold
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import PushService
from tests.support.seeded import FRONT, begin_send, choose, silence
from workers.sending.lease import Lease
from workers.sending.send import Rows


def topics(push: PushService) -> set[str]:
    return {message.headers["topic"] for message in push.received}


@pytest.mark.redis
def test_correction_during_a_send_gives_every_reader_the_new_text_once(
    installation: Installation, push: PushService
) -> None:
    first = begin_send(installation, 1000, received=300, delay=0.2, title="Ten dead")

    second = installation.correct(first, "Nobody dead").id
    silence(push)  # the worker has noticed, which looks once a second
    push.go_on()

    assert installation.over(first).state is State.SENT
    assert installation.over(second).state is State.SENT
    assert installation.outcomes(first) == {"accepted": 1000}
    with_old = installation.outcomes(second)["accepted"]
    assert 300 <= with_old < 1000
    assert len(push.received) == 1000 + with_old
    assert len(topics(push)) == 1, "the push service replaces a message that it still keeps"
    times = Counter(message.path for message in push.received)
    assert set(times.values()) <= {1, 2}
    shown = installation.runtime.publishing.get(first)
    assert (shown.content.title, shown.text.title) == ("Ten dead", "Nobody dead")
    assert shown.corrections == (second,)


def test_retraction_amid_a_send_reaches_those_who_have_the_alert_and_nobody_else(
    installation: Installation, push: PushService
) -> None:
    first = begin_send(installation, 600, received=200, delay=0.2, title="Ten dead")
    mending = installation.runtime.mending
    mending.halt(first, by="a test")
    retraction = mending.retract(
        first,
        title="This alert was sent in error",
        body="",
        url=None,
        by="a test",
        idempotency=Idempotency("a test", "once", b""),
        check=lambda _root: (),
    ).id
    silence(push)  # the worker has noticed, which looks once a second
    push.go_on()
    assert installation.over(first).state is State.CANCELLED
    assert installation.over(retraction).state is State.SENT
    outcomes = installation.outcomes(first)
    had = outcomes["accepted"]
    assert outcomes == {"accepted": had, "cancelled": 600 - had}
    assert 200 <= had < 600
    assert installation.outcomes(retraction) == {"accepted": had}
    assert set(Counter(message.path for message in push.received).values()) == {2}


def test_correction_goes_to_readers_who_have_the_alert_and_are_still_subscribed(
    installation: Installation, push: PushService
) -> None:
    installation.seed(60)
    installation.worker()
    installation.clock()
    first = installation.publish()
    installation.over(first)
    installation.runtime.store.subscriptions.remove(installation.reader(7))
    wrong = installation.correct(first, "Wrong once more")
    assert wrong.recipients == 59
    installation.over(wrong.id)
    right = installation.correct(wrong.id, "Right at last").id
    installation.over(right)
    assert installation.outcomes(right) == {"accepted": 59}
    assert len(push.received) == 60 + 59 + 59
    assert installation.runtime.publishing.get(right).corrects == first


def test_correction_that_does_not_replace_is_sent_at_once_to_nobody(
    installation: Installation, push: PushService
) -> None:
    installation.seed(100)
    installation.worker()
    installation.clock()
    first = installation.publish()
    installation.over(first)
    child = installation.correct(first, "For the record", replace=False).id
    assert installation.runtime.publishing.get(child).state is State.SENT
    assert installation.runtime.publishing.progress(child).recipients == 0
    assert len(push.received) == 100


def test_second_correction_ends_the_first(installation: Installation, push: PushService) -> None:
    installation.seed(600)
    installation.worker()
    installation.clock()
    first = installation.publish()
    installation.over(first)
    push.hold_after(50)
    wrong = installation.correct(first, "Wrong once more").id
    push.wait_for(650, timeout=30)
    right = installation.correct(first, "Right at last").id
    push.go_on()
    assert installation.over(wrong).state is State.CANCELLED
    assert installation.over(right).state is State.SENT
    assert installation.outcomes(right) == {"accepted": 600}


def test_neither_a_test_nor_an_alert_that_reached_nobody_can_be_corrected(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    id = installation.publish(Audience(subscription=installation.reader(3)))
    with pytest.raises(Conflict):
        installation.correct(id, "Other")
    nobody = installation.publish(Audience(topics=("breaking",)))
    installation.worker()
    installation.clock()
    installation.over(nobody)
    with pytest.raises(Conflict):
        installation.correct(nobody, "Other")
    assert installation.runtime.publishing.get(nobody).corrections == ()


def test_new_text_replaces_the_old_one_on_the_screen(
    installation: Installation, push: PushService
) -> None:
    browser = push.subscribe(installation.vapid.public)
    runtime = installation.runtime
    runtime.store.subscriptions.subscribe(
        SubscriptionRequest(
            endpoint=runtime.endpoints.parse(browser.endpoint),
            p256dh=browser.p256dh,
            auth=browser.auth,
            vapid_key=runtime.keys.current,
        )
    )
    installation.worker()
    installation.clock()
    first = installation.publish(title="Ten dead")
    installation.over(first)
    installation.over(installation.correct(first, "Nobody dead").id)
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for message in wait_until(lambda: push.received[:2] if len(push.received) == 2 else []):
        document = json.loads(browser.decrypt(message.body))["notification"]
        shown[document["tag"]].append(document["title"])
    assert list(shown.values()) == [["Ten dead", "Nobody dead"]]


# Running stories ----------------------------------------------------------------------------------


def test_neither_a_late_alert_of_a_story_nor_its_correction_replaces_a_newer_one(
    installation: Installation, push: PushService
) -> None:
    installation.seed(40)
    publishing = installation.runtime.publishing
    older = installation.publish(Audience(everyone=True, story="quake"), title="Quake")
    publishing.pause(older, by="a test")
    newer = installation.publish(Audience(topics=("sport",), story="quake"), title="Ten dead")
    installation.worker()
    installation.clock()
    installation.over(newer)
    have_newer = {message.path for message in push.received}
    assert 0 < len(have_newer) < 40

    push.begin_anew()
    publishing.resume(older, by="a test")
    installation.over(older)
    have_older = {message.path for message in push.received}
    assert have_older.isdisjoint(have_newer)
    assert len(have_older) == 40 - len(have_newer)
    assert publishing.progress(older).skipped("over") == len(have_newer)

    push.begin_anew()
    installation.over(
        installation.publish(Audience(topics=("world",), story="quake"), title="Nobody dead")
    )
    have_latest = {message.path for message in push.received}
    assert have_older & have_latest
    assert have_older - have_latest
    push.begin_anew()
    correction = installation.correct(older, "No quake")
    installation.over(correction.id)
    assert {message.path for message in push.received} == have_older - have_latest
    skipped = publishing.progress(correction.id).skipped("over")
    assert skipped == len(have_older & have_latest)

    push.begin_anew()
    installation.over(installation.correct(newer, "One dead").id)
    assert {message.path for message in push.received} == have_newer - have_latest


@pytest.mark.parametrize("how", ["at once", "by a wave", "at a local time"])
def test_older_alert_that_was_admitted_before_a_newer_one_came_is_sent_only_at_a_local_time(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    installation.seed(10)
    choose(installation, range(10), zone="UTC")
    runtime, story = installation.runtime, Audience(everyone=True, story="quake")
    now = time.time()
    send_at = SendAt(now, wall=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)))
    at = {"send_at": send_at} if how == "at a local time" else {}
    sent = runtime.publishing.publish(content("Quake"), story, by="a test", **at).id
    runtime.publishing.send_due()
    if how == "by a wave":
        morning = int(time.time()) // QUARTER + 20
        hold(runtime, sent, {morning: 10})
        runtime.publishing.wake_readers(morning * QUARTER, FRONT)
        sent = runtime.publishing.waves(1)[0].id
    newer: list[int] = []
    with fan_out_of(installation) as fan_out:
        admit = fan_out._admission.admit

        def newer_comes_meanwhile(lease: Lease, rows: Rows) -> None:
            admit(lease, rows)
            if not newer:
                newer.append(installation.publish(story, title="Ten dead"))
                hold(runtime, newer[0], {})  # for nobody: all have it
                time.sleep(1.1)  # a worker looks once a second

        monkeypatch.setattr(fan_out._admission, "admit", newer_comes_meanwhile)
        send_all(installation, fan_out, sent)
    assert installation.outcomes(newer[0]) == {"accepted": 10}
    kept = how != "at a local time"  # which is when the newsroom wants it on screen
    assert runtime.publishing.progress(sent).skipped("over") == (10 if kept else 0)
    assert len(push.received) == (0 if kept else 10)
