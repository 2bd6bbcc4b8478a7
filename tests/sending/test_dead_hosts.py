"""Hosts that do not exist or do not answer, and endpoints that push services do not know."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter

import pytest

from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation
from tests.support.push_service import Answer, PushService
from workers.sending import health, policy

DEAD = [f"https://dead{number}.notify.windows.com" for number in range(150)]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Microsoft's domain has no hosts."""
    resolve = socket.getaddrinfo

    def lookup(host: str, *rest: object, **named: object) -> object:
        if host.endswith(".notify.windows.com"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.mark.usefixtures("nowhere")
def test_made_up_host_is_refused_soon_and_not_tried_until_the_deadline(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "DEAD_AFTER", 3)  # instead of 6: half a minute
    installation.seed(20, origins=[push.origin, DEAD[0]])
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        began = time.monotonic()
        send_all(installation, fan_out, id)
        assert time.monotonic() - began > 1, "not after a single attempt"
        assert installation.outcomes(id) == {"accepted": 10, "refused": 10}
        again = installation.publish()
        send_all(installation, fan_out, again)
        assert installation.outcomes(again) == {"accepted": 10, "refused": 10}
    store = installation.runtime.store
    assert store.subscriptions.count() == 20, "their records are kept"
    bases, readers = store.names.bases.all(), store.host_readers
    in_vain = {url: len(readers.asked_in_vain(number)) for url, number in bases.items()}
    assert [n for url, n in in_vain.items() if url.startswith(DEAD[0])] == [10]
    assert sum(in_vain.values()) == 10, "and the store knows whose dead host was asked"


@pytest.mark.usefixtures("nowhere")
def test_host_that_accepted_messages_before_waits_until_it_is_back(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "DEAD_AFTER", 2)
    installation.seed(4, origins=[push.origin, DEAD[0]])
    services = installation.runtime.store.push_services
    services.prove(DEAD[0], 1)
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        while DEAD[0] not in services.resting() or services.resting()[DEAD[0]].attempts < 3:
            fan_out.run(lambda: True)
            time.sleep(0.05)
    assert installation.outcomes(id) == {"accepted": 2}


@pytest.mark.usefixtures("nowhere")
def test_no_reader_is_refused_while_our_own_network_is_down(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "DEAD_AFTER", 2)
    installation.seed(4, origins=[DEAD[0], DEAD[1]])
    services = installation.runtime.store.push_services
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        while DEAD[0] not in services.resting() or services.resting()[DEAD[0]].attempts < 3:
            fan_out.run(lambda: True)
            time.sleep(0.05)
    assert installation.outcomes(id) == {}


@pytest.mark.usefixtures("nowhere")
def test_worker_does_not_remember_all_hosts_that_strangers_ever_made_up(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_MOST_KNOWN", 10)
    installation.seed(20, origins=[push.origin, *DEAD[:9]])
    installation.seed(20, origins=DEAD[9:19], first=20)
    installation.publish()
    with fan_out_of(installation) as fan_out:
        known = fan_out._health._services
        while len(known) < 20:  # in one run or in several
            fan_out.run(lambda: True)
            known = known | fan_out._health._services
        fan_out.run(lambda: False)
        assert fan_out._health._services.keys() == {push.origin}
        again = installation.publish()
        fan_out.run(lambda: True)
        assert installation.outcomes(again) == {"accepted": 2}


def test_hosts_with_silent_name_servers_keep_no_other_reader_waiting(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, asking = threading.Event(), Counter[str]()
    resolve = socket.getaddrinfo

    def lookup(host: str, *rest: object, **named: object) -> object:
        if host.endswith(".notify.windows.com"):
            asking[host] += 1
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    # The dead hosts come first, and there are more than threads.
    installation.seed(len(DEAD), origins=DEAD)
    installation.seed(50, origins=[push.origin], first=len(DEAD))
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        until = time.monotonic() + 30

        def going_on() -> bool:
            assert time.monotonic() < until, installation.outcomes(id)
            return installation.outcomes(id) != {"accepted": 50}

        fan_out.run(going_on)
        assert 0 < len(asking) <= 16, "one domain does not take all threads"
        released.set()


def subscribe(installation: Installation, push: PushService) -> SubscriptionId:
    browser = push.subscribe(installation.vapid.public)
    one, _ = installation.runtime.store.subscriptions.subscribe(
        SubscriptionRequest(
            EndpointPolicy((push.origin,)).parse(browser.endpoint),
            browser.p256dh,
            browser.auth,
            installation.runtime.keys.current,
        )
    )
    return one.id


@pytest.mark.usefixtures("one_partition")
@pytest.mark.parametrize("status", [404, 410])
def test_reader_who_has_just_subscribed_is_not_lost_by_a_hasty_gone(
    installation: Installation, push: PushService, status: int
) -> None:
    subscriptions, reader = installation.runtime.store.subscriptions, subscribe(installation, push)
    answers = iter([Answer(status), Answer(status), None])
    push.answer_with(lambda _message: next(answers))
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
        assert installation.outcomes(id) == {"accepted": 1}
        assert not subscriptions.is_gone(reader)
        # An hour later it is believed.
        installation.runtime.store.redis.zadd("{0}:young", {reader.number - 1: time.time() - 3600})
        push.answer_with(lambda _message: Answer(status))
        id = installation.publish()
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"gone": 1}
    assert subscriptions.is_gone(reader)


@pytest.mark.usefixtures("one_partition")
def test_many_gone_at_once_cost_no_call_of_redis_each(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "GONE_AFTER", 1)
    for _ in range(40):
        subscribe(installation, push)
    push.answer_with(lambda _message: Answer(410))
    redis = installation.runtime.store.redis
    redis.config_resetstat()
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"gone": 40}
    assert len(push.received) == 80, "each was tried again, because all are young"
    calls = {name: row["calls"] for name, row in redis.info("commandstats").items()}
    scores, ranges = (calls.get(f"cmdstat_{name}", 0) for name in ("zscore", "zrangebyscore"))
    # A look for a batch, of which there are some while the readers wait, calls one of each.
    assert abs(ranges - scores) < 10, calls


def test_made_up_endpoints_keep_no_welcome_waiting_until_they_are_old(
    installation: Installation, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few welcomes may be active at once, and a stranger can make up endpoints at any service."""
    monkeypatch.setattr(policy, "GONE_AFTER", 2)  # instead of 6: a minute
    reader = subscribe(installation, push)
    push.answer_with(lambda _message: Answer(404))
    id = installation.publish(Audience(subscription=reader))
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id, timeout=20)
    assert installation.outcomes(id) == {"gone": 1}
    assert len(push.received) == 3
