"""Hosts that strangers make up under a wildcard: they use up no reader's room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.model.notifications import Audience, Batch, Outcome
from service.model.retention import (
    DAY,
    HOST_RETIRED_KEPT,
    NAMES_KNOWN,
    UNPROVEN_KEPT,
    UNPROVEN_TRIED,
    UNPROVEN_UNSEEN,
)
from service.model.subscriptions import SubscriptionId
from service.store import Store
from service.store.alerts.outcomes import Result
from service.store.layout.names import MOST_UNPROVEN
from tests.support.client import API, Client, browser
from tests.support.processes.installation import content

ClientWith = Callable[..., Client]
SUBSCRIPTIONS = f"{API}/subscriptions"
_numbers = iter(range(1_000_000))


def at(host: str) -> dict[str, Any]:
    """A browser's subscription at a host of Microsoft's."""
    given = browser(next(_numbers))
    return {**given, "endpoint": f"https://{host}.notify.windows.com/w/?token={next(_numbers)}"}


def subscribes(client: Client, host: str, address: str = "192.0.2.1") -> Any:
    return client.call("POST", SUBSCRIPTIONS, {"subscription": at(host)}, address=address)


def fill(client: Client) -> list[str]:
    """Strangers make up as many hosts as there is room for, ten from each of their addresses."""
    ids = []
    for n in range(MOST_UNPROVEN):
        answer = subscribes(client, f"made-up-{n}", address=f"198.51.100.{n // 10}")
        assert answer.status_code == 201
        ids.append(answer.json["id"])
    return ids


def base_of(client: Client, id: str) -> int:
    subscription = client.runtime.subscriptions.get(id)
    return client.runtime.store.names.bases.of(subscription.endpoint)


def ends_with(store: Store, id: SubscriptionId, result: Result) -> None:
    """A worker records what became of an alert for a reader."""
    alert = next(_numbers)
    store.redis.hset(f"{{{id.partition}}}:n:{alert}", mapping={"recipients": 1})
    store.redis.setbit(f"{{{id.partition}}}:n:{alert}:audience", id.number, 1)
    batch = Batch(id.partition, id.number, id.number)
    store.outcomes.record(alert, batch, "a worker", 8000, {result: [id.number]})


def accepted(store: Store, id: SubscriptionId, base: int) -> None:
    """A push service accepts an alert for a reader."""
    ends_with(store, id, Result(Outcome.ACCEPTED, "microsoft", base))


def asked_in_vain(store: Store, *ids: str) -> None:
    """Workers find no such host, or it refuses, as they record for an unproven host."""
    for id in map(SubscriptionId.parse, ids):
        ends_with(store, id, Result(Outcome.REFUSED, "microsoft", 0, in_vain=True))


class Days:
    """The clock of an installation, which moves as a test wants."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        from service.model.time import clock

        self.client, self.now = client, clock.time()
        self._monkeypatch = monkeypatch

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self._monkeypatch.setattr("service.model.time.clock.time", lambda: self.now)
        self.client.runtime.push_hosts.look_after(self.now)

    def send(self) -> None:
        """Send an alert to everyone."""
        publishing = self.client.runtime.publishing
        publishing.publish(content(), Audience(everyone=True), by="a test")


@pytest.fixture
def client(client_with: ClientWith) -> Client:
    return client_with()


