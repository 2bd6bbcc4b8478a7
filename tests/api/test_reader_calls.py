"""What a reader's browser asks with its own token: what was missed, a test, everything stored."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.app import create_app
from service.model.clocks import QUARTER, day
from service.model.notifications import Audience, Notification, Outcome, SendAt, State
from service.model.retention import LEFT_KEPT
from service.model.subscriptions import SubscriptionId
from service.store.bitmaps import bitmap_key
from service.store.outcomes import Result
from tests.support.client import SUBSCRIPTIONS, VAPID, Client, Reader, browser
from tests.support.installation import Installation, content
from tests.support.night import hold
from tests.support.push_service import PushService

pytestmark = pytest.mark.redis

EVERYONE = Audience(everyone=True)


def missed(reader: Reader) -> list[str]:
    return [alert["title"] for alert in reader.call("GET", "/alerts").json["alerts"]]


def publish(client: Client, title: str, audience: Audience = EVERYONE, **more: Any) -> int:
    publishing = client.runtime.publishing
    return publishing.publish(content(title=title), audience, by="a test", **more).id


CALLS = [("GET", "/alerts"), ("POST", "/test"), ("GET", "/export")]


@pytest.mark.parametrize(("method", "what"), CALLS)
def test_only_the_readers_own_token_opens_anything(client: Client, method: str, what: str) -> None:
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
def test_pages_of_the_publisher_may_call_it(client: Client, method: str, what: str) -> None:
    headers = {"Origin": "https://paper.example"}
    answer = Reader(client).call(method, what, headers=headers)
    assert answer.status_code in (200, 202)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://paper.example"
    assert answer.headers["Cache-Control"] == "no-store"


# What was missed --------------------------------------------------------------------------------


def test_what_was_missed_are_the_alerts_that_the_reader_would_get_now(client: Client) -> None:
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
    client.runtime.publishing.cancel(publish(client, "cancelled"))
    client.runtime.publishing.pause(publish(client, "paused"))
    assert missed(reader) == ["paused", "in French", "world", "everyone"]
    assert missed(other) == ["paused", "not world", "everyone"]
    reader.call("PATCH", said={"topics": ["sport"]})
    assert missed(reader) == ["paused", "in French", "not world", "sport", "everyone"]


def test_stories_followed_and_muted_are_missed_accordingly(client: Client) -> None:
    reader = Reader(client)
    publish(client, "quake", Audience(topics=("world",), story="quake"))
    publish(client, "storm", Audience(everyone=True, story="storm"))
    assert missed(reader) == ["storm"]
    reader.call("PATCH", said={"followed_stories": ["quake"], "muted_stories": ["storm"]})
    assert missed(reader) == ["quake"]
    (shown,) = reader.call("GET", "/alerts").json["alerts"]
    assert shown["story"] == "quake"


def test_the_last_ten_are_shown_newest_first_with_the_words_as_corrected(client: Client) -> None:
    reader = Reader(client)
    ids = [publish(client, f"{number}") for number in range(12)]
    client.runtime.publishing.correct(
        ids[11], title="Corrected", body=None, url=None, replace=False, by="a test"
    )
    alerts = reader.call("GET", "/alerts").json["alerts"]
    assert [alert["title"] for alert in alerts] == [
        "Corrected",
        *(str(n) for n in range(10, 1, -1)),
    ]
    assert alerts[0].pop("sent_at").endswith("Z")
    said = content()
    assert alerts[0] == {"title": "Corrected", "body": said.body, "url": said.url, "story": None}


# A test -----------------------------------------------------------------------------------------


def test_a_test_goes_to_this_browser_alone_and_through_the_real_thing(
    installation: Installation, push: PushService
) -> None:
    installation.seed(5)
    installation.worker()
    installation.clock()
    client = Client(create_app(installation.config))
    one = installation.runtime.store.subscriptions.get(SubscriptionId(0, 3))
    token = installation.runtime.tokens.reader(one.id, one.auth)
    answer = client.call("POST", f"{SUBSCRIPTIONS}/{one.id}/test", token=token)
    assert (answer.status_code, answer.json) == (202, {"status": "sending", "recipients": 1})
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
def test_a_test_says_what_it_is_in_the_readers_language(
    client: Client, locale: str, title: str
) -> None:
    reader = Reader(client, locale=locale)
    reader.call("POST", "/test")
    one = newest(client)
    assert one.text.title.startswith(title)
    assert "The Daily Example" in one.text.body
    assert one.text.url == "https://paper.example/"
    assert one.audience == Audience(subscription=SubscriptionId.parse(reader.id))


def test_three_tests_a_minute_are_enough_for_one_reader(client: Client) -> None:
    reader, other = Reader(client, 0), Reader(client, 1)
    assert [reader.call("POST", "/test").status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = reader.call("POST", "/test")
    assert refused.headers["Retry-After"]
    assert len(client.runtime.store.notifications.active()) == 3
    assert other.call("POST", "/test").status_code == 202


def test_editors_see_nothing_of_readers_tests_and_the_store_forgets_them(client: Client) -> None:
    reader, publishing = Reader(client), client.runtime.publishing
    id = publish(client, "News")
    reader.call("POST", "/test")
    test = newest(client)
    assert [one.id for one in publishing.latest(10)] == [id]
    assert [one.id for one in publishing.started(10)] == [id]
    redis = client.runtime.store.redis
    assert redis.ttl(f"{{g}}:n:{test.id}") == -1, "not before it is over"
    publishing.cancel(test.id)
    assert publishing.get(test.id).state is State.CANCELLED
    assert 0 < redis.ttl(f"{{g}}:n:{test.id}") <= 86_400
    publishing.cancel(id)
    assert redis.ttl(f"{{g}}:n:{id}") == -1


def test_what_is_listed_costs_the_same_however_many_tests_readers_asked_for(
    client: Client,
) -> None:
    id, draft = publish(client, "News"), publish(client, "Later", draft=True)
    redis = client.runtime.store.redis
    redis.incrby("{g}:n", 10_000)  # as many welcomes, long forgotten
    newer = publish(client, "More news")
    before = redis.info("stats")["total_commands_processed"]
    latest = client.runtime.publishing.latest
    assert [one.id for one in latest(2)] == [newer, draft]
    assert [one.id for one in latest(2, before=newer)] == [draft, id]
    assert redis.info("stats")["total_commands_processed"] - before < 20


def test_readers_tests_give_way_to_alerts(client: Client) -> None:
    reader = Reader(client)
    ids = [publish(client, "News") for _ in range(50)]
    refused = reader.call("POST", "/test")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    client.runtime.publishing.cancel(ids[0])
    assert reader.call("POST", "/test").status_code == 202


def test_a_browser_that_is_gone_is_sent_no_test(client: Client) -> None:
    reader = Reader(client)
    mark_gone(client, reader)
    assert reader.call("POST", "/test").json["recipients"] == 0


def mark_gone(client: Client, reader: Reader) -> None:
    partition, number = SubscriptionId.parse(reader.id)
    key = bitmap_key(partition, "gone")
    client.runtime.store.redis.setbit(key, number, 1)


# Everything stored ------------------------------------------------------------------------------


def test_a_reader_gets_everything_that_is_stored_as_a_file(client: Client) -> None:
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
    runtime.dispatch.plan(runtime.publishing.get(sent))
    claim = runtime.store.sending.claim(sent, 0, "a worker", 60_000)
    assert claim is not None
    result = {Result(Outcome.ACCEPTED, "google", 1, revision=0): [0]}
    runtime.store.outcomes.record(sent, claim.batch, "a worker", 60_000, result)
    hold(runtime, publish(client, "Held", Audience(topics=("world",))), {1 << 22: 1})
    today = day("Europe/Riga", int(time.time()) // QUARTER)
    runtime.store.daily.count(sent, 0, today, [0], [9])

    answer = reader.call("GET", "/export")
    assert answer.headers["Content-Disposition"] == "attachment; filename=alerts.json"
    said, chosen = answer.json, reader.call("GET").json
    assert {name: said.pop(name) for name in chosen} == chosen
    (alert,) = said.pop("alerts_handed_over")
    assert alert["title"] == "Handed over"
    (alert,) = said.pop("alerts_held")
    assert alert["title"] == "Held"
    assert said.pop("alerts_counted") == {f"{today}": 1}
    assert said.pop("last_seen_on") >= chosen["subscribed_on"]
    given = browser()
    assert said == {
        "left_to_the_newsroom": ["quiet_hours"],
        "endpoint": given["endpoint"],
        "keys": given["keys"],
        "vapid_public_key": client.runtime.keys.current,
        "called_gone_by_its_push_service": False,
    }
    assert VAPID.text not in answer.text
    mark_gone(client, reader)
    assert reader.call("GET", "/export").json["called_gone_by_its_push_service"]


# With which words `/privacy` lists what the file has.
LISTED = {
    "alerts_counted": "how many alerts you had on a day",
    "alerts_handed_over": "that the push service took it",
    "alerts_held": "What waits until your quiet hours end",
    "allow_breaking": "whether breaking news may pass",
    "called_gone_by_its_push_service": "has told us that your browser is gone",
    "confirmed": "whether you have yet to confirm",
    "daily_limit": "the most alerts you want in a day",
    "endpoint": "an address for us at its maker’s push service",
    "followed_stories": "the running stories you follow",
    "id": "under a number",
    "keys": "two keys",
    "last_seen_on": "the day on which your browser last looked in",
    "left_to_the_newsroom": "your quiet hours",
    "locale": "the language",
    "muted_stories": "have muted",
    "paused_until": "a pause and when it ends",
    "quiet_hours": "your quiet hours",
    "receipts": "whether you want nothing counted",
    "subscribed_on": "the day on which you subscribed",
    "timezone": "the time zone of your browser",
    "topics": "the subjects you follow",
    "vapid_public_key": "which key of ours signs for them",
    "wording": "the wording with which you were asked",
}


def test_readers_are_told_of_all_that_they_are_handed(client: Client) -> None:
    page = client.app.test_client().get("/privacy").text
    assert set(Reader(client).call("GET", "/export").json) == set(LISTED)
    assert [name for name, words in LISTED.items() if words not in page] == []


def held(client: Client) -> dict[str, Any]:
    """What the store holds; bitmaps as numbers, so that only their bits count."""
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


def test_who_leaves_leaves_nothing_but_a_digest_for_thirty_days(client: Client) -> None:
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
    Reader(client, 0, **everything)  # of whom things are kept, so that all there can be is there
    before = held(client)
    reader = Reader(client, 1, **everything)
    mark_gone(client, reader)
    assert len(held(client)) >= len(before)
    assert reader.call("DELETE").status_code == 204
    after = held(client)
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {
        "{0}:made",
        "{0}:left",
    }
    redis = client.runtime.store.redis
    ((digest, until),) = redis.zrange("{0}:left", 0, -1, withscores=True)
    assert len(digest) == 10
    assert abs(until - time.time() - LEFT_KEPT) < 60
    client.runtime.gone.look_after(until - 60)
    assert redis.exists("{0}:left")
    client.runtime.gone.look_after(until)
    assert not redis.exists("{0}:left")
