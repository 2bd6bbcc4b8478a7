"""Rates: which caller a call counts for, what callers see of it, and when to try again."""

from __future__ import annotations

import itertools
import re
import time

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import TestResponse

from service.app import Proxies
from service.model.retention import RATE_KEPT
from service.store.layout.records import StoreFull
from service.store.operations.rate_counters import RateCounters
from tests.support.client import API, NOTIFICATIONS, Client, Reader, make_app
from tests.support.inputs import NEWS

TOOLS = '"tools by token"'


def left(response: TestResponse) -> dict[str, tuple[int, int]]:
    """Return what is left of each rate, and in how many seconds it begins anew."""
    rows = re.findall(r'"([^"]+)";r=(\d+);t=(\d+)(?:, |$)', response.headers["RateLimit"])
    return {name: (int(r), int(t)) for name, r, t in rows}


def test_a_tool_sees_how_many_calls_it_has_left(client: Client, token: str) -> None:
    for calls in (1, 2, 3):
        response = client.call("GET", f"{API}/topics", token=token)
        assert response.headers["RateLimit-Policy"] == f"{TOOLS};q=600;w=60"
        ((calls_left, seconds),) = left(response).values()
        assert calls_left == 600 - calls
        assert 0 < seconds <= 60
    refused = client.call("POST", NOTIFICATIONS, {}, token=token)
    assert refused.status_code == 422
    assert left(refused)["tools by token"][0] == 596, "a call that is refused counts too"
    other = client.call("GET", f"{API}/topics", token=client.add_token("another"))
    assert left(other)["tools by token"][0] == 599


@given(now=st.floats(0, 1e8), later=st.floats(0, 59))
def test_a_rate_begins_anew_within_its_time_whatever_the_clock_says(
    now: float, later: float
) -> None:
    with pytest.MonkeyPatch.context() as patch, redis.Redis() as unasked:
        counters = RateCounters(unasked)
        patch.setattr(time, "monotonic", lambda: now)
        assert counters.count("news", "ada", 100).resets_in == RATE_KEPT
        patch.setattr(time, "monotonic", lambda: now + later)
        assert 0 < counters.count("news", "ada", 100).resets_in <= RATE_KEPT


@pytest.mark.redis
def test_a_caller_with_nothing_left_hears_when_to_try_again(client: Client) -> None:
    reader = Reader(client)
    found = [reader.call("POST", "/test") for _ in range(4)]
    assert [one.status_code for one in found] == [202, 202, 202, 429]
    assert found[0].headers["RateLimit-Policy"] == (
        '"send_test by address";q=30;w=60, "send_test by token";q=3;w=60'
    )
    assert [left(one)["send_test by token"][0] for one in found] == [2, 1, 0, 0]
    again = int(found[-1].headers["Retry-After"])
    assert 0 < again <= 60
    assert left(found[-1])["send_test by token"][1] == again


def test_a_route_without_a_rate_says_nothing_of_one(client: Client) -> None:
    assert "RateLimit" not in client.call("GET", f"{API}/site").headers
    assert "RateLimit" not in client.call("GET", "/healthz").headers


