"""Totals of each day: what the clock writes down, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone

import pytest
from redis import RedisError

from service.domain.alerts.figures import AlertFigures
from service.domain.operations.daily_totals import Clicks, DailyTotals, Day, sum_of, today
from service.local.pretend_readers import seed
from service.model.notifications import Audience, Outcome
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from service.store.alerts.recipients import MOST_HAD
from tests.support.client import Client, Reader
from tests.support.desk.pages import send_all
from tests.support.processes.installation import content
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.users import as_users

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("one_partition")]

EVERYONE = Audience(everyone=True)
DAY = 86_400
Travel = Callable[[float], float]


@pytest.fixture
def travel(monkeypatch: pytest.MonkeyPatch) -> Travel:
    """Sets the clock to noon so many days from now."""
    noon = time.time() // DAY * DAY + DAY / 2

    def go(days: float) -> float:
        now = noon + days * DAY
        monkeypatch.setattr("service.model.time.clock.time", lambda: now)
        return now

    return go


def keep(client: Client, now: float) -> None:
    """Let the clock, as its user of Redis, do its duty now, as often as it has to."""
    address = as_users({"REDIS_URL": client.runtime.config.redis_url}, "clock")["REDIS_URL"]
    store = Store(connect(address))
    totals = DailyTotals(store, AlertFigures(store, client.runtime.endpoints))
    totals.keep(now)
    while totals._next <= time.monotonic():
        totals.keep(now)


def day_of(client: Client, now: float) -> Day:
    (found,) = client.runtime.daily_totals.days(datetime.fromtimestamp(now, timezone.utc).date(), 1)
    return found


def send(client: Client, at: float, accepted: int, audience: Audience = EVERYONE) -> int:
    """Send an alert that began at a time, to so many browsers."""
    runtime = client.runtime
    id = runtime.publishing.publish(content(), audience, by="a test").id
    reach = runtime.publishing.reach(audience)
    outcomes = {(Outcome.ACCEPTED, "google"): accepted, (Outcome.EXPIRED, "x"): reach - accepted}
    send_all(runtime, id, {kind: n for kind, n in outcomes.items() if n})
    runtime.planning.advance(id)
    redis = runtime.store.redis
    redis.hset(f"{{g}}:n:{id}", "started_at", f"{at:.3f}")
    redis.zadd("{g}:started", {str(id): round(at * 1000)})
    return id


def click(client: Client, id: int, *services: str) -> None:
    rows = [
        ReceiptRow(id, "clicked", str(n), [Tally("clicked", "service", service)])
        for n, service in enumerate(services)
    ]
    client.runtime.store.receipt_counts.count(rows, 40 * DAY)


def test_who_joined_and_who_ended_is_told_apart_and_adds_up(client: Client, travel: Travel) -> None:
    readers = [Reader(client, number) for number in range(5)]
    keep(client, travel(0))
    readers += [Reader(client, number) for number in range(5, 8)]
    readers[0].call("DELETE")
    readers[1].call("DELETE", "?why=lost")
    now = travel(1)
    keep(client, now)
    assert day_of(client, travel(0)).joined is None, "nobody knows who was there before"
    day = day_of(client, now)
    assert (day.readers, day.joined) == (6, 3)
    assert (day.ended["left"], day.ended["lost"]) == (1, 1)
    assert day.readers == 5 + day.joined - sum(day.ended.values())


def test_a_day_without_a_clock_counts_for_the_next(client: Client, travel: Travel) -> None:
    keep(client, travel(0))
    Reader(client)
    now = travel(3)
    keep(client, now)
    days = client.runtime.daily_totals.days(today(), 4)
    assert [day.readers for day in days] == [0, None, None, 1]
    assert [day.joined for day in days] == [None, None, None, 1]
    assert sum_of(days).joined == 1
    # A store that was restored from a backup has fewer.
    client.runtime.store.redis.hset("{g}:ended", "left", -7)
    keep(client, now := travel(4))
    assert day_of(client, now).ended["left"] == 0


def test_alerts_of_a_day_are_counted_a_day_after_its_end_and_stay(
    client: Client, travel: Travel
) -> None:
    for number in range(10):
        Reader(client, number)
    keep(client, travel(-1))
    began = travel(0)
    first = send(client, began - 3600, 8)
    second = send(client, began, 10, Audience(everyone=True))
    send(client, began, 1, Audience(subscription=SubscriptionId(0, 1)))  # a test
    click(client, first, "google", "google", "apple")
    keep(client, travel(1))
    counted = client.runtime.store.daily_totals.counted
    assert counted() == _number(began - DAY)
    live = day_of(client, began).alerts
    click(client, second, *["google"] * 3)
    keep(client, travel(2))
    assert counted() == _number(began)
    kept = day_of(client, began).alerts
    assert live.all == Clicks(2, 8, 2), "that nobody reported on is no click rate"
    assert kept.all == Clicks(2, 18, 5)
    assert kept.handed_over == 18
    hours = {datetime.fromtimestamp(at, timezone.utc).hour for at in (began, began - 3600)}
    assert kept.hours.keys() == hours
    assert kept.topics == {"": kept.all}
    assert kept.had[:3] == [0, 2, 8]
    # No receipts and no recipients are needed for it any more.
    for key in client.runtime.store.redis.scan_iter("*:n:*:*"):
        client.runtime.store.redis.delete(key)
    assert day_of(client, began).alerts == kept
    assert client.runtime.store.redis.ttl(f"{{g}}:totals:{_number(began)}") == -1


def test_a_day_that_a_newer_release_counted_is_read(client: Client, travel: Travel) -> None:
    now = travel(0)
    row = {
        "all": [2, 18, 5, 7],
        "handed_over": 18,
        "hours": {"9": [2, 18, 5, 7]},
        "topics": {"": [2, 18, 5, 7]},
        "had": [],
        "minutes": {"9": 1},
    }
    client.runtime.store.daily_totals.put_alerts(_number(now), row)
    found, clicks = day_of(client, now).alerts, Clicks(2, 18, 5)
    assert (found.all, found.hours, found.topics) == (clicks, {9: clicks}, {"": clicks})
    # So are the counts of an alert.
    id = 4711
    click(client, id, "google")
    client.runtime.store.receipt_counts.count_left(id, 60)
    client.runtime.store.redis.hset(f"{{g}}:n:{id}:tallies", mapping={"muted": 3, "a b": 4})
    (counted,) = client.runtime.store.receipt_counts.all([id], ["clicked"])
    assert counted.tallies == {Tally("clicked", "service", "google"): 1}
    assert counted.left == 1


def _number(now: float) -> int:
    return int(f"{datetime.fromtimestamp(now, timezone.utc):%Y%m%d}")


def test_a_day_without_alerts_is_one_on_which_every_reader_had_none(
    client: Client, travel: Travel
) -> None:
    Reader(client)
    now = travel(0)
    keep(client, now)
    keep(client, travel(2))
    assert day_of(client, now).alerts.had == [1] + [0] * MOST_HAD


def test_how_many_alerts_readers_got_is_counted_exactly_up_to_fifteen(client: Client) -> None:
    runtime = client.runtime
    list(seed(runtime.store, 100, origins=["https://fcm.googleapis.com"],
              vapid_key=runtime.keys.current, topics=[]))  # fmt: skip
    alerts = []
    for n in range(18):
        id = runtime.publishing.publish(content(), EVERYONE, by="a test").id
        alerts.append(runtime.publishing.get(id))
        for reader in range(100):
            if reader % 20 > n:
                runtime.store.redis.setbit(f"{{0}}:n:{id}:accepted:0", reader, 1)
    runtime.store.subscriptions.remove(SubscriptionId(0, 3))
    expected = [0] * 16
    for reader in range(100):
        expected[min(15, reader % 20, 18)] += reader != 3
    assert runtime.store.recipients.had(alerts) == expected
    assert runtime.store.recipients.had([]) == [99] + [0] * 15


def test_several_days_are_summed() -> None:
    days = [Day(date(2026, 3, 28) + timedelta(n), 10 + n, n, {"left": 1}, 0) for n in range(7)]
    for day in days:
        day.alerts.all = Clicks(1, 100, 10)
        day.alerts.had = [5, 5]
    week = sum_of(days)
    assert (week.date, week.readers, week.joined) == (date(2026, 3, 28), 16, 21)
    assert week.ended == {"left": 7}
    assert week.alerts.all == Clicks(7, 700, 70)
    assert week.alerts.all.rate == 0.1
    assert week.alerts.had == [35, 35]


def test_while_redis_is_full_the_clock_looks_no_more_often(
    client: Client, travel: Travel, whole_redis: RedisServer
) -> None:
    totals, now = client.runtime.daily_totals, travel(0)
    with whole_redis.full():
        with pytest.raises(RedisError):
            totals.keep(now)
        totals.keep(now)


def test_the_clock_looks_every_five_minutes(client: Client, travel: Travel) -> None:
    totals = client.runtime.daily_totals
    totals.keep(now := travel(0))
    Reader(client)
    totals.keep(now)
    assert day_of(client, now).readers == 0
