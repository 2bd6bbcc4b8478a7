"""A client of the whole application that checks every response against the API's description."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from service.api import responses
from service.api.calls import call_of
from service.api.problems import ProblemShown
from service.app import create_app
from service.config import Config
from service.local import pretend_readers
from service.model.keys import VapidKey, b64url
from service.model.notifications import Notification, Topic
from service.model.tokens import digest
from service.runtime import Runtime

VAPID = VapidKey.generate()
SITE = "https://paper.example"
API = "/api/v1"
SUBSCRIPTIONS, NOTIFICATIONS = f"{API}/subscriptions", f"{API}/notifications"


def make_app(redis_url: str, **settings: str) -> Flask:
    """Return the application of an installation whose newspaper is at `SITE`."""
    environment = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
        "SITE_ORIGINS": SITE,
        "QUIET_HOURS": "none",
        "DAILY_LIMIT": "none",
        **settings,
    }
    return create_app(read_config(*environment.items()))


@cache
def read_config(*environment: tuple[str, str]) -> Config:
    """Read settings once for all tests that have the same."""
    return Config.read(dict(environment))


def browser(number: int = 0, *, keys: int | None = None) -> dict[str, Any]:
    """Return what `PushSubscription.toJSON()` returns; `keys` are another browser's."""
    p256dh, auth = pretend_readers.keys(number if keys is None else keys)
    return {
        "endpoint": "https://fcm.googleapis.com" + pretend_readers.path(number),
        "expirationTime": None,
        "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
    }


class Client:
    """Calls from a new address each time, so that only tests about rate limits reach one."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.runtime: Runtime = app.extensions["stoppress"]
        self._client = app.test_client(use_cookies=False)
        self._addresses = itertools.count(1)

    def add_token(self, name: str = "a test", scopes: Sequence[str] = ()) -> str:
        """Make an API token."""
        token = f"the token of {name}".replace(" ", "-")
        self.runtime.store.access.add_token(digest(token), name, scopes, time.time())
        return token

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        address: str | None = None,
        **more: Any,
    ) -> TestResponse:
        """Call the API and check the response against its description."""
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        if json is not None:
            more["json"] = json
        number = next(self._addresses)
        more.setdefault("environ_base", {})["REMOTE_ADDR"] = (
            address or f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        )
        response = self._client.open(path, method=method, headers=given, **more)
        self._check(method, path, response)
        return response

    def _check(self, method: str, path: str, response: TestResponse) -> None:
        status = response.status_code
        try:
            endpoint, _ = self.app.url_map.bind("localhost").match(path.split("?")[0], method)
        except HTTPException as error:
            assert status == error.code
            gives: Mapping[int, Any] = {}
        else:
            operation = call_of(self.app.view_functions[endpoint])
            assert operation is not None
            gives = operation.gives
            assert status in {*gives, *operation.problems, 500, 503}
        if status in gives:
            model = gives[status]
            if model is None:
                assert response.data == b""
            elif model is responses.Metrics:
                assert response.mimetype == "text/plain"
            else:
                assert response.mimetype == "application/json"
                model.model_validate_json(response.data, strict=True)
        else:
            assert response.mimetype == "application/problem+json"
            problem = ProblemShown.model_validate_json(response.data, strict=True)
            assert problem.status == status
            assert bool(problem.errors) == (status == 422)


def open_client(redis_url: str, **settings: str) -> Client:
    """Return a client of an installation with two topics."""
    client = Client(make_app(redis_url, **settings))
    for slug in ("world", "sport"):
        client.runtime.store.topics.add(Topic(slug, slug.title()))
    return client


class Reader:
    """One browser that subscribed, with its own token."""

    def __init__(self, client: Client, number: int = 0, **preferences: Any) -> None:
        body = {"subscription": browser(number), **preferences}
        response = client.call("POST", SUBSCRIPTIONS, body)
        assert response.status_code == 201
        self.client = client
        self.credentials: dict[str, str] = dict(response.json or {})

    @classmethod
    def known(cls, client: Client, credentials: dict[str, Any]) -> Reader:
        """Return the browser that an earlier response gave an `id` and a `token`."""
        reader = cls.__new__(cls)
        reader.client, reader.credentials = client, credentials
        return reader

    @property
    def id(self) -> str:
        return self.credentials["id"]

    @property
    def token(self) -> str:
        return self.credentials["token"]

    def call(self, method: str, what: str = "", json: Any = None, **more: Any) -> TestResponse:
        """Call an address below the subscription, such as `/alerts`, by default with its token."""
        more.setdefault("token", self.token)
        return self.client.call(method, f"{SUBSCRIPTIONS}/{self.id}{what}", json, **more)

    def sees(self, *names: str) -> Any:
        """Return the preferences with these names, or all of them."""
        shown = self.call("GET").json or {}
        return tuple(shown[name] for name in names) if names else shown

    def change(self, **changes: Any) -> Any:
        response = self.call("PATCH", json=changes)
        assert response.status_code == 200
        return response.json


def stored(client: Client) -> dict[bytes, Any]:
    """Return everything that the store holds, apart from counts of rates, uses and visits."""
    redis = client.runtime.store.redis
    counts = (b"stoppress:rate", b"{g}:unknown:", b"{g}:tokens:used", b"{g}:sessions:")
    keys = [key for key in redis.scan_iter() if not key.startswith(counts)]
    with redis.pipeline(transaction=False) as pipe:
        # Hashes and sets are read by member, because Redis may change their order in a dump.
        unordered = {b"hash": pipe.hgetall, b"set": pipe.smembers}
        for key in keys:
            pipe.type(key)
        for key, kind in zip(keys, pipe.execute(), strict=True):
            unordered.get(kind, pipe.dump)(key)
        return dict(zip(keys, pipe.execute(), strict=True))


def to_one(runtime: Runtime) -> list[Notification]:
    """The active alerts to a single reader: welcomes and tests."""
    active = runtime.publishing.all(runtime.store.notifications.active())
    return [one for one in active if one.to_one]
