"""Receipts: a part of a large audience reports, and the count is scaled up with its error."""

from __future__ import annotations

import json
import random
import re
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from service.domain.operations.daily_totals import today
from service.domain.sending import receipts
from service.domain.sending.receipts import (
    EVENTS,
    STEPS,
    Estimate,
    estimate,
    estimates,
    reporting,
    step,
)
from service.local.pretend_readers import seed
from service.model.notifications import MAX_PLAINTEXT, Audience, Outcome, SendAt, Topic
from service.model.payload import Payload
from service.model.subscriptions import SubscriptionId
from service.model.tokens import Tokens
from service.store import Store
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from tests.support.client import API, SUBSCRIPTIONS, Client, Reader, browser
from tests.support.desk import pages
from tests.support.processes.installation import content

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("one_partition")]

EVERYONE = Audience(everyone=True)


def readers(client: Client, count: int) -> Store:
    """Store so many pretend readers."""
    runtime = client.runtime
    origins = ["https://push.example"]
    key = runtime.keys.current
    list(seed(runtime.store, count, origins=origins, vapid_key=key, topics=[]))
    return runtime.store


def payload(client: Client, id: int) -> dict[str, object]:
    """The `data` of a notification as a browser gets it."""
    one = client.runtime.publishing.get(id)
    document = json.loads(Payload(one, client.runtime.config.public_url).carrying("r" * 22))
    data: dict[str, object] = document["notification"]["data"]
    return data


@pytest.mark.parametrize(
    ("recipients", "share"),
    [(0, 1), (250_000, 1), (250_001, 1), (500_000, 0.5), (10_000_000, 0.025), (10**12, 0.0001)],
)
def test_about_a_quarter_of_a_million_browsers_report_at_most(
    recipients: int, share: float
) -> None:
    assert reporting(recipients) == share


def test_share_of_reporting_browsers_is_set_at_publishing_and_at_each_change(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 10)
    desk = client.runtime.publishing
    readers(client, 40)

    id = desk.publish(content(), EVERYONE, by="a test").id
    test = desk.publish(content(), Audience(subscription=SubscriptionId(0, 1)), by="a test").id
    planned = desk.publish(content(), EVERYONE, by="a test", send_at=SendAt(9e9)).id

    assert payload(client, id) == {
        "api": client.runtime.config.public_url,
        "receipt": "r" * 22,
        "report": 0.25,
    }
    assert "report" not in payload(client, test)
    nobody = Audience(topics=("chess",))
    before = desk.get(planned)
    assert before.reporting == 0.25
    desk.change(before, before.content, nobody, by="a test", send_at=SendAt(9e9))
    assert desk.get(planned).reporting == 1


def test_longest_accepted_alert_fits_into_a_message_with_its_share(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 10)
    readers(client, 33)
    token = client.add_token()
    alert = {
        "title": "Late news",
        "url": "https://paper.example/",
        "audience": {"everyone": True},
        "icon": f"https://paper.example/{'i' * 1900}",
        "image": f"https://paper.example/{'i' * 1200}",
    }
    body = "x" * 1000
    refused = client.call("POST", f"{API}/notifications", {**alert, "body": body}, token=token)
    over = int(re.search(r"(\d+) bytes too long", refused.json["errors"][0]["detail"])[1])
    alert["body"] = body[:-over]
    sent = client.call("POST", f"{API}/notifications", alert, token=token)
    assert sent.status_code == 202
    one = client.runtime.publishing.get(int(sent.json["id"]))
    assert one.reporting == 0.303
    size = len(Payload(one, client.runtime.config.public_url).carrying("r" * 22))
    assert MAX_PLAINTEXT - 40 < size <= MAX_PLAINTEXT


def test_count_is_scaled_up_from_a_sample_and_shown_with_its_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 2_000)
    chance = random.Random(8030)
    store = readers(client, 8_000)
    id = client.runtime.publishing.publish(content(), EVERYONE, by="a test").id
    share = payload(client, id)["report"]
    with store.redis.pipeline(transaction=False) as pipe:
        for number in range(1, 8_001):
            who = SubscriptionId(0, number)
            if chance.random() < share:
                pipe.pfadd(f"{{g}}:n:{id}:shown", str(who))
            if number <= 100:
                pipe.pfadd(f"{{g}}:n:{id}:clicked", str(who))
        pipe.execute()

    token = client.add_token()
    progress = client.call("GET", f"{API}/notifications/{id}", token=token).json["progress"]

    # The standard error for 8,000 browsers of which a quarter reports, scaled up by four.
    error = progress["receipts_error"]["shown"]
    assert 155 < error < 180
    assert abs(progress["receipts"]["shown"] - 8_000) < 3 * error
    # Every browser reports a click: nothing to scale.
    assert abs(progress["receipts"]["clicked"] - 100) <= 3
    assert progress["receipts_error"]["clicked"] == 1


