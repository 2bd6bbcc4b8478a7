"""Held alerts that are paused or cancelled: in no wave any more, and counted right."""

from __future__ import annotations

import time

import pytest

from service.domain.alerts.publishing import Conflict
from service.model.notifications import Audience, Outcome, State
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.sending.held_alerts import WaveDelivery
from tests.support.client import API, Client, make_app
from tests.support.desk.pages import publish
from tests.support.processes.as_workers import deliver, hold
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.seeded import (
    FRONT,
    READERS,
    around_now,
    choose,
    seed,
    sent_at_night,
    texts,
    wake,
    waking,
)
from workers.sending.wave_digest import WaveDigest


def hold_and_pause(runtime: Runtime, id: int, sleepers: dict[int, int], rest: int = 0) -> None:
    """Hold an alert as `hold` does, send it to so many others, and pause it then."""
    batches = runtime.store.batches
    runtime.planning.plan(runtime.publishing.get(id))
    claim = batches.claim(id, 0, "a test ", 60_000)
    assert claim is not None
    left, results = claim.pending, {}
    for quarter, count in sleepers.items():
        asleep = Result(Outcome.SKIPPED, "quiet", 0, wakes=quarter, is_held=True)
        results[asleep], left = left[:count], left[count:]
    results[Result(Outcome.ACCEPTED, "google", 1, 0)] = left[:rest]
    runtime.store.outcomes.record(id, claim.batch, "a test ", 60_000, results)
    more = len(left) > rest
    batches.release(id, claim.batch, "a test ", wait_ms=0 if more else None)
    runtime.publishing.pause(id, by="a test")


@pytest.mark.usefixtures("one_partition")
@pytest.mark.redis
def test_paused_alert_is_in_no_wave_and_comes_by_the_next_one_when_it_goes_on(
    client: Client,
) -> None:
    seed(client, 10)
    runtime, now = client.runtime, int(time.time()) // QUARTER
    publishing, morning, later = runtime.publishing, now + 20, now + 24
    wrong, right = publish(runtime, title="Ten dead"), publish(runtime, title="Ferry home")
    hold_and_pause(runtime, wrong, {morning: 4, later: 2})
    hold(runtime, right, {morning: 4})
    publishing.wake_readers(morning * QUARTER, FRONT)
    (wave,) = publishing.waves(9)
    digest = WaveDigest(runtime, wave)
    assert digest.held(0, range(4)) == {number: [right] for number in range(4)}
    (record,) = (r for _, r in runtime.store.records.read(0, [1]))
    assert record is not None
    # A worker may have found both just before the pause.
    message = digest.message(SubscriptionId(0, 1), [wrong, right], record)
    assert message is not None
    assert message[0] == WaveDelivery(((right, 0),), (right,), (right,))
    assert digest.message(SubscriptionId(0, 1), [wrong], record) is None

    deliver(runtime, morning, right)
    held = publishing.held(publishing.get(wrong))
    assert (held.waiting, held.first_at) == (6, later * QUARTER), "four of them are awake"
    publishing.resume(wrong, by="a test")
    soon, last = runtime.store.held_alerts.pending()
    assert now < soon <= now + 2
    assert last == later
    assert publishing.reach(Audience(waking=soon)) == 4, "the others sleep until their time"
    held = publishing.held(publishing.get(wrong))
    assert (held.waiting, held.first_at, held.last_at) == (6, soon * QUARTER, later * QUARTER)
    publishing.wake_readers(soon * QUARTER, FRONT)
    digest = WaveDigest(runtime, publishing.waves(1)[0])
    assert digest.held(0, range(4)) == {number: [wrong] for number in range(4)}


