"""Subscribing without Flask gives the same answers as subscribing through it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from redis.exceptions import TimeoutError
from werkzeug.test import create_environ, run_wsgi_app

from service.api.readers.readers import credentials
from service.api.without_flask import SubscribingWithoutFlask
from service.domain.readers.subscriptions import Subscriptions
from service.model.notifications import Topic
from tests.support.client import SITE, SUBSCRIPTIONS, browser, make_app

JSON = "application/json"
WINDOWS = "https://sin.notify.windows.com/w/?token=abc"


def request(number: int = 0, **more: Any) -> dict[str, Any]:
    """A request as nearly all are; `body` has further members, and others change the request."""
    body = {"subscription": browser(number), "topics": ["world"], **more.pop("body", {})}
    return {"data": json.dumps(body).encode(), "origin": SITE, **more}


def changed(subscription: dict[str, Any]) -> dict[str, Any]:
    return request(body={"subscription": {**browser(), **subscription}})


# What pages send beside the subscription.
PAGE = {
    **{"topics": ["world"], "locale": "en-GB", "timezone": "Europe/Riga"},
    **{"vapid_public_key": None, "receipts": False, "wording": 7},
}

# Requests that follow each other, by what they show.
ALL = {
    "another key": [request(), changed({"keys": browser(1)["keys"]})],
    "a page of no origin of ours": [request(origin="https://elsewhere.example")],
    "a page of ours": [request(origin="http://localhost")],
    "a sandboxed page": [request(origin="null")],
    "a token": [request(), request(HTTP_AUTHORIZATION="Bearer abc")],
    "a new wildcard host": [
        *[changed({"endpoint": WINDOWS.replace("sin", f"sin{n}")}) for n in range(12)]
    ],
    "a push service that is not known": [changed({"endpoint": "https://push.evil.example/x"})],
    "a language that is not known": [request(body={"locale": "xx@yy!"})] * 2,
    "a time zone that is not known": [request(body={"timezone": "Mars/Base"})] * 7,
    "a topic that is not there": [request(body={"topics": ["cooking"]})],
    "preferences": [request(body={"daily_limit": 3, "paused_for": 7200, "receipts": False})],
    "all that pages send": [request(body=PAGE), request(body={**PAGE, "refresh": True})],
    "nothing chosen": [request(body={**PAGE, **dict.fromkeys(PAGE)})],
    "wrong topics": [
        *[request(body={"topics": wrong}) for wrong in ("world", ["world"] * 2, [1], [[]], {})],
        request(body={"topics": [f"topic-{n}" for n in range(101)]}),
    ],
    "wrong receipts": [request(body={"receipts": wrong}) for wrong in (0, 1, "true", [])],
    "wrong wordings": [request(body={"wording": wrong}) for wrong in (-1, 256, True, "1", 1.0)],
    "wrong check-ins": [request(body={"refresh": wrong}) for wrong in (None, 0, 1, "true")],
    "keys of another site": [request(body={"vapid_public_key": wrong}) for wrong in ("AAAA", 1)],
    "keys beside the endpoint": [
        request(body={"subscription": {**browser(), **browser()["keys"]}})
    ],
    "keys as bytes": [changed({"keys": {"p256dh": [4] * 65, "auth": [1] * 16}})],
    "no subscription": [
        *[request(body={"subscription": wrong}) for wrong in (None, "x", [], {}, {"keys": 1})],
        *[changed({"keys": wrong}) for wrong in (None, "x", [], {}, {"p256dh": 1, "auth": 2})],
        *[changed({"endpoint": wrong}) for wrong in (None, 1, "x")],
        request(data=b'"x"'),
    ],
    "a wrong field": [request(body={"user": 1})],
    "a check-in of a stranger": [request(body={"refresh": True})],
    "a check-in": [request(), request(body={"refresh": True})],
    "no origin": [request(origin=None), request(1, origin=None)],
    "a charset": [request(content_type="application/json; charset=utf-8")],
    "a form": [request(content_type="application/x-www-form-urlencoded")],
    "compressed": [request(HTTP_CONTENT_ENCODING="gzip"), request(HTTP_CONTENT_ENCODING="")],
    "in chunks": [request(HTTP_TRANSFER_ENCODING="chunked")],
    "too long": [request(data=b" " * 8193), request(data=b" " * 8192)],
    "cut off": [request(CONTENT_LENGTH="2000"), request(CONTENT_LENGTH="20")],
    "no length": [request(CONTENT_LENGTH=""), request(CONTENT_LENGTH="-1")],
    "a strange length": [request(CONTENT_LENGTH="\u0663"), request(CONTENT_LENGTH="\xb2")],
    "no JSON": [request(data=b"{"), request(data=b"[]"), request(data=b"\xff")],
    "the same name twice": [request(data=b'{"refresh": true, "refresh": false}')],
    "another host": [request(HTTP_HOST="elsewhere.example"), request(HTTP_HOST="[")],
    "no host": [request(HTTP_HOST="")],
    "a query": [request(path=f"{SUBSCRIPTIONS}?x=1"), request(path=f"{SUBSCRIPTIONS}/")],
    "another method": [request(method="PUT"), request(method="GET"), request(method="OPTIONS")],
    "too many from one network": [request(REMOTE_ADDR="2001:db8::1:2")] * 62,
    "no address": [request(REMOTE_ADDR="")],
    "TLS": [request(**{"wsgi.url_scheme": "https"})],
}


def call(app: Flask, data: bytes, origin: str | None, **given: Any) -> tuple[Any, ...]:
    """Return the response: status, headers, body."""
    path, method = given.pop("path", SUBSCRIPTIONS), given.pop("method", "POST")
    kind = given.pop("content_type", JSON)
    environ = create_environ(path, method=method, data=data, content_type=kind)
    environ["wsgi.input"] = io.BytesIO(data)
    environ |= {"REMOTE_ADDR": "203.0.113.7", "HTTP_X_REQUEST_ID": "the-same"}
    environ |= {"HTTP_ORIGIN": origin} if origin else {}
    response, status, headers = run_wsgi_app(app, environ | given, buffered=True)
    body = b"".join(response)
    # Until a rate begins anew there may be a second less in a second run.
    timed = [(name, re.sub(r";t=\d+", "", value)) for name, value in headers]
    headers = [(name, "" if name == "Retry-After" else value) for name, value in timed]
    return status, sorted(headers), json.loads(body) if body.startswith(b"{") else body


@pytest.fixture
def database(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as database:
        yield database


def answers(url: str, database: redis.Redis, requests: list[dict[str, Any]], **more: str) -> Any:
    """Return the responses of a new installation to these requests, and what it knows then."""
    database.flushdb()
    app = make_app(url, SITE_URL="http://localhost", **more)
    here = app.extensions["stoppress"]
    here.store.topics.add(Topic("world", "World"))
    found = [call(app, **one) for one in requests]
    kinds = ("push-services", "locales", "time-zones")
    known = [here.store.subscriptions.count(), *map(here.unknown_values.counts, kinds)]
    ids = {body["id"] for _, _, body in found if isinstance(body, dict) and "id" in body}
    stored = [here.subscriptions.get(id) for id in sorted(ids)]
    alerts = len(here.publishing.latest(10)) + len(here.store.notifications.active())
    here.store.redis.close()
    return found, known, alerts, stored


@pytest.mark.parametrize("requests", ALL.values(), ids=ALL)
def test_each_request_is_answered_as_through_flask(
    redis_url: str,
    database: redis.Redis,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = answers(redis_url, database, requests, WELCOME="confirm")
    monkeypatch.setattr(SubscribingWithoutFlask, "_is_ordinary", lambda *_: False)
    assert without == answers(redis_url, database, requests, WELCOME="confirm")


def test_an_ordinary_subscription_does_not_reach_flask(
    redis_url: str, database: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(redis_url)
    here = app.extensions["stoppress"]
    here.store.topics.add(Topic("world", "World"))
    monkeypatch.delattr(Flask, "full_dispatch_request")
    for ordinary in (request(), request(), request(1, origin=None, body=PAGE)):
        status, headers, body = call(app, **ordinary)
        assert status in ("201 CREATED", "200 OK")
        assert ("Access-Control-Allow-Origin", SITE) in headers or not ordinary["origin"]
        assert body == credentials(here, here.subscriptions.get(body["id"])).model_dump()
        assert body["confirmed"] is True, "nobody is asked to confirm"


@pytest.mark.parametrize("error", [TimeoutError("late"), RuntimeError("a bug")])
def test_what_goes_wrong_is_answered_by_flask_and_not_done_twice(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls = []

    def fail(*given: Any, **more: Any) -> None:
        calls.append(given)
        raise error

    app = make_app(redis_url)
    monkeypatch.setattr(Subscriptions, "subscribe", fail)
    status, headers, body = call(app, **request(body={"topics": []}))
    assert status.startswith("503" if isinstance(error, TimeoutError) else "500")
    assert ("Content-Type", "application/problem+json") in headers
    assert ("Access-Control-Allow-Origin", SITE) in headers
    assert "late" not in str(body) and "bug" not in str(body)
    assert len(calls) == 1
