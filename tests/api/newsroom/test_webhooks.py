"""Tools set up webhooks by the API."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.newsroom.webhooks import UnknownWebhook
from tests.support.client import API, Client


def test_tools_set_up_webhooks_by_the_api(client: Client) -> None:
    token = client.add_token("CMS", ["webhooks"])
    at = f"{API}/webhooks"
    body = {"address": "cms.paper.example/hook", "events": ["alert.finished", "alert.sent"]}
    made = client.call("POST", at, body, token=token)
    assert made.status_code == 201
    assert made.json["secret"].startswith("whsec_")
    assert made.json["warnings"] == []
    place = made.headers["Location"]
    shown = client.call("GET", place, token=token).json
    assert shown["address"] == "https://cms.paper.example/hook"
    assert shown["events"] == ["alert.sent", "alert.finished"]
    assert (shown["status"], shown["created_by"], shown["results"]) == ("active", "CMS", [])
    assert made.json["secret"] not in client.call("GET", at, token=token).text
    rotated = client.call("POST", f"{place}/rotate", token=token).json["secret"]
    assert rotated != made.json["secret"]
    changed = client.call("PATCH", place, {"paused": True}, token=token).json
    assert changed["status"] == "paused"
    assert client.call("POST", f"{place}/test", token=token).status_code == 202
    assert client.call("GET", place, token=token).json["waiting"] == 1
    assert client.call("DELETE", place, token=token).status_code == 204
    for method, path in (("GET", place), ("POST", f"{place}/test"), ("DELETE", place)):
        assert client.call(method, path, token=token).status_code == 404
    bad: Any
    for bad in (
        {**body, "address": "http://cms.paper.example/"},
        {**body, "events": []},
        {**body, "events": ["alert.read"]},
        {"address": body["address"]},
        {**body, "secret": "x"},
    ):
        assert client.call("POST", at, bad, token=token).status_code == 422
    for _ in range(19):
        assert client.call("POST", at, body, token=token).status_code == 201
    private = client.call("POST", at, {**body, "address": "https://10.0.0.7/hook"}, token=token)
    ((field, detail),) = [one.values() for one in private.json["warnings"]]
    assert field == "address"
    assert "private address" in detail
    assert client.call("POST", at, body, token=token).status_code == 409
    with pytest.raises(UnknownWebhook):
        client.runtime.webhooks.rotate("0" * 16)