@pytest.fixture
def days(client: Client, monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(client, monkeypatch)


def test_one_address_makes_up_ten_hosts_a_day(client: Client) -> None:
    statuses = [subscribes(client, f"made-up-{n}").status_code for n in range(12)]
    assert statuses == [201] * 10 + [429] * 2
    refused = subscribes(client, "one-more")
    assert DAY - 60 < int(refused.headers["Retry-After"]) <= DAY
    assert subscribes(client, "one-more", address="192.0.2.2").status_code == 201
    assert subscribes(client, "made-up-3").status_code == 201, "a host that is in use already"


def test_after_500_invented_hosts_a_reader_with_a_new_host_can_subscribe_again_after_an_alert(
    client: Client, days: Days
) -> None:
    paused, *made_up = fill(client)
    assert client.runtime.push_hosts.crowded() == {"*.notify.windows.com": MOST_UNPROVEN}
    honest = subscribes(client, "wns2-honest")
    assert honest.status_code == 503, "there is no room"
    days.pass_(60)
    days.send()
    asked_in_vain(client.runtime.store, *made_up)
    days.pass_(UNPROVEN_TRIED + 60)
    assert client.runtime.subscriptions.get(paused), "nobody asked this host"
    assert client.runtime.subscriptions.count() == 1, "nothing was accepted at the others"
    assert client.runtime.store.departures.counts() == {"unproven": len(made_up)}
    assert subscribes(client, "wns2-honest").status_code == 201


@pytest.mark.redis
def test_a_host_counts_once_a_push_was_accepted_there(client: Client, days: Days) -> None:
    id = SubscriptionId.parse(subscribes(client, "wns2-honest").json["id"])
    base = base_of(client, str(id))
    assert base in client.runtime.store.names.bases.unproven()
    asked_in_vain(client.runtime.store, str(id))
    accepted(client.runtime.store, id, base)
    days.pass_(1)
    assert base not in client.runtime.store.names.bases.unproven()
    asked_in_vain(client.runtime.store, *fill(client))
    days.send()
    days.pass_(UNPROVEN_KEPT + DAY)
    assert client.runtime.subscriptions.count() == 1, "the honest reader stays"
    assert subscribes(client, "wns2-honest", "192.0.2.9").status_code == 201


def test_a_new_host_has_a_week_while_few_are_made_up(client: Client, days: Days) -> None:
    id = subscribes(client, "wns2-new").json["id"]
    days.pass_(UNPROVEN_KEPT + DAY)
    assert client.runtime.subscriptions.count() == 1, "no alert was sent that could prove it"
    days.send()
    asked_in_vain(client.runtime.store, id)
    days.pass_(UNPROVEN_TRIED / 2)
    assert client.runtime.subscriptions.count() == 1
    days.pass_(UNPROVEN_TRIED)
    assert client.runtime.subscriptions.count() == 0


def test_a_reader_whose_new_host_was_never_asked_stays_however_many_alerts_were_sent(
    client: Client, days: Days
) -> None:
    """One paused, one asleep whenever an alert comes, one whose alert a worker lost."""
    subscribes(client, "wns2-new")
    for _ in range(3):
        days.send()
        days.pass_(UNPROVEN_KEPT)
    assert client.runtime.subscriptions.count() == 1
    assert client.runtime.store.departures.counts() == {}


def test_strangers_who_pause_and_do_nothing_more_hold_the_room_of_new_hosts_for_a_month(
    client: Client, days: Days
) -> None:
    """A reader who was paused meanwhile stays if the browser visited a page of the newspaper."""
    fill(client)
    given = {"subscription": at("made-up-0")}  # a new reader at a host that is in use
    reader = client.call("POST", SUBSCRIPTIONS, given).json["id"]
    idle = {"subscription": at("made-up-0")}
    away = client.call("POST", SUBSCRIPTIONS, idle).json
    days.pass_(UNPROVEN_UNSEEN - DAY)
    assert client.runtime.subscriptions.count() == MOST_UNPROVEN + 2
    assert subscribes(client, "wns2-honest").status_code == 503, "there is no room"
    visit = client.call("POST", SUBSCRIPTIONS, {**given, "refresh": True})
    assert (visit.status_code, visit.json["id"]) == (200, reader)
    days.pass_(3 * DAY)
    assert client.runtime.subscriptions.count() == 1
    assert client.runtime.subscriptions.get(reader)
    assert client.runtime.store.departures.counts() == {"unproven": MOST_UNPROVEN + 1}
    assert subscribes(client, "wns2-honest").status_code == 201
    # One that stayed away is unknown, so that the page may ask this reader again.
    back = client.call("POST", SUBSCRIPTIONS, {**idle, "refresh": True}, token=away["token"])
    assert back.status_code == 404
    assert client.call("POST", SUBSCRIPTIONS, idle).status_code == 201


def test_a_paused_reader_at_a_new_host_stays_while_strangers_make_up_none(
    client: Client, days: Days
) -> None:
    subscribes(client, "wns2-new")
    days.pass_(3 * UNPROVEN_UNSEEN)
    assert client.runtime.subscriptions.count() == 1


def test_a_host_where_a_worker_saw_a_push_accepted_keeps_its_readers_though_no_clock_ran(
    client: Client, days: Days
) -> None:
    store = client.runtime.store
    id = subscribes(client, "wns2-honest").json["id"]
    base = base_of(client, id)
    asked_in_vain(store, id)
    store.push_services.prove("https://wns2-honest.notify.windows.com", 1)  # as workers do
    days.pass_(UNPROVEN_KEPT)
    days.send()
    days.pass_(UNPROVEN_TRIED + 60)
    assert client.runtime.subscriptions.count() == 1
    assert base not in store.names.bases.unproven()


@pytest.mark.redis
def test_a_number_is_given_to_another_host_only_when_nobody_can_mean_the_old_one(
    client: Client, days: Days
) -> None:
    store = client.runtime.store
    reader = subscribes(client, "first").json
    base = base_of(client, reader["id"])
    assert client.call("DELETE", f"{SUBSCRIPTIONS}/{reader['id']}", token=reader["token"])
    days.pass_(61)
    assert base in store.names.bases.retired()
    assert store.names.bases.name(base).startswith("https://first.")
    second = base_of(client, subscribes(client, "second").json["id"])
    assert second != base
    days.pass_(HOST_RETIRED_KEPT + 61)
    third = base_of(client, subscribes(client, "third").json["id"])
    assert third == base
    other_process = Store(store.redis)
    assert other_process.names.bases.name(base).startswith("https://third.")


@pytest.mark.usefixtures("one_partition")
@pytest.mark.redis
def test_a_reader_who_came_while_a_host_was_retired_keeps_it(client: Client, days: Days) -> None:
    store = client.runtime.store
    reader = subscribes(client, "first").json
    base = base_of(client, reader["id"])
    other = Client(client.app)
    stale = Store(store.redis)
    assert stale.names.bases.all()
    client.call("DELETE", f"{SUBSCRIPTIONS}/{reader['id']}", token=reader["token"])
    days.pass_(61)
    endpoint = client.runtime.endpoints.parse("https://first.notify.windows.com/w/?token=late")
    assert stale.names.bases.of(endpoint) == base, "this process has not heard of it yet"
    store.redis.setbit(f"{{0}}:base:{base}", 77, 1)
    days.pass_(HOST_RETIRED_KEPT + 61)
    assert base not in store.names.bases.retired()
    assert store.names.bases.of(endpoint) == base
    assert base_of(other, subscribes(client, "another").json["id"]) != base


def test_a_host_that_comes_back_has_to_prove_itself_again(
    client: Client, days: Days, client_with: ClientWith
) -> None:
    """Else strangers who leave and come back within minutes would keep their hosts for ever."""
    store = client.runtime.store
    reader = subscribes(client, "made-up").json
    base = base_of(client, reader["id"])
    client.call("DELETE", f"{SUBSCRIPTIONS}/{reader['id']}", token=reader["token"])
    stale = client_with()
    assert stale.runtime.store.names.bases.all()
    days.pass_(61)
    assert base in store.names.bases.retired()
    back = subscribes(stale, "made-up").json["id"]
    assert base_of(stale, back) == base, "it has not heard of it"
    days.pass_(HOST_RETIRED_KEPT + 61)
    assert base not in store.names.bases.retired()
    assert base in store.names.bases.unproven()
    days.pass_(UNPROVEN_KEPT)
    days.send()
    asked_in_vain(store, back)
    days.pass_(UNPROVEN_TRIED + 61)
    assert client.runtime.subscriptions.count() == 0


def test_every_process_forgets_a_number_long_before_it_is_given_again() -> None:
    assert 10 * NAMES_KNOWN < HOST_RETIRED_KEPT


# Welcomes and tests -----------------------------------------------------------------------------


def test_junk_subscriptions_keep_no_honest_reader_from_the_welcome(
    client_with: ClientWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_with(WELCOME="confirm")
    for n in range(100):
        subscribes(client, f"made-up-{n % 10}", address=f"198.51.100.{n % 5}")
    active = client.runtime.store.notifications.active()
    assert len(active) <= 20, "a budget of their own"
    for one in client.runtime.store.notifications.all(active):
        assert one.last_start - one.created_at <= 61, "they fail within a minute"
    answer = client.call("POST", SUBSCRIPTIONS, {"subscription": browser(next(_numbers))})
    assert answer.status_code == 201
    assert len(client.runtime.store.notifications.active()) == len(active) + 1
    test = f"{SUBSCRIPTIONS}/{answer.json['id']}/test"
    assert client.call("POST", test, token=answer.json["token"]).status_code == 202
