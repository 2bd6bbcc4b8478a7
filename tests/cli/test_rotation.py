"""A browser subscribed with a VAPID key that is not the first says so, and is reached with it."""

from __future__ import annotations

import pytest

from service.model.keys import VapidKey, b64url
from service.model.subscriptions import SubscriptionId
from tests.support.client import API, VAPID, Client, browser, make_app, stored

pytestmark = pytest.mark.redis

OLD, NEW, FOREIGN = VAPID, VapidKey.generate(), VapidKey.generate()


def public(key: VapidKey) -> str:
    return b64url(key.public)


@pytest.fixture
def client(redis_url: str) -> Client:
    """A house that has just changed its key."""
    return Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{NEW.text} {OLD.text}"))


def key_of(client: Client, id: str) -> str:
    return client.runtime.store.subscriptions.get(SubscriptionId.parse(id)).vapid_key


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"vapid_public_key": public(OLD)}, OLD),
        ({"vapid_public_key": public(OLD) + "="}, OLD),
        ({"vapid_public_key": public(NEW)}, NEW),
        ({"vapid_public_key": None}, NEW),
        ({}, NEW),
    ],
)
def test_a_new_subscription_belongs_to_the_key_it_was_made_with(
    client: Client, said: dict[str, object], key: VapidKey
) -> None:
    answer = client.call("POST", f"{API}/subscriptions", {"subscription": browser(), **said})
    assert answer.status_code == 201
    assert key_of(client, answer.json["id"]) == public(key)


def test_so_does_one_that_a_browser_changed(client: Client) -> None:
    reader = client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json
    said = {"subscription": browser(1), "vapid_public_key": public(OLD)}
    path = f"{API}/subscriptions/{reader['id']}"
    moved = client.call("PATCH", path, said, token=reader["token"]).json
    assert key_of(client, moved["id"]) == public(OLD)
    said = {"subscription": browser(2), "vapid_public_key": public(NEW)}
    path = f"{API}/subscriptions/{moved['id']}"
    renewed = client.call("PATCH", path, said, token=moved["token"]).json
    assert key_of(client, renewed["id"]) == public(NEW)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(public(FOREIGN), id="not ours"),
        pytest.param(public(OLD), id="retired"),
        *("", "=", "é", 7, ["x"], "B" * 5000),
    ],
)
def test_a_key_that_is_not_ours_or_retired_is_refused_by_name_and_nothing_is_stored(
    client: Client, said: object
) -> None:
    reader = client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json
    client.runtime.store.installation.retire_vapid_key(public(OLD))
    before = stored(client)
    body = {"subscription": browser(1), "vapid_public_key": said}
    path = f"{API}/subscriptions/{reader['id']}"
    for answer in (
        client.call("POST", f"{API}/subscriptions", body),
        client.call("PATCH", path, body, token=reader["token"]),
    ):
        assert answer.status_code == 422
        assert [row["field"] for row in answer.json["errors"]] == ["vapid_public_key"]
    assert stored(client) == before
