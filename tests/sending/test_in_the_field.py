"""What real push services do to an alert, and what readers and editors see of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.sending.push_services import Pace
from tests.support.network.proxy import ConnectProxy
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation
from tests.support.push_service import Answer, Message, PushService, Rule
from tests.support.seeded import reader_of, shown
from workers.sending import policy

# 413 ---------------------------------------------------------------------------------------------

LONG = " ".join(["Parliament has adopted the budget after a night of talks."] * 30)


def constrained(most: int) -> Rule:
    """Answer as Mozilla's bridge to Android does, or another service that takes little."""

    def rule(message: Message) -> Answer | None:
        if len(message.body) <= most:
            return None
        return Answer(413, body=b'{"code":413,"errno":104,"message":"constrained device"}')

    return rule


@pytest.mark.parametrize("most", [2744, 2048])
def test_browser_that_takes_no_large_message_gets_it_without_picture_and_buttons(
    installation: Installation, push: PushService, most: int
) -> None:
    installation.seed(3)
    push.answer_with(constrained(most))
    id = installation.publish(
        body=LONG,
        image="https://paper.example/picture.jpg?" + "x" * 900,
        icon="https://paper.example/icon.png",
        actions=(),
    )
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"accepted": 3}
    assert Counter(message.status for message in push.received) == {413: 3, 201: 3}
    (message, *_) = [one for one in push.received if one.status == 201]
    document = shown(message)
    assert "image" not in document
    assert document["title"] == "Late news"
    assert document["navigate"] == "https://paper.example/story"
    text = str(document["body"])
    assert text.endswith("…")
    assert LONG.startswith(text[:-1])
    assert len(text) > 1000


def test_message_that_cannot_be_made_smaller_is_refused_after_one_attempt(
    installation: Installation, push: PushService
) -> None:
    installation.seed(2)
    push.answer_with(constrained(100))
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"refused": 2}
    assert len(push.received) == 2


def test_smaller_message_that_is_too_large_as_well_is_refused(
    installation: Installation, push: PushService
) -> None:
    installation.seed(2)
    push.answer_with(constrained(100))
    id = installation.publish(body=LONG)
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"refused": 2}
    assert len(push.received) == 4


# Microsoft ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("http2", [True, False])
def test_message_that_microsoft_drops_is_not_counted_as_accepted(
    redis_url: str, tmp_path: Path, http2: bool
) -> None:
    with PushService(http2=http2) as push, Installation(redis_url, push, tmp_path) as installation:
        installation.seed(6)
        seen: Counter[str] = Counter()

        def rule(message: Message) -> Answer | None:
            seen[message.path] += 1
            number = reader_of(message)
            if number < 2:
                return Answer(200, {"X-WNS-Status": "dropped", "X-WNS-Msg-ID": "7"})
            if number < 4 and seen[message.path] == 1:
                return Answer(200, {"X-WNS-Status": "channelthrottled", "Retry-After": "1"})
            return Answer(200, {"X-WNS-Status": "received"})

        push.answer_with(rule)
        id = installation.publish()
        with fan_out_of(installation) as fan_out:
            send_all(installation, fan_out, id)
        assert installation.outcomes(id) == {"accepted": 4, "refused": 2}
        assert sorted(seen.values()) == [1, 1, 1, 1, 2, 2]
        assert installation.runtime.store.push_services.resting() == {}


# Waits are by recipient, rests by origin ---------------------------------------------------------


@pytest.mark.usefixtures("one_partition")
def test_reader_is_not_kept_waiting_by_a_neighbours_retry_after(
    installation: Installation, push: PushService
) -> None:
    installation.seed(4)
    seen: Counter[int] = Counter()

    def rule(message: Message) -> Answer | None:
        number = reader_of(message)
        seen[number] += 1
        if number == 0:
            return Answer(429, {"retry-after": "900"})
        if number == 1 and seen[1] < 3:
            return Answer(503)
        return None

    push.answer_with(rule)
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        began = time.monotonic()
        while installation.outcomes(id) != {"accepted": 3}:
            assert time.monotonic() < began + 30
            fan_out.run(lambda: True)
            time.sleep(0.05)
        assert seen == {0: 1, 1: 3, 2: 1, 3: 1}
        assert installation.runtime.store.push_services.resting() == {}
        waits = max(look.next_due for look in installation.runtime.store.batches.looks(id).values())
        assert 850_000 < waits <= 900_000, "the neighbour waits as it was asked to"


@pytest.mark.usefixtures("one_partition")
def test_recipient_who_fails_again_and_again_does_not_use_up_a_neighbours_attempts(
    installation: Installation, push: PushService
) -> None:
    installation.seed(2)
    seen: Counter[int] = Counter()

    def rule(message: Message) -> Answer | None:
        number = reader_of(message)
        seen[number] += 1
        if number == 0 and seen[0] < 4:
            return Answer(500)
        # It is refused the third time, and then its neighbour has failed three times as well.
        return Answer(401) if number == 1 and seen[1] < 3 else None

    push.answer_with(rule)
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"accepted": 2}


