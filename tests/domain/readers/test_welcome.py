"""The welcome; with `WELCOME=confirm` a reader gets no other alert before seeing it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.app import create_app
from service.local import pretend_readers
from service.model.language.languages import texts
from service.model.notifications import MAX_PLAINTEXT, Audience, Notification
from service.model.payload import Payload
from service.model.retention import CALLERS_KEPT
from service.model.subscriptions import SubscriptionId
from tests.support.client import API, Client, browser, make_app
from tests.support.installation import Installation, content, wait_until
from tests.support.push_service import PushService
from tests.support.redis_server import RedisServer
from tests.support.seeded import shown

SUBSCRIPTIONS, RECEIPTS = f"{API}/subscriptions", f"{API}/receipts"
EVERYONE = Audience(everyone=True)
ClientWith = Callable[..., Client]


class Reader:
    """One browser, with its own token."""

    def __init__(self, client: Client, number: int = 0, **preferences: Any) -> None:
        self.client, self.number = client, number
        answer = self.subscribe(**preferences)
        assert answer.status_code == 201
        self.token = answer.json["token"]
        self.id = SubscriptionId.parse(answer.json["id"])

    def subscribe(self, **more: Any) -> Any:
        body = {"subscription": browser(self.number), **more}
        return self.client.call("POST", SUBSCRIPTIONS, body)

    def call(self, method: str, what: str = "", **more: Any) -> Any:
        path = f"{SUBSCRIPTIONS}/{self.id}{what}"
        return self.client.call(method, path, token=self.token, **more)

    def reports(self, event: str = "shown", notification: int = 0) -> None:
        token = self.client.runtime.tokens.receipt(notification, self.id)
        body = {"token": token, "event": event}
        assert self.client.call("POST", RECEIPTS, body).status_code == 204

    @property
    def confirmed(self) -> bool:
        return bool(self.call("GET", "/export").json["confirmed"])


def welcomes(client: Client) -> list[Notification]:
    """The active alerts to a single reader."""
    active = client.runtime.store.notifications.active()
    return [one for one in map(client.runtime.publishing.get, active) if one.to_one]


def asked(one: Notification) -> dict[str, list[str]]:
    """The parameters in the fragment of a welcome's link."""
    return parse_qs(urlsplit(one.text.url).fragment)


# Without confirmation -----------------------------------------------------------------------------


def test_no_welcome_is_sent_by_default(client_with: ClientWith) -> None:
    client = client_with()
    reader = Reader(client)
    assert welcomes(client) == []
    assert reader.confirmed


def test_new_reader_gets_one_welcome_and_all_other_alerts(client_with: ClientWith) -> None:
    client = client_with(WELCOME="yes")
    reader = Reader(client, locale="fr-CA")
    (one,) = welcomes(client)
    assert one.audience == Audience(subscription=reader.id)
    assert (one.text.title, one.text.lang) == ("Bienvenue", "fr")
    assert one.text.body == "Les alertes de The Daily Example auront cet aspect."
    assert one.text.url == "https://paper.example/"
    assert client.runtime.publishing.latest(10) == [], "no editor sees it"
    assert client.runtime.publishing.reach(EVERYONE) == 1
    for more in ({}, {"refresh": True}, {"topics": []}):
        assert reader.subscribe(**more).status_code == 200
    assert welcomes(client) == [one]


def test_own_words_of_the_newsroom_are_in_its_own_language(client_with: ClientWith) -> None:
    words = {"WELCOME_TITLE": "Sveiki!", "WELCOME_BODY": "Labi, ka esat ar mums: {}."}
    client = client_with(WELCOME="yes", SITE_LANGUAGE="lv", **words)
    Reader(client, locale="fr")
    (one,) = welcomes(client)
    assert (one.text.title, one.text.body, one.text.lang) == (*words.values(), "lv")


# Confirmation -------------------------------------------------------------------------------------


def reach(client: Client, **audience: Any) -> int:
    return client.runtime.publishing.reach(Audience(**audience))


