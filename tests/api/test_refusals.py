"""Refused bodies: the response names the field, and nothing is stored."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.calls import call_of
from service.model.notifications import Audience, Content
from service.model.two_texts import SecondText
from tests.support.client import API, Client, Reader, open_client, stored
from tests.support.inputs import BAD, GOOD, NEWS, ROUTES, with_field
from tests.support.kept import store_kept
from tests.support.newsroom.feeds import store_feed
from tests.support.redis_servers.server import RedisServer, connections_closed


class Doorstep:
    """Everything that a route needs apart from a right body."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.reader = Reader(client)
        paired, code = client.runtime.store.paired_browsers, GOOD["pair"]["code"]
        paired.begin(code, "nora@paper.example")
        for key in client.runtime.store.redis.scan_iter(match="{g}:pairing:*"):
            client.runtime.store.redis.persist(key)  # the tests may take longer than it lasts
        for draft in (False, True):
            client.runtime.publishing.publish(
                Content("Late news", "https://paper.example/"),
                Audience(everyone=True, story="storm"),
                by="a test",
                draft=draft,
            )
        client.runtime.publishing.publish(
            Content("Late news", "https://paper.example/"),
            Audience(everyone=True),
            by="a test",
            second_text=SecondText("Other news", "", 10, 15),
        )
        store_feed(client.runtime)
        store_kept(client.runtime)
        made, _ = client.runtime.webhooks.add("https://a.example/", ["alert.sent"], by="a test")
        self.hook = made.id
        # So many that all tests together stay within the rate of each token and each reader.
        self.tools = itertools.cycle([client.add_token(f"tool {n}") for n in range(20)])
        phones = 2 + settings().max_examples // 25
        self.phones = itertools.cycle([Reader(client, 100 + n) for n in range(phones)])
        self._stored = stored(client)

    def call(self, route: str, **body: Any) -> Any:
        method, path = ROUTES[route]
        reader = next(self.phones) if route == "pair" else self.reader
        token = reader.token if route in ("change", "pair") else next(self.tools)
        return self.client.call(
            method, API + path.format(id=reader.id, hook=self.hook), token=token, **body
        )

    def stored_nothing(self) -> bool:
        """Whether the store holds what it held when this was last called, or at the start."""
        before, self._stored = self._stored, stored(self.client)
        return self._stored == before


@pytest.fixture(scope="module")
def refusing() -> Iterator[Doorstep]:
    """Shared by the tests of refused bodies: each checks that nothing was stored."""
    with RedisServer() as server, connections_closed():
        yield open_doorstep(server.url)


@pytest.fixture
def doorstep(redis_url: str) -> Doorstep:
    """For a test of its own, whose bodies may be accepted."""
    return open_doorstep(redis_url)


def open_doorstep(redis_url: str) -> Doorstep:
    return Doorstep(open_client(redis_url))


@pytest.mark.parametrize("route", ROUTES)
def test_the_good_inputs_are_accepted(doorstep: Doorstep, route: str) -> None:
    assert doorstep.call(route, json=GOOD[route]).status_code < 300


def test_every_call_that_takes_a_body_is_in_the_table(client: Client) -> None:
    calls = map(call_of, client.app.view_functions.values())
    taking = [call for call in calls if call is not None and call.takes]
    assert len(taking) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_a_wrong_field_is_named_and_nothing_is_stored(refusing: Doorstep, route: str) -> None:
    for field, value, named in [row[1:] for row in BAD if row[0] == route]:
        response = refusing.call(route, json=with_field(route, field, value))
        assert response.status_code == 422, (field, value)
        errors = response.json["errors"]
        assert [row["field"] for row in errors] == [named], (field, value)
        assert all(row["detail"].endswith(".") for row in errors), (field, value)
    assert refusing.stored_nothing()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_an_alert_may_link_to_this_machine_without_tls(doorstep: Doorstep, host: str) -> None:
    body = {**NEWS, "url": f"http://{host}:8000/demo/"}
    assert doorstep.call("publish", json=body).status_code == 202


@pytest.mark.parametrize("url", ["https://пример.рф/новость?ü=1#x", "https://paper.example:8443"])
def test_an_alert_may_link_to_any_page_over_https(doorstep: Doorstep, url: str) -> None:
    assert doorstep.call("publish", json={**NEWS, "url": url}).status_code == 202