# Unknown push services ---------------------------------------------------------------------------


def banning(allowed: int, within: float, ban: float) -> Rule:
    """Allow so many messages within so many seconds; then answer 429 for some seconds."""
    times: list[float] = []
    banned_until = 0.0

    def rule(message: Message) -> Answer | None:
        nonlocal banned_until
        if message.at < banned_until:
            return Answer(429)
        times[:] = [at for at in times if at > message.at - within]
        if len(times) >= allowed:
            banned_until = message.at + ban
            return Answer(429)
        times.append(message.at)
        return None

    return rule


@pytest.mark.soak
def test_unknown_push_service_that_bans_is_sent_to_at_a_pace_that_it_bears(
    installation: Installation, push: PushService
) -> None:
    installation.seed(80)
    installation.runtime.store.redis.delete("{g}:proof")  # as if nobody had ever sent there
    push.answer_with(banning(40, within=5.0, ban=2.0))
    for _ in range(2):
        installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 80}
    statuses = Counter(message.status for message in push.received)
    assert statuses[201] == 80, "no reader twice"
    assert statuses[429] < 40
    pace = installation.runtime.store.push_services.paced()[push.origin]
    assert pace.per_minute < 2 * 40 / 5 * 60
    at = sorted(message.at for message in push.received)
    assert sum(one < at[0] + 1 for one in at) < 40, "it starts slowly"


def test_pace_gets_slower_until_the_push_service_bears_it(
    installation: Installation, push: PushService
) -> None:
    services = installation.runtime.store.push_services
    services.pace(push.origin, Pace(600, time.time()))
    paces = []
    with fan_out_of(installation) as fan_out:
        health = fan_out._health
        service = health.of(push.origin, "other")
        for number in range(7):
            health.refresh()
            limited = policy.Verdict(None, limited=True)
            health.answered(service, SubscriptionId(0, number), limited, 429)
            paces.append(services.paced()[push.origin].per_minute)
            # A probe fails as well, which says nothing about the pace.
            service.rest = service.rest and service.rest._replace(until=0.0)
            health.answered(service, SubscriptionId(0, number), limited, 429)
            services.recovered(push.origin)
    assert paces == [300, 150, 37, 9, 2, 1, 1]


# Redis' clock ------------------------------------------------------------------------------------


@pytest.fixture
def an_hour_fast(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """This host's clock is an hour fast until the function is called that this returns."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    monkeypatch.setattr(clock, "_measured", None)
    installation.runtime.store.processes.set_clock()
    yield lambda: monkeypatch.setattr(time, "time", real)
    monkeypatch.undo()


def test_host_with_a_wrong_clock_leaves_no_rest_or_wait_behind(
    installation: Installation, push: PushService, an_hour_fast: Callable[[], None]
) -> None:
    installation.seed(20)
    push.answer_with(lambda _message: Answer(503))
    id = installation.publish(ttl=80_000)
    services = installation.runtime.store.push_services
    with fan_out_of(installation) as fan_out:
        fan_out.run(lambda: not services.resting())
    an_hour_fast()
    push.answer_with(lambda _message: None)
    seconds, _ = installation.runtime.store.redis.time()
    assert services.resting()[push.origin].until < seconds + 5
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id, timeout=20)
    assert installation.outcomes(id) == {"accepted": 20}


@pytest.mark.usefixtures("an_hour_fast")
def test_date_until_which_a_push_service_rests_is_kept_by_a_host_with_a_wrong_clock(
    installation: Installation, push: PushService
) -> None:
    installation.seed(1)
    seconds, _ = installation.runtime.store.redis.time()
    date = formatdate(seconds + 600, usegmt=True)
    push.answer_with(lambda _message: Answer(503, {"retry-after": date}))
    installation.publish()
    services = installation.runtime.store.push_services
    with fan_out_of(installation) as fan_out:
        fan_out.run(lambda: not services.resting())
    assert services.resting()[push.origin].until == pytest.approx(seconds + 600, abs=5)


# A proxy -----------------------------------------------------------------------------------------


def test_alert_goes_out_where_only_a_proxy_leads_out(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with (
        ConnectProxy(user="news:room") as proxy,
        Installation(
            redis_url, push, tmp_path, PUSH_PROXY="", HTTPS_PROXY=proxy.url
        ) as installation,
    ):
        installation.seed(30)
        installation.worker()
        installation.clock()
        id = installation.publish()
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 30}
        assert set(proxy.asked) == {push.origin.removeprefix("https://")}