def test_error_is_made_of_sampling_and_counting() -> None:
    # 10,000 of 40,000: sampling alone 4 × √(10,000 × 3/4), counting alone 0.81 % of 40,000.
    count, error = estimates({"shown": 10_000}, 0.25)["shown"]
    assert count == 40_000
    assert error == pytest.approx((346.41**2 + 324**2) ** 0.5, rel=1e-4)
    assert estimates({"dismissed": 10_000}, 0.25)["dismissed"] == Estimate(count, error)


def test_receipts_have_room_for_billions_of_alerts_welcomes_included() -> None:
    tokens, reader = Tokens("a secret of at least 32 characters"), SubscriptionId(1, 300)
    # Made when an alert's id had three bytes; browsers may still have such receipts.
    assert tokens.open_receipt("8BpcDn-RE3vLxLd1qU8GkA") == (70_000, reader)
    for id in (70_000, 1 << 24, (1 << 32) - 1):
        assert tokens.open_receipt(tokens.receipt(id, reader)) == (id, reader)


def tallies(client: Client, id: int) -> dict[str, int]:
    """What is counted of an alert, by `event kind value`."""
    (counted,) = client.runtime.store.receipt_counts.all([id], EVENTS)
    return {str(tally): n for tally, n in counted.tallies.items()}


def left(client: Client, id: int) -> int:
    """How many readers left after an alert."""
    (counted,) = client.runtime.store.receipt_counts.all([id], EVENTS)
    return counted.left


def report(client: Client, id: int, reader: Reader, event: str) -> None:
    """Let a browser report an event, as its service worker does."""
    token = client.runtime.tokens.receipt(id, SubscriptionId.parse(reader.id))
    answer = client.call("POST", f"{API}/receipts", {"token": token, "event": event})
    assert answer.status_code == 204


def test_a_receipt_counts_for_push_service_language_topic_hour_and_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.runtime.topics.add(Topic("chess", "Chess"))
    several = Audience(topics=("world", "sport", "chess"))
    id = client.runtime.publishing.publish(content(), several, by="a test").id
    riga = {"locale": "lv-LV", "timezone": "Europe/Riga", "topics": ["world", "chess"]}
    reader, silent = Reader(client, **riga), Reader(client, 1, topics=["world"], receipts=False)
    began = client.runtime.publishing.get(id).started_at
    monkeypatch.setattr("service.model.time.clock.time", lambda: began + 3 * 60 + 1)
    for event in ("shown", "clicked", "clicked"):
        report(client, id, reader, event)
    report(client, id, silent, "clicked")
    hour = datetime.fromtimestamp(began + 181, ZoneInfo("Europe/Riga")).hour
    assert tallies(client, id) == {
        "shown service google": 1,
        "shown language lv": 1,
        "shown topic world": 1,
        "shown topic chess": 1,
        "clicked service google": 1,
        "clicked language lv": 1,
        "clicked topic world": 1,
        "clicked topic chess": 1,
        f"clicked hour {hour}": 1,
        "clicked after 3": 1,
    }
    assert client.runtime.receipts.of(id)["clicked"] == 1


def test_a_test_to_one_browser_is_counted_without_tallies(client: Client) -> None:
    reader = Reader(client)
    alone = Audience(subscription=SubscriptionId.parse(reader.id))
    id = client.runtime.publishing.publish(content(), alone, by="a test").id
    report(client, id, reader, "shown")
    assert client.runtime.receipts.of(id)["shown"] == 1
    assert tallies(client, id) == {}


def test_tallies_add_up_to_the_count_and_a_repeated_receipt_changes_none(client: Client) -> None:
    counts, browsers = client.runtime.store.receipt_counts, 8_000
    few = Tally("shown", "service", "mozilla")
    rows = [
        ReceiptRow(7, "shown", f"0-{n}", [few if n % 10 == 0 else few._replace(value="google")])
        for n in range(browsers)
    ]
    counts.count(rows, 1000)
    shown, found = client.runtime.receipts.of(7)["shown"], tallies(client, 7)
    assert sum(found.values()) == shown
    # What a tally has may be off by more than a count of its size.
    _, error = estimate(found[str(few)], 1.0, shown)
    assert 18 < error < 24
    assert abs(found[str(few)] - browsers / 10) < 4 * error

    counts.count(rows[:2000], 1000)
    assert tallies(client, 7) == found
    redis = client.runtime.store.redis
    assert {redis.ttl(f"{{g}}:n:7:{what}") for what in ("shown", "tallies")} <= {999, 1000}