def test_while_everything_is_stopped_or_redis_is_full_a_tool_hears_when_to_try_again(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(client)
    path = client.call("POST", NOTIFICATIONS, NEWS, token=token).headers["Location"]
    client.runtime.stops.hold(by="nora@paper.example")
    body = {"subscription_id": reader.id}
    stopped = client.call("POST", f"{path}/test", body, token=token)
    assert (stopped.status_code, stopped.headers["Retry-After"]) == (503, "60")

    def full(*given: object, **more: object) -> None:
        raise StoreFull("there is no room")

    monkeypatch.setattr(client.runtime.publishing, "cancel", full)
    refused = client.call("POST", f"{path}/cancel", token=token)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")


def test_subscribing_too_often_is_429_with_retry_after(client: Client) -> None:
    def statuses(address: str, times: int) -> list[int]:
        return [
            client.call("POST", f"{API}/subscriptions", {}, address=address).status_code
            for _ in range(times)
        ]

    assert statuses("192.0.2.1", 60) == [422] * 60
    response = client.call("POST", f"{API}/subscriptions", {}, address="192.0.2.1")
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 60
    # Other addresses may still subscribe, and this one may still read.
    assert statuses("192.0.2.2", 1) == [422]
    assert client.call("GET", f"{API}/site", address="192.0.2.1").status_code == 200


def test_preflight_requests_do_not_count_against_a_rate(client: Client) -> None:
    browser = client.app.test_client()
    for _ in range(70):
        assert browser.options(f"{API}/subscriptions").status_code == 200
    assert browser.post(f"{API}/subscriptions", json={}).status_code == 422


def test_options_requests_do_not_count_against_the_rate_of_tools(client: Client) -> None:
    browser = client.app.test_client()
    for _ in range(601):
        assert browser.options(f"{API}/topics").status_code == 200


def test_ipv4_callers_of_a_server_that_listens_on_ipv6_are_told_apart(
    client: Client,
) -> None:
    for _ in range(61):
        client.call("POST", f"{API}/subscriptions", {}, address="::ffff:192.0.2.1")
    for address, status in (("192.0.2.1", 429), ("::ffff:192.0.2.2", 422)):
        response = client.call("POST", f"{API}/subscriptions", {}, address=address)
        assert response.status_code == status


def test_an_address_has_a_rate_however_many_readers_call_from_it(
    client: Client,
) -> None:
    readers = [Reader(client, number) for number in range(4)]
    asked = [readers[n % 4].call("GET", "/export", address="192.0.2.1") for n in range(31)]
    assert [response.status_code for response in asked] == [200] * 30 + [429]
    assert readers[0].call("GET", "/export", address="192.0.2.2").status_code == 200


def test_an_ipv6_network_counts_as_one_caller(client: Client) -> None:
    for number in range(60):
        address = f"2001:db8:0:1::{number:x}"
        client.call("POST", f"{API}/subscriptions", {}, address=address)
    for address, status in (("2001:db8:0:1:ffff::", 429), ("2001:db8:0:2::", 422)):
        response = client.call("POST", f"{API}/subscriptions", {}, address=address)
        assert response.status_code == status


def test_an_address_is_never_stored(client: Client) -> None:
    for _ in range(10):  # each process counts the first few itself
        client.call("POST", f"{API}/subscriptions", {}, address="192.0.2.77")
    store = client.runtime.store.redis
    keys = store.keys()
    assert [key for key in keys if key.startswith(b"stoppress:rate")]
    assert not [key for key in keys if b"192.0.2.77" in key or b"192.0.2.77" in store.dump(key)]


@pytest.mark.parametrize(("proxies", "status"), [("0", 429), ("1", 422), ("2", 429)])
def test_only_trusted_proxies_may_name_the_callers_address(
    redis_url: str, proxies: str, status: int
) -> None:
    client = Client(make_app(redis_url, TRUSTED_PROXIES=proxies))
    for number in range(61):
        # The caller's own claim comes first; each proxy appends the address that it sees.
        claimed = f"10.0.0.{number}" if proxies == "1" else f"10.0.0.{number}, 192.0.2.9, 192.0.2.8"
        headers = {"X-Forwarded-For": claimed}
        path = f"{API}/subscriptions"
        response = client.call("POST", path, {}, headers=headers, address="127.0.0.1")
    assert response.status_code == status


@pytest.mark.parametrize(
    "addresses",
    [
        "192.0.2.9",
        "192.0.2.8, 192.0.2.9",
        " ,192.0.2.9,\t",
        "",
        ",",
        '"[2001:db8::1]:80", "192.0.2.9"',
    ],
)
def test_the_callers_address_is_read_as_werkzeug_reads_it(addresses: str) -> None:
    def seen(environ: dict[str, str], _start: object) -> list[str]:
        return [environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]]

    for hops, scheme in itertools.product((1, 2), ("https", "http, https", "http,,https")):
        environ = {
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "HTTP_X_FORWARDED_FOR": addresses,
            "HTTP_X_FORWARDED_PROTO": scheme,
        }
        ours, werkzeugs = (
            proxies(dict(environ), lambda *_: None)  # type: ignore[arg-type]
            for proxies in (Proxies(seen, hops), ProxyFix(seen, x_for=hops, x_proto=hops))  # type: ignore[arg-type]
        )
        assert ours == werkzeugs


@pytest.mark.parametrize("claimed", ['"', '192.0.2.1, "x', '"x\\', 'x"y, ', '"x", "'])
def test_no_quote_of_a_caller_hides_the_address_that_a_proxy_appends(claimed: str) -> None:
    for hops, appended in ((1, "192.0.2.9"), (2, "192.0.2.9, 192.0.2.8")):
        proxies = Proxies(lambda environ, _: [environ["REMOTE_ADDR"]], hops)
        environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": f"{claimed}, {appended}"}
        assert list(proxies(environ, lambda *_: None)) == ["192.0.2.9"]  # type: ignore[arg-type]


def test_a_port_behind_the_callers_address_makes_no_other_caller(redis_url: str) -> None:
    client = Client(make_app(redis_url, TRUSTED_PROXIES="1"))
    for number in range(61):
        headers = {"X-Forwarded-For": f"192.0.2.9:{5000 + number}"}
        response = client.call("POST", f"{API}/subscriptions", {}, headers=headers)
    assert response.status_code == 429


def test_each_api_token_has_its_own_rate(client: Client) -> None:
    fast, slow = client.add_token("fast"), client.add_token("slow")
    statuses = [
        client.call("GET", f"{API}/topics", token=fast, address="192.0.2.1").status_code
        for _ in range(601)
    ]
    assert statuses == [200] * 600 + [429]
    # For all calls together, from any address.
    assert client.call("GET", f"{API}/notifications", token=fast).status_code == 429
    response = client.call("GET", f"{API}/topics", token=slow, address="192.0.2.1")
    assert response.status_code == 200
