"""The API's description (OpenAPI) refuses what the code refuses, so that a CMS finds out early."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.support.client import API, Client, open_client
from tests.support.inputs import BAD, GOOD, LINKS, NEWS, ROUTES, with_field
from tests.support.kept import KEPT, PUBLISH_HOOK
from tests.support.redis_servers.server import RedisServer, connections_closed

# What no schema can know: topics, stories, alerts, keys and readers of an installation, the hour,
# the curve P-256, whether fields together are too long, and which fields a stored alert lacks.
_KNOWN_HERE = {
    *((route, "topics") for route in ("subscribe", "change", "audience")),
    *(("publish", f"audience.{name}") for name in ("topics", "exclude", "all_topics")),
    *(("publish", f"audience.{name}") for name in ("followers_of", "not_reached_by", "clicked")),
    *(("change", f"{name}_stories") for name in ("muted", "followed")),
    ("subscribe", "followed_stories"),
    ("subscribe", "subscription.endpoint"),
    ("change", "subscription.endpoint"),
    ("subscribe", "subscription.keys.p256dh"),
    ("subscribe", "subscription.keys.auth"),
    ("change", "paused_until"),
    ("change", "quiet_hours.to"),  # both the same
    ("publish", "send_at"),
    ("publish", "spread_minutes"),
    ("replan", "draft"),
    ("test", "subscription_id"),
    ("merge topic", "into"),
    ("add template", "alert.audience.topics"),
    *(("add hook", name) for name in ("topics", "otherwise")),
}


@pytest.fixture(scope="module")
def description() -> Iterator[dict[str, Any]]:
    with RedisServer() as server, connections_closed():
        yield open_client(server.url).call("GET", f"{API}/openapi.json").json


def schema(description: dict[str, Any], route: str) -> dict[str, Any]:
    method, path = ROUTES[route]
    path = (
        re.sub(r"/\d+(?=/|$)", "/{id}", path)
        .replace("world", "{slug}")
        .replace("feedfeedfeed", "{feed}")
        .replace(KEPT, "{template}")
        .replace(PUBLISH_HOOK, "{hook}")
    )
    content = description["paths"][API + path][method.lower()]["requestBody"]["content"]
    reference = content["application/json"]["schema"]
    return {**reference, "components": description["components"]}


def _matches(
    _validator: Any, pattern: str, text: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """Read a pattern as ECMA-262 does: Python's `$` lets a line end follow."""
    if isinstance(text, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), text):
        yield jsonschema.ValidationError("does not match")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _matches})


def accepts(schema: dict[str, Any], body: Any) -> bool:
    return Validator(schema).is_valid(body)


def test_every_call_says_what_a_request_for_another_host_gets(
    client: Client, description: dict[str, Any]
) -> None:
    refused = client.app.test_client().get(f"{API}/topics", headers={"Host": "no host"})
    assert (refused.status_code, refused.mimetype) == (400, "application/problem+json")
    for path, calls in description["paths"].items():
        for method, call in calls.items():
            assert "400" in call["responses"], (method, path)


def test_the_description_accepts_what_the_code_accepts(description: dict[str, Any]) -> None:
    for route in ROUTES:
        Validator(schema(description, route)).validate(GOOD[route])


def test_the_description_is_as_strict_as_the_code(description: dict[str, Any]) -> None:
    for route, field, value, _ in BAD:
        # To JSON Schema, 3600.0 is a whole number.
        if (route, field) not in _KNOWN_HERE and type(value) is not float:
            body = with_field(route, field, value)
            assert not accepts(schema(description, route), body), (route, field, value)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("publish", {**NEWS, "audience": {"everyone": None, "topics": None}}),
        ("publish", {**NEWS, "audience": {"everyone": None, "topics": ["world"], "x": 1}}),
        ("publish", {**NEWS, "audience": {"topics": ["world", "world"]}}),
        ("publish", {**NEWS, "audience": {"everyone": True, "topics": ["world"]}}),
        ("publish", {**NEWS, "audience": {"all_topics": None, "followers_of": None}}),
        ("publish", {**NEWS, "local_time": True}),
        ("publish", {**NEWS, "send_at": "2099-01-01T00:00", "late": "send", "draft": True}),
        ("publish", {**NEWS, "send_at": "2099-01-01"}),
        ("publish", {**NEWS, "title": " "}),
        ("audience", {"everyone": None, "topics": None}),
        ("audience", {}),
        ("correct", {}),
        ("correct", {"title": None, "body": None, "url": None}),
        ("report", {"token": "x", "event": None}),
        ("report", {"token": None, "event": None, "receipts": None}),
        ("report", {"token": "x", "event": "converted:"}),
        ("test", {"subscription_id": "00-1"}),
        ("replan", {"title": None}),
        ("replan", {"audience": None}),
        ("subscribe", {}),
    ],
    ids=str,
)
def test_the_description_knows_which_fields_go_together(
    description: dict[str, Any], route: str, body: dict[str, Any]
) -> None:
    assert not accepts(schema(description, route), body)


