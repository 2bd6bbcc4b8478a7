"""How a worker judges each push service, alone and beside another worker."""

from __future__ import annotations

import json
import math
import random
import time

import pytest

from service.model.subscriptions import SubscriptionId
from service.store import Store
from service.store.sending.push_services import Pace, Rest
from tests.support.health import ACCEPTED, READER, WINDOW, worker
from tests.support.processes.installation import wait_until
from workers.sending import policy
from workers.sending.health import Health
from workers.sending.push_service import Service

ORIGIN = "https://web.push.apple.com"
OTHER = "https://updates.push.services.mozilla.com"


def start(one: Health, service: Service, most: int = 1000) -> int:
    """Start messages while there is room; return how many."""
    started = 0
    while started < most and (room := one.room(service)):
        some = min(room, most - started)
        one.started(service, some)
        started += some
    return started


def answer(one: Health, service: Service, times: int) -> None:
    for _ in range(times):
        one.answered(service, READER, ACCEPTED, 201)


def fail(one: Health, service: Service, times: int, retry_after: float | None = None) -> None:
    failed = policy.Verdict(None, service_failed=True, retry_after=retry_after)
    for _ in range(times):
        one.answered(service, READER, failed, 503)


def well_known(one: Health, origin: str) -> Service:
    """Return a push service that has answered a whole window of messages; none is under way."""
    service = one.of(origin, "a name")
    while service.limit < WINDOW:
        answer(one, service, start(one, service))
    one.refresh()
    one.refresh()  # nothing was started since the last one
    return service


def let_fail(one: Health, service: Service) -> None:
    """Make it fail until it rests for the shortest time."""
    started = start(one, service, policy.FAILURES_IN_A_ROW)
    fail(one, service, started)
    assert service.rest is not None


def wait_for_the_end_of(one: Health, service: Service) -> None:
    wait_until(lambda: not one.rests_until(service), every=0.005)


# The window -------------------------------------------------------------------------------------


def test_a_push_service_starts_with_16_messages_and_gets_one_more_for_each_answer(
    store: Store,
) -> None:
    one = worker(store)
    service = one.of(ORIGIN, "apple")
    assert start(one, service) == 16
    answer(one, service, 10)
    assert start(one, service) == 20
    assert service.under_way == 26


def test_the_limit_grows_no_further_than_the_window(store: Store) -> None:
    one = worker(store)
    assert start(one, well_known(one, ORIGIN)) == WINDOW


def serve(
    one: Health,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    *,
    delay: float,
    at_most: float = math.inf,
    seconds: float = 10.0,
) -> None:
    """Have a push service answer after `delay` seconds, and no more than so many a second."""
    now, step, due = time.monotonic(), 0.25, 0.0
    for _ in range(round(seconds / step)):
        start(one, service, 10_000)
        # Little's law: what is under way, by the answers a second, is the time that one takes.
        took = max(delay, service.under_way / at_most)
        due += service.under_way / took * step
        for _ in range(int(due)):
            one.answered(service, READER, ACCEPTED, 201, took)
            if one.room(service):
                one.started(service, 1)
        due -= int(due)
        now += step
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        one.look_again()
        one.refresh()