def test_it_is_known_who_can_report_in_each_language_and_topic_without_safari(
    client: Client,
) -> None:
    apple = {**browser(2), "endpoint": "https://web.push.apple.com/a-reader"}
    first = Reader(client, 0, locale="lv-LV", topics=["world"])
    second = Reader(client, 1, locale="en", topics=["world", "sport"])
    asked = {"subscription": apple, "locale": "lv", "topics": ["sport"]}
    assert client.call("POST", SUBSCRIPTIONS, asked).status_code == 201
    both = Audience(topics=("world", "sport"))
    alert = client.runtime.publishing.publish(content(), both, by="a test").id
    pages.send_all(client.runtime, alert, {(Outcome.ACCEPTED, "google"): 3})
    report(client, alert, first, "shown")
    report(client, alert, second, "clicked")
    figures = client.runtime.figures.of(client.runtime.publishing.get(alert))
    assert figures.able == {"language": {"lv": 1, "en": 1}, "topic": {"world": 2, "sport": 1}}
    assert not [*client.runtime.store.redis.scan_iter("*scratch*")]


def test_after_a_merge_an_alert_counts_for_the_topic_that_is_left(client: Client) -> None:
    client.runtime.topics.add(Topic("chess", "Chess"))
    first = Reader(client, 0, topics=["sport", "chess"])
    second = Reader(client, 1, topics=["world"])
    third = Reader(client, 2, topics=["sport"])
    several = Audience(topics=("sport", "world", "chess"))
    alert = client.runtime.publishing.publish(content(), several, by="a test").id
    pages.send_all(client.runtime, alert, {(Outcome.ACCEPTED, "google"): 3})
    report(client, alert, first, "clicked")
    report(client, alert, second, "clicked")
    client.runtime.topics.merge("sport", "world")
    report(client, alert, third, "clicked")
    figures = client.runtime.figures.of(client.runtime.publishing.get(alert))
    rows = {row.value: row for row in figures.rows("topic")}
    clicked = {slug: row.reported["clicked"] for slug, row in rows.items()}
    assert {slug: one.browsers for slug, one in clicked.items() if one} == {"world": 3, "chess": 1}
    assert figures.able["topic"] == {"world": 3, "chess": 1}
    (day,) = client.runtime.daily_totals.days(today(), 1)
    assert {slug: row.alerts for slug, row in day.alerts.topics.items()} == {"world": 1, "chess": 1}


@pytest.mark.usefixtures("whole_redis")  # it counts the commands of all databases
def test_a_report_asks_for_no_locale_of_which_nothing_was_reported(client: Client) -> None:
    runtime = client.runtime
    names, redis = runtime.store.names.locales, runtime.store.redis
    for n in range(100):  # which strangers can make up
        assert names.number(f"xx-{n}")
    reader = Reader(client, locale="lv-LV", topics=["world"])
    alert = runtime.publishing.publish(content(), EVERYONE, by="a test").id
    pages.send_all(runtime, alert, {(Outcome.ACCEPTED, "google"): 1})
    report(client, alert, reader, "shown")

    def bitops() -> int:
        return int(redis.info("commandstats").get("cmdstat_bitop", {"calls": 0})["calls"])

    before = bitops()
    figures = runtime.figures.of(runtime.publishing.get(alert))
    assert figures.able["language"] == {"lv": 1}
    assert bitops() - before < 10


def test_a_reader_who_leaves_counts_for_the_last_alert_of_a_day(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [Reader(client, number) for number in range(4)]
    readers.append(Reader(client, 4, receipts=False))
    first, last = (
        client.runtime.publishing.publish(content(), EVERYONE, by="a test").id for _ in range(2)
    )
    pages.send_all(client.runtime, first, {(Outcome.ACCEPTED, "google"): 5})
    pages.send_all(client.runtime, last, {(Outcome.ACCEPTED, "google"): 5})
    client.runtime.publishing.publish(content(), EVERYONE, by="not sent yet")
    readers[0].call("DELETE")
    assert (left(client, first), left(client, last)) == (0, 1)
    readers[1].call("DELETE", "?why=lost")  # the browser did that
    readers[4].call("DELETE")  # nothing is counted of this reader
    assert left(client, last) == 1
    now = time.time()
    monkeypatch.setattr("service.model.time.clock.time", lambda: now + 23 * 3600)
    readers[2].call("DELETE")
    monkeypatch.setattr("service.model.time.clock.time", lambda: now + 25 * 3600)
    readers[3].call("DELETE")
    assert left(client, last) == 2


@pytest.mark.parametrize(
    ("seconds", "begins"),
    [
        *((-5, 0), (59, 0), (60, 1), (599, 9), (600, 10), (899, 10), (3599, 55), (3600, 60)),
        *((86_399, 23 * 60), (86_400, 24 * 60), (9e9, 24 * 60)),
    ],
)
def test_steps_of_the_curve_grow_with_time(seconds: float, begins: int) -> None:
    assert step(seconds) == begins
    assert begins in STEPS