@pytest.mark.parametrize(
    "url",
    [
        "https://paper.example",
        "https://paper.example:8443/?q=1#x",
        "https://пример.рф/новость?ü=1#x",
        "https://xn--e1afmkfd.xn--p1ai./",
        "https://[2001:db8::1]:8443/a@b",
        "http://localhost:8000/demo/",
        "http://[::1]/",
    ],
)
def test_the_description_accepts_every_link_that_the_code_accepts(
    description: dict[str, Any], url: str
) -> None:
    assert accepts(schema(description, "publish"), {**NEWS, "url": url})
    assert url not in LINKS


def parameters(description: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    rows = description["paths"][API + path][method]["parameters"]
    return {row["name"]: row["schema"] for row in rows}


def test_the_description_is_as_strict_about_paths_queries_and_headers(
    description: dict[str, Any],
) -> None:
    key = parameters(description, "post", "/notifications")["Idempotency-Key"]
    assert [accepts(key, one) for one in ("a", "~" * 255)] == [True, True]
    assert not any(accepts(key, one) for one in ("", "a b", "é", "~" * 256, "a\n", 5))
    cursor = parameters(description, "get", "/notifications")["cursor"]
    assert [accepts(cursor, one) for one in (1, 2**53, 0, 2**53 + 1, "x")] == [
        *(True, True, False, False, False)
    ]
    slug = parameters(description, "get", "/topics/{slug}")["slug"]
    assert [accepts(slug, one) for one in ("world", "World", "-x", "")] == [
        *(True, False, False, False)
    ]
    id = parameters(description, "get", "/notifications/{id}")["id"]
    assert [accepts(id, one) for one in (1, -1, "x")] == [True, False, False]
    reader = parameters(description, "get", "/subscriptions/{id}")["id"]
    assert [accepts(reader, one) for one in ("0-17", "x", "0-007")] == [True, False, False]


def test_people_can_read_the_description_of_every_call(client: Client) -> None:
    response = client.app.test_client().get("/api/docs")
    page = response.text
    assert response.status_code == 200
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "<script" not in page
    description = client.call("GET", f"{API}/openapi.json").json
    for path, methods in description["paths"].items():
        for operation in methods.values():
            assert f'id="call-{operation["operationId"]}"' in page, path
    names = {*description["components"]["schemas"]}
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len({*ids})
    assert {*ids} >= names
    assert set(re.findall(r'href="#([^"]+)"', page)) <= {*ids}
    assert "`" not in page
    for kind in ("whole number, 60 to 2,419,200", "list of", "link, up to 2,000 characters"):
        assert kind in page


def test_the_description_has_exactly_the_calls_of_the_api(client: Client) -> None:
    described = client.call("GET", f"{API}/openapi.json").json
    assert described["openapi"] == "3.1.0"
    calls = {(method.upper(), path) for path, row in described["paths"].items() for method in row}
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in client.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v") or rule.endpoint.startswith("health.")
    }
    assert calls == routes
    assert len(calls) > 15


def test_the_description_defines_every_model_and_names_every_call(client: Client) -> None:
    response = client.call("GET", f"{API}/openapi.json")
    schemas = response.json["components"]["schemas"]
    references = set(re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', response.text))
    assert references <= set(schemas)
    assert {"NewSubscription", "PushSubscription", "NewNotification"} <= references
    assert "$defs" not in response.text
    operations = [call for row in response.json["paths"].values() for call in row.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