def test_a_late_push_service_gets_the_whole_window(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(store, 2048)
    service = one.of(ORIGIN, "apple")
    serve(one, service, monkeypatch, delay=0.5, seconds=20)
    assert service.limit == 2048


@pytest.mark.parametrize("delay", [0.0001, 0.001, 0.01])
def test_a_push_service_that_answers_at_once_has_256_messages_under_way_at_most(
    store: Store, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    one = worker(store, 2048)
    service = one.of(ORIGIN, "apple")
    serve(one, service, monkeypatch, delay=delay, at_most=1000)
    assert service.limit == 256


@pytest.mark.parametrize("delay", [0.1, 0.3, 1.0])
def test_a_busy_push_service_gets_no_more_than_its_delay_needs_and_half_of_that(
    store: Store, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    one = worker(store, 4096)
    service = one.of(ORIGIN, "apple")
    at_most = 2000
    serve(one, service, monkeypatch, delay=delay, at_most=at_most, seconds=20)
    needed = at_most * delay
    assert max(256, needed) <= service.limit <= max(256, 1.6 * needed)


def test_a_push_service_that_becomes_slow_gets_what_it_needs_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(store, 4096)
    service = one.of(ORIGIN, "apple")
    serve(one, service, monkeypatch, delay=0.1, at_most=2000)
    assert service.limit < 400
    serve(one, service, monkeypatch, delay=1.0, at_most=2000, seconds=40)
    assert 2000 <= service.limit <= 3200


def test_a_push_service_that_rests_while_its_delay_is_tried_grows_again_afterwards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(store, 2048)
    service = one.of(ORIGIN, "apple")
    for _ in range(60):
        serve(one, service, monkeypatch, delay=0.001, at_most=1000, seconds=0.25)
        if service.trial:
            break
    assert service.trial, "256 messages under way are late, and few are needed"
    monkeypatch.undo()
    answer(one, service, service.under_way)
    let_fail(one, service)
    wait_for_the_end_of(one, service)
    for _ in range(40):
        answer(one, service, start(one, service))
        one.look_again()
        one.refresh()
    assert service.limit > 16


def test_a_push_service_that_nobody_knows_has_256_messages_under_way_at_most(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(store, 2048)
    service = one.of(ORIGIN, "apple", "*.apple.com")
    assert service.is_made_up
    monkeypatch.setattr(one, "_prove", lambda _service: None)
    serve(one, service, monkeypatch, delay=0.1)
    assert service.limit == 256


def test_two_push_services_with_work_share_the_window_in_halves(store: Store) -> None:
    one = worker(store)
    first, second = well_known(one, ORIGIN), well_known(one, OTHER)
    start(one, first, 1)
    start(one, second, 1)
    one.refresh()
    assert start(one, first) == start(one, second) == WINDOW // 2 - 1


def test_the_part_of_the_window_that_one_cannot_use_goes_to_the_other(store: Store) -> None:
    one = worker(store)
    well, silent = well_known(one, ORIGIN), one.of(OTHER, "mozilla")
    assert start(one, silent) == 16
    one.refresh()
    assert start(one, well) == WINDOW - 16


def test_a_silent_push_service_holds_at_most_half_of_the_window(store: Store) -> None:
    one = worker(store)
    well, silent = well_known(one, ORIGIN), well_known(one, OTHER)
    start(one, well, 1)
    start(one, silent, 1)
    for _ in range(3):
        one.refresh()
        start(one, silent)
        answer(one, well, start(one, well))
    assert silent.under_way == WINDOW // 2


def test_a_push_service_without_work_leaves_the_window_to_the_other(store: Store) -> None:
    one = worker(store)
    first, second = well_known(one, ORIGIN), well_known(one, OTHER)
    start(one, second, 1)
    answer(one, second, 1)
    one.refresh()
    assert start(one, first) == WINDOW // 2, "it had work a moment ago"
    one.refresh()
    assert start(one, first) == WINDOW // 2


# Rests ------------------------------------------------------------------------------------------


def test_a_push_service_rests_after_eight_failures_in_a_row(store: Store) -> None:
    one = worker(store)
    service = one.of(ORIGIN, "apple")
    for _ in range(3):
        start(one, service, 8)
        fail(one, service, 7)
        assert store.push_services.resting() == {}
        answer(one, service, 1)
    let_fail(one, service)
    assert store.push_services.resting()[ORIGIN].why == "503"
    assert one.rests_until(one.of(OTHER, "mozilla")) == 0, "the others go on"


def test_an_unreachable_push_service_rests_at_once_and_longer_each_time(store: Store) -> None:
    one, two = worker(store), worker(store)
    service = one.of(ORIGIN, "apple")
    for attempts in range(1, 4):
        one.unreachable(ORIGIN, "refused")
        one.unreachable(ORIGIN, "refused")  # another failure during a rest changes nothing
        rest = store.push_services.resting()[ORIGIN]
        assert (rest.attempts, rest.why) == (attempts, "no answer")
        wait_for_the_end_of(one, service)
    assert two.of(ORIGIN, "apple").rest is not None, "all workers see it"
    one.unreachable("https://nobody.example", "refused")  # unknown: it does nothing


def test_messages_need_room_in_connections_which_is_asked_once_per_look(
    store: Store,
) -> None:
    asked: list[str] = []

    def room(origin: str, _group: str, **_: object) -> int:
        asked.append(origin)
        return 3

    one = Health(store.push_services, WINDOW, room, lambda _ids: False, lambda _origin: 0)
    service = one.of(ORIGIN, "apple")
    assert start(one, service) == 3
    assert asked == [ORIGIN]
    one.ask_for_more()
    one.ask_for_more()
    assert asked == [ORIGIN] * 2, "asked for another connection, since three were too few"
    one.look_again()
    assert start(one, service, 2) == 2
    one.found_no_room(service)
    assert not one.room(service)
    one.look_again()
    assert one.room(service)


def test_a_failure_with_retry_after_makes_the_service_rest_that_long(store: Store) -> None:
    one = worker(store)
    service = one.of(ORIGIN, "apple")
    start(one, service, 1)
    fail(one, service, 1, retry_after=100)
    assert time.time() + 90 < one.rests_until(service) < time.time() + 101


def test_other_and_later_workers_see_a_rest(store: Store) -> None:
    one, two = worker(store), worker(store)
    mine, theirs = one.of(ORIGIN, "apple"), two.of(ORIGIN, "apple")
    start(one, mine, 1)
    fail(one, mine, 1, retry_after=100)
    assert two.rests_until(theirs) == 0
    two.refresh()
    until = pytest.approx(one.rests_until(mine), abs=0.01)
    assert two.rests_until(theirs) == until
    late = worker(store)
    assert late.rests_until(late.of(ORIGIN, "apple")) == until


def test_failures_during_a_rest_do_not_lengthen_it(store: Store) -> None:
    one, two = worker(store), worker(store)
    mine, theirs = one.of(ORIGIN, "apple"), two.of(ORIGIN, "apple")
    start(one, mine)
    start(two, theirs)
    fail(one, mine, 16, retry_after=100)
    until = one.rests_until(mine)
    assert until
    fail(two, theirs, 16, retry_after=300)
    assert one.rests_until(mine) == until
    rest = store.push_services.resting()[ORIGIN]
    assert rest.attempts == 1
    assert rest.until == pytest.approx(until, abs=0.01), "the first worker's rest counts"


def test_after_a_rest_one_message_at_a_time_is_tried(store: Store) -> None:
    one = worker(store)
    service = well_known(one, ORIGIN)
    let_fail(one, service)
    wait_for_the_end_of(one, service)
    assert start(one, service) == 1
    fail(one, service, 1)
    assert service.rest is not None, "one failure is enough now"
    assert store.push_services.resting()[ORIGIN].attempts == 2


def test_one_answer_ends_a_rest_for_all_workers(store: Store) -> None:
    one, two = worker(store), worker(store)
    mine, theirs = well_known(one, ORIGIN), well_known(two, ORIGIN)
    let_fail(one, mine)
    two.refresh()
    wait_for_the_end_of(one, mine)
    assert start(two, theirs) == 1
    answer(two, theirs, 1)
    assert store.push_services.resting() == {}
    one.refresh()
    two.refresh()
    assert start(one, mine) == 16
    assert start(two, theirs) == 2, "one answer lets it have two"
    for health, service in ((one, mine), (two, theirs)):
        fail(health, service, 1)
        assert health.rests_until(service) == 0, "a single failure is an accident again"


# Limits -----------------------------------------------------------------------------------------

ONE = policy.Verdict(None, limited=True, retry_after=900.0)
SENDER = policy.Verdict(None, service_failed=True, limited=True)


def limit(one: Health, service: Service, numbers: range, verdict: policy.Verdict = ONE) -> None:
    for number in numbers:
        one.answered(service, SubscriptionId(0, number), verdict, 429)


@pytest.mark.parametrize("status", [406, 429])
def test_a_push_service_rests_only_when_it_limits_several_different_recipients(
    store: Store, status: int
) -> None:
    one = worker(store)
    service = one.of("https://wns2-am3p.notify.windows.com", "microsoft")
    for _ in range(200):
        one.answered(service, READER, ONE, status)
    assert store.push_services.resting() == {}, "always the same recipient"
    for _ in range(6):
        limit(one, service, range(7))
        answer(one, service, 1)
    assert store.push_services.resting() == {}, "others are accepted"
    limit(one, service, range(8))
    assert [rest.why for rest in store.push_services.resting().values()] == ["429"]


def test_three_limited_recipients_are_enough_where_the_sender_is_limited(store: Store) -> None:
    one = worker(store)
    service = one.of("https://fcm.googleapis.com", "google")
    limit(one, service, range(2), SENDER)
    assert store.push_services.resting() == {}
    limit(one, service, range(3), SENDER)
    assert [rest.why for rest in store.push_services.resting().values()] == ["429"]


@pytest.mark.parametrize("verdict", [ONE, policy.Verdict(None, service_failed=True)])
def test_a_retry_after_beyond_sense_keeps_no_push_service_resting(
    store: Store, verdict: policy.Verdict
) -> None:
    one = worker(store)
    service = one.of(ORIGIN, "apple")
    limit(one, service, range(8), verdict._replace(retry_after=1e9))
    assert service.rest is not None
    assert 0 < service.rest.until - service.rest.since < 2


def test_one_recipient_with_a_retry_after_beyond_sense_makes_nobody_rest(store: Store) -> None:
    one = worker(store)
    service = one.of(ORIGIN, "apple")
    fail(one, service, 1, retry_after=86_400 * 365)
    assert one.rests_until(service) == 0


# Paces ------------------------------------------------------------------------------------------


@pytest.mark.redis
def test_two_workers_share_a_pace_and_never_exceed_it(store: Store) -> None:
    pace = Pace(1260, time.time())  # twenty a second
    store.push_services.pace(ORIGIN, pace)
    workers = [worker(store), worker(store)]
    services = [one.of(ORIGIN, "apple") for one in workers]
    begun, started = time.monotonic(), [0, 0]
    for one in workers:
        one.refresh()
        assert one.paced == {ORIGIN}
    while sum(started) < 2 * pace.per_second:
        number = random.randrange(2)
        one, service = workers[number], services[number]
        if one.room(service):
            one.started(service, 1)
            answer(one, service, 1)
            started[number] += 1
        allowed = 1 + pace.per_second * (time.monotonic() - begun)
        assert sum(started) <= allowed
        time.sleep(0.001)
    assert min(started) > 0


@pytest.mark.redis
def test_what_an_unknown_push_service_accepted_at_its_pace_does_not_prove_it(store: Store) -> None:
    one = worker(store)
    service = one.of("https://push.example", "other")
    store.push_services.pace(service.origin, Pace(60_000, time.time()))
    one.refresh()
    while service.limit < WINDOW:
        wait_until(lambda: one.room(service), every=0.005)
        answer(one, service, start(one, service))
    store.push_services.unpace(service.origin, time.time())
    one.refresh()
    service.tokens, service.more_at = 0, 0.0  # what it has left of its pace is void by then
    assert start(one, service) <= 2, "it starts slowly again"


@pytest.mark.redis
def test_what_an_unknown_push_service_took_until_it_limited_us_is_known_once(store: Store) -> None:
    services = store.push_services
    services.take_at_start(ORIGIN, 0)
    _, proof = services.take_at_start(ORIGIN, 300)
    assert proof == 300
    rate = services.start_over(ORIGIN)
    assert rate is not None and 0 < rate <= 300, "a second"
    assert services.proof(ORIGIN) == 1, "it starts slowly again"
    assert services.start_over(ORIGIN) is None


def test_no_host_counts_as_dead_while_one_that_accepted_messages_gives_no_answer(
    store: Store,
) -> None:
    """Our own network is down, and the alert is for readers of Edge alone."""
    new, known = (f"https://{name}.notify.windows.com" for name in ("new", "known"))
    store.push_services.prove(known, 1)
    one = worker(store)
    services = [one.of(origin, "microsoft", "*.notify.windows.com") for origin in (new, known)]
    rest = json.dumps(Rest(6, time.time() - 60, time.time() + 60, "no answer", True))
    store.redis.hset("{g}:resting", new, rest)
    one.refresh()
    assert one.is_dead(services[0])
    store.redis.hset("{g}:resting", known, rest)
    one.refresh()
    assert not any(map(one.is_dead, services))
