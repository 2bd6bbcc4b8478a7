"""Calls with a reader's own token: missed alerts, a test, everything that is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from service.app import create_app
from service.model.notifications import Audience, Notification, Outcome, SendAt, State, Topic
from service.model.retention import LEFT_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER, day
from service.store.alerts.outcomes import Result
from service.store.layout.bitmaps import bitmap_key
from tests.support.client import (
    NOTIFICATIONS,
    SUBSCRIPTIONS,
    VAPID,
    Client,
    Reader,
    browser,
    open_client,
)
from tests.support.processes.as_workers import hold
from tests.support.processes.installation import Installation, content
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer

EVERYONE = Audience(everyone=True)


def missed(reader: Reader) -> list[str]:
    return [alert["title"] for alert in reader.call("GET", "/alerts").json["alerts"]]


def publish(client: Client, title: str, audience: Audience = EVERYONE, **more: Any) -> int:
    publishing = client.runtime.publishing
    return publishing.publish(content(title=title), audience, by="a test", **more).id


CALLS = [("GET", "/alerts"), ("POST", "/test"), ("GET", "/export")]


@pytest.mark.parametrize(("method", "what"), CALLS)
def test_only_the_readers_own_token_is_accepted(client: Client, method: str, what: str) -> None:
    reader, other = Reader(client, 0), Reader(client, 1)
    before = client.runtime.publishing.latest(10)
    assert reader.call(method, what, token=None).status_code == 401
    for wrong in (other.token, "x", client.add_token()):
        assert reader.call(method, what, token=wrong).status_code == 404
    reader.call("DELETE")
    assert reader.call(method, what).status_code == 404
    assert client.runtime.publishing.latest(10) == before
    assert not client.runtime.store.notifications.active()


@pytest.mark.parametrize(("method", "what"), CALLS)
def test_the_publishers_pages_may_call_it(client: Client, method: str, what: str) -> None:
    headers = {"Origin": "https://paper.example"}
    response = Reader(client).call(method, what, headers=headers)
    assert response.status_code in (200, 202)
    assert response.headers["Access-Control-Allow-Origin"] == "https://paper.example"
    assert response.headers["Cache-Control"] == "no-store"


# Missed alerts ----------------------------------------------------------------------------------


def test_missed_alerts_are_those_that_the_reader_would_get_now(client: Client) -> None:
    topics = Audience(topics=("world",))
    reader, other = Reader(client, 0, topics=["world"], locale="fr-CA"), Reader(client, 1)
    publish(client, "everyone")
    publish(client, "world", topics)
    publish(client, "sport", Audience(topics=("sport",)))
    publish(client, "not world", Audience(everyone=True, exclude=("world",)))
    publish(client, "in French", Audience(everyone=True, locales=("fr",)))
    publish(client, "in Latvian", Audience(everyone=True, locales=("lv",)))
    publish(client, "a draft", draft=True)
    publish(client, "later", send_at=SendAt(time.time() + 3600))
    publish(client, "a test", Audience(subscription=SubscriptionId.parse(reader.id)))
    client.runtime.publishing.cancel(publish(client, "cancelled"), by="a test")
    client.runtime.publishing.pause(publish(client, "paused"), by="a test")
    assert missed(reader) == ["paused", "in French", "world", "everyone"]
    assert missed(other) == ["paused", "not world", "everyone"]
    reader.call("PATCH", json={"topics": ["sport"]})
    assert missed(reader) == ["paused", "in French", "not world", "sport", "everyone"]


def test_followed_and_muted_stories_decide_which_alerts_were_missed(client: Client) -> None:
    reader = Reader(client)
    publish(client, "quake", Audience(topics=("world",), story="quake"))
    publish(client, "storm", Audience(everyone=True, story="storm"))
    assert missed(reader) == ["storm"]
    reader.call("PATCH", json={"followed_stories": ["quake"], "muted_stories": ["storm"]})
    assert missed(reader) == ["quake"]
    (shown,) = reader.call("GET", "/alerts").json["alerts"]
    assert shown["story"] == "quake"


def test_the_last_ten_missed_alerts_are_shown_with_corrected_texts(client: Client) -> None:
    reader = Reader(client)
    ids = [publish(client, f"{number}") for number in range(12)]
    client.runtime.corrections.correct(
        ids[11], title="Corrected", body=None, url=None, replace=False, by="a test"
    )
    alerts = reader.call("GET", "/alerts").json["alerts"]
    assert [alert["title"] for alert in alerts] == [
        "Corrected",
        *(str(n) for n in range(10, 1, -1)),
    ]
    assert alerts[0].pop("sent_at").endswith("Z")
    given = content()
    assert alerts[0] == {"title": "Corrected", "body": given.body, "url": given.url, "story": None}


# A test -----------------------------------------------------------------------------------------


def test_a_test_reaches_this_browser_alone_by_its_push_service(
    installation: Installation, push: PushService
) -> None:
    installation.seed(5)
    installation.worker()
    installation.clock()
    client = Client(create_app(installation.config))
    one = installation.runtime.store.subscriptions.get(installation.reader(3))
    token = installation.runtime.tokens.reader(one.id, one.auth)
    response = client.call("POST", f"{SUBSCRIPTIONS}/{one.id}/test", token=token)
    assert (response.status_code, response.json) == (202, {"status": "sending", "recipients": 1})
    push.wait_for(1, timeout=30)
    installation.over(1)
    (message,) = push.received
    assert message.path == one.endpoint.url.removeprefix(push.origin)


def newest(client: Client) -> Notification:
    (id, *_) = reversed(client.runtime.store.notifications.active())
    return client.runtime.publishing.get(id)


@pytest.mark.parametrize(
    ("locale", "title"), [("en-GB", "This is a test"), ("fr", "Ceci est un essai"), ("lv", "This")]
)
def test_a_test_is_written_in_the_readers_language(client: Client, locale: str, title: str) -> None:
    reader = Reader(client, locale=locale)
    reader.call("POST", "/test")
    one = newest(client)
    assert one.text.title.startswith(title)
    assert "The Daily Example" in one.text.body
    assert one.text.url == "https://paper.example/"
    assert one.audience == Audience(subscription=SubscriptionId.parse(reader.id))


def test_a_reader_gets_at_most_three_tests_a_minute(client: Client) -> None:
    reader, other = Reader(client, 0), Reader(client, 1)
    assert [reader.call("POST", "/test").status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = reader.call("POST", "/test")
    assert refused.headers["Retry-After"]
    assert len(client.runtime.store.notifications.active()) == 3
    assert other.call("POST", "/test").status_code == 202


def test_readers_tests_are_in_no_list_of_alerts_and_expire(client: Client) -> None:
    reader, publishing = Reader(client), client.runtime.publishing
    id = publish(client, "News")
    reader.call("POST", "/test")
    test = newest(client)
    assert [one.id for one in publishing.latest(10)] == [id]
    assert [one.id for one in publishing.started(10)] == [id]
    redis = client.runtime.store.redis
    assert redis.ttl(f"{{g}}:n:{test.id}") == -1, "not before it is over"
    publishing.cancel(test.id, by="a test")
    assert publishing.get(test.id).state is State.CANCELLED
    assert 0 < redis.ttl(f"{{g}}:n:{test.id}") <= 86_400
    publishing.cancel(id, by="a test")
    assert redis.ttl(f"{{g}}:n:{id}") == -1


def test_a_tools_tests_leave_room_for_other_alerts_to_one_browser_and_expire(
    client: Client,
) -> None:
    reader, publishing = Reader(client), client.runtime.publishing
    id, token = publish(client, "News"), client.add_token()
    path, body = f"{NOTIFICATIONS}/{id}/test", {"subscription_id": reader.id}
    sent = [client.call("POST", path, body, token=token) for _ in range(30)]
    assert [one.status_code for one in sent] == [*[202] * 25, *[429] * 5]
    other = client.add_token("another tool")
    assert client.call("POST", path, body, token=other).status_code == 202
    test = publishing.get(int(sent[0].json["id"]))
    assert [one.id for one in publishing.latest(10)] == [id]
    assert (test.text.title, test.content.ttl) == ("News", 600)
    publishing.cancel(test.id, by="a test")
    assert 0 < client.runtime.store.redis.ttl(f"{{g}}:n:{test.id}") <= 86_400


def test_the_cost_of_a_list_does_not_grow_with_readers_tests() -> None:
    with RedisServer() as server:  # its own, because Redis counts the commands of all databases
        client = open_client(server.url)
        id, draft = publish(client, "News"), publish(client, "Later", draft=True)
        redis = client.runtime.store.redis
        redis.incrby("{g}:n", 10_000)  # as if so many welcomes had expired
        newer = publish(client, "More news")
        before = redis.info("stats")["total_commands_processed"]
        latest = client.runtime.publishing.latest
        assert [one.id for one in latest(2)] == [newer, draft]
        assert [one.id for one in latest(2, before=newer)] == [draft, id]
        assert redis.info("stats")["total_commands_processed"] - before < 20
        redis.close()


def test_alerts_of_the_newsroom_keep_no_reader_from_a_test(client: Client) -> None:
    reader = Reader(client)
    for _ in range(100):
        publish(client, "News")
    assert reader.call("POST", "/test").status_code == 202


def test_with_many_tests_at_one_push_service_another_waits(client: Client) -> None:
    for number in range(25):
        assert Reader(client, number).call("POST", "/test").status_code == 202
    reader = Reader(client, 25)
    refused = reader.call("POST", "/test")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    client.runtime.publishing.cancel(newest(client).id, by="a test")
    client.runtime.planning.advance_all()
    assert reader.call("POST", "/test").status_code == 202


def test_a_gone_browser_gets_no_test(client: Client) -> None:
    reader = Reader(client)
    mark_gone(client, reader)
    assert reader.call("POST", "/test").json["recipients"] == 0


def mark_gone(client: Client, reader: Reader) -> None:
    partition, number = SubscriptionId.parse(reader.id)
    key = bitmap_key(partition, "gone")
    client.runtime.store.redis.setbit(key, number, 1)


# Everything stored ------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_partition")
def test_the_export_has_everything_that_is_stored_about_a_reader(client: Client) -> None:
    publish(client, "opens", Audience(everyone=True, story="quake"))
    reader = Reader(
        client,
        topics=["world"],
        locale="lv",
        timezone="Europe/Riga",
        daily_limit=3,
        wording=7,
        followed_stories=["quake"],
        vapid_public_key=client.runtime.keys.current,
    )
    sent = publish(client, "Handed over", Audience(topics=("world",)))
    publish(client, "Not handed over")
    runtime = client.runtime
    runtime.planning.plan(runtime.publishing.get(sent))
    claim = runtime.store.batches.claim(sent, 0, "a worker", 60_000)
    assert claim is not None
    result = {Result(Outcome.ACCEPTED, "google", 1, revision=0): [0]}
    runtime.store.outcomes.record(sent, claim.batch, "a worker", 60_000, result)
    runtime.store.clicks.mark(sent, SubscriptionId.parse(reader.id))
    hold(runtime, publish(client, "Held", Audience(topics=("world",))), {1 << 22: 1})
    today = day("Europe/Riga", int(time.time()) // QUARTER)
    runtime.store.daily_counts.count(sent, 0, today, [0], [9])

    response = reader.call("GET", "/export")
    assert response.headers["Content-Disposition"] == "attachment; filename=alerts.json"
    exported, chosen = response.json, reader.call("GET").json
    assert {name: exported.pop(name) for name in chosen} == chosen
    (alert,) = exported.pop("alerts_handed_over")
    assert alert["title"] == "Handed over"
    (alert,) = exported.pop("alerts_held")
    assert alert["title"] == "Held"
    (alert,) = exported.pop("alerts_clicked")
    assert alert["title"] == "Handed over"
    assert exported.pop("alerts_counted") == {f"{today}": 1}
    assert exported.pop("last_seen_on") >= chosen["subscribed_on"]
    given = browser()
    assert exported == {
        "left_to_the_newsroom": ["quiet_hours"],
        "endpoint": given["endpoint"],
        "keys": given["keys"],
        "vapid_public_key": client.runtime.keys.current,
        "called_gone_by_its_push_service": False,
        "new_push_service_accepted_nothing": False,
        "subscribed_minutes_ago": True,
        "taken_over_and_no_alert_accepted_yet": False,
        "paired": None,
    }
    assert VAPID.text not in response.text
    mark_gone(client, reader)
    runtime.store.redis.setbit(bitmap_key(0, "in_vain"), 0, 1)
    runtime.store.redis.setbit(bitmap_key(0, "untried"), 0, 1)
    runtime.store.redis.delete("{0}:young")
    later = reader.call("GET", "/export").json
    assert later["called_gone_by_its_push_service"]
    assert later["new_push_service_accepted_nothing"]
    assert later["taken_over_and_no_alert_accepted_yet"]
    assert not later["subscribed_minutes_ago"]


# The words with which `/privacy` lists the fields of the export.
LISTED = {
    "alerts_clicked": "which alerts you clicked",
    "alerts_counted": "how many alerts you got in a day",
    "alerts_handed_over": "that the push service accepted it",
    "alerts_held": "has to wait until your quiet hours end",
    "allow_breaking": "whether breaking news may come at any time",
    "called_gone_by_its_push_service": "has told us that your browser is gone",
    "confirmed": "whether you have confirmed your subscription",
    "daily_limit": "your limit for a day",
    "endpoint": "an address for alerts from the push service",
    "followed_stories": "running stories that you follow",
    "id": "We store under a number:",
    "keys": "two keys",
    "last_seen_on": "the day on which your browser last visited us",
    "left_to_the_newsroom": "your quiet hours",
    "locale": "the language",
    "muted_stories": "the stories that you muted",
    "new_push_service_accepted_nothing": "it accepts no alert for you, we remember that",
    "paired": "have paired this browser with your account",
    "paused_until": "a pause and when it ends",
    "quiet_hours": "your quiet hours",
    "receipts": "whether you do not want to be counted",
    "subscribed_minutes_ago": "we remember that you are new",
    "taken_over_and_no_alert_accepted_yet": "we took over your subscription from another service",
    "subscribed_on": "the day on which you subscribed",
    "timezone": "the time zone of your browser",
    "topics": "the topics",
    "vapid_public_key": "which of our own keys signs the alerts",
    "wording": "the wording of the question",
}


def test_the_privacy_page_lists_every_field_of_the_export(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(CLICK_AUDIENCES="on")
    client.runtime.topics.add(Topic("world", "World"))
    page = client.app.test_client().get("/privacy").text
    assert set(Reader(client).call("GET", "/export").json) == set(LISTED)
    assert [name for name, words in LISTED.items() if words not in page] == []


def held(client: Client) -> dict[str, Any]:
    """Return what the store holds; bitmaps as numbers, so that only their bits count."""
    redis = client.runtime.store.redis
    found: dict[str, Any] = {}
    for key in redis.scan_iter():
        if key.startswith(b"stoppress:rate"):
            continue
        kind = redis.type(key)
        if kind == b"string":
            found[key.decode()] = int.from_bytes(redis.get(key).ljust(64, b"\0"), "big")
        elif kind == b"hash":
            found[key.decode()] = redis.hgetall(key)
        else:
            found[key.decode()] = redis.dump(key)
    return {key: value for key, value in found.items() if value}


@pytest.mark.usefixtures("one_partition")
def test_a_reader_who_leaves_leaves_only_a_digest_for_thirty_days(client: Client) -> None:
    everything: dict[str, Any] = {
        "topics": ["world", "sport"],
        "locale": "lv",
        "timezone": "Europe/Riga",
        "quiet_hours": {"from": "21:00", "to": "08:00"},
        "daily_limit": 3,
        "allow_breaking": True,
        "receipts": False,
        "wording": 7,
        "muted_stories": ["storm"],
        "followed_stories": ["quake", "storm"],
    }
    for story in ("quake", "storm"):
        publish(client, story, Audience(everyone=True, story=story))
    Reader(client, 0, **everything)  # makes every key that a subscription can make
    before = held(client)
    reader = Reader(client, 1, **everything)
    mark_gone(client, reader)
    assert len(held(client)) >= len(before)
    assert reader.call("DELETE").status_code == 204
    after = held(client)
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {
        "{0}:made",
        "{0}:left",
        "{g}:ended",  # a total
    }
    redis = client.runtime.store.redis
    ((digest, until),) = redis.zrange("{0}:left", 0, -1, withscores=True)
    assert len(digest) == 10
    assert abs(until - time.time() - LEFT_KEPT) < 60
    client.runtime.gone.look_after(until - 60)
    assert redis.exists("{0}:left")
    client.runtime.gone.look_after(until)
    assert not redis.exists("{0}:left")
