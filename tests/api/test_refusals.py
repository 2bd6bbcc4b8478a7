"""What each call refuses, by the name of the field, and that what is refused leaves no trace."""

from __future__ import annotations

import copy
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
from tests.support.client import API, Client, Reader, open_client, stored
from tests.support.inputs import BAD, GOOD, NEWS, ROUTES
from tests.support.redis_server import RedisServer, connections_closed


class Doorstep:
    """Everything that a route needs to be called rightly, but for the body."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.reader = Reader(client)
        for draft in (False, True):
            client.runtime.publishing.publish(
                Content("Late news", "https://paper.example/"),
                Audience(everyone=True, story="storm"),
                by="a test",
                draft=draft,
            )
        # So many that no test is too fast for another one's.
        self.tools = itertools.cycle([client.add_token(f"tool {n}") for n in range(20)])

    def call(self, route: str, **body: Any) -> Any:
        method, path = ROUTES[route]
        token = self.reader.token if route == "change" else next(self.tools)
        return self.client.call(method, API + path.format(id=self.reader.id), token=token, **body)


@pytest.fixture(scope="module")
def refusing() -> Iterator[Doorstep]:
    """One for all that is refused: it leaves no trace, as each test sees for itself."""
    with RedisServer() as server, connections_closed():
        yield open_doorstep(server.url)


@pytest.fixture
def doorstep(redis_url: str) -> Doorstep:
    """One for what may be taken."""
    return open_doorstep(redis_url)


def open_doorstep(redis_url: str) -> Doorstep:
    return Doorstep(open_client(redis_url))


@pytest.mark.parametrize("route", ROUTES)
def test_what_the_bad_inputs_spoil_is_taken_as_it_is(doorstep: Doorstep, route: str) -> None:
    assert doorstep.call(route, said=GOOD[route]).status_code < 300


def test_every_call_with_a_body_is_among_those_that_are_tried(client: Client) -> None:
    calls = map(call_of, client.app.view_functions.values())
    taking = [call for call in calls if call is not None and call.takes]
    assert len(taking) == len(ROUTES)


@pytest.mark.parametrize(
    ("route", "field", "value", "named"),
    BAD,
    ids=[f"{route} {field} {str(value)[:30]!a}" for route, field, value, _ in BAD],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(
    refusing: Doorstep, route: str, field: str, value: Any, named: str
) -> None:
    said = copy.deepcopy(GOOD[route])
    *outer, last = field.split(".")
    within = said
    for name in outer:
        within = within[name]
    if value == "DELETE":
        del within[last]
    else:
        within[last] = value
    before = stored(refusing.client)
    answer = refusing.call(route, said=said)
    assert answer.status_code == 422
    assert [row["field"] for row in answer.json["errors"]] == [named]
    assert all(row["detail"].endswith(".") for row in answer.json["errors"])
    assert stored(refusing.client) == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_an_alert_may_lead_to_this_machine_without_tls(doorstep: Doorstep, host: str) -> None:
    said = {**NEWS, "url": f"http://{host}:8000/demo/"}
    assert doorstep.call("publish", said=said).status_code == 202


@pytest.mark.parametrize("url", ["https://пример.рф/новость?ü=1#x", "https://paper.example:8443"])
def test_an_alert_may_lead_to_any_page_over_https(doorstep: Doorstep, url: str) -> None:
    assert doorstep.call("publish", said={**NEWS, "url": url}).status_code == 202


def test_an_alert_is_as_long_as_a_push_can_carry_to_the_byte(doorstep: Doorstep) -> None:
    icon = "https://paper.example/".ljust(2000, "x")
    over = doorstep.call("publish", said={**NEWS, "icon": icon, "body": "é" * 1000})
    assert over.status_code == 422
    (error,) = over.json["errors"]
    assert error["field"] == "body"
    too_many = int(error["detail"].split()[3])
    fitting = {**NEWS, "icon": icon[:-too_many], "body": "é" * 1000}
    assert doorstep.call("publish", said=fitting).status_code == 202
    one_more = {**fitting, "title": f"{NEWS['title']}!"}
    assert "1 byte too long" in doorstep.call("publish", said=one_more).json["detail"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b"\xff\xfe{\x00}\x00", 400),
        (b'{"title": "\\ud800"}', 400),
        (b'{"a": ' * 100_000, 413),
        (b"[" * 8000, 400),
        (b"{}".ljust(65_537), 413),
    ],
)
def test_what_is_no_json_object_is_refused(
    refusing: Doorstep, route: str, body: bytes, status: int
) -> None:
    before = stored(refusing.client)
    answer = refusing.call(route, data=body, content_type="application/json")
    assert answer.status_code == status
    assert stored(refusing.client) == before


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_json_must_be_called_json(refusing: Doorstep, route: str, type: str | None) -> None:
    before = stored(refusing.client)
    answer = refusing.call(route, data=json.dumps(GOOD[route]), content_type=type)
    assert answer.status_code == 415
    assert stored(refusing.client) == before


@pytest.mark.parametrize("route", ["subscribe", "change", "report"])
@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, 413),
        # As gunicorn hands on a body that comes in chunks: it is cut off, and no JSON any more.
        ({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}, 400),
    ],
    ids=["announced", "in chunks"],
)
def test_a_reader_says_at_most_eight_kib(
    doorstep: Doorstep, route: str, environ: dict[str, Any], status: int
) -> None:
    said = json.dumps(GOOD[route]).encode()
    over, longest = (
        doorstep.call(
            route,
            data=said.rjust(size),
            content_type="application/json",
            environ_overrides=environ,
        )
        for size in (8193, 8192)
    )
    assert over.status_code == status
    assert longest.status_code < 300


class Garbled:
    """As gunicorn hands on a body whose chunks are none."""

    def read(self, _: Any = None) -> bytes:
        raise InvalidChunkSize(b"ZZ")


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_in_chunks_that_are_none_is_refused(refusing: Doorstep, route: str) -> None:
    before = stored(refusing.client)
    answer = refusing.call(
        route,
        content_type="application/json",
        environ_overrides={
            "wsgi.input": Garbled(),
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )
    assert answer.status_code == 400
    assert stored(refusing.client) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> Any:
    """`good` with something in it replaced by anything."""
    if isinstance(good, dict) and good and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(good)))
        return {**good, name: draw(spoilt(good[name]))}
    if isinstance(good, list) and good and draw(st.booleans()):
        return [draw(spoilt(good[0])), *good[1:]]
    return draw(JSON)


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_that_can_be_said_is_a_surprise(doorstep: Doorstep, route: str) -> None:
    bodies = st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda said: json.dumps(said).encode()),
        spoilt(GOOD[route]).map(lambda said: json.dumps(said).encode()),
    )

    @settings(max_examples=60)
    @given(bodies)
    def say(body: bytes) -> None:
        before = stored(doorstep.client)
        answer = doorstep.call(route, data=body, content_type="application/json")
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert stored(doorstep.client) == before

    say()
