"""Several VAPID keys: each subscription is stored with the key that it was made with."""

from __future__ import annotations

import pytest

from service.model.keys import VapidKey, b64url
from service.model.subscriptions import SubscriptionId
from tests.support.client import API, VAPID, Client, browser, make_app, stored

OLD, NEW, FOREIGN = VAPID, VapidKey.generate(), VapidKey.generate()


def public(key: VapidKey) -> str:
    return b64url(key.public)


@pytest.fixture
def client(redis_url: str) -> Client:
    """An installation that has just got a new key."""
    return Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{NEW.text} {OLD.text}"))


def key_of(client: Client, id: str) -> str:
    return client.runtime.store.subscriptions.get(SubscriptionId.parse(id)).vapid_key


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"vapid_public_key": public(OLD)}, OLD),
        ({"vapid_public_key": public(OLD) + "="}, OLD),
        ({"vapid_public_key": public(NEW)}, NEW),
        ({"vapid_public_key": None}, NEW),
        ({}, NEW),
    ],
)
def test_a_new_subscription_belongs_to_the_key_it_was_made_with(
    client: Client, fields: dict[str, object], key: VapidKey
) -> None:
    response = client.call("POST", f"{API}/subscriptions", {"subscription": browser(), **fields})
    assert response.status_code == 201
    assert key_of(client, response.json["id"]) == public(key)


def test_a_changed_subscription_belongs_to_the_key_it_was_made_with(client: Client) -> None:
    reader = client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json
    fields = {"subscription": browser(1), "vapid_public_key": public(OLD)}
    path = f"{API}/subscriptions/{reader['id']}"
    moved = client.call("PATCH", path, fields, token=reader["token"]).json
    assert key_of(client, moved["id"]) == public(OLD)
    fields = {"subscription": browser(2), "vapid_public_key": public(NEW)}
    path = f"{API}/subscriptions/{moved['id']}"
    renewed = client.call("PATCH", path, fields, token=moved["token"]).json
    assert key_of(client, renewed["id"]) == public(NEW)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(public(FOREIGN), id="not ours"),
        pytest.param(public(OLD), id="retired"),
        *("=", "é", 7, ["x"], "B" * 5000),
    ],
)
def test_a_foreign_or_retired_key_is_refused_and_nothing_is_stored(
    client: Client, key: object
) -> None:
    reader = client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json
    client.runtime.store.installation.retire_vapid_key(public(OLD))
    before = stored(client)
    body = {"subscription": browser(1), "vapid_public_key": key}
    path = f"{API}/subscriptions/{reader['id']}"
    for response in (
        client.call("POST", f"{API}/subscriptions", body),
        client.call("PATCH", path, body, token=reader["token"]),
    ):
        assert response.status_code == 422
        assert [row["field"] for row in response.json["errors"]] == ["vapid_public_key"]
    assert stored(client) == before
