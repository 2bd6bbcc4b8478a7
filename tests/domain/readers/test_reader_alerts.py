"""Alerts to one reader, welcomes and tests: strangers leave others room for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from service.model.notifications import Audience
from service.model.retention import CALLERS_KEPT
from tests.support.client import SUBSCRIPTIONS, Client, Reader, browser, to_one
from tests.support.processes.installation import content

EVERYONE = Audience(everyone=True)
ClientWith = Callable[..., Client]


def test_alerts_of_the_newsroom_keep_nobody_from_the_welcome(client_with: ClientWith) -> None:
    client = client_with(WELCOME="confirm")
    for _ in range(100):
        client.runtime.publishing.publish(content(), EVERYONE, by="")
    Reader(client)
    assert len(to_one(client.runtime)) == 1


def test_with_many_welcomes_at_one_push_service_another_waits_for_a_visit(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    for number in range(50):
        Reader(client, number)
    waiting = to_one(client.runtime)
    assert len(waiting) == 50
    Reader(client, 50)
    assert len(to_one(client.runtime)) == 50
    client.runtime.publishing.cancel(waiting[0].id, by="a test")
    client.runtime.planning.advance_all()
    visit = {"subscription": browser(50), "refresh": True}
    assert client.call("POST", SUBSCRIPTIONS, visit).status_code == 200
    assert len(to_one(client.runtime)) == 50


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
    before = len(to_one(client.runtime))
    for origin in ("https://a.example", "https://web.push.apple.com", "https://fcm.googleapis.com"):
        honest = subscribes(origin, 0).json
        assert len(to_one(client.runtime)) == before + 1, origin
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
    assert len(to_one(client.runtime)) == 25, "one network is one caller"
    before = 25
    for number in range(60, 80):
        comes(client, number, f"192.0.2.{number}")
        before += 1
        assert len(to_one(client.runtime)) == before, "honest readers"


def test_many_strangers_get_less_and_less_of_the_room_that_is_left(
    client_with: ClientWith,
) -> None:
    client = client_with(WELCOME="confirm")
    had = []
    for stranger in range(4):
        before = len(to_one(client.runtime))
        for number in range(30):
            comes(client, stranger * 30 + number, f"192.0.2.{stranger}")
        had.append(len(to_one(client.runtime)) - before)
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
    assert len(to_one(client.runtime)) == 50
    for number, origin in enumerate(origins):
        before = len(to_one(client.runtime))
        comes(client, 50, f"198.51.100.{number}", endpoint=f"{origin}/50")
        assert len(to_one(client.runtime)) == before + 1, origin


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
    client.runtime.publishing.cancel(to_one(client.runtime)[0].id, by="a test")
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
    assert len(to_one(client.runtime)) == 50
