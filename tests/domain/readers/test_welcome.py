"""The welcome; with `WELCOME=confirm` a reader gets no other alert before seeing it."""

from __future__ import annotations

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
from service.model.subscriptions import SubscriptionId
from tests.support.client import API, SUBSCRIPTIONS, Client, browser, make_app, to_one
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.seeded import shown

RECEIPTS = f"{API}/receipts"
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


def asked(one: Notification) -> dict[str, list[str]]:
    """The parameters in the fragment of a welcome's link."""
    return parse_qs(urlsplit(one.text.url).fragment)


# Without confirmation -----------------------------------------------------------------------------


def test_no_welcome_is_sent_by_default(client_with: ClientWith) -> None:
    client = client_with()
    reader = Reader(client)
    assert to_one(client.runtime) == []
    assert reader.confirmed


def test_new_reader_gets_one_welcome_and_all_other_alerts(client_with: ClientWith) -> None:
    client = client_with(WELCOME="yes")
    reader = Reader(client, locale="fr-CA")
    (one,) = to_one(client.runtime)
    assert one.audience == Audience(subscription=reader.id)
    assert (one.text.title, one.text.lang) == ("Bienvenue", "fr")
    assert one.text.body == "Les alertes de The Daily Example auront cet aspect."
    assert one.text.url == "https://paper.example/"
    assert client.runtime.publishing.latest(10) == [], "no editor sees it"
    assert client.runtime.publishing.reach(EVERYONE) == 1
    for more in ({}, {"refresh": True}, {"topics": []}):
        assert reader.subscribe(**more).status_code == 200
    assert to_one(client.runtime) == [one]


def test_own_words_of_the_newsroom_are_in_its_own_language(client_with: ClientWith) -> None:
    words = {"WELCOME_TITLE": "Sveiki!", "WELCOME_BODY": "Labi, ka esat ar mums: {}."}
    client = client_with(WELCOME="yes", SITE_LANGUAGE="lv", **words)
    Reader(client, locale="fr")
    (one,) = to_one(client.runtime)
    assert (one.text.title, one.text.body, one.text.lang) == (*words.values(), "lv")


# Confirmation -------------------------------------------------------------------------------------


def reach(client: Client, **audience: Any) -> int:
    return client.runtime.publishing.reach(Audience(**audience))


@pytest.mark.redis
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
    (one,) = to_one(client.runtime)
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
    (one,) = to_one(client.runtime)
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
    (one,) = to_one(client.runtime)
    words = texts("de")["alerts"]["press" if press else "shown"]
    assert one.text.body == words.format(site="The Daily Example")
    assert Payload(one, "https://push.example").size < MAX_PLAINTEXT


@pytest.mark.redis
def test_unconfirmed_reader_gets_one_welcome_a_day_on_any_number_of_visits(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    reader = Reader(client)
    for more in ({}, {"refresh": True}, {"topics": []}):
        answer = reader.subscribe(**more)
        assert (answer.status_code, answer.json["confirmed"]) == (200, False)
    assert len(to_one(client.runtime)) == 1
    redis = client.runtime.store.redis
    (memory,) = [key for key in redis.scan_iter() if b":idempotency:" in key]
    assert 0 < redis.ttl(memory) <= 86_400
    redis.delete(memory)  # a day later
    reader.subscribe(refresh=True)
    assert len(to_one(client.runtime)) == 2
    reader.reports()
    redis.delete(*[key for key in redis.scan_iter() if b":idempotency:" in key])
    assert reader.subscribe(refresh=True).json["confirmed"]
    assert len(to_one(client.runtime)) == 2


def move(reader: Reader, given: dict[str, Any]) -> None:
    """Tell the service that this reader's browser has another subscription."""
    answer = reader.call("PATCH", json={"subscription": given})
    reader.id, reader.token = SubscriptionId.parse(answer.json["id"]), answer.json["token"]


@pytest.mark.redis
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
    welcomed = [one.audience.subscription for one in to_one(client.runtime)]
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
    assert len(to_one(client.runtime)) == 1


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
    assert to_one(reader.client.runtime) == []


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