def test_an_alert_may_be_as_long_as_a_push_allows_to_the_byte(doorstep: Doorstep) -> None:
    icon = "https://paper.example/".ljust(2000, "x")
    over = doorstep.call("publish", json={**NEWS, "icon": icon, "body": "é" * 1000})
    assert over.status_code == 422
    (error,) = over.json["errors"]
    assert error["field"] == "body"
    too_many = int(error["detail"].split()[3])
    fitting = {**NEWS, "icon": icon[:-too_many], "body": "é" * 1000}
    assert doorstep.call("publish", json=fitting).status_code == 202
    one_more = {**fitting, "title": f"{NEWS['title']}!"}
    assert "1 byte too long" in doorstep.call("publish", json=one_more).json["detail"]


NO_OBJECTS = [
    *((b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"text"', 400)),
    (b"\xff\xfe{\x00}\x00", 400),
    (b'{"title": "\\ud800"}', 400),
    (b'{"a": ' * 100_000, 413),
    (b"[" * 8000, 400),
    (b"{}".ljust(65_537), 413),
]


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_is_no_json_object_is_refused(refusing: Doorstep, route: str) -> None:
    for body, status in NO_OBJECTS:
        response = refusing.call(route, data=body, content_type="application/json")
        assert response.status_code == status, body[:30]
    assert refusing.stored_nothing()


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_of_another_content_type_is_refused(refusing: Doorstep, route: str) -> None:
    for type in (None, "text/plain", "application/x-www-form-urlencoded"):
        response = refusing.call(route, data=json.dumps(GOOD[route]), content_type=type)
        assert response.status_code == 415, type
    assert refusing.stored_nothing()


@pytest.mark.parametrize("route", ["subscribe", "change", "report"])
@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, 413),
        # A body in chunks, as gunicorn passes it on. It is cut off, and so no longer JSON.
        ({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}, 400),
    ],
    ids=["announced", "in chunks"],
)
def test_a_readers_body_may_have_at_most_8_kib(
    doorstep: Doorstep, route: str, environ: dict[str, Any], status: int
) -> None:
    body = json.dumps(GOOD[route]).encode()
    over, longest = (
        doorstep.call(
            route,
            data=body.rjust(size),
            content_type="application/json",
            environ_overrides=environ,
        )
        for size in (8193, 8192)
    )
    assert over.status_code == status
    assert longest.status_code < 300


class Garbled:
    """Raises what gunicorn raises for a body with invalid chunks."""

    def read(self, _: Any = None) -> bytes:
        raise InvalidChunkSize(b"ZZ")


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_with_invalid_chunks_is_refused(refusing: Doorstep, route: str) -> None:
    response = refusing.call(
        route,
        content_type="application/json",
        environ_overrides={
            "wsgi.input": Garbled(),
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )
    assert response.status_code == 400
    assert refusing.stored_nothing()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """Return `good` with one part of it replaced by anything."""
    if isinstance(good, dict) and good and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(good)))
        return {**good, name: draw(spoilt(good[name]))}
    if isinstance(good, list) and good and draw(st.booleans()):
        return [draw(spoilt(good[0])), *good[1:]]
    return draw(JSON)


@pytest.mark.parametrize("open_one", ["[", '{"a":'])
def test_a_body_nested_to_any_depth_causes_no_unexpected_error(
    doorstep: Doorstep, open_one: str
) -> None:
    # At one depth that is just read, it could not be written any more.
    key = {"Idempotency-Key": "nested"}
    close = "]" if open_one == "[" else "}"
    for depth in range(880, 1010):
        body = f"{open_one * depth}1{close * depth}".encode()
        answer = doorstep.call("publish", data=body, content_type="application/json", headers=key)
        assert answer.status_code in (400, 422), depth


@pytest.mark.parametrize("route", ROUTES)
def test_no_body_causes_an_unexpected_error(doorstep: Doorstep, route: str) -> None:
    bodies = st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda value: json.dumps(value).encode()),
        spoilt(GOOD[route]).map(lambda value: json.dumps(value).encode()),
    )

    @settings(max_examples=settings().max_examples // 5)
    @given(bodies)
    def send(body: bytes) -> None:
        response = doorstep.call(route, data=body, content_type="application/json")
        assert response.status_code < 500
        assert doorstep.stored_nothing() or response.status_code < 400

    send()