@pytest.mark.usefixtures("one_partition")
def test_paused_alert_that_is_held_ends_with_its_time_and_then_no_wave_brings_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(client, 10)
    runtime, now = client.runtime, time.time()
    publishing, morning = runtime.publishing, int(now // QUARTER) + 20
    id = publish(runtime)
    hold_and_pause(runtime, id, {morning: 4}, rest=6)
    runtime.planning.advance_all()
    assert publishing.get(id).state is State.PAUSED, "an editor decides, although all is sent"
    assert publishing.held(publishing.get(id)).waiting == 4
    monkeypatch.setattr(time, "time", lambda: now + 4 * 3600)
    runtime.planning.advance_all()
    one = publishing.get(id)
    assert (one.state, one.finished_at is None) == (State.SENT, False)
    assert publishing.held(one).waiting == 0
    publishing.wake_readers(morning * QUARTER, FRONT)
    assert WaveDigest(runtime, publishing.waves(1)[0]).held(0, range(4)) == {}


def test_cancelling_drops_held_copies_and_keeps_all_counts(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(20), quiet=around_now())
    id = reading.publish()
    assert reading.over(id).state is State.SENT
    publishing = reading.runtime.publishing
    outcomes = reading.outcomes(id)
    publishing.cancel(id, by="a test")
    assert publishing.get(id).state is State.CANCELLED
    assert publishing.held(publishing.get(id)).waiting == 0
    assert wake(reading, push) == []
    assert reading.outcomes(id) == outcomes == {"accepted": READERS - 20, "skipped": 20}
    with pytest.raises(Conflict, match="already cancelled"):
        publishing.cancel(id, by="a test")


def test_cancelling_an_alert_cancels_its_held_correction(
    reading: Installation, push: PushService
) -> None:
    (id,) = sent_at_night(reading, 20, "Ten dead")
    choose(reading, range(20, 32), quiet=around_now())
    publishing = reading.runtime.publishing
    correction = reading.correct(id, "Nobody dead").id
    reading.over(correction)
    assert publishing.held(publishing.get(correction)).waiting == 12
    publishing.cancel(id, by="a test")
    assert publishing.get(correction).state is State.CANCELLED
    assert wake(reading, push) == []


def test_running_wave_sends_nothing_more_of_a_cancelled_alert(
    reading: Installation, push: PushService
) -> None:
    cancelled, _ = sent_at_night(reading, 40, "Ten dead", "Ferry home")
    with waking(reading, push) as taken:
        reading.runtime.publishing.cancel(cancelled, by="a test")
    assert texts(taken) == {"Ferry home|It has just come in.": 40}


@pytest.mark.redis
def test_api_shows_how_many_wait_and_cancels_once(client: Client) -> None:
    seed(client, 10)
    token, morning = client.add_token(), int(time.time()) // QUARTER + 20
    id = publish(client.runtime)
    hold(client.runtime, id, {morning: 4})
    path = f"{API}/notifications/{id}"
    shown = client.call("GET", path, token=token).json
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(morning * QUARTER))
    assert (shown["status"], shown["progress"]["skipped"]["quiet"]) == ("sent", 4)
    assert shown["progress"]["held"] == {
        "waiting": 4,
        "first_at": at,
        "last_at": at,
        "alone": 0,
        "together": 0,
        "waves": [],
    }
    answer = client.call("POST", f"{path}/cancel", token=token)
    assert (answer.status_code, answer.json["status"]) == (202, "cancelled")
    shown = client.call("GET", path, token=token).json
    assert (shown["status"], shown["progress"]["held"]["waiting"]) == ("cancelled", 0)
    assert shown["progress"]["outcomes"]["accepted"] == 6
    assert client.call("POST", f"{path}/cancel", token=token).status_code == 409


def test_alert_that_no_reader_waits_for_cannot_be_cancelled(client: Client) -> None:
    seed(client, 4)
    token, morning = client.add_token(), int(time.time()) // QUARTER + 20
    all_have_it, delivered = publish(client.runtime), publish(client.runtime)
    runtime = client.runtime
    hold(runtime, all_have_it, {})
    hold(runtime, delivered, {morning: 4})
    wave = deliver(runtime, morning, delivered)
    for id in (all_have_it, delivered):
        answer = client.call("POST", f"{API}/notifications/{id}/cancel", token=token)
        assert (answer.status_code, "already sent" in answer.json["detail"]) == (409, True)
    assert runtime.publishing.get(delivered).waves == ((wave, 4, 0),)


def test_held_alert_can_be_cancelled_while_redis_is_full() -> None:
    with RedisServer() as server:
        client = Client(make_app(server.url))
        seed(client, 10)
        id = publish(client.runtime)
        hold(client.runtime, id, {int(time.time()) // QUARTER + 20: 4})
        assert client.runtime.publishing.get(id).state is State.SENT
        with server.full():
            client.runtime.publishing.cancel(id, by="a test")
        assert client.runtime.publishing.get(id).state is State.CANCELLED