def test_unconfirmed_readers_are_in_no_audience(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm", STORE_PARTITIONS="2")
    installation = client.runtime.store
    token = client.add_token()
    for slug in ("world", "sport"):
        client.call("POST", f"{API}/topics", {"slug": slug, "name": slug.title()}, token=token)
    opens = Audience(everyone=True, story="quake")
    client.runtime.publishing.publish(content(), opens, by="a test")
    chosen = {"topics": ["world"], "locale": "en", "followed_stories": ["quake"]}
    reader, other = Reader(client, 0, **chosen), Reader(client, 1, **chosen)
    audiences: list[dict[str, Any]] = [
        {"everyone": True},
        {"topics": ("world",)},
        {"everyone": True, "exclude": ("sport",)},
        {"everyone": True, "locales": ("en",)},
        {"topics": ("sport",), "story": "quake"},
        {"topics": ("sport",), "exclude": ("world",), "story": "quake"},
    ]
    assert [reach(client, **one) for one in audiences] == [0] * 6
    assert (
        installation.subscriptions.count(),
        installation.subscriptions.count("unconfirmed"),
    ) == (2, 2)
    assert reach(client, subscription=reader.id) == 1, "a test, and the welcome itself"

    reader.reports()

    assert [reach(client, **one) for one in audiences] == [1] * 6
    assert installation.subscriptions.count("unconfirmed") == 1
    assert (reader.confirmed, other.confirmed) == (True, False)
    other.call("DELETE")
    assert installation.subscriptions.count("unconfirmed") == 0


@pytest.mark.parametrize(
    ("event", "confirms"), [("shown", True), ("clicked", True), ("dismissed", False)]
)
def test_seeing_the_welcome_confirms_and_changes_nothing_else(
    client_with: ClientWith, event: str, confirms: bool
) -> None:
    client = client_with(WELCOME="confirm")
    reader = Reader(client, topics=[], timezone="Europe/Riga", daily_limit=3, wording=7)
    before = reader.call("GET").json
    (one,) = welcomes(client)
    reader.reports(event, one.id)
    assert reader.confirmed is confirms
    assert reader.call("GET").json == {**before, "confirmed": confirms}
    assert client.runtime.receipts.of(one.id)[event] == 1


def test_neither_a_forgery_nor_another_readers_welcome_confirms(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm")
    reader, other = Reader(client, 0), Reader(client, 1)
    body = {"token": "x" * 22, "event": "shown"}
    assert client.call("POST", RECEIPTS, body).status_code == 204
    other.reports("clicked")
    assert (reader.confirmed, other.confirmed) == (False, True)
    reader.call("PATCH", json={"topics": [], "daily_limit": 3})
    assert not reader.confirmed, "choosing preferences does not confirm"


def test_reader_who_left_before_seeing_the_welcome_stays_away(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm")
    reader = Reader(client)
    reader.call("DELETE")
    reader.reports("clicked")
    assert client.runtime.store.subscriptions.count() == 0
    assert client.runtime.store.subscriptions.count("unconfirmed") == 0
    assert reach(client, everyone=True) == 0


def test_click_confirms_by_the_page_that_opens_and_counts_nothing(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm")
    reader = Reader(client, receipts=False)
    (one,) = welcomes(client)
    assert one.text.url.startswith("https://paper.example/#")
    assert asked(one)["stop-press"] == ["welcome"]
    (token,) = asked(one)["receipt"]
    body = {"token": token, "event": "clicked"}
    assert client.call("POST", RECEIPTS, body).status_code == 204
    assert reader.confirmed
    assert set(client.runtime.receipts.of(one.id).values()) == {0}
    assert set(client.runtime.receipts.of(0).values()) == {0}


@pytest.mark.parametrize(
    ("endpoint", "receipts", "press"),
    [
        (None, True, False),
        (None, False, True),
        ("https://web.push.apple.com/QGx1", True, True),
    ],
)
def test_reader_who_can_only_confirm_by_a_click_is_asked_to_click(
    client_with: ClientWith, endpoint: str | None, receipts: bool, press: bool
) -> None:
    client = client_with(WELCOME="confirm")
    given = browser()
    given["endpoint"] = endpoint or given["endpoint"]
    body = {"subscription": given, "receipts": receipts, "locale": "de"}
    assert client.call("POST", SUBSCRIPTIONS, body).status_code == 201
    (one,) = welcomes(client)
    words = texts("de")["alerts"]["press" if press else "shown"]
    assert one.text.body == words.format(site="The Daily Example")
    assert Payload(one, "https://push.example").size < MAX_PLAINTEXT


def test_unconfirmed_reader_gets_one_welcome_a_day_on_any_number_of_visits(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    reader = Reader(client)
    for more in ({}, {"refresh": True}, {"topics": []}):
        answer = reader.subscribe(**more)
        assert (answer.status_code, answer.json["confirmed"]) == (200, False)
    assert len(welcomes(client)) == 1
    redis = client.runtime.store.redis
    (memory,) = [key for key in redis.scan_iter() if b":idempotency:" in key]
    assert 0 < redis.ttl(memory) <= 86_400
    redis.delete(memory)  # a day later
    reader.subscribe(refresh=True)
    assert len(welcomes(client)) == 2
    reader.reports()
    redis.delete(*[key for key in redis.scan_iter() if b":idempotency:" in key])
    assert reader.subscribe(refresh=True).json["confirmed"]
    assert len(welcomes(client)) == 2


def move(reader: Reader, given: dict[str, Any]) -> None:
    """Tell the service that this reader's browser has another subscription."""
    answer = reader.call("PATCH", json={"subscription": given})
    reader.id, reader.token = SubscriptionId.parse(answer.json["id"]), answer.json["token"]


def test_a_confirmation_does_not_move_to_another_endpoint_which_may_be_anybodys(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    waiting, sure = Reader(client, 0), Reader(client, 1)
    sure.reports()
    for number, reader in enumerate((waiting, sure), 2):
        move(reader, browser(number))
        assert not reader.confirmed
    assert reach(client, everyone=True) == 0
    welcomed = [one.audience.subscription for one in welcomes(client)]
    assert [welcomed.count(one.id) for one in (waiting, sure)] == [1, 1]
    sure.reports()
    assert sure.confirmed
    assert reach(client, everyone=True) == 1


def test_a_confirmation_does_not_move_to_an_unconfirmed_subscription(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    planted, sure = Reader(client, 0), Reader(client, 1)
    sure.reports()
    move(sure, browser(0))
    assert sure.id == planted.id
    assert not sure.confirmed
    assert reach(client, everyone=True) == 0


def test_other_keys_for_the_same_endpoint_leave_a_reader_confirmed(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    sure = Reader(client, 1)
    sure.reports()
    move(sure, browser(1, keys=2))
    assert sure.confirmed
    assert len(welcomes(client)) == 1


def test_without_confirmation_a_new_endpoint_is_as_good_as_the_old_one(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="yes")
    reader = Reader(client, 0)
    move(reader, browser(1))
    assert reader.confirmed
    assert reach(client, everyone=True) == 1


def test_next_visit_confirms_once_confirmation_is_not_required_any_more(
    client_with: ClientWith,
) -> None:
    reader = Reader(client_with(WELCOME="confirm"))
    assert not reader.confirmed
    reader.client = client_with(WELCOME="yes")
    assert reach(reader.client, everyone=True) == 0
    reader.subscribe(refresh=True)
    assert reader.confirmed
    assert reach(reader.client, everyone=True) == 1


def test_readers_from_before_confirmation_was_required_stay_confirmed(
    client_with: ClientWith,
) -> None:
    reader = Reader(client_with())
    reader.client = client_with(WELCOME="confirm")
    reader.subscribe(refresh=True)
    reader.subscribe()
    assert reader.confirmed
    assert welcomes(reader.client) == []


def test_alerts_of_the_newsroom_keep_nobody_from_the_welcome(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm")
    for _ in range(100):
        client.runtime.publishing.publish(content(), EVERYONE, by="")
    Reader(client)
    assert len(welcomes(client)) == 1


def test_with_many_welcomes_at_one_push_service_another_waits_for_a_visit(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    for number in range(50):
        Reader(client, number)
    waiting = welcomes(client)
    assert len(waiting) == 50
    reader = Reader(client, 50)
    assert len(welcomes(client)) == 50
    client.runtime.publishing.cancel(waiting[0].id, by="a test")
    client.runtime.planning.advance_all()
    assert reader.subscribe(refresh=True).status_code == 200
    assert len(welcomes(client)) == 50


def test_junk_at_push_services_that_are_down_leaves_room_at_the_others(
    client_with: ClientWith,
) -> None:
    """Their welcomes stay active for ten minutes; strangers can subscribe as often as they like."""
    client = client_with(WELCOME="confirm", PUSH_SERVICES="https://up.example https://a.example")

    def subscribes(origin: str, number: int) -> Any:
        given = {**browser(number), "endpoint": f"{origin}/{number}"}
        return client.call("POST", SUBSCRIPTIONS, {"subscription": given})

    for origin in ("https://up.example", "https://updates.push.services.mozilla.com"):
        for number in range(51):
            subscribes(origin, number)
    before = len(welcomes(client))
    for origin in ("https://a.example", "https://web.push.apple.com", "https://fcm.googleapis.com"):
        honest = subscribes(origin, 0).json
        assert len(welcomes(client)) == before + 1, origin
        test = f"{SUBSCRIPTIONS}/{honest['id']}/test"
        assert client.call("POST", test, token=honest["token"]).status_code == 202
        before += 2


def comes(client: Client, number: int, address: str, **given: Any) -> None:
    """Subscribe a browser from a network address."""
    body = {"subscription": {**browser(number), **given}}
    assert client.call("POST", SUBSCRIPTIONS, body, address=address).status_code == 201


def test_one_stranger_leaves_half_of_the_room_at_a_push_service_to_others(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    for number in range(60):
        comes(client, number, f"2001:db8:0:1::{number}")
    assert len(welcomes(client)) == 25, "one network is one caller"
    before = 25
    for number in range(60, 80):
        comes(client, number, f"192.0.2.{number}")
        before += 1
        assert len(welcomes(client)) == before, "honest readers"


def test_many_strangers_get_less_and_less_of_the_room_that_is_left(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    had = []
    for stranger in range(4):
        before = len(welcomes(client))
        for number in range(30):
            comes(client, stranger * 30 + number, f"192.0.2.{stranger}")
        had.append(len(welcomes(client)) - before)
    assert had == [25, 4, 3, 3]


def test_one_stranger_at_many_push_services_leaves_half_of_all_room(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm", PUSH_SERVICES="https://up.example https://a.example")
    origins = (
        *("https://fcm.googleapis.com", "https://updates.push.services.mozilla.com"),
        *("https://web.push.apple.com", "https://up.example", "https://a.example"),
    )
    redis = client.runtime.store.redis
    for origin in origins:
        for number in range(50):
            comes(client, number, "192.0.2.1", endpoint=f"{origin}/{number}")
        redis.delete(*redis.scan_iter("stoppress:rate:*"))  # a minute later
    assert len(welcomes(client)) == 50
    for number, origin in enumerate(origins):
        before = len(welcomes(client))
        comes(client, 50, f"198.51.100.{number}", endpoint=f"{origin}/50")
        assert len(welcomes(client)) == before + 1, origin


def test_tests_of_one_stranger_leave_room_for_the_tests_of_others(
    client_with: ClientWith,
) -> None:
    client = client_with()
    readers = [Reader(client, number) for number in range(30)]
    answers = [one.call("POST", "/test", address="192.0.2.1").status_code for one in readers]
    assert answers == [202] * 13 + [429] * 17
    assert readers[20].call("POST", "/test", address="192.0.2.2").status_code == 202


def test_a_caller_is_forgotten_with_the_next_welcome_after_it_is_over(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    redis, key = client.runtime.store.redis, "{g}:readers_alerts:proven:callers"
    comes(client, 0, "192.0.2.77")
    (code,) = redis.hvals(key)
    assert re.fullmatch(rb"[0-9a-f]{32}", code), "no address"
    assert 0 < redis.ttl(key) <= CALLERS_KEPT
    client.runtime.publishing.cancel(welcomes(client)[0].id, by="a test")
    client.runtime.planning.advance_all()
    comes(client, 1, "192.0.2.78")
    assert redis.hlen(key) == 1
    assert code not in redis.hvals(key)


def test_two_processes_never_take_the_last_place_both(
    client_with: ClientWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = client_with(WELCOME="confirm"), client_with(WELCOME="confirm")
    for number in range(49):
        Reader(client, number)
    new_id = client.runtime.store.notifications.new_id

    def another_process_is_faster() -> int:
        comes(other, 49, "192.0.2.1")
        return new_id()

    monkeypatch.setattr(client.runtime.store.notifications, "new_id", another_process_is_faster)
    comes(client, 50, "192.0.2.2")
    assert len(welcomes(client)) == 50


# When Redis is full -------------------------------------------------------------------------------


def test_full_redis_stores_no_subscription_and_sends_no_welcome() -> None:
    with RedisServer() as server:
        client = Client(make_app(server.url, WELCOME="confirm"))
        with server.full():
            body = {"subscription": browser()}
            assert client.call("POST", SUBSCRIPTIONS, body).status_code == 503
        assert client.runtime.store.subscriptions.count() == 0
        assert client.runtime.store.subscriptions.count("unconfirmed") == 0
        assert client.runtime.store.notifications.active() == []


# With real processes ------------------------------------------------------------------------------


@pytest.fixture
def confirming(redis_url: str, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    """An installation that requires confirmation, with a worker and a clock."""
    with Installation(redis_url, push, tmp_path, WELCOME="confirm") as installation:
        push.accept_any(installation.vapid.public)
        installation.worker()
        installation.clock()
        yield installation


def test_only_a_reader_who_saw_the_welcome_gets_the_next_alert(
    confirming: Installation, push: PushService
) -> None:
    client = Client(create_app(confirming.config))
    for number in range(3):
        given = browser(number)
        given["endpoint"] = push.origin + pretend_readers.path(number)
        assert client.call("POST", SUBSCRIPTIONS, {"subscription": given}).status_code == 201
    push.wait_for(3, timeout=30)
    by_path = {message.path: message for message in push.received}
    welcomes_seen = [shown(by_path[pretend_readers.path(number)]) for number in range(3)]
    assert {one["title"] for one in welcomes_seen} == {"Welcome"}
    nobodys = confirming.publish()
    confirming.over(nobodys)
    assert confirming.outcomes(nobodys) == {}
    receipt = welcomes_seen[1]["data"]["receipt"]
    client.call("POST", RECEIPTS, {"token": receipt, "event": "shown"})

    before = len(push.received)
    id = confirming.publish(title="News")
    confirming.over(id)

    assert confirming.outcomes(id) == {"accepted": 1}
    assert [message.path for message in push.received[before:]] == [pretend_readers.path(1)]
    wait_until(lambda: not client.runtime.store.notifications.active())
