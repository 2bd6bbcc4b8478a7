"""A push service with a lasting rate limit: sent at its pace, the newest readers first."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from urllib.parse import urlsplit

import pytest

from service.app import create_app
from service.local import pretend_readers
from service.model.notifications import Outcome, State
from service.model.subscriptions import SubscriptionId
from service.store import Store
from service.store.layout.bitmaps import bitmap_key, month_of
from service.store.sending.batches import Recent
from service.store.sending.push_services import Pace
from tests.support.client import API, Client
from tests.support.desk.pages import EMAIL, post, sign_in_link
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService, Rule
from workers.sending import policy
from workers.sending.health import Health
from workers.sending.push_service import Service

ORIGIN = "https://fcm.googleapis.com"
LIMITED = policy.Verdict(None, service_failed=True, retry_after=0.01, limited=True)
ROW = policy.Verdict(None, limited=True)
ACCEPTED = policy.Verdict(Outcome.ACCEPTED)


def health(store: Store, allowed: int = 0) -> Health:
    return Health(
        store.push_services,
        256,
        lambda _origin, _group: 9999,
        lambda _ids: False,
        lambda _origin: allowed,
    )


def limit(one: Health, service: Service) -> None:
    for number in range(policy.LIMITED_SENDER):
        one.answered(service, SubscriptionId(0, number), LIMITED, 429)


def test_rate_limit_that_ends_within_a_minute_makes_no_pace(store: Store) -> None:
    now = time.time()
    limits = [store.push_services.limited(ORIGIN, now + at, now + at + 1) for at in (0, 3, 6, 9)]
    assert [limit.times for limit in limits] == [1, 2, 3, 4]
    one = health(store)
    limit(one, one.of(ORIGIN, "google"))
    assert [rest.why for rest in store.push_services.resting().values()] == ["429"]
    assert store.push_services.paced() == {}


@pytest.mark.parametrize(("allowed", "pace"), [(0, 1000), (290_000, 290_000)])
def test_lasting_rate_limit_makes_a_pace_of_the_last_minutes_answers(
    store: Store, allowed: int, pace: int
) -> None:
    now = time.time()
    for ago in (90, 45):
        store.push_services.limited(ORIGIN, now - ago, now - ago + 30)
    one = health(store, allowed)
    limit(one, one.of(ORIGIN, "google"))
    assert store.push_services.paced()[ORIGIN].per_minute == pace


def test_rate_limits_are_counted_anew_after_a_minute_without_one(store: Store) -> None:
    store.push_services.limited(ORIGIN, 1000.0, 1010.0)
    assert store.push_services.limited(ORIGIN, 1069.0, 1080.0).times == 2
    assert store.push_services.limited(ORIGIN, 1141.0, 1150.0) == (1, 1141.0, 1150.0)


def test_rate_limits_of_single_recipients_make_the_service_rest_only_if_many(store: Store) -> None:
    one = health(store)
    apple = one.of("https://web.push.apple.com", "apple")
    for _ in range(80):
        one.answered(apple, SubscriptionId(0, 1), ROW, 429)
    assert store.push_services.resting() == {}, "all answers were about one recipient"
    for number in range(49):
        one.answered(apple, SubscriptionId(0, number), ROW, 429)
        if number % 5 == 0:
            one.answered(apple, SubscriptionId(0, 99), ACCEPTED, 201)
    assert store.push_services.resting() == {}
    one.answered(apple, SubscriptionId(0, 49), ROW, 429)
    assert [rest.why for rest in store.push_services.resting().values()] == ["429"]


@pytest.mark.redis
def test_workers_together_take_no_more_than_the_pace_allows(store: Store) -> None:
    pace = Pace(630, 0.0)  # ten a second
    begun = time.monotonic()
    taken = 0
    while taken < 20:
        taken += store.push_services.take(ORIGIN, pace)
        assert taken <= 1 + 10 * (time.monotonic() - begun) + 1
        time.sleep(0.02)
    assert time.monotonic() - begun > 1.5


@pytest.mark.redis
def test_pace_ends_only_if_it_was_not_exceeded_since(store: Store) -> None:
    store.push_services.pace(ORIGIN, Pace(1000, 100.0))
    assert not store.push_services.pace(ORIGIN, Pace(5000, 200.0)), (
        "the pace of the first worker counts"
    )
    store.push_services.limited(ORIGIN, 500.0, 510.0)
    assert not store.push_services.unpace(ORIGIN, since=505.0)
    assert store.push_services.paced() == {ORIGIN: Pace(1000, 100.0)}
    assert store.push_services.unpace(ORIGIN, since=511.0)
    assert store.push_services.paced() == {}


@pytest.mark.usefixtures("one_partition")
def test_no_recipient_has_two_workers_while_only_one_knows_of_a_pace(
    installation: Installation,
) -> None:
    installation.seed(5000)
    sending, planning = installation.runtime.store.batches, installation.runtime.planning
    id = installation.publish()
    planning.sending()
    first = sending.claim(id, 0, "one:1 ", 60_000)
    second = sending.claim(id, 0, f"two:1 {ORIGIN}", 60_000)
    assert first is not None
    assert second is not None
    back = {"wait_ms": 60_000, "left": True, "undone": len(second.pending)}
    assert sending.release(id, second.batch, f"two:1 {ORIGIN}", **back)
    third = sending.claim(id, 0, f"two:2 {ORIGIN}", 60_000)
    assert third is not None
    assert not isinstance(third.batch, Recent), "the first may be sending to them"
    assert sending.release(id, first.batch, "one:1 ", wait_ms=0)
    recent = sending.claim(id, 0, f"two:3 {ORIGIN}", 60_000)
    assert recent is not None
    assert isinstance(recent.batch, Recent)
    assert sending.claim(id, 0, "one:2 ", 60_000) is None, "it does not know of the pace"
    assert sending.claim(id, 0, f"two:4 {ORIGIN}", 60_000) is not None
    assert sending.release(id, recent.batch, f"two:3 {ORIGIN}", wait_ms=None)
    again = sending.claim(id, 0, "one:3 ", 60_000)
    assert again is not None
    assert again.batch == second.batch, "what was left waiting is due again"


def test_clock_ends_a_pace_that_was_not_exceeded_for_a_day(
    store: Store, installation: Installation
) -> None:
    now = time.time()
    day = 86_400
    for name, since, limited in (("a", 2, 1.5), ("b", 2, 0.5), ("c", 0.5, 0.5)):
        store.push_services.pace(name, Pace(1000, now - since * day))
        store.push_services.limited(name, now - limited * day, now - limited * day)
    installation.clock()
    assert wait_until(lambda: len(store.push_services.paced()) == 2)
    time.sleep(1.5)
    assert set(store.push_services.paced()) == {"b", "c"}


def test_paced_push_service_gets_no_more_than_its_pace_and_slows_no_other(
    installation: Installation, push: PushService
) -> None:
    installation.seed(280, origins=[push.origin, push.plain_origin])
    per_second = 20
    installation.runtime.store.push_services.pace(push.origin, Pace(63 * per_second, time.time()))
    for _ in range(2):
        installation.worker()
    installation.clock()
    begun = time.monotonic()
    id = installation.publish()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 280}
    assert len(push.received) == 280, "no reader twice"
    slow = [one.at for one in push.received if one.endpoint.startswith(push.origin)]
    others = [one.at for one in push.received if not one.endpoint.startswith(push.origin)]
    assert len(slow) == len(others) == 140
    assert sum(at < max(others) for at in slow) < 120, "the others did not wait"
    for number, at in enumerate(slow):
        # Messages for two seconds may be saved up, and a worker asks for one second ahead.
        assert number <= per_second * (at - begun + 3)


def at_most(per_second: int) -> Rule:
    """Answer 429 beyond this rate, of which two seconds may be saved up."""
    left, at = 2.0 * per_second, time.monotonic()

    def rule(message: Message) -> Answer | None:
        nonlocal left, at
        left = min(2.0 * per_second, left + (message.at - at) * per_second)
        at = message.at
        if left < 1:
            return Answer(429, {"retry-after": "2"})
        left -= 1
        return None

    return rule


def test_rate_limited_push_service_gets_a_pace_and_the_desk_says_until_when(
    installation: Installation, push: PushService
) -> None:
    installation.seed(160)
    push.answer_with(at_most(25))
    now, services = time.time(), installation.runtime.store.push_services
    for ago in (90, 45):  # instead of waiting for more than a minute
        services.limited(push.origin, now - ago, now - ago + 30)
    client = Client(create_app(installation.config))
    token, desk = client.add_token(), client.app.test_client()
    link, fields = sign_in_link(installation.runtime, EMAIL)
    assert post(desk, urlsplit(link).path, **fields).status_code == 303
    for _ in range(2):
        installation.worker()
    installation.clock()
    id = installation.publish()
    pace = wait_until(lambda: services.paced().get(push.origin))
    since = time.monotonic() - (time.time() - pace.since)
    wait_until(lambda: push.received[-1].status == 201 and push.received[-1].at > since + 2)

    alert = client.call("GET", f"{API}/notifications/{id}", token=token).json
    (limit,) = alert["progress"]["limits"]
    # An answer to a message from before the pace may have halved it.
    rate = services.paced()[push.origin].per_minute
    assert (limit["service"], limit["why"], limit["per_minute"]) == ("other", "429", rate)
    last_reader_at = datetime.fromisoformat(limit["last_reader_at"].replace("Z", "+00:00"))
    page = desk.get(f"/desk/alerts/{id}/progress").text
    assert f"Another push service accepts {rate:,} messages a minute at the moment." in page
    assert "the last one gets the alert at about" in page

    over = installation.over(id)
    assert installation.outcomes(id) == {"accepted": 160}
    # Messages for two seconds may be saved up, and a worker asks for one second ahead.
    assert over.finished_at >= last_reader_at.timestamp() - 4
    assert sum(one.status == 201 for one in push.received) == 160, "no reader twice"
    limited = [one.at for one in push.received if one.status == 429]
    assert max(limited) < since + 2, "at its pace it does not limit us any more"


@pytest.mark.usefixtures("one_partition")
def test_readers_seen_last_are_sent_to_first(installation: Installation, push: PushService) -> None:
    installation.seed(300)
    redis = installation.runtime.store.redis
    (this_month,) = redis.keys(bitmap_key(0, "seen", "*"))
    days = int(time.time() // 86_400)
    earlier = bitmap_key(0, "seen", month_of(days - 62))
    for number in range(200):  # every second of them was never seen
        redis.setbit(this_month, number, 0)
        if number % 2:
            redis.setbit(earlier, number, 1)
    installation.runtime.store.push_services.pace(push.origin, Pace(63 * 120, time.time()))
    installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 300}
    group = {
        pretend_readers.path(number): 0 if number >= 200 else 2 - number % 2
        for number in range(300)
    }
    order = [group[one.path] for one in push.received]
    assert Counter(order) == {0: 100, 1: 100, 2: 100}
    assert order == sorted(order)


@pytest.mark.soak
def test_pace_that_begins_and_ends_during_a_send_loses_and_repeats_nothing(
    installation: Installation, push: PushService
) -> None:
    installation.seed(2500)
    push.answer_with(lambda _message: Answer(201, delay=0.2))
    push.hold_after(200)
    services = installation.runtime.store.push_services
    for _ in range(2):
        installation.worker()
    installation.clock()
    id = installation.publish()
    push.wait_for(200, timeout=30)
    services.pace(push.origin, Pace(63 * 50, time.time()))
    time.sleep(1.5)  # each worker learns of it within a second
    held, begun = len(push.received), time.monotonic()
    push.go_on()
    came = push.wait_for(held + 450, timeout=60)[held:]
    for number, message in enumerate(came):
        # At most 400 were under way. Messages for two seconds may be saved up, and each worker
        # asks for one second ahead.
        assert number <= 400 + 50 * (max(0.0, message.at - begun) + 4)
    services.unpace(push.origin, since=time.time())
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 2500}
    assert wait_until(lambda: len(push.received)) == 2500, "no reader twice"
